//! `keepwell schedule`: what appears by itself, and when; running, pausing and resuming it.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Context,
    bulk::{RUN, ask},
    daemon::Operators,
    failure::Failure,
    say,
    table::{Align, Table, items, one_line, span, text},
};

/// The schedules.
#[derive(Debug, Subcommand)]
pub(super) enum ScheduleCommand {
    /// Shows when each schedule is due, when it fired last, and what is late or paused
    List,
    /// Shows a schedule's next ticks
    Next {
        #[command(flatten)]
        name: NameArg,
        /// How many
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        count: u32,
    },
    /// Runs a schedule's job once now, or makes up for the ticks of a range
    Run(RunArgs),
    /// Holds a schedule up: nothing more appears until it is resumed
    Pause {
        #[command(flatten)]
        name: NameArg,
        /// Why, for whoever looks next
        #[arg(long)]
        reason: Option<String>,
    },
    /// Lets a schedule go on from now; `run --since` makes up for the pause
    Resume {
        #[command(flatten)]
        name: NameArg,
    },
}

/// One of the schedules.
#[derive(Debug, Args)]
pub(super) struct NameArg {
    /// The schedule, as `keepwell schedule list` names it
    #[arg(value_parser = plain)]
    name: String,
}

/// What is to be run.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    name: NameArg,
    /// The ticks from then on that were not run: an instant such as 2027-01-31T12:00:00Z, or 90s, 15m, 36h, 7d ago;
    /// ticks whose jobs are not kept any more (`retention.done_days`) run again
    #[arg(long)]
    since: Option<String>,
    /// The ticks until then, instead of until now
    #[arg(long, requires = "since")]
    until: Option<String>,
    /// Only says how many ticks that would be
    #[arg(long)]
    dry_run: bool,
    /// Runs the ticks of a range without asking
    #[arg(long, short = 'y')]
    yes: bool,
}

/// The characters of a name; nothing else fits into a path.
fn plain(name: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    // These are no names but ways through a path.
    if name.chars().all(fits) && !name.trim_matches('.').is_empty() {
        Ok(name.to_owned())
    } else {
        Err("names have letters, digits, `-`, `_` and `.`".to_owned())
    }
}

pub(super) async fn run(context: &Context, command: &ScheduleCommand) -> Result<(), Failure> {
    let operators = Operators::of(&context.client_config()?.config);
    match command {
        ScheduleCommand::List => {
            let schedules = operators.get("/api/v1/schedules").await?;
            context.print(&schedules, render);
        }
        ScheduleCommand::Next { name: NameArg { name }, count } => {
            let schedule = operators.get(&format!("/api/v1/schedules/{name}?count={count}")).await?;
            context.print(&schedule, render_next);
        }
        ScheduleCommand::Run(args) => run_now(context, &operators, args).await?,
        ScheduleCommand::Pause { name: NameArg { name }, reason } => {
            let body = json!({ "reason": reason.as_deref().unwrap_or_default() }).to_string();
            let paused = operators.post(&format!("/api/v1/schedules/{name}/pause"), body).await?;
            context.print(&paused, |_| {
                format!("{name} is paused: nothing more appears until `keepwell schedule resume {name}`\n")
            });
        }
        ScheduleCommand::Resume { name: NameArg { name } } => {
            let resumed = operators.post(&format!("/api/v1/schedules/{name}/resume"), String::new()).await?;
            context.print(&resumed, |resumed| match resumed["next_at"].as_str() {
                Some(next) => format!("{name} goes on; next at {next}\n"),
                None => format!("{name} goes on\n"),
            });
        }
    }
    Ok(())
}

/// Runs it; the ticks of a range after they were counted and confirmed, in as many requests as it takes.
async fn run_now(context: &Context, operators: &Operators, args: &RunArgs) -> Result<(), Failure> {
    let name = &args.name.name;
    let path = format!("/api/v1/schedules/{name}/run");
    let counted = json!({ "since": args.since, "until": args.until, "dry_run": true }).to_string();
    let counted = operators.post(&path, counted).await?;
    let would = counted["ticks"].as_u64().unwrap_or(0);
    if args.dry_run {
        let would_text =
            || format!("{} of {name}; those that were run already are left alone\n", ticks(would));
        context.print(&counted, |_| would_text());
        return Ok(());
    }
    if args.since.is_some() && would > 0 && !args.yes {
        let question = format!("run {} of {name}, except those that were run already?", ticks(would));
        ask(&question, &RUN)?;
    }
    let (mut since, mut seen, mut recorded) = (args.since.clone(), 0, 0);
    loop {
        // What comes from now on was not counted.
        let until = since.as_ref().and(counted["until"].as_str());
        let answer = operators.post(&path, json!({ "since": since, "until": until }).to_string()).await?;
        seen += answer["ticks"].as_u64().unwrap_or(0);
        recorded += answer["recorded"].as_u64().unwrap_or(0);
        if let Some(next) = answer["next"].as_str() {
            say(&format!("{seen} of {} so far, {recorded} of them had not been run", ticks(would)));
            since = Some(next.to_owned());
            continue;
        }
        let total = json!({
            "name": name, "ticks": seen, "recorded": recorded, "job": answer["job"], "dry_run": false,
        });
        context.print(&total, |_| match answer["job"].as_str() {
            Some(job) => format!("{name} runs now: `keepwell job show {job}`\n"),
            None => format!("{} of {name}, {recorded} of them had not been run and do so now\n", ticks(seen)),
        });
        return Ok(());
    }
}

fn ticks(count: u64) -> String {
    if count == 1 { "1 tick".to_owned() } else { format!("{count} ticks") }
}

fn render(answer: &Value) -> String {
    let mut table = Table::new(&[
        ("SCHEDULE", Align::Left),
        ("NEXT", Align::Left),
        ("LAST", Align::Left),
        ("FIRED", Align::Right),
        ("LEFT OUT", Align::Right),
        ("STANDS", Align::Left),
        ("WHEN", Align::Left),
    ]);
    for schedule in items(answer) {
        let stands = match (schedule["paused"] == true, schedule["overdue_ms"].as_u64().unwrap_or(0)) {
            (true, _) => match schedule["paused_because"].as_str() {
                Some(reason) => format!("paused: {reason}"),
                None => "paused".to_owned(),
            },
            (false, 0..1_000) if schedule["held_back_since"].is_string() => {
                format!("waits for job {}", text(schedule, "last_job"))
            }
            (false, 0..1_000) => "in time".to_owned(),
            (false, overdue_ms) => format!("late by {}", span(overdue_ms)),
        };
        table.row([
            text(schedule, "name"),
            text(schedule, "next_at"),
            text(schedule, "last_tick_at"),
            schedule["fired"].to_string(),
            schedule["skipped"].to_string(),
            stands,
            text(schedule, "when"),
        ]);
    }
    table.text()
}

fn render_next(schedule: &Value) -> String {
    let mut shown = format!("{}: {}\n", text(schedule, "name"), one_line(&text(schedule, "when")));
    if schedule["paused"] == true {
        shown.push_str("it is paused, and none of these will fire before it is resumed\n");
    }
    shown.push('\n');
    let mut table = Table::new(&[("AT", Align::Left), ("ON THE WALL", Align::Left)]);
    for tick in schedule["upcoming"].as_array().into_iter().flatten() {
        table.row([text(tick, "at"), text(tick, "local")]);
    }
    // Writing to a String cannot fail.
    let _ = write!(shown, "{}", table.text());
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_shown_with_what_is_late_and_what_is_paused() {
        let schedule = |name: &str, overdue_ms: u64, paused: bool| {
            json!({
                "name": name, "next_at": "2027-03-28T01:00:00.000Z", "last_tick_at": null, "fired": 3, "skipped": 0,
                "overdue_ms": overdue_ms, "paused": paused, "paused_because": if paused { Some("an upgrade") } else { None },
                "when": "every hour",
            })
        };
        let mut waits = schedule("copy", 0, false);
        waits["held_back_since"] = "2027-03-01T01:00:00.000Z".into();
        waits["last_job"] = "0199".into();
        let items = [
            schedule("nightly", 0, false),
            schedule("probe", 200_000, false),
            schedule("report", 0, true),
            waits,
        ];
        assert_eq!(
            render(&json!({ "items": items })),
            "SCHEDULE  NEXT                      LAST  FIRED  LEFT OUT  STANDS              WHEN\n\
             nightly   2027-03-28T01:00:00.000Z  -         3         0  in time             every hour\n\
             probe     2027-03-28T01:00:00.000Z  -         3         0  late by 3m 20s      every hour\n\
             report    2027-03-28T01:00:00.000Z  -         3         0  paused: an upgrade  every hour\n\
             copy      2027-03-28T01:00:00.000Z  -         3         0  waits for job 0199  every hour\n"
        );
    }

    #[test]
    fn ticks_are_shown_by_both_clocks() {
        let tick = json!({ "at": "2027-03-28T01:00:00.000Z", "local": "2027-03-28 03:00:00 +02:00" });
        let shown = render_next(
            &json!({ "name": "nightly", "when": "every day", "paused": true, "upcoming": [tick] }),
        );
        assert_eq!(
            shown,
            "nightly: every day\n\
             it is paused, and none of these will fire before it is resumed\n\
             \n\
             AT                        ON THE WALL\n\
             2027-03-28T01:00:00.000Z  2027-03-28 03:00:00 +02:00\n"
        );
    }

    #[test]
    fn a_name_is_no_path() {
        assert_eq!(plain("probe-1.a_b"), Ok("probe-1.a_b".to_owned()));
        assert!(["", "..", "a/b", "a b", "ä"].into_iter().all(|name| plain(name).is_err()));
    }
}
