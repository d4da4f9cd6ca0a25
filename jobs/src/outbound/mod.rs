//! Calls to the outside. Nothing else in this room reaches beyond the database, and nothing here decides anything:
//! what is said, to whom and whether at all are the rules' business.

pub mod alerts;
pub mod courier;
pub mod http;
pub mod notify;
mod pace;
mod retry_after;
pub mod stripe;
pub mod stripe_addresses;
