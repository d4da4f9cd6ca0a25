//! The daemon: listeners, wiring, the command line. `ARCHITECTURE.md` walks through it.

pub mod alerts;
pub mod api;
pub mod bench;
pub mod cli;
mod new_file;
pub mod receiver;
pub mod reports;
pub mod serve;
pub mod telemetry;
pub mod trail;
