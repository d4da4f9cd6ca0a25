//! The binary `keepwell`; everything is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    keepwell::cli::run()
}
