//! The envelope of an event: what routing needs, and the object inside still unread.

use std::borrow::Cow;

use crate::{
    care::crisis::Road,
    intake_error::IntakeError,
    json::{Json, is_id},
};

/// How an event carries what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// With the object as it was when the event was made (`object: "event"`).
    Snapshot,
    /// With a reference to it only (`object: "v2.core.event"`).
    Thin,
}

/// What is written in front of an event that was fetched, so that its job knows by which road it came. Everything
/// behind it is as Stripe wrote it.
pub(crate) const FETCHED_FIELD: &str = r#""keepwell_fetched":true,"#;

/// What a thin event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related<'a> {
    /// The object's id.
    pub id: Cow<'a, str>,
    /// The object's type, as in `subscription`.
    pub object_type: Option<Cow<'a, str>>,
    /// The path under which Stripe's API gives it out.
    pub url: Option<Cow<'a, str>>,
}

/// An event as Stripe wraps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The event's id.
    pub id: Cow<'a, str>,
    /// What happened, as in `customer.subscription.updated`; without the `v1.` of thin events.
    pub event_type: Cow<'a, str>,
    /// How it carries its object.
    pub shape: Shape,
    /// The connected account it happened on (`account`, or `context` of newer events).
    pub account: Option<Cow<'a, str>>,
    /// The API version that shaped it.
    pub api_version: Option<Cow<'a, str>>,
    /// When it was made, in seconds since the Unix epoch. Ties are common and the order of delivery is another.
    pub created_s: Option<i64>,
    /// Whether real money moved.
    pub livemode: Option<bool>,
    /// The API request that caused it (before 2017-05-25 a text, since then an object, `null` for what nobody asked
    /// for).
    pub request_id: Option<Cow<'a, str>>,
    /// The object of a snapshot.
    pub object: Option<Json<'a>>,
    /// What a snapshot's object was before.
    pub previous: Option<Json<'a>>,
    /// What a thin event is about.
    pub related: Option<Related<'a>>,
    /// By which road it came, if it is what a job was recorded with.
    pub road: Road,
}

impl<'a> Envelope<'a> {
    /// Reads the envelope in `body`.
    pub fn parse(body: &'a [u8]) -> Result<Self, IntakeError> {
        let json = Json::parse(body)?;
        let [
            kind,
            id,
            event_type,
            account,
            context,
            version,
            created,
            livemode,
            request,
            data,
            related,
            fetched,
        ] = json.fields([
            "object",
            "id",
            "type",
            "account",
            "context",
            "api_version",
            "created",
            "livemode",
            "request",
            "data",
            "related_object",
            "keepwell_fetched",
        ]);
        let shape = shape(json, kind)?;
        let id = required(id, IntakeError::MissingId, IntakeError::BadId)?;
        let event_type = required(event_type, IntakeError::MissingType, IntakeError::BadType)?;
        let [object, previous] =
            data.map_or([None, None], |data| data.fields(["object", "previous_attributes"]));
        Ok(Self {
            id,
            event_type: if shape == Shape::Thin { without_v1(event_type) } else { event_type },
            shape,
            account: account.or(context).and_then(Json::id),
            api_version: version.and_then(Json::id),
            created_s: created.and_then(seconds),
            livemode: livemode.and_then(Json::flag),
            request_id: request.and_then(Json::reference),
            object: object.filter(|object| object.is_object()),
            previous,
            related: related.and_then(Related::read),
            road: if fetched.is_some_and(Json::says_yes) { Road::Fetched } else { Road::Brought },
        })
    }
}

impl<'a> Related<'a> {
    fn read(json: Json<'a>) -> Option<Self> {
        let [id, object_type, url] = json.fields(["id", "type", "url"]);
        Some(Self {
            id: id?.id()?,
            object_type: object_type.and_then(Json::id),
            url: url.and_then(Json::text),
        })
    }
}

fn shape(json: Json<'_>, kind: Option<Json<'_>>) -> Result<Shape, IntakeError> {
    if !json.is_object() {
        return Err(IntakeError::NotAnEvent);
    }
    let Some(kind) = kind else { return Ok(Shape::Snapshot) };
    match kind.text().as_deref() {
        Some("event") => Ok(Shape::Snapshot),
        Some("v2.core.event") => Ok(Shape::Thin),
        _ => Err(IntakeError::NotAnEvent),
    }
}

/// `field` as an identifier, or what is wrong with it.
pub(crate) fn required(
    field: Option<Json<'_>>,
    missing: IntakeError,
    bad: IntakeError,
) -> Result<Cow<'_, str>, IntakeError> {
    let text = field.ok_or(missing)?.text().ok_or(bad)?;
    if text.is_empty() {
        return Err(missing);
    }
    if is_id(&text) { Ok(text) } else { Err(bad) }
}

fn without_v1(event_type: Cow<'_, str>) -> Cow<'_, str> {
    // A type that is nothing but the prefix keeps it: an event's type is never empty.
    let stripped = |text: &str| text.strip_prefix("v1.").filter(|rest| !rest.is_empty()).map(str::len);
    match (stripped(&event_type), event_type) {
        (Some(length), Cow::Borrowed(text)) => Cow::Borrowed(&text[text.len() - length..]),
        (Some(length), Cow::Owned(text)) => Cow::Owned(text[text.len() - length..].to_owned()),
        (None, event_type) => event_type,
    }
}

/// Seconds of a snapshot (a number) or of a thin event (ISO 8601).
fn seconds(created: Json<'_>) -> Option<i64> {
    created
        .integer()
        .or_else(|| Some(chrono::DateTime::parse_from_rfc3339(&created.text()?).ok()?.timestamp()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_snapshot_is_read_with_its_object() {
        let body = br#"{"id":"evt_1","object":"event","api_version":"2020-08-27","created":1700000000,
            "data":{"object":{"id":"sub_1"},"previous_attributes":{"status":"active"}},"livemode":true,
            "request":{"id":"req_1","idempotency_key":null},"type":"customer.subscription.updated"}"#;
        let event = Envelope::parse(body).unwrap();
        assert_eq!((&*event.id, &*event.event_type), ("evt_1", "customer.subscription.updated"));
        assert_eq!((event.shape, event.livemode), (Shape::Snapshot, Some(true)));
        assert_eq!(event.created_s, Some(1_700_000_000));
        assert_eq!(event.object.unwrap().as_str(), r#"{"id":"sub_1"}"#);
        assert_eq!(event.previous.unwrap().as_str(), r#"{"status":"active"}"#);
        assert_eq!(event.request_id.as_deref(), Some("req_1"));
        assert_eq!(event.account, None);
    }

    #[test]
    fn a_thin_event_is_read_with_its_reference() {
        let body = br#"{"id":"evt_2","object":"v2.core.event","type":"v1.customer.subscription.updated",
            "created":"2025-05-01T12:00:00.250Z","livemode":false,"context":"acct_9",
            "related_object":{"id":"sub_2","type":"subscription","url":"/v1/subscriptions/sub_2"}}"#;
        let event = Envelope::parse(body).unwrap();
        assert_eq!((&*event.event_type, event.shape), ("customer.subscription.updated", Shape::Thin));
        assert_eq!((event.created_s, event.account.as_deref()), (Some(1_746_100_800), Some("acct_9")));
        let related = event.related.unwrap();
        assert_eq!((&*related.id, related.object_type.as_deref()), ("sub_2", Some("subscription")));
    }

    #[test]
    fn a_type_is_never_empty() {
        for (text, expected) in [("v1.", "v1."), ("v1.a", "a"), ("v\\u0031.a", "a"), ("v\\u0031.", "v1.")] {
            let body = format!(r#"{{"id":"evt","object":"v2.core.event","type":"{text}"}}"#);
            assert_eq!(&*Envelope::parse(body.as_bytes()).unwrap().event_type, expected);
        }
    }

    #[test]
    fn a_request_is_a_text_an_object_or_nothing() {
        for (request, expected) in
            [("\"req_1\"", Some("req_1")), (r#"{"id":"req_2"}"#, Some("req_2")), ("null", None), ("7", None)]
        {
            let body = format!(r#"{{"id":"evt","type":"t","request":{request}}}"#);
            assert_eq!(Envelope::parse(body.as_bytes()).unwrap().request_id.as_deref(), expected);
        }
    }

    #[test]
    fn odd_values_beside_id_and_type_do_not_lose_the_event() {
        let body = br#"{"id":"evt","type":"t","created":1e999,"livemode":"yes","data":[],"account":{},"created":-1}"#;
        let event = Envelope::parse(body).unwrap();
        assert_eq!(
            (event.created_s, event.livemode, event.object, event.account),
            (Some(-1), None, None, None)
        );
    }

    #[test]
    fn what_is_no_event_is_told_apart() {
        for (body, error) in [
            ("[]", IntakeError::NotAnEvent),
            ("\"event\"", IntakeError::NotAnEvent),
            (r#"{"object":"charge","id":"ch_1","type":"t"}"#, IntakeError::NotAnEvent),
            (r#"{"object":5,"id":"ch_1","type":"t"}"#, IntakeError::NotAnEvent),
            (r#"{"object":"event","type":"t"}"#, IntakeError::MissingId),
            (r#"{"object":"event","id":"","type":"t"}"#, IntakeError::MissingId),
            (r#"{"object":"event","id":7,"type":"t"}"#, IntakeError::BadId),
            (r#"{"object":"event","id":"a\u0000","type":"t"}"#, IntakeError::BadId),
            (r#"{"object":"event","id":"evt"}"#, IntakeError::MissingType),
            (r#"{"object":"event","id":"evt","type":["t"]}"#, IntakeError::BadType),
        ] {
            assert_eq!(Envelope::parse(body.as_bytes()), Err(error), "{body}");
        }
    }
}
