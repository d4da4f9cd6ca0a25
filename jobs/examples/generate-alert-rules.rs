//! Writes the alert rules for Prometheus to the path given.

use std::{env, fs, io};

use keepwell_jobs::alerts::{prometheus::rules_yaml, threshold::Thresholds};

fn main() -> io::Result<()> {
    match env::args_os().nth(1) {
        Some(path) => fs::write(path, rules_yaml(&Thresholds::default())),
        None => Err(io::Error::other("say where to write it, such as config/alerts/keepwell.rules.yml")),
    }
}
