//! The app's own signals at the door.

use bytes::Bytes;
use keepwell_workers::lane::Lane;

use super::{Intake, IntakeError, Route, job};
use crate::{
    care::definitions::Definitions,
    json::{Json, is_id},
    kinds,
    marks::Marks,
    signal::{Signal, assessment, is_unreadable_assessment, signal_type},
};

/// Reads a verified body of the app's. `webhook_id` is what tells the signal from every other one; `definitions` say
/// which assessments may show more than their own score does.
pub fn read_app(
    webhook_id: &str,
    body: &Bytes,
    marks: &Marks,
    definitions: &Definitions,
) -> Result<Intake, IntakeError> {
    if !is_id(webhook_id) {
        return Err(if webhook_id.is_empty() { IntakeError::MissingId } else { IntakeError::BadId });
    }
    let event_type = signal_type(body)?.into_owned();
    let dedupe_key = format!("app:{webhook_id}");
    let signal = match Signal::parse(body) {
        Ok(signal) => Some(signal),
        // A signal that nobody here knows need not be about a person.
        Err(_) if !KNOWN.contains(&&*event_type) => None,
        Err(error) => return Err(error),
    };
    if event_type == ASSESSED && signal.as_ref().is_some_and(|signal| is_unreadable_assessment(signal.data)) {
        return Err(IntakeError::BadScore);
    }
    let route = match &signal {
        Some(signal) => route(&event_type, signal.data, marks.contains(&signal.customer), definitions),
        None => UNKNOWN,
    };
    Ok(Intake {
        job: job(&route, body, dedupe_key, signal.as_ref().map(|signal| &*signal.customer)),
        handled: route.kind != kinds::SIGNAL_RECORDED,
        livemode: None,
        account: None,
        event_type,
        event_id: webhook_id.to_owned(),
    })
}

const ASSESSED: &str = "assessment.completed";

/// The signals that change something.
const KNOWN: [&str; 10] = [
    "crisis.signal",
    "crisis.resolved",
    ASSESSED,
    "contacts.updated",
    "safety_plan.updated",
    "consent.updated",
    "device.registered",
    "device.removed",
    "security.threat",
    "tool.failed",
];

/// The way of every other signal.
const UNKNOWN: Route = Route { kind: kinds::SIGNAL_RECORDED, lane: Lane::Background };

fn route(event_type: &str, data: Json<'_>, marked: bool, definitions: &Definitions) -> Route {
    let (kind, lane) = match event_type {
        "crisis.signal" => (kinds::CRISIS_SIGNALLED, Lane::Crisis),
        "crisis.resolved" => (kinds::CRISIS_RESOLVED, Lane::Crisis),
        ASSESSED => {
            // Whether scores have risen is known only with those before: somebody may be waiting.
            let assessment = assessment(data);
            let may_be_crisis = assessment.crisis().is_some() || assessment.may_be_deterioration(definitions);
            let lane = if may_be_crisis || marked { Lane::Crisis } else { Lane::Therapeutic };
            (kinds::ASSESSMENT_COMPLETED, lane)
        }
        // What somebody in a crisis says of their contacts comes before these are told.
        "contacts.updated" | "safety_plan.updated" | "consent.updated" => {
            (kinds::PERSON_DATA_UPDATED, if marked { Lane::Crisis } else { Lane::Therapeutic })
        }
        "device.registered" | "device.removed" => (kinds::DEVICE_CHANGED, Lane::Realtime),
        "security.threat" | "tool.failed" => {
            (kinds::SAFETY_EVENT, if marked { Lane::Crisis } else { Lane::Standard })
        }
        _ => return UNKNOWN,
    };
    Route { kind, lane }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, marks: &Marks) -> Result<Intake, IntakeError> {
        read_app("msg_1", &Bytes::from(body.to_owned()), marks, &Definitions::default())
    }

    #[test]
    fn every_signal_waits_in_its_lane() {
        let marks = Marks::default();
        marks.set("cus_marked", 1, Some(1));
        for (signal_type, data, lane) in [
            ("crisis.signal", r#"{"customer":"c"}"#, Lane::Crisis),
            ("crisis.resolved", r#"{"customer":"c"}"#, Lane::Crisis),
            ("assessment.completed", r#"{"customer":"c","instrument":"phq9","score":20}"#, Lane::Crisis),
            ("assessment.completed", r#"{"customer":"c","instrument":"phq9","score":10}"#, Lane::Crisis),
            ("assessment.completed", r#"{"customer":"c","instrument":"phq9","score":9}"#, Lane::Therapeutic),
            ("assessment.completed", r#"{"customer":"c","instrument":"who5","score":99}"#, Lane::Therapeutic),
            ("assessment.completed", r#"{"customer":"c","suicidal_ideation":true}"#, Lane::Crisis),
            ("contacts.updated", r#"{"customer":"c"}"#, Lane::Therapeutic),
            ("contacts.updated", r#"{"customer":"cus_marked"}"#, Lane::Crisis),
            ("consent.updated", r#"{"customer":"cus_marked"}"#, Lane::Crisis),
            ("device.registered", r#"{"customer":"c"}"#, Lane::Realtime),
            ("tool.failed", r#"{"customer":"c"}"#, Lane::Standard),
            ("tool.failed", r#"{"customer":"cus_marked"}"#, Lane::Crisis),
            ("mood.shared", r#"{"customer":"c"}"#, Lane::Background),
        ] {
            let intake = read(&format!(r#"{{"type":"{signal_type}","data":{data}}}"#), &marks).unwrap();
            assert_eq!(intake.job.lane, lane, "{signal_type} {data}");
            assert_eq!(intake.job.dedupe_key.as_deref(), Some("app:msg_1"));
            assert_eq!(intake.handled, KNOWN.contains(&signal_type));
            // What is in the crisis lane waits for nobody's turn.
            assert_eq!(intake.job.turn.is_some(), lane != Lane::Crisis);
        }
    }

    #[test]
    fn a_signal_of_an_unknown_type_is_taken_even_if_it_names_nobody() {
        let intake = read(r#"{"type":"app.opened","data":{"screens":3}}"#, &Marks::default()).unwrap();
        assert_eq!((intake.handled, intake.job.subject), (false, None));
    }

    #[test]
    fn a_signal_that_names_nobody_or_says_nothing_clear_is_refused() {
        for (body, error) in [
            (r#"{"type":"crisis.signal"}"#, IntakeError::MissingCustomer),
            (r#"{"type":"crisis.signal","data":{}}"#, IntakeError::MissingCustomer),
            (r#"{"type":"crisis.signal","data":{"customer":7}}"#, IntakeError::BadCustomer),
            (r#"{"data":{"customer":"c"}}"#, IntakeError::MissingType),
            ("[]", IntakeError::NotAnEvent),
            (
                r#"{"type":"assessment.completed","data":{"customer":"c","score":"high"}}"#,
                IntakeError::BadScore,
            ),
        ] {
            assert_eq!(read(body, &Marks::default()).unwrap_err(), error, "{body}");
        }
    }
}
