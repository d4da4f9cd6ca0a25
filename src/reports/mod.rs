//! Reports as people and programs read them: JSON, CSV, and a page that can be printed and needs nothing but itself.
//! What they say is made in `jobs/src/care/report/`.

mod crisis_page;
mod csv;
mod operations_page;
mod page;
mod svg;

use std::str::FromStr;

use keepwell_jobs::store::reports::ReportContent;

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For programs.
    Json,
    /// For people.
    Html,
    /// For spreadsheets: a line for every figure of the JSON, named by its place there.
    Csv,
}

impl Format {
    /// Every form.
    pub const ALL: [Format; 3] = [Format::Json, Format::Html, Format::Csv];

    /// Its name, which is a file's extension too.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Html => "html",
            Format::Csv => "csv",
        }
    }
}

/// There is no such form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the formats of a report are json, html and csv")]
pub struct NoSuchFormat;

impl FromStr for Format {
    type Err = NoSuchFormat;

    fn from_str(name: &str) -> Result<Self, NoSuchFormat> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or(NoSuchFormat)
    }
}

/// The report `id` in the form `format`: the same bytes every time.
pub fn render(id: &str, content: &ReportContent, format: Format) -> String {
    match (format, content) {
        // Texts and numbers can always be written as JSON.
        (Format::Json, _) => format!("{:#}\n", serde_json::to_value(content).unwrap_or_default()),
        (Format::Csv, _) => csv::table(&serde_json::to_value(content).unwrap_or_default()),
        (Format::Html, ReportContent::Crisis(report)) => crisis_page::page(id, report),
        (Format::Html, ReportContent::Operations(report)) => operations_page::page(id, report),
    }
}
