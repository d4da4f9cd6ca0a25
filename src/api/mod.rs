//! The HTTP interfaces beside webhooks: what apps, devices and monitoring ask ([`public`]), and what
//! operators ask ([`operators`]). Errors are `application/problem+json` with a `code`.

mod access;
mod bearer;
mod crisis_resources;
mod emergency;
mod guard;
mod health;
pub(crate) mod instant;
mod listen;
mod metrics;
mod operator_name;
mod operators;
mod public;
mod rehearsal;
mod state;
#[cfg(test)]
mod support;

use http::StatusCode;

use crate::receiver::problem::Problem;

pub use access::FALLBACK_HEADER;
pub use bearer::BearerTokens;
pub use emergency::{EmergencyDesk, Rehearsed, Switched};
pub use listen::{BindError, OperatorsListener};
pub use operator_name::OperatorName;
pub use operators::operators;
pub use public::public;
pub(crate) use state::ApiParts;
pub use state::{AccessReader, ApiState};

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here.")
}

async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This is not done with this method.")
}
