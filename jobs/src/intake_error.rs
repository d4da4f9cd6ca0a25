//! Why a body that was signed correctly cannot be recorded.

use crate::json::JsonError;

/// Why a body cannot be taken in. The code is for machines and never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// Nothing was sent.
    #[error("the body is empty")]
    EmptyBody,
    /// JSON is UTF-8.
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// Against JSON's grammar.
    #[error("the body is not JSON")]
    NotJson,
    /// JSON, but no event.
    #[error("the body is not an event")]
    NotAnEvent,
    /// Without an id an event cannot be told from its duplicate.
    #[error("the event has no id")]
    MissingId,
    /// The id is too long or has control characters.
    #[error("the event's id is not 1 to 255 printable bytes")]
    BadId,
    /// Without a type nobody can tell what happened.
    #[error("the event has no type")]
    MissingType,
    /// The type is too long or has control characters.
    #[error("the event's type is not 1 to 255 printable bytes")]
    BadType,
    /// The app's own signals always concern somebody.
    #[error("the signal's data name no customer")]
    MissingCustomer,
    /// The customer is no text, too long or has control characters.
    #[error("the signal's customer is not 1 to 255 printable bytes")]
    BadCustomer,
    /// Whether it is a crisis cannot be told.
    #[error("the assessment's score is not a number")]
    BadScore,
}

impl IntakeError {
    /// The word for machines.
    pub const fn code(self) -> &'static str {
        match self {
            IntakeError::EmptyBody => "empty_body",
            IntakeError::NotUtf8 => "not_utf8",
            IntakeError::NotJson => "not_json",
            IntakeError::NotAnEvent => "not_an_event",
            IntakeError::MissingId => "missing_id",
            IntakeError::BadId => "bad_id",
            IntakeError::MissingType => "missing_type",
            IntakeError::BadType => "bad_type",
            IntakeError::MissingCustomer => "missing_customer",
            IntakeError::BadCustomer => "bad_customer",
            IntakeError::BadScore => "bad_score",
        }
    }
}

impl From<JsonError> for IntakeError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Empty => IntakeError::EmptyBody,
            JsonError::NotUtf8 => IntakeError::NotUtf8,
            JsonError::NotJson => IntakeError::NotJson,
        }
    }
}
