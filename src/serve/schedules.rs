//! What appears by itself: the schedules of the configuration, those that are built in, and what sees to grace periods
//! that end.

use std::{collections::BTreeSet, sync::Arc};

use chrono_tz::Tz;
use keepwell_config::{
    Config,
    values::{MissedTicks, OverlappingTicks, ScheduleEntry},
};
use keepwell_jobs::kinds;
use keepwell_schedules::{
    board::Board,
    policy::{Missed, Overlap},
    schedule::{Schedule, ScheduleError, Spec},
    ticker::Ticker,
    watch::Watch,
};
use keepwell_workers::{
    clock::{SharedClock, UnixMs},
    database::Database,
    engine::Engine,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{grace_watch::watch_graces, reporting, stripe};
use crate::telemetry::Metrics;

/// More schedules than a person can have in mind.
const SCHEDULES_MAX: usize = 256;

/// The schedules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchedulesError {
    /// One of them makes no sense.
    #[error("schedule {number} (`{name}`)")]
    One {
        /// Which, counted from 1.
        number: usize,
        /// What it is called.
        name: String,
        /// Why.
        #[source]
        error: ScheduleError,
    },
    /// Two of them cannot be told apart.
    #[error("two schedules are called `{0}`")]
    Twice(String),
    /// Reports are to be made in a time zone that does not exist.
    #[error("no time zone is called `{0}` (`reports.time_zone`); it is a name such as Europe/Berlin")]
    ReportsTimeZone(String),
    /// There are too many.
    #[error("there are {0} schedules; there may be {SCHEDULES_MAX}")]
    TooMany(usize),
}

/// What `config` has appear by itself: its own schedules, and behind them those built in that none of its own is called
/// like.
pub(crate) fn schedule_entries(config: &Config) -> Vec<ScheduleEntry> {
    let own = &config.schedules;
    let built_in = [stripe::built_in(config), reporting::built_in(config)].concat();
    let built_in = built_in.into_iter().filter(|entry| own.iter().all(|own| own.name != entry.name));
    own.iter().cloned().chain(built_in).collect()
}

/// The schedules that `config` has, as they make sense at `now_ms`.
pub(crate) fn schedules(config: &Config, now_ms: UnixMs) -> Result<Arc<[Schedule]>, SchedulesError> {
    if config.schedules.len() > SCHEDULES_MAX {
        return Err(SchedulesError::TooMany(config.schedules.len()));
    }
    if config.reports.time_zone.parse::<Tz>().is_err() {
        return Err(SchedulesError::ReportsTimeZone(config.reports.time_zone.chars().take(80).collect()));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = config.schedules.iter().find(|entry| !names.insert(&entry.name)) {
        return Err(SchedulesError::Twice(twice.name.clone()));
    }
    let read = |(place, entry): (usize, &ScheduleEntry)| {
        Schedule::new(spec(entry), |kind| kinds::ALL.contains(&kind), now_ms).map_err(|error| {
            SchedulesError::One { number: place + 1, name: entry.name.chars().take(80).collect(), error }
        })
    };
    schedule_entries(config).iter().enumerate().map(read).collect()
}

/// What makes jobs appear.
pub(super) struct Appearing {
    pub(super) engine: Engine,
    pub(super) database: Database,
    pub(super) clock: SharedClock,
    pub(super) schedules: Arc<[Schedule]>,
    pub(super) board: Board,
    pub(super) metrics: Arc<Metrics>,
}

impl Appearing {
    /// Has them appear until `stop`, if this process `ticks`. Every process sees whether somebody does.
    pub(super) fn spawn(self, ticks: bool, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        let Self { engine, database, clock, schedules, board, metrics } = self;
        if !schedules.is_empty() {
            let known = Arc::clone(&schedules);
            let watch = Watch::new(engine.clone(), known, board.clone(), Arc::clone(&clock));
            tasks.spawn(watch.run(stop.clone()));
            if ticks {
                let ticker = Ticker::new(engine.clone(), schedules, board, Arc::clone(&clock));
                tasks.spawn(ticker.run(stop.clone()));
            }
        }
        if ticks {
            tasks.spawn(watch_graces(engine, database, clock, Some(metrics), stop.clone()));
        }
    }
}

fn spec(entry: &ScheduleEntry) -> Spec {
    let entry = entry.clone();
    Spec {
        name: entry.name,
        cron: entry.cron,
        time_zone: entry.time_zone,
        every: entry.every,
        kind: entry.kind,
        lane: entry.lane,
        payload: entry.payload,
        overlap: match entry.overlap {
            OverlappingTicks::Wait => Overlap::Wait,
            OverlappingTicks::Skip => Overlap::Skip,
            OverlappingTicks::Allow => Overlap::Allow,
        },
        missed: match entry.missed {
            MissedTicks::Skip => Missed::Skip,
            MissedTicks::Once => Missed::Once,
            MissedTicks::All => Missed::All,
        },
        window: entry.window,
        jitter: entry.jitter,
    }
}
