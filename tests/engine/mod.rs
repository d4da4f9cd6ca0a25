//! The engine on real parts, on both databases.

pub mod bench;

mod database_doubt;
mod database_life;
mod database_locked;
mod lanes;
mod outcomes;
mod recovery;
mod turns;
mod weights;
