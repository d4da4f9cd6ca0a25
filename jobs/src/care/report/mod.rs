//! Compliance reports: the arithmetic, from plain values to figures (003: crisis safety compliance).
//!
//! Whoever reads the tables hands over [`facts::ReportFacts`]; [`crisis::CrisisReport::of`] says what they amount to.
//! Nothing here is assumed: a figure is counted from facts, or it is listed as not measured, with the reason. Nobody is
//! named in a report; what has to be looked at is named by its job.

pub mod access;
#[cfg(test)]
mod backed_up;
#[cfg(test)]
mod cases;
pub mod charts;
pub mod crisis;
pub mod facts;
mod figures;
pub mod latency;
#[cfg(test)]
mod limits;
pub mod operations;
pub mod operations_facts;
pub mod period;
pub mod recommend;
pub mod safeguards;
pub mod share;
pub mod span;

/// The share of crises that have to be answered within their time, in percent (003: `crisisComplianceThreshold`).
pub const RESPONSE_TARGET_PERCENT: u64 = 95;

/// The share of crises in which therapeutic access has to go on, in percent (003: `therapeuticAccessThreshold`).
pub const THERAPEUTIC_TARGET_PERCENT: u64 = 100;

/// The share of crises that have to open emergency access, in percent (003: `emergencyAccessCompliance`).
pub const EMERGENCY_TARGET_PERCENT: u64 = 100;

/// The share of what has to be in the audit trail that has to be there, in percent (003: `auditIntegrityThreshold`).
pub const AUDIT_TARGET_PERCENT: u64 = 100;
