//! What the receiver takes from whom: places in flight, and patience with requests that fail verification.

pub(super) mod admission;
pub(super) mod budget;
