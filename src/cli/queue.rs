//! `keepwell queue`: how the lanes stand; pausing, clearing and rebuilding them.

mod rebuild;

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use keepwell_workers::lane::Lane;
use serde_json::{Value, json};

use super::{
    Context,
    bulk::{Bulk, BulkArgs, CANCEL, act},
    daemon::Operators,
    failure::Failure,
    table::{Align, Table, span},
};

/// The lanes.
#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// Shows what waits and what runs, lane by lane
    List,
    /// Holds a lane up: what runs goes on, nothing more is begun
    Pause {
        #[command(flatten)]
        lane: LaneArg,
        /// Why, for whoever looks next
        #[arg(long)]
        reason: Option<String>,
        /// The crisis lane too; needs a reason and is noted in the audit log
        #[arg(long = "override", requires = "reason")]
        override_crisis: bool,
    },
    /// Lets a lane go on
    Resume {
        #[command(flatten)]
        lane: LaneArg,
    },
    /// Cancels what waits in a lane; what runs is left alone, and `job retry` brings back what was cancelled
    Clear(ClearArgs),
    /// Compares the lanes with the ledger now and puts back what is missing, crisis lane first
    Rebuild,
}

/// One of the lanes.
#[derive(Debug, Args)]
pub(super) struct LaneArg {
    /// The lane
    #[arg(value_parser = PossibleValuesParser::new(Lane::ALL.map(Lane::name)))]
    lane: String,
}

/// What of a lane is cancelled.
#[derive(Debug, Args)]
pub(super) struct ClearArgs {
    #[command(flatten)]
    lane: LaneArg,
    /// Only of this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only about this customer or device
    #[arg(long)]
    subject: Option<String>,
    /// Only recorded before then: an instant such as 2027-01-31T12:00:00Z, or 90s, 15m, 36h, 7d ago
    #[arg(long)]
    before: Option<String>,
    /// The crisis lane too; that is noted in the audit log
    #[arg(long = "override")]
    override_crisis: bool,
    #[command(flatten)]
    bulk: BulkArgs,
}

pub(super) async fn run(context: &Context, command: &QueueCommand) -> Result<(), Failure> {
    let operators = Operators::of(&context.client_config()?.config);
    match command {
        QueueCommand::List => {
            let lanes = operators.get("/api/v1/lanes").await?;
            context.print(&lanes, render);
        }
        QueueCommand::Pause { lane: LaneArg { lane }, reason, override_crisis } => {
            let body =
                json!({ "reason": reason.as_deref().unwrap_or_default(), "override": override_crisis });
            let paused = operators.post(&format!("/api/v1/lanes/{lane}/pause"), body.to_string()).await?;
            context.print(&paused, |paused| {
                let until = format!("until `keepwell queue resume {lane}`");
                if paused["waits_for"] == "redis" {
                    return format!("{lane} is paused from the moment in which Redis answers, {until}\n");
                }
                format!("{lane} is paused: what runs goes on, nothing more is begun {until}\n")
            });
        }
        QueueCommand::Resume { lane: LaneArg { lane } } => {
            let resumed = operators.post(&format!("/api/v1/lanes/{lane}/resume"), String::new()).await?;
            context.print(&resumed, |resumed| {
                if resumed["waits_for"] == "redis" {
                    return format!("{lane} goes on from the moment in which Redis answers\n");
                }
                format!("{lane} goes on\n")
            });
        }
        QueueCommand::Clear(args) => {
            let lane = &args.lane.lane;
            let filters = [("kind", &args.kind), ("subject", &args.subject), ("until", &args.before)];
            let filters = filters.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
            let bulk = Bulk::new(&operators, format!("/api/v1/lanes/{lane}/clear"), filters.collect());
            let bulk = bulk.among(format!(" of the lane {lane}")).with_override(args.override_crisis);
            act(context, &CANCEL, &bulk, &args.bulk).await?;
        }
        QueueCommand::Rebuild => rebuild::run(context, &operators).await?,
    }
    Ok(())
}

fn render(answer: &Value) -> String {
    let mut table = Table::new(&[
        ("LANE", Align::Left),
        ("WAITING", Align::Right),
        ("RUNNING", Align::Right),
        ("LATER", Align::Right),
        ("OLDEST", Align::Right),
        ("PAUSED", Align::Left),
    ]);
    for lane in answer["lanes"].as_array().into_iter().flatten() {
        let paused = match (lane["paused"].as_bool(), lane["paused_because"].as_str()) {
            (Some(true), Some(reason)) => reason.to_owned(),
            (Some(true), None) => "yes".to_owned(),
            _ => String::new(),
        };
        table.row([
            lane["name"].as_str().unwrap_or_default().to_owned(),
            lane["waiting"].to_string(),
            lane["running"].to_string(),
            lane["later"].to_string(),
            lane["oldest_waiting_ms"].as_u64().map(span).unwrap_or_default(),
            paused,
        ]);
    }
    format!("{}\n{} owed, {} dead\n", table.text(), answer["owed"], answer["dead"])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_lanes_are_shown_as_a_table() {
        let lane = |name: &str, waiting: u64, oldest: Option<u64>, because: Option<&str>| {
            json!({
                "name": name, "paused": because.is_some(), "paused_because": because, "waiting": waiting,
                "running": 2, "later": 0, "oldest_waiting_ms": oldest,
            })
        };
        let answer = json!({
            "lanes": [lane("crisis", 0, None, None), lane("standard", 12_345, Some(61_000), Some("an upgrade"))],
            "owed": 12_349,
            "dead": 1,
        });
        assert_eq!(
            render(&answer),
            "LANE      WAITING  RUNNING  LATER  OLDEST  PAUSED\n\
             crisis          0        2      0       -  -\n\
             standard    12345        2      0   1m 1s  an upgrade\n\
             \n\
             12349 owed, 1 dead\n"
        );
    }
}
