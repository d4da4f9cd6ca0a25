//! The log: on standard error, one JSON object per line for machines or a readable line for people.
//!
//! Whoever logs about a job names its fields `job.id`, `job.kind`, `lane`, `subject`, `attempt` and
//! `duration_ms`, so that one search finds everything about it. Nothing personal goes into a log; a subject
//! is an identifier, not a name.

use std::io::{self, IsTerminal as _};

use keepwell_config::{settings::Log, values::LogFormat};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::ParseError,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    registry,
    util::{SubscriberInitExt as _, TryInitError},
};

use super::panics::log_panics;

/// Libraries that tell more than anybody wants to know; below `trace` only their warnings are kept.
const TALKATIVE: [&str; 7] = ["apalis", "h2", "hyper", "redis", "rustls", "sqlx", "tower"];

/// The log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log.level` cannot be read.
    #[error("`log.level` is neither a level nor a list of directives such as info,keepwell::receiver=debug")]
    Level(#[from] ParseError),
    /// There is a log already.
    #[error("the log has been set up before")]
    Twice(#[from] TryInitError),
}

/// Sends what is logged from now on to standard error, in the form and at the level that `log` asks for. Panics are
/// logged, too.
pub fn init_logs(log: &Log) -> Result<(), LogError> {
    let terminal = io::stderr().is_terminal();
    let filter = filter(&log.level)?;
    let subscriber =
        registry().with(layer(is_json(log.format, terminal), terminal, io::stderr).with_filter(filter));
    subscriber.try_init()?;
    log_panics();
    Ok(())
}

fn is_json(format: LogFormat, terminal: bool) -> bool {
    match format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Pretty => false,
    }
}

fn layer<S, W>(json: bool, terminal: bool, writer: W) -> Box<dyn tracing_subscriber::Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> registry::LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    // A line that cannot be written (the disk is full) is lost, and the daemon goes on. To complain of it on standard
    // error, where it could not be written, would be a panic.
    let layer = fmt::layer().log_internal_errors(false);
    if json {
        return layer.json().flatten_event(true).with_span_list(false).with_writer(writer).boxed();
    }
    let layer = layer.with_writer(writer);
    // On a terminal there are colours, unless `NO_COLOR` says otherwise.
    if terminal { layer.boxed() } else { layer.with_ansi(false).boxed() }
}

/// What `level` lets through. A list of directives is taken as it is.
fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    let mut directives = level.to_owned();
    if ["info", "debug"].iter().any(|plain| level.eq_ignore_ascii_case(plain)) {
        for library in TALKATIVE {
            directives.push(',');
            directives.push_str(library);
            directives.push_str("=warn");
        }
    }
    let plain = ["error", "warn"].iter().any(|plain| level.eq_ignore_ascii_case(plain));
    if plain {
        // What operators did is said however quiet the rest is.
        directives.push_str(",keepwell::audit=warn");
    }
    EnvFilter::builder().parse(directives)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    #[derive(Debug, Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(json: bool, level: &str, log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = layer(json, false, move || writer.clone()).with_filter(filter(level).unwrap());
        tracing::subscriber::with_default(registry().with(layer), log);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_carries_the_fields_of_the_event_and_of_its_span() {
        let line = logged(true, "info", || {
            let span = tracing::info_span!("run", "job.id" = "1", lane = "crisis");
            let _inside = span.enter();
            tracing::info!(duration_ms = 7, "a job is done");
        });
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "a job is done");
        assert_eq!(line["duration_ms"], 7);
        assert_eq!(line["span"]["job.id"], "1");
        assert_eq!(line["span"]["lane"], "crisis");
    }

    #[test]
    fn a_line_for_people_has_no_colours_outside_a_terminal() {
        let line = logged(false, "info", || tracing::warn!(lane = "crisis", "slow"));
        assert!(line.contains("WARN") && line.contains("slow lane=\"crisis\""), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }

    #[test]
    fn the_level_decides_and_talkative_libraries_are_held_back() {
        let log = || {
            tracing::debug!("detail");
            tracing::info!(target: "sqlx::query", "chatter");
        };
        assert_eq!(logged(true, "info", log), "");
        assert!(logged(true, "debug", log).contains("detail"));
        assert!(!logged(true, "debug", log).contains("chatter"));
        assert!(logged(true, "sqlx=info", log).contains("chatter"));
    }

    #[test]
    fn a_level_that_nobody_knows_is_an_error() {
        let error = filter("keepwell=loud").unwrap_err();
        assert!(LogError::from(error).to_string().starts_with("`log.level` is neither"));
    }

    #[test]
    fn auto_is_for_people_on_a_terminal_and_for_machines_elsewhere() {
        assert!(!is_json(LogFormat::Auto, true) && is_json(LogFormat::Auto, false));
        assert!(is_json(LogFormat::Json, true) && !is_json(LogFormat::Pretty, false));
    }
}
