//! When jobs appear by themselves. It knows no particular job: what is to be done is a kind and a payload.
//!
//! In reading order: a [`timing::Timing`] says which instants are *ticks*, and over changes of daylight saving time
//! too; a [`policy`] says what becomes of ticks that were missed; a [`schedule::Schedule`] makes a job of a tick; a
//! [`ticker::Ticker`] looks whether the time has come; and a [`watch::Watch`] says so if nobody does.
//!
//! There is no leader. Every node may tick: how far a schedule has come is a row in the ledger, which is moved on in
//! the transaction that records the jobs, so of two nodes that see the same tick one finds the row moved and does
//! nothing. Should that row ever be lost or set back, a tick's job is still recorded once, by its dedupe key.

pub mod board;
mod calendar;
#[cfg(test)]
mod daylight;
pub mod policy;
pub mod schedule;
pub mod ticker;
pub mod timing;
pub mod watch;
mod words;
