//! `keepwell alert`: what is wrong, who was told, and taking it on.

use clap::{Args, Subcommand};
use keepwell_jobs::alerts::{prometheus::rules_yaml, threshold::Thresholds};
use serde_json::{Value, json};

use super::{
    Context,
    daemon::Operators,
    failure::Failure,
    table::{Align, Table, items, text},
};

/// The alerts.
#[derive(Debug, Subcommand)]
pub(super) enum AlertCommand {
    /// Shows which alerts are open, and which rules are silenced
    List {
        /// Also those of the last 90 days that are over
        #[arg(long)]
        all: bool,
    },
    /// Shows one alert, and what to do first
    Show {
        #[command(flatten)]
        alert: AlertArg,
    },
    /// Takes an alert on: it is neither told again nor escalated
    #[command(visible_alias = "ack")]
    Acknowledge {
        #[command(flatten)]
        alert: AlertArg,
    },
    /// Tells nobody of a rule for a while; what is critical and still open afterwards is told then
    Silence {
        #[command(flatten)]
        rule: RuleArg,
        /// For how long: 90s, 15m, 36h; 7d at most
        #[arg(long = "for", value_name = "SPAN")]
        lasts: String,
        /// Why, for whoever looks next
        #[arg(long)]
        reason: Option<String>,
    },
    /// Ends a silence
    Unsilence {
        #[command(flatten)]
        rule: RuleArg,
    },
    /// Shows every rule: its bound, and how soon somebody is told
    Rules {
        /// Prints them for Prometheus instead, with the bounds that the daemon goes by
        #[arg(long)]
        prometheus: bool,
    },
    /// Opens a critical alert that says it is a test, to see whether anybody is told
    Test,
}

/// An alert.
#[derive(Debug, Args)]
pub(super) struct AlertArg {
    /// The alert's id, as `keepwell alert list` shows it
    #[arg(value_parser = plain)]
    id: String,
}

/// A rule.
#[derive(Debug, Args)]
pub(super) struct RuleArg {
    /// The rule, as `keepwell alert rules` names it
    #[arg(value_parser = plain)]
    rule: String,
}

/// The characters of ids and rules; nothing else fits into a path.
fn plain(name: &str) -> Result<String, String> {
    if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        Ok(name.to_owned())
    } else {
        Err("it has letters, digits and `-`".to_owned())
    }
}

pub(super) async fn run(context: &Context, command: &AlertCommand) -> Result<(), Failure> {
    let operators = Operators::of(&context.client_config()?.config);
    match command {
        AlertCommand::List { all } => {
            let alerts = operators.get(&format!("/api/v1/alerts?all={all}")).await?;
            context.print(&alerts, render);
        }
        AlertCommand::Show { alert: AlertArg { id } } => {
            let alert = operators.get(&format!("/api/v1/alerts/{id}")).await?;
            context.print(&alert, render_one);
        }
        AlertCommand::Acknowledge { alert: AlertArg { id } } => {
            let done = operators.post(&format!("/api/v1/alerts/{id}/acknowledge"), String::new()).await?;
            context.print(&done, |done| {
                let was = if done["changed"] == true { "is" } else { "was already" };
                format!("{id} {was} acknowledged\n")
            });
        }
        AlertCommand::Silence { rule: RuleArg { rule }, lasts, reason } => {
            let body = json!({ "for": lasts, "reason": reason.as_deref().unwrap_or_default() });
            let path = format!("/api/v1/alerts/rules/{rule}/silence");
            let silence = operators.post(&path, body.to_string()).await?;
            context.print(&silence, |silence| {
                format!("nobody is told of {rule} until {}\n", text(silence, "until"))
            });
        }
        AlertCommand::Unsilence { rule: RuleArg { rule } } => {
            let path = format!("/api/v1/alerts/rules/{rule}/unsilence");
            let done = operators.post(&path, String::new()).await?;
            context.print(&done, |_| format!("{rule} is told of again\n"));
        }
        AlertCommand::Rules { prometheus } => {
            let rules = operators.get("/api/v1/alerts/rules").await?;
            if *prometheus {
                context.print(&rules_yaml(&in_force(&rules)?), Clone::clone);
            } else {
                context.print(&rules, render_rules);
            }
        }
        AlertCommand::Test => {
            let test = operators.post("/api/v1/alerts/test", String::new()).await?;
            context.print(&test, |_| {
                "an alert called AlertTest opens now; `keepwell alert list` shows it\n".to_owned()
            });
        }
    }
    Ok(())
}

fn render(answer: &Value) -> String {
    let mut table = Table::new(&[
        ("ALERT", Align::Left),
        ("RULE", Align::Left),
        ("SEVERITY", Align::Left),
        ("STATE", Align::Left),
        ("SINCE", Align::Left),
        ("SUMMARY", Align::Left),
    ]);
    for alert in items(answer) {
        let rule = match alert["cause"].as_str() {
            Some(cause) if !cause.is_empty() => format!("{} ({cause})", text(alert, "rule")),
            _ => text(alert, "rule"),
        };
        let cells = ["severity", "state", "opened_at", "summary"].map(|name| text(alert, name));
        table.row([text(alert, "id"), rule].into_iter().chain(cells));
    }
    let mut shown = if items(answer).next().is_none() { "no alerts\n".to_owned() } else { table.text() };
    for silence in answer["silences"].as_array().into_iter().flatten() {
        let [rule, until, by, reason] = ["rule", "until", "by", "reason"].map(|name| text(silence, name));
        shown.extend(["\n", &rule, " is silenced until ", &until, " by ", &by, ": ", &reason, "\n"]);
    }
    shown
}

fn render_one(alert: &Value) -> String {
    let mut table = Table::new(&[("", Align::Left), ("", Align::Left)]);
    for name in [
        "rule",
        "cause",
        "severity",
        "state",
        "summary",
        "value",
        "source",
        "opened_at",
        "seen_at",
        "times_told",
        "acknowledged_by",
        "escalated",
        "resolved_at",
        "runbook",
    ] {
        let value = match &alert[name] {
            Value::String(value) => value.clone(),
            Value::Null => String::new(),
            value => value.to_string(),
        };
        table.row([name.to_owned(), value]);
    }
    table.text().trim_start().to_owned()
}

/// The bounds that the daemon goes by, as it tells them.
fn in_force(answer: &Value) -> Result<Thresholds, Failure> {
    let bounds = items(answer).filter_map(|rule| Some((rule["rule"].as_str()?, rule["bound"].as_f64()?)));
    Thresholds::new(bounds)
        .map_err(|error| Failure::Failed(format!("the daemon is of another version: {error}")))
}

/// A rule's bound, and what it would be if nobody had chosen another.
fn bound(rule: &Value) -> String {
    let number = |name: &str| rule[name].as_f64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    let (bound, table) = (number("bound"), number("default_bound"));
    if bound == table { bound } else { format!("{bound} (changed from {table})") }
}

fn render_rules(answer: &Value) -> String {
    let mut table = Table::new(&[
        ("RULE", Align::Left),
        ("SEVERITY", Align::Left),
        ("BOUND", Align::Left),
        ("FOR", Align::Right),
        ("TOLD WITHIN", Align::Right),
        ("SUMMARY", Align::Left),
    ]);
    for rule in items(answer) {
        let seconds = |name: &str| format!("{} s", rule[name]);
        table.row([
            text(rule, "rule"),
            text(rule, "severity"),
            bound(rule),
            seconds("for_s"),
            seconds("tell_within_s"),
            text(rule, "summary"),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_was_chosen_is_told_from_the_tables() {
        let rule = |bound, table| {
            json!({ "rule": "MemoryHigh", "severity": "warning", "bound": bound, "default_bound": table,
                    "for_s": 60, "tell_within_s": 3_600, "summary": "words" })
        };
        let (changed, same) = (rule(json!(0.9), json!(0.8)), rule(json!(0.8), json!(0.8)));
        let answer = json!({ "items": [changed, same, rule(Value::Null, Value::Null)] });
        let shown = render_rules(&answer);
        let cells = |line: &str| -> Vec<String> {
            line.split("  ").filter(|cell| !cell.is_empty()).map(|cell| cell.trim().to_owned()).collect()
        };
        let bounds: Vec<String> = shown.lines().skip(1).map(|line| cells(line).remove(2)).collect();
        assert_eq!(bounds, ["0.9 (changed from 0.8)", "0.8", "-"], "{shown}");
        assert!(rules_yaml(&in_force(&answer).unwrap()).contains("> 0.8'"));
    }

    #[test]
    fn alerts_are_shown_with_what_they_are_about_and_silences_below() {
        let alert = json!({
            "id": "0199", "rule": "ScheduleLate", "cause": "nightly", "severity": "warning", "state": "firing",
            "opened_at": "2027-03-28T01:00:00.000Z", "summary": "a schedule is late",
        });
        let silence =
            json!({ "rule": "MemoryHigh", "until": "2027-03-28T02:00:00.000Z", "by": "uid 0", "reason": "" });
        let shown = render(&json!({ "items": [alert], "silences": [silence] }));
        assert_eq!(
            shown,
            "ALERT  RULE                    SEVERITY  STATE   SINCE                     SUMMARY\n\
             0199   ScheduleLate (nightly)  warning   firing  2027-03-28T01:00:00.000Z  a schedule is late\n\
             \nMemoryHigh is silenced until 2027-03-28T02:00:00.000Z by uid 0: \n"
        );
        assert_eq!(render(&json!({ "items": [], "silences": [] })), "no alerts\n");
    }

    #[test]
    fn an_id_is_no_path() {
        assert!(
            plain("0199-ab").is_ok() && ["", "..", "a/b", "a b"].into_iter().all(|id| plain(id).is_err())
        );
    }
}
