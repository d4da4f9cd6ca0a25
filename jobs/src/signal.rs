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

/// What an `assessment.completed` says. What may mean that somebody thinks of suicide does, unless it clearly says no;
/// a score may be a text.
pub fn assessment(data: Json<'_>) -> Assessment {
    let [instrument, score, suicidal_ideation, in_camel_case, emergency] =
        data.fields(["instrument", "score", "suicidal_ideation", "suicidalIdeation", "emergency"]);
    Assessment {
        instrument: instrument.and_then(Json::text).as_deref().and_then(Instrument::from_name),
        score: score.and_then(points),
        suicidal_ideation: [suicidal_ideation, in_camel_case].into_iter().flatten().any(may_mean_yes),
        emergency: emergency.is_some_and(may_mean_yes),
    }
}

/// Whether an `assessment.completed` has a score that nobody understands, and nothing else shows that it is a crisis:
/// then nobody could say that it is none.
pub fn is_unreadable_assessment(data: Json<'_>) -> bool {
    let [score] = data.fields(["score"]);
    let unreadable = score.is_some_and(|score| points(score).is_none());
    unreadable && assessment(data).crisis().is_none()
}

fn points(score: Json<'_>) -> Option<f64> {
    let in_text = || score.text()?.trim().parse::<f64>().ok().filter(|points| points.is_finite());
    score.number().or_else(in_text)
}

/// What nobody understands is taken seriously.
fn may_mean_yes(json: Json<'_>) -> bool {
    const NO: [&str; 4] = ["", "false", "no", "none"];
    let says_no = json.text().is_some_and(|text| NO.contains(&&*text.trim().to_ascii_lowercase()));
    !(says_no || json.flag() == Some(false) || points(json) == Some(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_assessment_may_mean_is_never_lost() {
        let read = |data: &str| {
            let body = format!("{{{data}}}");
            let data = Json::parse(body.as_bytes()).unwrap();
            (assessment(data), is_unreadable_assessment(data))
        };
        for data in [
            r#""suicidal_ideation":true"#,
            r#""suicidalIdeation":true"#,
            r#""suicidal_ideation":false,"suicidalIdeation":1"#,
            r#""suicidal_ideation":"passive""#,
            r#""emergency":"Yes","score":"unknown""#,
            r#""instrument":"phq9","score":"20""#,
        ] {
            assert!(read(data).0.crisis().is_some() && !read(data).1, "{data}");
        }
        for no in ["false", "null", "0", "\"0\"", "\"No\"", "\"false\"", "\"\""] {
            let data = format!(r#""suicidal_ideation":{no},"emergency":{no},"score":null"#);
            assert_eq!(read(&data), (Assessment::default(), false), "{data}");
        }
        assert_eq!(read(r#""instrument":"phq9","score":" 12.5 ""#).0.score, Some(12.5));
        for score in ["\"high\"", "{}", "[20]", "\"inf\"", "true"] {
            let (assessment, is_unreadable) = read(&format!(r#""instrument":"phq9","score":{score}"#));
            assert_eq!((assessment.score, is_unreadable), (None, true), "{score}");
        }
    }

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
