//! Which reports are made by themselves, and where they go.

use std::path::PathBuf;

use crate::values::{HttpUrl, ReportPeriod, Secret};

settings! {
    /// Reports that are made on schedule, and where they go. They are kept in the database whether they go anywhere or
    /// not: the last thousand of each kind and length. Reports made by hand go there too with
    /// `keepwell report crisis --deliver`. Others are schedules of your own, of the kind `report.due` and with the
    /// payload `{ report = "operations", period = "day", time_zone = "Europe/Berlin" }`.
    pub struct Reports in "reports" {
        /// Of what a report on crisis safety is made soon after it is over: of every `hour`, `day`, `month`. Each of
        /// them is a schedule, `report-hourly`, `report-daily` and `report-monthly`; one of your own that is called so
        /// takes its place. What nobody was there to make is made up for, within two days (hours) or a month.
        periods: Vec<ReportPeriod>,
        /// The same for the operations report: what was done, what failed, what is dead, what was slow, and whether
        /// schedules fire. The schedules are `operations-hourly`, `operations-daily` and `operations-monthly`.
        operations_periods: Vec<ReportPeriod>,
        /// The time zone on whose calendar days and months begin and end.
        time_zone: String,
        /// A directory: each report is written there as JSON, CSV and a page, with a signature beside each. Nothing is
        /// deleted there; each report of every hour is 144 files a day.
        directory: Option<PathBuf> => "/var/lib/keepwell/reports",
        /// An address: each report is posted there as JSON, with its signature.
        url: Option<HttpUrl> => "https://compliance.internal/v1/reports",
        /// The bearer token for it.
        token: Option<Secret> => "a-token-of-the-receiver",
        /// How long it may take to answer, in milliseconds.
        timeout_ms: u64 where 100..=60_000,
        /// A file of certificate authorities (PEM) to trust beside those of the web, for a receiver with a certificate
        /// of your own.
        authorities_file: Option<PathBuf> => "/etc/keepwell/authorities.pem",
    }
}

impl Reports {
    /// Whether reports go anywhere.
    pub fn have_destination(&self) -> bool {
        self.directory.is_some() || self.url.is_some()
    }
}
