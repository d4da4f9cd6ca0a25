//! The app's own signals: `{"type", "timestamp", "data": {"customer", …}}`.

use std::borrow::Cow;

use keepwell_workers::clock::UnixMs;

use crate::{
    care::{
        assessment::{Assessment, Instrument},
        severity::Severity,
    },
    intake_error::IntakeError,
    json::Json,
    stripe::envelope::required,
};

/// A signal as the app wraps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal<'a> {
    /// What happened, as in `crisis.signal`.
    pub signal_type: Cow<'a, str>,
    /// When, as the app says.
    pub stated_ms: Option<UnixMs>,
    /// Whom it concerns.
    pub customer: Cow<'a, str>,
    /// What else it says.
    pub data: Json<'a>,
}

/// What happened, as the signal in `body` names it.
pub fn signal_type(body: &[u8]) -> Result<Cow<'_, str>, IntakeError> {
    let json = Json::parse(body)?;
    if !json.is_object() {
        return Err(IntakeError::NotAnEvent);
    }
    let [signal_type] = json.fields(["type"]);
    required(signal_type, IntakeError::MissingType, IntakeError::BadType)
}

impl<'a> Signal<'a> {
    /// Reads the signal in `body`.
    pub fn parse(body: &'a [u8]) -> Result<Self, IntakeError> {
        let signal_type = signal_type(body)?;
        let [timestamp, data] = Json::parse(body)?.fields(["timestamp", "data"]);
        let data = data.ok_or(IntakeError::MissingCustomer)?;
        let [customer] = data.fields(["customer"]);
        let customer = required(customer, IntakeError::MissingCustomer, IntakeError::BadCustomer)?;
        Ok(Self { signal_type, stated_ms: timestamp.and_then(instant), customer, data })
    }
}

/// Seconds stay below this until the year 5138; milliseconds have been above it since 1973.
const SECONDS_MAX: i64 = 100_000_000_000;

/// An instant: RFC 3339, or a number of seconds or milliseconds since the Unix epoch.
pub fn instant(json: Json<'_>) -> Option<UnixMs> {
    if let Some(text) = json.text() {
        return Some(chrono::DateTime::parse_from_rfc3339(&text).ok()?.timestamp_millis());
    }
    let number = json.integer()?;
    Some(if number.abs() < SECONDS_MAX { number * 1_000 } else { number })
}

/// The severity that a `crisis.signal` says. One that nobody understands is taken seriously: it counts as the highest.
pub fn stated_severity(severity: Option<Json<'_>>) -> Severity {
    severity.and_then(Json::text).and_then(|name| Severity::from_name(&name)).unwrap_or(Severity::Critical)
}

/// What an `assessment.completed` says.
pub fn assessment(data: Json<'_>) -> Assessment {
    let [instrument, score, suicidal_ideation, emergency] =
        data.fields(["instrument", "score", "suicidal_ideation", "emergency"]);
    Assessment {
        instrument: instrument.and_then(Json::text).as_deref().and_then(Instrument::from_name),
        score: score.and_then(Json::number),
        suicidal_ideation: suicidal_ideation.is_some_and(Json::says_yes),
        emergency: emergency.is_some_and(Json::says_yes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_read_as_text_seconds_or_milliseconds() {
        for (text, expected) in [
            (r#""2023-11-14T22:13:20.5Z""#, Some(1_700_000_000_500)),
            ("1700000000", Some(1_700_000_000_000)),
            ("1700000000500", Some(1_700_000_000_500)),
            (r#""yesterday""#, None),
            ("{}", None),
        ] {
            assert_eq!(instant(Json::parse(text.as_bytes()).unwrap()), expected, "{text}");
        }
    }
}
