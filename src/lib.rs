//! 
pub mod api;
pub mod receiver;
pub mod telemetry;
