//! The audit trail and the rotation of keys on real databases, SQLite and PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]
// Not every theme needs every helper of the support that it shares with others.
#![allow(dead_code)]

mod acknowledged;
mod configuration;
mod edges;
mod entries;
mod export;
mod kept;
mod missing;
mod month;
mod operations;
mod oracle;
mod reports;
mod reports_kept;
mod rotation;
mod several;
#[path = "../support/mod.rs"]
mod support;
mod tampering;
mod trail;
mod waits;
