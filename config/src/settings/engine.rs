//! The pool of workers, and for how long things are kept.

settings! {
    /// The workers of this process.
    pub struct Pool in "pool" {
        /// How many jobs run at a time, crisis jobs included. Other work has `pool.crisis_slots` fewer of them.
        slots: usize where 4..=4_096,
        /// How many of `pool.slots` run nothing but crisis work; at least 2 and fewer than all. Crisis work that
        /// finds them taken goes first in the others. Unset, a fifth of `pool.slots`.
        crisis_slots: usize where 2..=4_095 => 13,
        /// How long a job stays with a worker that gives no sign of life, in milliseconds. Then it runs
        /// elsewhere. Sensible values lie between 10000 and 15000; short ones are for tests.
        lease_ms: u64 where 500..=60_000,
        /// How long running jobs may take to finish when the daemon stops, in milliseconds. What is not done
        /// by then is done after the restart. systemd's `TimeoutStopSec` must be longer.
        drain_timeout_ms: u64 where 0..=600_000,
    }
}

settings! {
    /// For how long things are kept.
    pub struct Retention in "retention" {
        /// Jobs that are done or cancelled, in days, with what was sent with them and the history of their runs.
        /// Also how long a repeated event is recognised, so longer than the 30 days for which Stripe can hand out
        /// an event again.
        done_days: u32 where 31..=3_650,
        /// Jobs that failed for good, in days, with the same. What somebody said of their own data and nobody has
        /// read is kept until it is, also if its job was cancelled: it may take something back.
        dead_days: u32 where 31..=3_650,
        /// The audit trail, in days, and how each crisis was answered; seven years at least, which the database itself
        /// enforces for the trail.
        audit_days: u32 where 2_555..=36_500,
        /// Reports about an hour or less, such as those of every hour, in days.
        hourly_reports_days: u32 where 1..=365,
        /// All other reports, in days: of days, months, and what was asked for. As long as the audit trail has to be
        /// kept, because they are a part of the same records.
        reports_days: u32 where 31..=9_000,
    }
}
