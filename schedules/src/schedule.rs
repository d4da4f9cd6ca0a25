//! A schedule: what is to be done, and when; and how a tick becomes a job.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat};
use keepwell_workers::{
    clock::UnixMs,
    id::JobId,
    job::NewJob,
    lane::{Lane, UnknownLane},
};
use serde_json::{Map, Value};

use crate::{
    policy::{Missed, Overlap, Rules},
    timing::{Timing, TimingError, span_ms},
};

/// The longest name, in bytes; it stands in dedupe keys, metrics and URLs.
pub const NAME_BYTES_MAX: usize = 64;

/// The longest payload, in bytes of JSON. A look's jobs are recorded in one transaction.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 10;

/// The longest window, in milliseconds: 31 days. What is missed longer has to be asked for.
const WINDOW_MS_MAX: i64 = 31 * 86_400_000;

/// The most that a tick's job is held back, in milliseconds: a day.
const JITTER_MS_MAX: i64 = 86_400_000;

/// The field of a job's payload that says which tick it is for.
const SCHEDULED_FOR: &str = "scheduled_for";

/// A schedule as somebody wrote it down.
#[derive(Debug, Clone)]
pub struct Spec {
    /// What it is called.
    pub name: String,
    /// A cron expression with seconds; either this or `every`.
    pub cron: Option<String>,
    /// The time zone of the expression; UTC if none is named.
    pub time_zone: Option<String>,
    /// The time between ticks.
    pub every: Option<String>,
    /// Which handler runs its jobs.
    pub kind: String,
    /// Where its jobs wait.
    pub lane: String,
    /// What the handler needs.
    pub payload: Map<String, Value>,
    /// What becomes of ticks that come too early.
    pub overlap: Overlap,
    /// What becomes of ticks that were missed.
    pub missed: Missed,
    /// How long ago they may have been missed.
    pub window: String,
    /// By how much its jobs are held back at most.
    pub jitter: String,
}

/// A schedule that makes sense.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// What it is called.
    pub name: String,
    /// When it is due.
    pub rules: Rules,
    /// Which handler runs its jobs.
    pub kind: Arc<str>,
    /// Where its jobs wait.
    pub lane: Lane,
    /// By how much its jobs are held back at most, in milliseconds.
    pub jitter_ms: i64,
    payload: Map<String, Value>,
}

/// A schedule does not make sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Its name.
    #[error("its name is not 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` or `.`")]
    Name,
    /// When.
    #[error("it needs either `cron` or `every`")]
    When,
    /// A zone without a calendar.
    #[error("`every` goes by no time zone; leave `time_zone` out, or write it as `cron`")]
    ZoneOfEvery,
    /// When.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// Its lane.
    #[error(transparent)]
    Lane(#[from] UnknownLane),
    /// Its kind.
    #[error("no job is of the kind `{0}`")]
    Kind(String),
    /// Its window.
    #[error(
        "`window` is at most 31d; what was missed longer ago is asked for with `keepwell schedule run --since`"
    )]
    Window,
    /// Its jitter.
    #[error("`jitter` is at most 1d")]
    Jitter,
    /// Its payload is too long.
    #[error("`payload` has more than {PAYLOAD_BYTES_MAX} bytes as JSON")]
    Payload,
    /// Its payload has a field that is ours.
    #[error("`payload.{SCHEDULED_FOR}` is set by keepwell")]
    ScheduledFor,
    /// Two rules that contradict each other.
    #[error(
        "`missed = \"all\"` asks for every tick, and `overlap = \"skip\"` for leaving some out; choose `wait`"
    )]
    AllAndSkip,
    /// People in crisis would wait behind what is made up for.
    #[error(
        "`missed = \"all\"` would fill the crisis lane after an absence; choose `once` or `skip`, or another lane"
    )]
    AllInCrisis,
}

impl Schedule {
    /// Reads `spec`. `is_kind` knows the kinds of jobs that there are.
    pub fn new(spec: Spec, is_kind: impl Fn(&str) -> bool, now_ms: UnixMs) -> Result<Self, ScheduleError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !(1..=NAME_BYTES_MAX).contains(&spec.name.len()) || !spec.name.chars().all(plain) {
            return Err(ScheduleError::Name);
        }
        let timing = match (&spec.cron, &spec.every, &spec.time_zone) {
            (Some(cron), None, zone) => Timing::cron(cron, zone.as_deref().unwrap_or("UTC"), now_ms)?,
            (None, Some(every), None) => Timing::every(every)?,
            (None, Some(_), Some(_)) => return Err(ScheduleError::ZoneOfEvery),
            _ => return Err(ScheduleError::When),
        };
        let lane: Lane = spec.lane.parse()?;
        if !is_kind(&spec.kind) {
            return Err(ScheduleError::Kind(spec.kind.chars().take(60).collect()));
        }
        let (window_ms, jitter_ms) = (span_ms(&spec.window)?, span_ms(&spec.jitter)?);
        if window_ms > WINDOW_MS_MAX {
            return Err(ScheduleError::Window);
        }
        if jitter_ms > JITTER_MS_MAX {
            return Err(ScheduleError::Jitter);
        }
        if spec.payload.contains_key(SCHEDULED_FOR) {
            return Err(ScheduleError::ScheduledFor);
        }
        if Value::from(spec.payload.clone()).to_string().len() > PAYLOAD_BYTES_MAX {
            return Err(ScheduleError::Payload);
        }
        if spec.missed == Missed::All && spec.overlap == Overlap::Skip {
            return Err(ScheduleError::AllAndSkip);
        }
        if spec.missed == Missed::All && lane == Lane::Crisis {
            return Err(ScheduleError::AllInCrisis);
        }
        let rules = Rules { timing, missed: spec.missed, window_ms, overlap: spec.overlap };
        let (name, kind, payload) = (spec.name, spec.kind.into(), spec.payload);
        Ok(Self { name, rules, kind, lane, jitter_ms, payload })
    }

    /// The job of the tick at `tick_ms`: recorded at most once, whoever asks for it how often.
    pub fn job(&self, tick_ms: UnixMs) -> NewJob {
        let job = self.job_for(tick_ms).dedupe_key(format!("schedule:{}:{tick_ms}", self.name));
        // What is not held back runs whatever a clock says.
        if self.jitter_ms == 0 { job } else { job.run_at_ms(tick_ms.saturating_add(self.jitter_of(tick_ms))) }
    }

    /// A job that somebody asks for at `now_ms`, beside all ticks.
    pub fn job_now(&self, now_ms: UnixMs) -> NewJob {
        self.job_for(now_ms).dedupe_key(format!("schedule:{}:asked:{}", self.name, JobId::new(now_ms)))
    }

    fn job_for(&self, at_ms: UnixMs) -> NewJob {
        let mut payload = self.payload.clone();
        let at = DateTime::from_timestamp_millis(at_ms).unwrap_or_default();
        payload.insert(SCHEDULED_FOR.to_owned(), at.to_rfc3339_opts(SecondsFormat::Millis, true).into());
        let subject = format!("schedule:{}", self.name);
        let job = NewJob::new(Arc::clone(&self.kind), self.lane, Value::from(payload).to_string());
        let job = job.subject(subject.clone());
        if self.rules.overlap == Overlap::Allow { job } else { job.turn(subject) }
    }

    /// By how much the job of a tick is held back: drawn from its name and instant, so that every node draws the same.
    fn jitter_of(&self, tick_ms: UnixMs) -> i64 {
        // FNV-1a: its like for ever, unlike the standard library's hashes, and spread well enough.
        let bytes = self.name.bytes().chain(tick_ms.to_be_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let span = u64::try_from(self.jitter_ms).unwrap_or(0) + 1;
        i64::try_from((hash >> 16) % span).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            name: "nightly".to_owned(),
            cron: Some("0 0 3 * * *".to_owned()),
            time_zone: Some("Europe/Berlin".to_owned()),
            every: None,
            kind: "bake".to_owned(),
            lane: "background".to_owned(),
            payload: Map::from_iter([("loaves".to_owned(), 3.into())]),
            overlap: Overlap::Wait,
            missed: Missed::Once,
            window: "1d".to_owned(),
            jitter: "0s".to_owned(),
        }
    }

    fn read(spec: Spec) -> Result<Schedule, ScheduleError> {
        Schedule::new(spec, |kind| kind == "bake", 1_700_000_000_000)
    }

    #[test]
    fn a_ticks_job_has_a_key_of_its_own_and_says_what_it_is_for() {
        let schedule = read(spec()).unwrap();
        let job = schedule.job(1_700_013_600_000);
        assert_eq!(job.dedupe_key.as_deref(), Some("schedule:nightly:1700013600000"));
        assert_eq!(
            (job.subject.as_deref(), job.turn.as_deref()),
            (Some("schedule:nightly"), Some("schedule:nightly"))
        );
        let payload: Value = serde_json::from_slice(&job.payload).unwrap();
        assert_eq!(payload, serde_json::json!({ "loaves": 3, "scheduled_for": "2023-11-15T02:00:00.000Z" }));
        assert_eq!(job.run_at_ms, None);
        let keys = [(); 2].map(|()| schedule.job_now(1_700_013_600_000).dedupe_key);
        assert_ne!(keys[0], keys[1], "whoever asks twice gets two");
        let beside = read(Spec { overlap: Overlap::Allow, ..spec() }).unwrap();
        assert_eq!(beside.job(0).turn, None);
    }

    #[test]
    fn a_jitter_is_the_same_everywhere_and_goes_all_the_way() {
        let schedule = read(Spec { jitter: "60s".to_owned(), ..spec() }).unwrap();
        let held_back: Vec<i64> = (0..1_000).map(|day| schedule.jitter_of(day * 86_400_000)).collect();
        assert!(held_back.iter().all(|ms| (0..=60_000).contains(ms)));
        assert!(held_back.iter().any(|ms| *ms < 3_000) && held_back.iter().any(|ms| *ms > 57_000));
        assert_eq!(schedule.job(86_400_000).run_at_ms, Some(86_400_000 + held_back[1]));
        assert_eq!(
            held_back[..3],
            [0, 1, 2].map(|day| read(Spec { jitter: "60s".to_owned(), ..spec() })
                .unwrap()
                .jitter_of(day * 86_400_000))
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        let text = |text: &str| Some(text.to_owned());
        for (wrong, hint) in [
            (Spec { name: "a b".to_owned(), ..spec() }, "letters, digits"),
            (Spec { name: "x".repeat(65), ..spec() }, "1 to 64"),
            (Spec { cron: None, ..spec() }, "either `cron` or `every`"),
            (Spec { every: text("1h"), ..spec() }, "either `cron` or `every`"),
            (Spec { cron: None, every: text("1h"), ..spec() }, "leave `time_zone` out"),
            (Spec { cron: None, every: text("1x"), time_zone: None, ..spec() }, "30s, 15m"),
            (Spec { cron: None, every: text("é"), time_zone: None, ..spec() }, "30s, 15m"),
            (Spec { cron: None, every: text("0s"), time_zone: None, ..spec() }, "from 1s to 31d"),
            (Spec { cron: None, every: text("32d"), time_zone: None, ..spec() }, "from 1s to 31d"),
            (Spec { cron: text("0 3 * * *"), ..spec() }, "six fields"),
            (Spec { cron: text("0 0 25 * * *"), ..spec() }, "six fields"),
            (Spec { cron: text("*/0 * * * * *"), ..spec() }, "six fields"),
            (Spec { cron: text(&"1,".repeat(200)), ..spec() }, "six fields"),
            (Spec { cron: text("0 0 0 31 2 *"), ..spec() }, "never comes"),
            (Spec { cron: text("0 0 0 1 1 * 2001"), ..spec() }, "never comes"),
            (Spec { time_zone: text("Europe/Bonn"), ..spec() }, "Europe/Berlin"),
            (Spec { kind: "fly".to_owned(), ..spec() }, "`fly`"),
            (Spec { lane: "fast".to_owned(), ..spec() }, "the lanes are crisis"),
            (Spec { window: "32d".to_owned(), ..spec() }, "31d"),
            (Spec { jitter: "2d".to_owned(), ..spec() }, "1d"),
            (
                Spec { payload: Map::from_iter([("scheduled_for".to_owned(), 1.into())]), ..spec() },
                "set by keepwell",
            ),
            (
                Spec { payload: Map::from_iter([("x".to_owned(), "x".repeat(20_000).into())]), ..spec() },
                "16384 bytes",
            ),
            (Spec { missed: Missed::All, overlap: Overlap::Skip, ..spec() }, "choose `wait`"),
            (Spec { missed: Missed::All, lane: "crisis".to_owned(), ..spec() }, "another lane"),
        ] {
            let error = read(wrong.clone()).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(hint), "{wrong:?}: {error}");
        }
    }
}
