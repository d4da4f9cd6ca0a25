//! The settings. Doc comments here are the manual: they are shown by `keepwell config explain` and in
//! `example.toml`.

mod access;
mod alerts;
mod care;
mod engine;
mod limits;
mod listeners;
mod monitors;
mod notify;
mod privacy;
mod reports;
mod sources;
mod storage;
mod telemetry;

use std::path::PathBuf;

pub use access::{Access, Emergency, Encryption};
pub use alerts::Alerts;
pub use care::{Care, CrisisResources};
pub use engine::{Pool, Retention};
pub use limits::Limits;
pub use listeners::{Operators, Server};
pub use monitors::Monitors;
pub use notify::Notify;
pub use privacy::Privacy;
pub use reports::Reports;
pub use sources::{App, Stripe};
pub use storage::{Database, Redis};
pub use telemetry::Log;

use crate::values::{Environment, Role, ScheduleEntry};

settings! {
    /// General.
    pub struct Config {
        /// What kind of installation this is. Outside production, missing secrets are made up on first start
        /// and kept in `dev-secrets.toml` in the state directory; in production they must be given.
        environment: Environment,
        /// A name for this one of several deployments, such as blue and green. `/health` reports it as its
        /// `environment`, so that a load balancer can tell which one answers.
        deployment: Option<String> => "blue",
        /// Where keepwell keeps what it must not lose: the database and the private Redis, unless others are
        /// named, and the development secrets. Unset, it is the directory systemd provides
        /// (`STATE_DIRECTORY`), else `/var/lib/keepwell` where `/etc/keepwell/keepwell.toml` is in use, else
        /// `./var`.
        state_dir: PathBuf => "/var/lib/keepwell",
        /// What this process does. `receiver`: the public listener; today it is there whatever the roles are.
        /// `workers`: runs jobs. `schedules`: ticks `schedules` and sees to grace periods that end. `console`:
        /// the operators' listener and its socket, which the command line needs. Several processes may share
        /// the work when they share the database and Redis and have state directories of their own.
        roles: Vec<Role>,
        /// Jobs that appear by themselves; in the file one table `[[schedules]]` for each, behind everything
        /// that stands in no section. Every process with the role `schedules` ticks them; each tick is one job.
        ///
        /// `name`: letters, digits, `-`, `_` and `.`. `kind` and `payload` (a table): what is to be done;
        /// `scheduled_for` is added to the payload. `lane`: where the job waits, `background` unless named.
        ///
        /// `every` (`30s`, `15m`, `6h`, `7d`, counted from 1970 in UTC) or `cron`: second, minute, hour, day of
        /// the month, month, day of the week (`SUN` to `SAT`) and, if you like, year, in `time_zone` (UTC unless
        /// named). When clocks are set, what names every hour goes by time as it passes; what names some hours
        /// fires once a day for each, and for an hour that is skipped at its end.
        ///
        /// `missed`: what becomes of ticks that nobody saw in time: `skip`, `once` (the last of them fires; this
        /// is the default) or `all`; older ones than `window` (`1d`) are left out. `overlap`: what becomes of a
        /// tick while the job of the one before is still to be done: it may `wait` (the default), be left out
        /// (`skip`; an hour of that is an alert) or run beside it (`allow`). `jitter`: jobs are held back by up to so
        /// much (`0s`).
        ///
        /// `keepwell check` reads each one out in words.
        schedules: Vec<ScheduleEntry> => [
            { name = "rehearsal", cron = "0 0 * * * *", time_zone = "Europe/Berlin", kind = "care.crisis_rehearsed", lane = "crisis" }
        ],
    }
    with {
        server: Server,
        operators: Operators,
        redis: Redis,
        database: Database,
        stripe: Stripe,
        app: App,
        access: Access,
        emergency: Emergency,
        encryption: Encryption,
        privacy: Privacy,
        limits: Limits,
        pool: Pool,
        retention: Retention,
        care: Care,
        crisis_resources: CrisisResources,
        notify: Notify,
        reports: Reports,
        monitors: Monitors,
        alerts: Alerts,
        log: Log,
    }
}

impl Config {
    /// The word for `environment` in `/health`: the deployment's name if it has one, else the environment.
    pub fn environment_label(&self) -> &str {
        self.deployment.as_deref().unwrap_or(self.environment.name())
    }
}
