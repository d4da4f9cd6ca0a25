//! The engine on real parts, on both databases.

pub mod bench;

mod adoption;
mod clock;
mod database_doubt;
mod database_life;
mod database_locked;
mod database_plans;
mod fairness;
mod fenced;
mod gathered;
mod handlers_gone_wrong;
mod keys;
mod lanes;
mod leak;
mod operations;
mod outcomes;
mod pains;
mod pauses;
mod poison;
mod recovery;
mod redis_faults;
mod redis_full;
mod redis_network;
mod redis_rebuild;
mod retention;
mod schedules;
mod settlers;
mod standing;
mod standstill;
mod suspects;
mod turns;
mod waking;
mod weights;
mod worker;
