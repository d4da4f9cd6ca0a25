//! What Stripe sends: envelopes, and the fields that the rules of care need, in every shape that Stripe has given them.

pub mod envelope;
pub mod extract;
