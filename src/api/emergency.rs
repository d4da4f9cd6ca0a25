//! `/api/emergency/*` and `/api/maintenance/*`: what operators switch on and off in an emergency. Their scripts send
//! JSON without saying that it is JSON, and look at the status only.

use std::{error::Error, sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Json,
    body::Bytes,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use keepwell_jobs::care::{
    document::AccessDocument,
    emergency::{SWITCHED_ON_MAX_S, Switch, SwitchName, Switches, Switching},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{instant::rfc3339, state::ApiState};
use crate::receiver::{Unverified, problem::Problem};

/// Who switches, and who knows what is true without the database. A trait for the reason that
/// [`AccessReader`](super::AccessReader) is one.
#[async_trait]
pub trait EmergencyDesk: Send + Sync + 'static {
    /// Switches `name`. With the database away, in this process only, until it is back.
    async fn switch(&self, name: SwitchName, switching: Switching) -> Switched;

    /// How the switches stand, or were seen to stand last.
    async fn switches(&self) -> Switches;

    /// Whether anybody has emergency access because of a crisis, as far as this process knows.
    fn is_emergency_open(&self) -> bool;

    /// What `customer` may use as far as that is known without the database: the floor at least.
    fn access_without_database(&self, customer: &str) -> AccessDocument;

    /// Has a crisis of nobody answered.
    async fn rehearse(&self) -> Result<Rehearsed, Box<dyn Error + Send + Sync>>;
}

/// What became of a switching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switched {
    /// How the switch stands; `None` if it was off and stays so.
    pub switch: Option<Switch>,
    /// Whether it is on disk, and so known to every process.
    pub recorded: bool,
}

/// A crisis that was rehearsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsed {
    /// The job.
    pub job: String,
    /// From the request to the answer.
    pub took: Duration,
}

/// The longest reason that is kept, in characters.
const REASON_CHARACTERS_MAX: usize = 200;

/// What a script may say.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wish {
    reason: Option<String>,
    /// In seconds.
    duration: Option<Seconds>,
    preserve_crisis_access: Option<bool>,
    preserve_therapeutic_access: Option<bool>,
}

/// Seconds, as a number or, as a shell script quotes its variables, as text.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl Seconds {
    /// More than 0.
    fn above_zero(&self) -> Option<f64> {
        let seconds = match self {
            Self::Number(seconds) => *seconds,
            Self::Text(text) => text.trim().parse().ok()?,
        };
        (seconds > 0.0 && seconds.is_finite()).then_some(seconds)
    }
}

pub(super) async fn activate_bypass(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    switch_on(&state, SwitchName::Bypass, &headers, &body).await
}

pub(super) async fn global_bypass(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    switch_on(&state, SwitchName::GlobalBypass, &headers, &body).await
}

pub(super) async fn enable_maintenance(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    switch_on(&state, SwitchName::Maintenance, &headers, &body).await
}

/// Ends the bypass and the global one: the script that switched one of them on knows only this way back.
pub(super) async fn deactivate_bypass(State(state): State<Arc<ApiState>>, headers: HeaderMap) -> Response {
    switch_off(&state, &[SwitchName::Bypass, SwitchName::GlobalBypass], &headers).await
}

pub(super) async fn disable_maintenance(State(state): State<Arc<ApiState>>, headers: HeaderMap) -> Response {
    switch_off(&state, &[SwitchName::Maintenance], &headers).await
}

async fn switch_on(state: &ApiState, name: SwitchName, headers: &HeaderMap, body: &[u8]) -> Response {
    if !state.emergency_tokens.admit(headers) {
        return unauthorized();
    }
    let wish = match wish(body) {
        Ok(wish) => wish,
        Err(problem) => return problem.into_response(),
    };
    let seconds = wish.duration.as_ref().and_then(Seconds::above_zero);
    let seconds = seconds.map_or(name.default_s(), |seconds| seconds as u64);
    let seconds = seconds.clamp(1, SWITCHED_ON_MAX_S);
    let reason = wish.reason.map_or_else(|| "no reason given".to_owned(), |reason| readable(&reason));
    let Switched { switch, recorded } = state.desk.switch(name, Switching::On(reason, seconds)).await;
    answer(&[(name, switch)], recorded, state.clock.now_ms())
}

async fn switch_off(state: &ApiState, names: &[SwitchName], headers: &HeaderMap) -> Response {
    if !state.emergency_tokens.admit(headers) {
        return unauthorized();
    }
    let (mut switches, mut all_recorded) = (Vec::new(), true);
    for name in names {
        let Switched { switch, recorded } = state.desk.switch(*name, Switching::Off).await;
        all_recorded &= recorded;
        switches.push((*name, switch));
    }
    answer(&switches, all_recorded, state.clock.now_ms())
}

fn wish(body: &[u8]) -> Result<Wish, Problem> {
    let bad = |code, detail| Problem::new(StatusCode::BAD_REQUEST, code, detail);
    if body.trim_ascii().is_empty() {
        return Ok(Wish::default());
    }
    let wish: Wish = serde_json::from_slice(body).map_err(|_| {
        bad("invalid_json", "Send a JSON object such as {\"reason\": \"…\", \"duration\": 3600}.")
    })?;
    if wish.duration.as_ref().is_some_and(|seconds| seconds.above_zero().is_none()) {
        return Err(bad("bad_duration", "`duration` is a number of seconds above 0."));
    }
    if [wish.preserve_crisis_access, wish.preserve_therapeutic_access].contains(&Some(false)) {
        let detail = "Crisis and therapeutic access are always preserved; nothing can switch them off.";
        return Err(bad("access_is_preserved", detail));
    }
    Ok(wish)
}

/// As much of a reason as belongs into a log.
fn readable(reason: &str) -> String {
    reason
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(REASON_CHARACTERS_MAX)
        .collect()
}

/// 200, or 202 if what was switched is known to this process only.
fn answer(switches: &[(SwitchName, Option<Switch>)], recorded: bool, now_ms: i64) -> Response {
    let views: serde_json::Map<String, Value> = switches
        .iter()
        .map(|(name, switch)| (name.name().to_owned(), view(switch.as_ref(), now_ms)))
        .collect();
    let active = views.values().any(|view| view["active"] == true);
    let status = if recorded { StatusCode::OK } else { StatusCode::ACCEPTED };
    let body = json!({ "success": true, "active": active, "recorded": recorded, "switches": views });
    (status, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(body)).into_response()
}

/// How a switch stands, for scripts and for `/health`.
pub(super) fn view(switch: Option<&Switch>, now_ms: i64) -> Value {
    match switch.filter(|switch| switch.is_on_at(now_ms)) {
        Some(switch) => json!({
            "active": true,
            "reason": switch.reason,
            "since": rfc3339(switch.since_ms),
            "until": rfc3339(switch.until_ms),
        }),
        None => json!({ "active": false, "reason": null, "since": null, "until": null }),
    }
}

/// The answer 401. It says the same whether the token is missing, wrong or not configured, and costs its sender some
/// of the budget for requests that cannot be verified.
fn unauthorized() -> Response {
    let problem =
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "This needs the right bearer token.");
    let mut response =
        ([(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))], problem).into_response();
    response.extensions_mut().insert(Unverified("emergency"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_as_the_scripts_write_it() {
        let rollback = wish(br#"{"reason": "deployment_rollback", "duration": 3600}"#).unwrap();
        assert_eq!(rollback.reason.as_deref(), Some("deployment_rollback"));
        for body in [r#"{"duration":3600}"#, r#"{"duration":"3600"}"#, r#"{"duration":" 3600.0 "}"#] {
            let seconds = wish(body.as_bytes()).unwrap().duration.and_then(|seconds| seconds.above_zero());
            assert_eq!(seconds, Some(3600.0), "{body}");
        }
        let maintenance = br#"{"preserveCrisisAccess": true, "preserveTherapeuticAccess": true}"#;
        assert!(wish(maintenance).is_ok());
        assert!(wish(b" \n").is_ok_and(|wish| wish.reason.is_none()));
        for (body, code) in [
            ("[1]", "invalid_json"),
            ("{", "invalid_json"),
            (r#"{"duration":[3600]}"#, "invalid_json"),
            (r#"{"duration":"long"}"#, "bad_duration"),
            (r#"{"duration":"NaN"}"#, "bad_duration"),
            (r#"{"duration":"-1"}"#, "bad_duration"),
            (r#"{"duration":0}"#, "bad_duration"),
            (r#"{"duration":-5}"#, "bad_duration"),
            (r#"{"preserveCrisisAccess":false}"#, "access_is_preserved"),
            (r#"{"preserveTherapeuticAccess":false}"#, "access_is_preserved"),
        ] {
            assert_eq!(wish(body.as_bytes()).unwrap_err().code, code, "{body}");
        }
    }

    #[test]
    fn a_reason_is_bounded_and_breaks_no_line() {
        assert_eq!(readable("system\nfailure\u{7}"), "system failure ");
        assert_eq!(readable(&"x".repeat(999)).len(), REASON_CHARACTERS_MAX);
    }
}
