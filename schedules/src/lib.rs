//! When jobs appear by themselves. Nothing does yet.
