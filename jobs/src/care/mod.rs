//! The rules of care: pure functions over facts and instants. No I/O, no clock; whoever calls says what time it is.
//!
//! What is known about a person are [`facts::Facts`]. Events teach them something, in any order and any number of
//! times; [`access::access`] says what the person may use because of them. The numbers are those of the crisis safety
//! protocols.

pub mod access;
#[cfg(test)]
mod access_cases;
pub mod assessment;
pub mod confirmation;
#[cfg(test)]
mod confirmation_cases;
pub mod contact_call;
mod contact_list;
pub mod contacts;
pub mod crisis;
#[cfg(test)]
mod crisis_cases;
pub mod crisis_signal;
pub mod definitions;
pub mod document;
pub mod emergency;
pub mod facts;
#[cfg(test)]
mod facts_cases;
pub mod grace;
#[cfg(test)]
mod grace_histories;
#[cfg(test)]
mod happened;
pub mod held;
#[cfg(test)]
mod histories;
pub mod home;
pub mod hours;
pub mod invoice;
pub mod lines;
pub mod message;
#[cfg(test)]
mod message_rules;
#[cfg(test)]
mod model;
pub mod occasion;
pub mod phrases;
pub mod pressing;
pub mod reconciliation;
pub mod report;
pub mod resources;
pub mod running;
pub mod scores;
pub mod severity;
pub mod subscription;
#[cfg(test)]
mod subscription_histories;
pub mod templates;
pub mod tiers;
mod told_late;
pub mod transition;
pub mod vulnerability;
