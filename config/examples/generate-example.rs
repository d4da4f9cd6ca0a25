//! Writes `example.toml` to the path given.

use std::{env, fs, io};

fn main() -> io::Result<()> {
    match env::args_os().nth(1) {
        Some(path) => fs::write(path, keepwell_config::example_toml()),
        None => Err(io::Error::other("say where to write it, such as config/example.toml")),
    }
}
