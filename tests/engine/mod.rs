//! The engine on real parts, on both databases.

pub mod bench;

mod lanes;
mod operations;
mod outcomes;
mod recovery;
mod standstill;
mod turns;
mod weights;
