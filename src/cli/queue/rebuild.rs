//! `keepwell queue rebuild`: asks for the comparison and watches it. It goes on if nobody watches any more.

use std::{cell::RefCell, time::Duration};

use serde_json::Value;
use tokio::time::sleep;

use super::super::{Context, bulk::jobs, daemon::Operators, failure::Failure, progress};

/// The pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn run(context: &Context, operators: &Operators) -> Result<(), Failure> {
    const PATH: &str = "/api/v1/lanes/rebuild";
    let seen = RefCell::new(operators.post(PATH, String::new()).await?);
    let watch = async {
        while seen.borrow()["running"] == true {
            sleep(LOOK_PAUSE).await;
            let now = operators.get(PATH).await?;
            seen.replace(now);
        }
        Ok::<(), Failure>(())
    };
    progress::during_if_long(watch, || line(&seen.borrow())).await?;
    let ended = seen.into_inner();
    if let Some(error) = ended["error"].as_str() {
        return Err(Failure::Failed(format!(
            "the lanes could not be compared with the ledger\n  because: {error}"
        )));
    }
    context.print(&ended, summary);
    Ok(())
}

fn line(seen: &Value) -> String {
    format!(
        "compared {} of {} jobs that are owed, {} put back",
        seen["compared"], seen["owed"], seen["placed"]
    )
}

fn summary(ended: &Value) -> String {
    let placed = match ended["placed"].as_u64() {
        Some(0) | None => "none was missing".to_owned(),
        Some(1) => "1 was missing and is back in its lane".to_owned(),
        Some(placed) => format!("{placed} were missing and are back in their lanes"),
    };
    format!("compared {} with the lanes: {placed}\n", jobs(ended["owed"].as_u64().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_summary_says_what_was_missing() {
        for (placed, words) in [
            (0, "compared 7 jobs with the lanes: none was missing\n"),
            (1, "compared 7 jobs with the lanes: 1 was missing and is back in its lane\n"),
            (5, "compared 7 jobs with the lanes: 5 were missing and are back in their lanes\n"),
        ] {
            assert_eq!(summary(&json!({ "owed": 7, "placed": placed })), words);
        }
        assert_eq!(
            line(&json!({ "owed": 7, "placed": 2, "compared": 4 })),
            "compared 4 of 7 jobs that are owed, 2 put back"
        );
    }
}
