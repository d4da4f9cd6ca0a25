//! What handlers make of events on real databases, SQLite and PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod alerts;
mod confirmations;
mod contacts;
mod crises;
mod emergencies;
mod forgetting;
mod gateway;
mod grace_and_stripe;
mod graces;
mod held;
mod late;
mod malformed;
mod memory;
mod messages;
mod notices;
mod orders;
mod payments;
mod privacy;
mod reconciliation;
mod stripe;
mod stripe_lists;
#[path = "../support/mod.rs"]
mod support;
mod switches;
mod trust;
mod untold;
mod withdrawals;
