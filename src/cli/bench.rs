//! `keepwell bench`: how fast the engine is on this machine.

use std::time::Duration;

use clap::{Args, ValueEnum, builder::PossibleValue};

use super::{Context, backup::interrupted, failure::Failure, say, serve::runtime};
use crate::bench::{self, BenchLine, BenchOptions, RigOptions, Workload};

/// How long what was started may take to end after a run that was broken off: senders, a daemon, a Redis.
const LEFTOVERS_TIMEOUT: Duration = Duration::from_secs(2);

/// What to measure and where.
#[derive(Debug, Args)]
#[command(
    after_help = "Runs on a Redis and an SQLite database of its own in ./target, and removes them. The last line is JSON."
)]
pub(super) struct BenchArgs {
    /// drain, enqueue, enqueue-bulk, crisis, memory, crash, grace, ingest, access or flood
    workload: Asked,
    /// How many jobs, reads of `access` or waiting events of `flood`, instead of the workload's own number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    jobs: Option<u32>,
    /// Grace periods of `grace` that are due at once, instead of 50000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    due: Option<u32>,
    /// Crises of `crisis`, instead of 750; of `flood`, instead of 1000; of `grace` those before anything is due,
    /// instead of 500
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    crises: Option<u32>,
    /// Jobs that wait already when the measurement begins; not for memory, crash, grace and flood
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    waiting: Option<u32>,
    /// How often; the last line is that of the run in the middle
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=99))]
    runs: u8,
    /// General slots
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    slots: Option<u16>,
    /// A Redis to use instead
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// An empty database to use instead; its jobs are left behind
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Runs the jobs of `ingest` while more are received, instead of only receiving
    #[arg(long)]
    run_jobs: bool,
}

/// What the command line can ask for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Workload(Workload),
    /// The child process of `crash`, which nobody else has a use for.
    CrashWorker,
}

impl ValueEnum for Asked {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Asked; Workload::ALL.len() + 1] = {
            let mut all = [Asked::CrashWorker; Workload::ALL.len() + 1];
            let mut number = 0;
            while number < Workload::ALL.len() {
                all[number] = Asked::Workload(Workload::ALL[number].1);
                number += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Asked::Workload(workload) => PossibleValue::new(workload.name()),
            Asked::CrashWorker => PossibleValue::new("crash-worker").hide(true),
        })
    }
}

/// Fails if one of `args` would change nothing, or would have the run wait for ever.
fn fit_together(args: &BenchArgs, workload: Workload) -> Result<(), Failure> {
    let name = workload.name();
    let strays = [
        ("--due", args.due.is_some() && workload != Workload::Grace),
        ("--crises", args.crises.is_some() && !workload.has_crises()),
        ("--waiting", args.waiting.is_some() && !workload.has_a_backlog()),
        ("--slots", args.slots.is_some() && workload == Workload::Flood),
        ("--run-jobs", args.run_jobs && workload != Workload::Ingest),
    ];
    if let Some((option, _)) = strays.iter().find(|(_, is_stray)| *is_stray) {
        return Err(Failure::Usage(format!("`{option}` means nothing to `{name}`")));
    }
    if args.run_jobs && args.waiting.is_some() {
        let why = "the daemon has no handler for the jobs that wait, and they would never be done";
        return Err(Failure::Usage(format!("`--run-jobs` and `--waiting` do not go together: {why}")));
    }
    Ok(())
}

pub(super) fn run(context: &Context, args: BenchArgs) -> Result<(), Failure> {
    let failed = |error| Failure::because("the workload could not be run", error);
    let workload = match args.workload {
        Asked::Workload(workload) => workload,
        Asked::CrashWorker => return runtime()?.block_on(bench::crash_worker()).map_err(failed),
    };
    fit_together(&args, workload)?;
    let options = BenchOptions {
        jobs: args.jobs.map(|jobs| jobs as usize),
        due: args.due.map(|due| due as usize),
        crises: args.crises.map(|crises| crises as usize),
        rig: RigOptions {
            redis_url: args.redis_url,
            database_url: args.database_url,
            slots: args.slots.map(usize::from),
            run_jobs: args.run_jobs,
            waiting: args.waiting.map(|waiting| waiting as usize),
        },
    };
    let context = &Context { file: context.file.clone(), json: false };
    let runs = usize::from(args.runs);
    let tell = |line: &BenchLine| {
        if runs > 1 {
            say(&serde_json::to_string(line).unwrap_or_default());
        }
    };
    let runtime = runtime()?;
    let measured = runtime.block_on(async {
        tokio::select! {
            line = bench::run(workload, &options, runs, tell) => line.map_err(failed),
            () = interrupted() => Err(Failure::Failed("broken off; nothing was measured".to_owned())),
        }
    });
    // Ends with it what a run that was broken off had started.
    runtime.shutdown_timeout(LEFTOVERS_TIMEOUT);
    let line = measured?;
    // One line of JSON in either case: it is read by whoever compares queues.
    let json =
        serde_json::to_string(&line).map_err(|error| Failure::because("no line can be written", error))?;
    context.print(&line, |_| format!("{json}\n"));
    Ok(())
}
