//! As a service: what the daemon says to systemd, what systemd hands to it, and the units themselves.

mod activation;
mod database_away;
mod draining;
mod notifications;
mod reload;
mod start;
mod units;
