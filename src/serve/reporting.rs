//! Where reports are made and sent from (see [`ReportDesk`]).

use std::{
    fs::Permissions,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use async_trait::async_trait;
use keepwell_config::Config;
use keepwell_jobs::{
    care::{grace::DAY_MS, report::period::Period},
    outbound::{
        courier::Courier,
        notify::{Notifier, NotifierOptions},
    },
    reporting::{ReportDesk, ReportError, ReportKind},
    store::reports::{FoundReport, ReportContent, ReportSettings},
    watch::CrisisWatch,
};
use keepwell_workers::{id::JobId, outcome::Outcome};
use serde_json::json;
use tokio::task::spawn_blocking;

use super::{error::ServeError, schedules::schedule_entries};
use crate::{
    new_file::NewFile,
    reports::{Format, render},
    trail::Trail,
};

/// What a report has to know of how the daemon is set up.
pub(crate) fn report_settings(config: &Config) -> ReportSettings {
    ReportSettings {
        watch: CrisisWatch::new(config.care.crisis_response_ms),
        audit_days: i64::from(config.retention.audit_days),
        done_ms: i64::from(config.retention.done_days) * DAY_MS,
        dropped_paths: config.privacy.drop_paths.len() as u64,
        schedules: schedule_entries(config).into_iter().map(|schedule| schedule.name).collect(),
    }
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
        if let Some(directory) = &self.directory {
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
        }
        if let Some(courier) = &self.courier {
            let (content, signature) = signed(Format::Json)?;
            let (kind, format) = (report.kind(), Format::Json.name());
            let document = json!({ "report": id, "kind": kind, "format": format, "content": content, "signature": signature });
            courier.post(job, &document).await?;
        }
        Ok(())
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
