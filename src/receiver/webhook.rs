//! The one way that an event takes: from a request's headers to its answer.
//!
//! Method, address and headers are looked at first, then the request takes a place in flight, its body is read, its
//! signature verified, and only then is anything of it understood. What is verified is recorded even if its sender
//! hangs up meanwhile: a phone that loses its network right after the crisis button was pressed has still pressed it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, StatusCode, Version,
    header::{ALLOW, CONNECTION, RETRY_AFTER},
};
use hyper::body::{Body, Incoming};
use keepwell_workers::job::Recorded;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Receiver, Unverified, body,
    door::{BadEvent, RecordError},
    limits::{admission::Place, budget::UsedUp},
    problem::{Problem, json},
    refusal::Refusal,
    source::Source,
    trace::traceparent,
};

/// When a sender that found no place should come again, in seconds.
const BUSY_RETRY_AFTER_S: u32 = 2;

/// When a sender should come again if recording took too long or failed in an unforeseen way, in seconds.
const RECORD_RETRY_AFTER_S: u32 = 5;

impl Receiver {
    /// Answers one request to a source.
    pub(super) async fn webhook(
        self: &Arc<Self>,
        source: Arc<Source>,
        request: Request<Incoming>,
        client: IpAddr,
    ) -> Response {
        let started = Instant::now();
        self.stats.requests.add();
        let _in_flight = InFlight::new(self);
        let version = request.version();
        match self.take(source.clone(), request, client).await {
            Ok(accepted) => {
                self.stats.answers.record(started.elapsed());
                json(StatusCode::OK, "application/json", &accepted)
            }
            Err(refused) => self.refuse(&source, refused, client, version),
        }
    }

    async fn take(
        self: &Arc<Self>,
        source: Arc<Source>,
        request: Request<Incoming>,
        client: IpAddr,
    ) -> Result<Accepted, Refused> {
        if request.method() != Method::POST {
            return Err(Refusal::MethodNotAllowed.into());
        }
        if !source.allows(client) {
            return Err(Refusal::AddressNotAllowed.into());
        }
        let body_bytes_max = self.limits.body_bytes_max;
        body::check_headers(request.headers(), &request.body().size_hint(), body_bytes_max)?;

        let place = self.admission.admit(source.kind.is_crisis_source()).await.ok_or(Refusal::Busy)?;
        if place.is_reserved {
            self.stats.crisis_exemptions.add();
        }
        let (parts, body) = request.into_parts();
        let body = self.read_in_time(&place, body).await?;

        let verifying = Instant::now();
        let verified = source.scheme.verify(
            &parts.headers,
            &body,
            &source.secrets(),
            source.tolerance_s,
            self.clock.now_ms(),
        );
        self.stats.validation.record(verifying.elapsed());
        let message_id = verified.map_err(Refusal::from)?.message_id;
        self.stats.valid.add();

        let trace = traceparent(&parts.headers).map(str::to_owned);
        let receiver = self.clone();
        let recording = self.recordings.spawn(async move {
            let _place = place;
            receiver.record(&source, message_id, &body, trace).await
        });
        recording.await.unwrap_or_else(|error| {
            tracing::error!(%error, "recording an event ended abnormally");
            Err(Refused::try_again(Refusal::NotRecorded, RECORD_RETRY_AFTER_S))
        })
    }

    async fn read_in_time(&self, place: &Place, body: Incoming) -> Result<Bytes, Refusal> {
        let reading = place.start_reading();
        tokio::select! {
            biased;
            body = body::read(body, self.limits.body_bytes_max) => body,
            () = reading.given_up() => Err(Refusal::BodyTooSlow),
            () = sleep(Duration::from_millis(self.limits.body_read_ms)) => Err(Refusal::BodyTooSlow),
        }
    }

    async fn record(
        &self,
        source: &Source,
        message_id: Option<String>,
        body: &Bytes,
        trace: Option<String>,
    ) -> Result<Accepted, Refused> {
        let intake = self.door.read(source.kind, message_id.as_deref(), body)?;
        let id = message_id.unwrap_or_else(|| intake.event_id.clone());
        let (handled, expected) = (intake.handled, source.expects(&intake));
        let mut job = if expected { intake.job } else { self.door.set_aside(intake) };
        job.trace = trace;

        let record = timeout(Duration::from_millis(self.limits.record_ms), self.door.record(job));
        let Ok(recorded) = record.await else {
            tracing::error!(source = source.kind.name(), "recording an event took too long");
            return Err(Refused::try_again(Refusal::NotRecorded, RECORD_RETRY_AFTER_S));
        };
        let Recorded { id: job, duplicate } = recorded?;
        let stats = &self.stats;
        match (duplicate, expected, handled) {
            (true, _, _) => stats.duplicates.add(),
            (false, false, _) => stats.set_aside.add(),
            (false, true, false) => stats.unhandled.add(),
            (false, true, true) => {}
        }
        if !duplicate {
            stats.recorded.add();
        }
        Ok(Accepted { received: true, id, duplicate, job: job.to_string() })
    }

    /// Counts and notes that `client` sent the fallback service a request without the right token, and charges for it;
    /// answers in its place once the budget is used up.
    pub(super) fn charge_unverified(&self, asked: Unverified, client: IpAddr) -> Option<Response> {
        let used_up = self.budget.charge(client).err().map(Refused::from);
        let reason = used_up.as_ref().map_or(Refusal::TokenInvalid, |refused| refused.reason);
        self.count(asked.0, reason, client);
        used_up.map(Refused::into_response)
    }

    /// Counts a refusal, and notes what looks like an attack.
    fn count(&self, source: &'static str, reason: Refusal, client: IpAddr) {
        let now_ms = self.clock.now_ms();
        self.stats.block(reason, now_ms);
        if reason.is_security_event() {
            self.stats.incidents.note(source, reason.code(), client, now_ms);
        }
    }

    fn refuse(&self, source: &Source, refused: Refused, client: IpAddr, version: Version) -> Response {
        let charged = self.budget.charge_if(refused.reason.is_unverified(), client);
        let refused = charged.err().map_or(refused, Refused::from);
        let reason = refused.reason;
        self.count(source.kind.name(), reason, client);
        tracing::debug!(source = source.kind.name(), code = refused.problem.code, "a webhook was refused");

        let mut response = refused.into_response();
        let headers = response.headers_mut();
        if reason == Refusal::MethodNotAllowed {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        // HTTP/2 has no such header; there the peer's streams are few anyway.
        if reason == Refusal::RateLimited && version < Version::HTTP_2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The answer to an event that is on disk.
#[derive(Debug, Serialize)]
struct Accepted {
    received: bool,
    id: String,
    duplicate: bool,
    job: String,
}

/// The answer to a request that was not taken.
#[derive(Debug)]
struct Refused {
    reason: Refusal,
    problem: Problem,
    retry_after_s: Option<u32>,
}

impl Refused {
    fn try_again(reason: Refusal, retry_after_s: u32) -> Self {
        Self { reason, problem: reason.problem(), retry_after_s: Some(retry_after_s) }
    }

    fn into_response(self) -> Response {
        let mut response = self.problem.into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<UsedUp> for Refused {
    fn from(used_up: UsedUp) -> Self {
        let seconds = used_up.retry_after.as_secs().saturating_add(1);
        Self::try_again(Refusal::RateLimited, u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

impl From<Refusal> for Refused {
    fn from(reason: Refusal) -> Self {
        let retry_after_s = (reason == Refusal::Busy).then_some(BUSY_RETRY_AFTER_S);
        Self { reason, problem: reason.problem(), retry_after_s }
    }
}

impl From<BadEvent> for Refused {
    fn from(BadEvent { code, detail }: BadEvent) -> Self {
        let reason = Refusal::BadEvent;
        Self { reason, problem: Problem::new(reason.status(), code, detail), retry_after_s: None }
    }
}

impl From<RecordError> for Refused {
    fn from(error: RecordError) -> Self {
        tracing::error!(
            error = &*error.source as &(dyn std::error::Error + 'static),
            "an event could not be recorded"
        );
        Self::try_again(Refusal::NotRecorded, error.retry_after_s)
    }
}

/// Counts a webhook as in flight while it lives.
struct InFlight(Arc<Receiver>);

impl InFlight {
    fn new(receiver: &Arc<Receiver>) -> Self {
        receiver.stats.in_flight.up();
        Self(receiver.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.stats.in_flight.down();
    }
}
