//! Compliance reports: how every crisis was answered is noted ([`responses`]), what a report is made of is read
//! ([`read`]), and reports are kept ([`kept`]). The arithmetic is in [`crate::care::report`].

mod audited;
mod kept;
mod operations;
mod read;
mod responses;

pub use kept::{
    FoundReport, KeptReport, NewReport, REPORTS_MAX, ReportContent, ReportsKept, forget_reports, keep_report,
    keep_report_in, report, reports,
};
pub use operations::read_operations;
pub use read::{ReportSettings, ReportedSchedule, read_facts};
pub use responses::{CrisisResponse, catch_up, forget_responses, is_crisis_event, note_responses};

pub(super) use kept::Reports;
