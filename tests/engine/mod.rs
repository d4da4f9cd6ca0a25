//! The engine on real parts, on both databases.

pub mod bench;

mod fairness;
mod handlers_gone_wrong;
mod lanes;
mod outcomes;
mod pains;
mod poison;
mod recovery;
mod turns;
mod weights;
mod worker;
