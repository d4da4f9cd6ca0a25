//! Logs.

use crate::values::LogFormat;

settings! {
    /// What keepwell says about itself, on standard error.
    pub struct Log in "log" {
        /// `json` has one object per line, `pretty` is for people; `auto` is pretty on a terminal and json
        /// elsewhere.
        format: LogFormat,
        /// What is logged: `error`, `warn`, `info`, `debug` or `trace`, or directives such as
        /// `info,keepwell::receiver=debug`.
        level: String,
    }
}
