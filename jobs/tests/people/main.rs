//! What handlers make of events on real databases, SQLite and PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod crises;
mod emergencies;
mod malformed;
mod memory;
mod orders;
mod payments;
mod privacy;
#[path = "../support/mod.rs"]
mod support;
mod trust;
