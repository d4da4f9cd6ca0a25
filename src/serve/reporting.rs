//! Where reports are made and sent from (see [`ReportDesk`]).

use std::{
    fs::Permissions,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use async_trait::async_trait;
use keepwell_config::{
    Config,
    values::{MissedTicks, OverlappingTicks, ReportPeriod, ScheduleEntry},
};
use keepwell_jobs::{
    care::{grace::DAY_MS, report::period::Period},
    kinds,
    outbound::{
        courier::Courier,
        notify::{Notifier, NotifierOptions},
    },
    reporting::{ReportDesk, ReportError, ReportKind},
    store::reports::{FoundReport, ReportContent, ReportSettings, ReportedSchedule},
    watch::CrisisWatch,
};
use keepwell_workers::{clock::UnixMs, id::JobId, outcome::Outcome};
use serde_json::json;
use tokio::task::spawn_blocking;

use super::{error::ServeError, schedules::schedule_entries};
use crate::{
    new_file::NewFile,
    reports::{Format, render},
    trail::Trail,
};

/// The schedules of a report: of which period, under which name, at which ticks, and how long what nobody was there to
/// make is made up for.
type Schedules = [(ReportPeriod, &'static str, &'static str, &'static str); 3];

/// Those of the report on crisis safety.
const OF_CRISES: Schedules = [
    (ReportPeriod::Hour, "report-hourly", "0 4 * * * *", "2d"),
    (ReportPeriod::Day, "report-daily", "0 14 0 * * *", "31d"),
    (ReportPeriod::Month, "report-monthly", "0 34 0 1 * *", "31d"),
];

/// Those of the operations report, after the others.
const OF_OPERATIONS: Schedules = [
    (ReportPeriod::Hour, "operations-hourly", "0 7 * * * *", "2d"),
    (ReportPeriod::Day, "operations-daily", "0 24 0 * * *", "31d"),
    (ReportPeriod::Month, "operations-monthly", "0 44 0 1 * *", "31d"),
];

/// The reports that are made of every period that `config` names for them, soon after it is over. Not at the full hour,
/// when everybody asks for something; what the last crisis came to is noted by then. Hours are those of UTC wherever
/// one is: where clocks are set by half an hour, or stand at half past, each is reported on once all the same.
pub(super) fn built_in(config: &Config) -> Vec<ScheduleEntry> {
    let of = |kind: ReportKind, schedules: Schedules, wanted: &[ReportPeriod]| {
        let wanted = schedules.into_iter().filter(|(period, ..)| wanted.contains(period));
        wanted.map(|schedule| entry(kind, schedule, &config.reports.time_zone)).collect::<Vec<_>>()
    };
    [
        of(ReportKind::Crisis, OF_CRISES, &config.reports.periods),
        of(ReportKind::Operations, OF_OPERATIONS, &config.reports.operations_periods),
    ]
    .concat()
}

fn entry(
    kind: ReportKind,
    (period, name, cron, window): (ReportPeriod, &str, &str, &str),
    time_zone: &str,
) -> ScheduleEntry {
    let time_zone = if period == ReportPeriod::Hour { "UTC" } else { time_zone };
    let payload = [("report", kind.name()), ("period", period.name()), ("time_zone", time_zone)];
    ScheduleEntry {
        cron: Some(cron.to_owned()),
        time_zone: Some(time_zone.to_owned()),
        payload: payload.map(|(name, value)| (name.to_owned(), value.into())).into_iter().collect(),
        missed: MissedTicks::All,
        window: window.to_owned(),
        ..ScheduleEntry::new(name, kinds::REPORT_DUE)
    }
}

/// What a report has to know of how the daemon is set up.
pub(crate) fn report_settings(config: &Config) -> ReportSettings {
    ReportSettings {
        watch: CrisisWatch::new(config.care.crisis_response_ms),
        audit_days: i64::from(config.retention.audit_days),
        done_ms: i64::from(config.retention.done_days) * DAY_MS,
        dropped_paths: config.privacy.drop_paths.len() as u64,
        schedules: schedule_entries(config).into_iter().map(reported).collect(),
    }
}

fn reported(schedule: ScheduleEntry) -> ReportedSchedule {
    let leaves_out = schedule.overlap == OverlappingTicks::Skip;
    ReportedSchedule { name: schedule.name, leaves_out }
}

/// The receiver of reports, if `config` names one.
pub(crate) fn courier(config: &Config) -> Result<Option<Courier>, ServeError> {
    let (Some(url), Some(token)) = (&config.reports.url, &config.reports.token) else { return Ok(None) };
    let file = config.reports.authorities_file.as_ref();
    let read = |file: &PathBuf| {
        std::fs::read(file).map_err(|error| ServeError::ReportsAuthoritiesFile(file.clone(), error))
    };
    let authorities = file.map(read).transpose()?;
    let options = NotifierOptions {
        url: url.as_str(),
        token: token.expose(),
        timeout_ms: config.reports.timeout_ms,
        authorities: authorities.as_deref(),
        urgent_in_flight_max: 1,
        in_flight_max: 1,
    };
    Ok(Some(Courier::new(Notifier::new(&options).map_err(ServeError::Courier)?)))
}

/// Makes reports of what the trail holds, and brings them to a directory and to an address.
#[derive(Debug)]
pub(super) struct Reporting {
    trail: Trail,
    settings: ReportSettings,
    directory: Option<PathBuf>,
    courier: Option<Courier>,
}

impl Reporting {
    /// One for what `trail` holds, set up as `config` says.
    pub(super) fn new(trail: Trail, config: &Config) -> Result<Self, ServeError> {
        let (settings, directory) = (report_settings(config), config.reports.directory.clone());
        Ok(Self { trail, settings, directory, courier: courier(config)? })
    }
}

#[async_trait]
impl ReportDesk for Reporting {
    fn now_ms(&self) -> UnixMs {
        self.trail.now_ms()
    }

    async fn content(&self, kind: ReportKind, period: Period) -> Result<ReportContent, ReportError> {
        self.trail.report_content(&self.settings, kind, period).await
    }

    fn delivers(&self) -> bool {
        self.directory.is_some() || self.courier.is_some()
    }

    async fn deliver(&self, id: &str, job: JobId) -> Result<(), Outcome> {
        let found = self.trail.report(id).await;
        let report =
            match found.map_err(|error| Outcome::retry(format!("the report cannot be read: {error}")))? {
                FoundReport::Report(report) => report,
                FoundReport::Nothing => {
                    return Err(Outcome::Cancel {
                        reason: "the report was let go before it was delivered".to_owned(),
                    });
                }
                FoundReport::Unreadable => {
                    return Err(Outcome::dead(
                        "the report was altered, or the key that sealed it is not configured",
                    ));
                }
            };
        let signed = |format: Format| {
            let content = render(id, &report, format);
            let signature = self.trail.sign(content.as_bytes());
            let signature =
                signature.map_err(|error| Outcome::dead(format!("the report cannot be signed: {error}")))?;
            Ok::<_, Outcome>((content, signature))
        };
        let to_directory = async {
            let Some(directory) = &self.directory else { return Ok(()) };
            for format in Format::ALL {
                let (content, signature) = signed(format)?;
                let file = directory.join(format!("{}-{id}.{}", report.kind(), format.name()));
                let beside = directory.join(format!("{}-{id}.{}.sig", report.kind(), format.name()));
                // The signature first: whoever sees a report finds what it is verified with.
                for (path, text) in [(beside, format!("{:#}\n", json!(signature))), (file, content)] {
                    let written = write_for_group(path, text).await;
                    written.map_err(|error| {
                        Outcome::retry(format!("`reports.directory` cannot be written: {}", error.kind()))
                    })?;
                }
            }
            Ok(())
        };
        let to_address = async {
            let Some(courier) = &self.courier else { return Ok(()) };
            let (content, signature) = signed(Format::Json)?;
            let (kind, format) = (report.kind(), Format::Json.name());
            let document = json!({ "report": id, "kind": kind, "format": format, "content": content, "signature": signature });
            courier.post(job, &document).await
        };
        // A folder that is full keeps nobody else waiting. What has arrived is sent again with the rest, under the same
        // key.
        let (written, sent) = (to_directory.await, to_address.await);
        written.and(sent)
    }
}

/// Puts a file that its group may read too in the place of whatever has the name `path`.
async fn write_for_group(path: PathBuf, text: String) -> io::Result<()> {
    let write = move || {
        let mut file = NewFile::to_become(&path)?;
        file.file().write_all(text.as_bytes())?;
        file.file().set_permissions(Permissions::from_mode(0o640))?;
        file.replace()
    };
    spawn_blocking(write).await?
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use keepwell_config::{Purpose, Sources};
    use keepwell_jobs::care::report::span::Span;

    use super::*;
    use crate::serve::schedules;

    /// 2027-01-20T00:07:00Z.
    const NOW_MS: i64 = 1_800_403_620_000;

    /// What appears by itself with these settings: by name its kind, its payload and its first tick.
    fn appears(settings: &[(&str, &str)]) -> BTreeMap<String, Vec<String>> {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::load(&Sources::new(settings, Purpose::Client)).unwrap().config;
        let found = schedules(&config, NOW_MS).unwrap();
        let described = schedule_entries(&config).into_iter().zip(found.iter()).map(|(entry, schedule)| {
            let timing = &schedule.rules.timing;
            let first = timing.wall(timing.next_after(NOW_MS).unwrap());
            (entry.name, vec![entry.kind, serde_json::Value::Object(entry.payload).to_string(), first])
        });
        described.collect()
    }

    #[test]
    fn reports_on_crises_and_operations_of_every_hour_day_and_month_are_made_by_themselves() {
        let all = appears(&[]);
        assert_eq!(all.len(), 6, "{all:?}");
        for (name, period) in [("daily", "day"), ("hourly", "hour"), ("monthly", "month")] {
            for (prefix, report) in [("report", "crisis"), ("operations", "operations")] {
                let [kind, payload, _] = &all[&format!("{prefix}-{name}")][..] else { panic!("{all:?}") };
                let expected = json!({ "report": report, "period": period, "time_zone": "UTC" });
                assert_eq!((kind.as_str(), payload), ("report.due", &expected.to_string()));
            }
        }
    }

    #[test]
    fn which_of_them_on_which_calendar_can_be_chosen_and_what_one_has_written_oneself_counts() {
        let [periods, of_operations] = ["KEEPWELL_REPORTS__PERIODS", "KEEPWELL_REPORTS__OPERATIONS_PERIODS"];
        assert!(appears(&[(periods, "[]"), (of_operations, "[]")]).is_empty());
        let only = appears(&[(periods, "[]"), (of_operations, r#"["day"]"#)]);
        assert_eq!(only.keys().collect::<Vec<_>>(), ["operations-daily"]);
        let berlin = [
            (of_operations, "[]"),
            (periods, r#"["month", "day", "day"]"#),
            ("KEEPWELL_REPORTS__TIME_ZONE", "Europe/Berlin"),
        ];
        let chosen = appears(&berlin);
        assert_eq!(chosen.keys().collect::<Vec<_>>(), ["report-daily", "report-monthly"]);
        assert!(chosen["report-monthly"][1].contains("Europe/Berlin"), "{chosen:?}");
        assert!(chosen["report-monthly"][2].contains("2027-02-01"), "{chosen:?}");
        let own = r#"[{ name = "report-daily", every = "1d", kind = "app.signal_recorded" }]"#;
        assert_eq!(appears(&[("KEEPWELL_SCHEDULES", own)])["report-daily"][0], "app.signal_recorded");
    }

    #[test]
    fn every_hour_day_and_month_is_reported_on_once_however_clocks_are_set() {
        // Set by half an hour; at midnight; by two hours; never, but off the hour; and back instead of forward.
        let zones =
            ["Australia/Lord_Howe", "Asia/Beirut", "Antarctica/Troll", "Asia/Kathmandu", "Europe/Dublin"];
        for zone in zones {
            let settings = [("KEEPWELL_REPORTS__TIME_ZONE".to_owned(), zone.to_owned())];
            let config = Config::load(&Sources::new(settings, Purpose::Client)).unwrap().config;
            let found = schedules(&config, NOW_MS).unwrap();
            for (entry, schedule) in schedule_entries(&config).iter().zip(found.iter()) {
                let asked = |name: &str| entry.payload[name].as_str().unwrap();
                let span = Span::from_name(asked("period")).unwrap();
                let ticks = schedule.rules.timing.between(NOW_MS, NOW_MS + 400 * DAY_MS);
                let periods: Vec<Period> = ticks
                    .map(|tick_ms| span.ended_by(tick_ms, asked("time_zone").parse().unwrap()).unwrap())
                    .collect();
                assert!(periods.len() > 12, "{zone} {}", entry.name);
                for of in periods.windows(2) {
                    assert_eq!(of[0].to_ms, of[1].from_ms, "{} in {zone}", entry.name);
                }
            }
        }
    }

    #[test]
    fn a_time_zone_that_does_not_exist_is_named() {
        let settings = [("KEEPWELL_REPORTS__TIME_ZONE".to_owned(), "Mars/Base".to_owned())];
        let config = Config::load(&Sources::new(settings, Purpose::Client)).unwrap().config;
        let error = schedules(&config, NOW_MS).unwrap_err().to_string();
        assert!(error.contains("Mars/Base") && error.contains("reports.time_zone"), "{error}");
    }
}
