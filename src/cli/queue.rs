//! `keepwell queue`: how the lanes stand.

use clap::Subcommand;
use serde_json::Value;

use super::{
    Context,
    daemon::Operators,
    failure::Failure,
    table::{Align, Table, span},
};

/// The lanes.
#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// Shows what waits and what runs, lane by lane
    List,
}

pub(super) async fn run(context: &Context, command: &QueueCommand) -> Result<(), Failure> {
    let operators = Operators::of(&context.client_config()?.config);
    match command {
        QueueCommand::List => {
            let lanes = operators.get("/api/v1/lanes").await?;
            context.print(&lanes, render);
        }
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
