//! The command line, one file for each command. Data goes to standard output, talk to standard error; exit
//! codes are 0 (done), 1 (the thing asked for failed) and 2 (asked for wrongly, or configured wrongly).

mod alert;
mod audit;
mod backup;
mod bench;
mod bulk;
mod check;
mod client;
mod completions;
mod config;
mod daemon;
mod demo;
mod failure;
mod filters;
mod job;
mod key;
mod migrate;
mod progress;
mod queue;
mod report;
mod restore;
mod samples;
mod schedule;
mod sender;
mod serve;
mod stripe;
mod table;
mod trigger;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use keepwell_config::{Config, Loaded, Purpose, Sources};
use serde::Serialize;
use serde_json::Value;

use failure::Failure;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 the thing asked for failed, 2 usage or configuration.";

const DEMO_AND_EXIT_CODES: &str = "\
Without any configuration `keepwell serve` runs on SQLite and a Redis of its own in ./var, with secrets made up for
development. `keepwell demo` starts such a daemon, storms it with events and crisis signals, and counts what arrived.

Exit codes: 0 done, 1 the thing asked for failed, 2 usage or configuration.";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "keepwell",
    version,
    about = "Keeps every payment event and every crisis signal, and does the crisis work first.",
    after_help = EXIT_CODES,
    after_long_help = DEMO_AND_EXIT_CODES,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 110
)]
struct Cli {
    /// The configuration file, instead of /etc/keepwell/keepwell.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints data as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon until SIGTERM or Ctrl-C
    Serve(serve::ServeArgs),
    /// Says whether the daemon would start: configuration, database, Redis
    Check,
    /// Shows and explains the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Sends signed sample events to the running daemon
    Trigger(trigger::TriggerArgs),
    /// Shows, pauses, clears and rebuilds the lanes
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Searches, shows, retries and cancels jobs
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Shows, runs, pauses and resumes what appears by itself
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    /// Asks Stripe for events that no webhook has brought
    #[command(subcommand)]
    Stripe(stripe::StripeCommand),
    /// Shows, acknowledges and silences alerts, and tests whether anybody is told
    #[command(subcommand)]
    Alert(alert::AlertCommand),
    /// Reads, verifies and exports the audit trail
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Makes, lists and verifies compliance reports
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// Shows and rotates the keys that data are sealed with
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Copies the database (SQLite) while the daemon serves
    Backup(backup::BackupArgs),
    /// Puts a backup in the place of the database (SQLite), while no daemon runs
    Restore(restore::RestoreArgs),
    /// Brings the database's tables up to date
    Migrate,
    /// Measures how fast the engine is on this machine
    Bench(bench::BenchArgs),
    /// Starts a daemon and storms it with events and crisis signals
    #[command(hide = true)]
    Demo(demo::DemoArgs),
    /// Prints a script that completes commands in a shell
    Completions(completions::CompletionsArgs),
}

/// Runs the command that the arguments of this process ask for.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap knows where each goes and with which code.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let context = Context { file: cli.config, json: cli.json };
    match dispatch(&context, cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            write_stderr(&failure.text());
            ExitCode::from(failure.code())
        }
    }
}

fn dispatch(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => serve::run(context, args),
        Command::Config(command) => config::run(context, &command),
        Command::Completions(args) => {
            completions::run(&args);
            Ok(())
        }
        Command::Check => wait_for(check::run(context)),
        Command::Trigger(args) => wait_for(trigger::run(context, &args)),
        Command::Queue(command) => wait_for(queue::run(context, &command)),
        Command::Job(command) => wait_for(job::run(context, &command)),
        Command::Schedule(command) => wait_for(schedule::run(context, &command)),
        Command::Stripe(command) => wait_for(stripe::run(context, &command)),
        Command::Alert(command) => wait_for(alert::run(context, &command)),
        Command::Audit(command) => wait_for(audit::run(context, &command)),
        Command::Report(command) => wait_for(report::run(context, &command)),
        Command::Key(command) => wait_for(key::run(context, &command)),
        Command::Backup(args) => wait_for(backup::run(context, &args)),
        Command::Restore(args) => wait_for(restore::run(context, &args)),
        Command::Migrate => wait_for(migrate::run(context)),
        Command::Bench(args) => bench::run(context, args),
        Command::Demo(args) => demo::run(context, &args),
    }
}

/// Runs a command that waits for others.
fn wait_for(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::because("the system gave no runtime", error))?.block_on(command)
}

/// What holds for every command.
#[derive(Debug)]
struct Context {
    /// `--config`.
    file: Option<PathBuf>,
    /// `--json`.
    json: bool,
}

impl Context {
    /// Where the configuration comes from.
    fn sources(&self, purpose: Purpose) -> Sources {
        Sources::of_process(self.file.clone(), purpose)
    }

    /// The configuration of the daemon that a command talks to. Warnings are left to the daemon itself.
    fn client_config(&self) -> Result<Loaded, Failure> {
        Ok(Config::load(&self.sources(Purpose::Client))?)
    }

    /// Prints data: as JSON if that was asked for, else as `render` shows it to people.
    fn print<T: Serialize>(&self, data: &T, render: impl FnOnce(&T) -> String) {
        if self.json {
            let json = serde_json::to_value(data).unwrap_or(Value::Null);
            write_stdout(&format!("{json:#}\n"));
        } else {
            write_stdout(&render(data));
        }
    }
}

/// Tells people something that is no data.
fn say(line: &str) {
    write_stderr(&format!("{line}\n"));
}

/// A reader that has gone away (`| head`) is no reason to fail.
fn write_stdout(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn write_stderr(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    fn refused(arguments: &[&str]) -> clap::Error {
        Cli::try_parse_from([&["keepwell"], arguments].concat()).unwrap_err()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_names_every_command_and_the_demo_only_when_asked_for_all_of_it() {
        let (short, long) = (refused(&["-h"]).to_string(), refused(&["--help"]).to_string());
        for name in [
            "serve",
            "check",
            "config",
            "trigger",
            "queue",
            "job",
            "schedule",
            "alert",
            "audit",
            "report",
            "key",
            "backup",
            "restore",
            "migrate",
            "bench",
            "completions",
        ] {
            assert!(short.contains(&format!("\n  {name} ")), "{name} in {short}");
        }
        assert!(!short.contains("demo") && long.contains("`keepwell demo`"), "{long}");
    }

    #[test]
    fn a_mistake_is_a_matter_of_usage_and_a_near_miss_is_named() {
        let error = refused(&["que", "list"]);
        assert_eq!((error.exit_code(), error.kind()), (2, ErrorKind::InvalidSubcommand));
        let error = refused(&["trigger", "invoice.payment_faild"]);
        assert!(error.to_string().contains("'invoice.payment_failed'"), "{error}");
        assert_eq!(refused(&["job", "list", "--limit", "0"]).exit_code(), 2);
    }

    #[test]
    fn json_and_the_configuration_file_can_be_asked_for_anywhere() {
        for arguments in [
            ["--json", "--config", "k.toml", "queue", "list"],
            ["queue", "list", "--json", "--config", "k.toml"],
        ] {
            let cli = Cli::try_parse_from([&["keepwell"][..], &arguments].concat()).unwrap();
            assert!(cli.json && cli.config == Some("k.toml".into()));
        }
    }
}
