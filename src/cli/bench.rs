//! `keepwell bench`: how fast the engine is on this machine.

use clap::{Args, ValueEnum};

use super::{Context, failure::Failure, serve::runtime};
use crate::bench::{self, BenchOptions, RigOptions, Workload};

/// What to measure and where.
#[derive(Debug, Args)]
#[command(
    after_help = "Runs on a Redis and an SQLite database of its own in ./target, and removes them. The last line is JSON."
)]
pub(super) struct BenchArgs {
    /// drain, enqueue, enqueue-bulk, crisis or memory
    workload: Named,
    /// How many jobs, instead of the workload's own number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    jobs: Option<u32>,
    /// General slots
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    slots: Option<u16>,
    /// A Redis to use instead
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// An empty database to use instead; its jobs are left behind
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
}

/// A workload as the command line names it.
#[derive(Debug, Clone, Copy)]
struct Named(Workload);

impl ValueEnum for Named {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Named; Workload::ALL.len()] = [
            Named(Workload::ALL[0].1),
            Named(Workload::ALL[1].1),
            Named(Workload::ALL[2].1),
            Named(Workload::ALL[3].1),
            Named(Workload::ALL[4].1),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.name()))
    }
}

pub(super) fn run(context: &Context, args: BenchArgs) -> Result<(), Failure> {
    let options = BenchOptions {
        jobs: args.jobs.map(|jobs| jobs as usize),
        rig: RigOptions {
            redis_url: args.redis_url,
            database_url: args.database_url,
            slots: args.slots.map(usize::from),
        },
    };
    let context = &Context { file: context.file.clone(), json: false };
    let line = runtime()?
        .block_on(bench::run(args.workload.0, &options))
        .map_err(|error| Failure::because("the workload could not be run", error))?;
    // One line of JSON in either case: it is read by whoever compares queues.
    let json =
        serde_json::to_string(&line).map_err(|error| Failure::because("no line can be written", error))?;
    context.print(&line, |_| format!("{json}\n"));
    Ok(())
}
