//! How often, how patiently and for how long a kind of job is tried.

use std::time::Duration;

/// The limits of one kind of job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Runs before the job is dead; at least 1.
    pub attempts_max: u32,
    /// The first back-off, in milliseconds.
    pub backoff_base_ms: u64,
    /// The longest back-off, in milliseconds.
    pub backoff_cap_ms: u64,
    /// How long a run's [`Handler::prepare`](crate::handler::Handler::prepare) may take, in milliseconds. Its
    /// [`Handler::apply`](crate::handler::Handler::apply) has the same time again, but at most
    /// 2 s: others wait to write.
    pub timeout_ms: u64,
}

impl Policy {
    /// 20 attempts over 7 hours on average and 14 at most, 30 s for each run.
    pub const DEFAULT: Policy = Policy {
        attempts_max: 20,
        backoff_base_ms: 1_000,
        backoff_cap_ms: 2 * 60 * 60 * 1_000,
        timeout_ms: 30_000,
    };

    /// For what must not wait: the first retries come within a fraction of a second and never more than 30 s apart.
    pub const CRISIS: Policy =
        Policy { attempts_max: 100, backoff_base_ms: 50, backoff_cap_ms: 30_000, timeout_ms: 5_000 };

    /// The wait before the next run after `attempts` failed ones: full jitter, `random * min(cap, base *
    /// 2^(attempts-1))`, where `random` lies in `0.0..=1.0`.
    pub fn backoff(&self, attempts: u32, random: f64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(63);
        let ceiling_ms = self
            .backoff_base_ms
            .saturating_mul(1_u64.checked_shl(doublings).unwrap_or(u64::MAX))
            .min(self.backoff_cap_ms);
        Duration::from_millis((ceiling_ms as f64 * random.clamp(0.0, 1.0)) as u64)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_doubles_up_to_its_cap_and_never_overflows() {
        let policy = Policy { attempts_max: 5, backoff_base_ms: 100, backoff_cap_ms: 1_000, timeout_ms: 1 };
        let waits: Vec<u128> = [1, 2, 3, 4, 5, 200].map(|n| policy.backoff(n, 1.0).as_millis()).to_vec();
        assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(policy.backoff(3, 0.0), Duration::ZERO);
    }
}
