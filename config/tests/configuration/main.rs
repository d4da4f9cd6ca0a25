//! The configuration as the daemon and the command line see it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod development;
mod layers;
mod manual;
mod mistakes;
mod production;
mod support;
mod tiers;
