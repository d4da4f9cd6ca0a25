//! keepwell from end to end: the real binary, a real Redis, real databases. One binary, one module for each theme.

#![allow(clippy::unwrap_used, clippy::expect_used)]
// A test binary has no outside for `pub` to reach.
#![allow(unreachable_pub)]

mod chaos;
mod engine;
mod pages;
mod road;
mod support;

mod tidy;
