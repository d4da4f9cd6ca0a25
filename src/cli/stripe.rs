//! `keepwell stripe`: what Stripe's API is asked for by hand.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Context, daemon::Operators, failure::Failure, say};

/// Between two looks at a back-fill.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Stripe.
#[derive(Debug, Subcommand)]
pub(super) enum StripeCommand {
    /// Asks Stripe for the events of a span, and takes in those that no webhook has brought
    Backfill(BackfillArgs),
}

/// Which events.
#[derive(Debug, Args)]
pub(super) struct BackfillArgs {
    /// Those from then on: an instant such as 2027-01-31T12:00:00Z, or 90s, 15m, 36h, 7d ago; Stripe keeps 30 days
    #[arg(long)]
    since: String,
    /// Those until then, instead of until now
    #[arg(long)]
    until: Option<String>,
    /// Only those of this type, such as invoice.payment_failed; may be given up to 20 times. Otherwise all that change
    /// something
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only those that Stripe could not deliver to some endpoint of the account
    #[arg(long)]
    undelivered: bool,
    /// Comes back at once instead of when it is through
    #[arg(long)]
    no_wait: bool,
}

pub(super) async fn run(context: &Context, command: &StripeCommand) -> Result<(), Failure> {
    let operators = Operators::of(&context.client_config()?.config);
    let StripeCommand::Backfill(args) = command;
    let body = json!({
        "since": args.since, "until": args.until, "types": args.types, "undelivered": args.undelivered,
    });
    let begun = operators.post("/api/v1/stripe/backfill", body.to_string()).await?;
    if args.no_wait {
        context.print(&begun, |begun| {
            let job = begun["job"].as_str().unwrap_or_default();
            format!(
                "it has begun: `keepwell job show {job}`, `keepwell audit list --action stripe.backfilled`\n"
            )
        });
        return Ok(());
    }
    let done = wait(&operators, &begun).await?;
    context.print(&done, |done| format!("{}\n", words(&done["after"])));
    Ok(())
}

/// Waits for the last page; answers with what the audit trail says of all of them.
async fn wait(operators: &Operators, begun: &Value) -> Result<Value, Failure> {
    // It has letters, digits, dashes, a space and a colon.
    let subject = begun["subject"].as_str().unwrap_or_default().replace(' ', "%20").replace(':', "%3A");
    let mut said = 0;
    loop {
        let count = async |state: &str| {
            let jobs =
                operators.get(&format!("/api/v1/jobs?subject={subject}&state={state}&limit=1")).await?;
            Ok::<_, Failure>((jobs["total"].as_u64().unwrap_or(0), jobs["items"][0].clone()))
        };
        let (owed, owing) = count("owed").await?;
        let (done, _) = count("done").await?;
        if owed > 0 {
            if done > said {
                said = done;
                say(&format!("pages so far, of up to 100 events each: {done}"));
            }
            if let Some(error) = owing["last_error"].as_str() {
                say(&format!("trying again: {error}"));
            }
            sleep(LOOK_EVERY).await;
            continue;
        }
        for state in ["dead", "cancelled"] {
            let (given_up, job) = count(state).await?;
            if given_up > 0 {
                let error = job["last_error"].as_str().unwrap_or("it was cancelled");
                return Err(Failure::Failed(error.to_owned()));
            }
        }
        let job = begun["job"].as_str().unwrap_or_default();
        let path = format!("/api/v1/audit?action=stripe.backfilled&subject={job}&limit=1");
        return Ok(operators.get(&path).await?["items"][0].clone());
    }
}

fn words(after: &Value) -> String {
    let events = after["events"].as_u64().unwrap_or(0);
    let shown = if events == 1 { "1 event".to_owned() } else { format!("{events} events") };
    let recorded = match after["recorded"].as_u64().unwrap_or(0) {
        0 => format!("Stripe shows {shown}; none had been missed"),
        1 => format!("Stripe shows {shown}; 1 had been missed and is recorded now"),
        missed => format!("Stripe shows {shown}; {missed} had been missed and are recorded now"),
    };
    match after["crises_over"].as_u64().unwrap_or(0) {
        0 => recorded,
        1 => format!("{recorded}; 1 of these tells of a crisis that is over by now, and opens nothing"),
        over => format!("{recorded}; {over} of these tell of crises that are over by now, and open nothing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_it_is_said_in_numbers() {
        let said = |events: u64, recorded: u64| words(&json!({ "events": events, "recorded": recorded }));
        assert_eq!(said(0, 0), "Stripe shows 0 events; none had been missed");
        assert_eq!(said(1, 1), "Stripe shows 1 event; 1 had been missed and is recorded now");
        assert_eq!(said(250, 3), "Stripe shows 250 events; 3 had been missed and are recorded now");
        let over = |over: u64| words(&json!({ "events": 9, "recorded": 4, "crises_over": over }));
        assert!(over(1).ends_with("; 1 of these tells of a crisis that is over by now, and opens nothing"));
        assert!(over(2).ends_with("; 2 of these tell of crises that are over by now, and open nothing"));
    }
}
