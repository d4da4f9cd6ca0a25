//! Alerts for those who run keepwell: what is wrong, since when, who was told, and who has taken it on.
//!
//! [`rules`] is a table: which figure of `/metrics` makes which alert, from which bound on, for how long, and how soon
//! somebody is told. [`watch`] holds the figures of one process against it; [`plan`] decides what follows from what was
//! seen and from the alerts that are open in the database, which all nodes share; [`message`] puts it into words for
//! each receiver. All of that is pure: figures in, decisions out. The same table makes the rules for Prometheus
//! ([`prometheus`]), so the two cannot differ.
//!
//! Nodes see different things: each holds its own figures against the rules. An alert is open once for all of them
//! (one open row for each rule and cause), is refreshed by every node that sees it, and is resolved when no node has
//! seen it for a while, be it that all is well or that the node is gone.

pub mod day;
pub mod figure;
pub mod message;
pub mod moves;
pub mod plan;
#[cfg(test)]
mod plan_cases;
pub mod prometheus;
pub mod rule;
pub mod rules;
pub mod samples;
pub mod sink;
pub mod telling;
pub mod threshold;
pub mod unseen;
pub mod watch;
#[cfg(test)]
mod watch_cases;
