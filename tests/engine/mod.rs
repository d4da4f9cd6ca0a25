//! The engine on real parts, on both databases.

pub mod bench;

mod fairness;
mod handlers_gone_wrong;
mod lanes;
mod outcomes;
mod recovery;
mod turns;
mod weights;
