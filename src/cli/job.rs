//! `keepwell job`: search, look at, retry and cancel jobs.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Context,
    bulk::{Bulk, BulkArgs, CANCEL, RETRY, act},
    daemon::Operators,
    failure::Failure,
    filters::{Filters, encoded, query as query_of},
    say,
    table::{Align, Table, one_line, text},
};

/// Jobs.
#[derive(Debug, Subcommand)]
pub(super) enum JobCommand {
    /// Lists jobs, newest first; of canaries only those that did not go well, unless --kind, --subject or --search asks
    List(ListArgs),
    /// Shows one job and every run of it that did not succeed
    Show {
        /// The job's id
        id: String,
    },
    /// Owes a dead or cancelled job again, its attempts counted from zero; or all that match
    Retry(ChangeArgs),
    /// Cancels an owed job that is not running; or all that match
    Cancel(CancelArgs),
}

/// Which jobs.
#[derive(Debug, Default, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    filters: Filters,
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Goes on where a page ended: its `next`
    #[arg(long)]
    cursor: Option<String>,
}

/// One job, or all that match.
#[derive(Debug, Default, Args)]
pub(super) struct ChangeArgs {
    /// The job's id
    #[arg(conflicts_with_all = ["all_matching", "dry_run", "Filters"])]
    id: Option<String>,
    /// Every job that the filters leave over
    #[arg(long)]
    all_matching: bool,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    bulk: BulkArgs,
}

/// One job, or all that match, and how sure one is.
#[derive(Debug, Default, Args)]
pub(super) struct CancelArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// Crisis work too; that is noted in the audit log
    #[arg(long = "override")]
    override_crisis: bool,
}

impl ChangeArgs {
    /// The one job that is meant; `None` if all that match are.
    fn one(&self) -> Result<Option<&str>, Failure> {
        if self.id.is_none() && !self.all_matching {
            let what = "which job?\nhint: name its id, or say --all-matching and narrow it down, as in --state dead --since 1h";
            return Err(Failure::Usage(what.to_owned()));
        }
        Ok(self.id.as_deref())
    }
}

pub(super) async fn run(context: &Context, command: &JobCommand) -> Result<(), Failure> {
    let operators = Operators::of(&context.client_config()?.config);
    match command {
        JobCommand::List(args) => list(context, &operators, args).await,
        JobCommand::Show { id } => {
            let job = operators.get(&format!("/api/v1/jobs/{}", encoded(id))).await?;
            context.print(&job, render_job);
            Ok(())
        }
        JobCommand::Retry(args) => {
            if let Some(id) = args.one()? {
                let path = format!("/api/v1/jobs/{}/retry", encoded(id));
                let retried = operators.post(&path, json!({ "reason": why(&args.bulk) }).to_string()).await?;
                context.print(&retried, |retried| format!("{} is owed again\n", text(retried, "id")));
                return Ok(());
            }
            let bulk = Bulk::new(&operators, "/api/v1/jobs/retry", args.filters.pairs());
            act(context, &RETRY, &bulk, &args.bulk).await
        }
        JobCommand::Cancel(CancelArgs { change, override_crisis }) => {
            if let Some(id) = change.one()? {
                let path = format!("/api/v1/jobs/{}/cancel", encoded(id));
                let body = json!({ "reason": why(&change.bulk), "override": override_crisis }).to_string();
                let cancelled = operators.post(&path, body).await?;
                context.print(&cancelled, |cancelled| format!("{} is cancelled\n", text(cancelled, "id")));
                return Ok(());
            }
            let bulk = Bulk::new(&operators, "/api/v1/jobs/cancel", change.filters.pairs());
            act(context, &CANCEL, &bulk.with_override(*override_crisis), &change.bulk).await
        }
    }
}

/// The reason that was given, or none.
fn why(args: &BulkArgs) -> &str {
    args.reason.as_deref().unwrap_or_default()
}

async fn list(context: &Context, operators: &Operators, args: &ListArgs) -> Result<(), Failure> {
    let page = operators.get(&format!("/api/v1/jobs?{}", query(args))).await?;
    context.print(&page, render_list);
    if let (false, Some(next)) = (context.json, page["next"].as_str()) {
        say(&format!("more: --cursor {next}"));
    }
    Ok(())
}

fn query(args: &ListArgs) -> String {
    let mut pairs = args.filters.pairs();
    pairs.push(("limit", args.limit.to_string()));
    pairs.extend(args.cursor.clone().map(|cursor| ("cursor", cursor)));
    query_of(&pairs)
}

fn render_list(page: &Value) -> String {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("STATE", Align::Left),
        ("LANE", Align::Left),
        ("KIND", Align::Left),
        ("SUBJECT", Align::Left),
        ("ATTEMPTS", Align::Right),
        ("CREATED", Align::Left),
        ("NOTE", Align::Left),
    ]);
    let jobs = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    for job in jobs {
        let note = match (job["waiting_because"].as_str(), job["last_error"].as_str()) {
            (Some(because), Some(error)) => format!("{because}; {error}"),
            (because, error) => because.or(error).unwrap_or_default().to_owned(),
        };
        table.row([
            text(job, "id"),
            text(job, "state"),
            text(job, "lane"),
            text(job, "kind"),
            text(job, "subject"),
            format!("{}/{}", job["attempts"], job["max_attempts"]),
            text(job, "created_at"),
            note,
        ]);
    }
    format!("{}\n{} of {} jobs\n", table.text(), jobs.len(), page["total"])
}

/// What is told of a job, in this order.
const FIELDS: [&str; 13] = [
    "id",
    "kind",
    "state",
    "waiting_because",
    "lane",
    "subject",
    "attempts",
    "max_attempts",
    "created_at",
    "run_at",
    "finished_at",
    "last_error",
    "dedupe_key",
];

fn render_job(job: &Value) -> String {
    let mut lines = String::new();
    for name in FIELDS {
        let shown = match &job[name] {
            Value::Null => "-".to_owned(),
            Value::String(text) => one_line(text),
            other => other.to_string(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{:<17}{shown}", name.replace('_', " "));
    }
    let history = job["attempts_history"].as_array().map(Vec::as_slice).unwrap_or_default();
    if history.is_empty() {
        return lines;
    }
    let mut table = Table::new(&[
        ("ATTEMPT", Align::Right),
        ("OUTCOME", Align::Left),
        ("ENDED", Align::Left),
        ("NODE", Align::Left),
        ("ERROR", Align::Left),
    ]);
    for attempt in history {
        table.row([
            attempt["attempt"].to_string(),
            text(attempt, "outcome"),
            text(attempt, "finished_at"),
            text(attempt, "node"),
            text(attempt, "error"),
        ]);
    }
    format!("{lines}\n{}", table.text())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job() -> Value {
        json!({
            "id": "019a", "kind": "stripe.event", "lane": "standard", "state": "dead", "subject": "cus_1",
            "attempts": 2, "max_attempts": 2, "created_at": "2027-01-31T12:00:00.000Z",
            "run_at": "2027-01-31T12:00:00.000Z", "finished_at": null, "last_error": "it\nfailed",
            "dedupe_key": "evt_1", "waiting_because": null,
            "attempts_history": [{
                "attempt": 1, "outcome": "retry", "error": "it failed", "node": "ff",
                "finished_at": "2027-01-31T12:00:01.000Z",
            }],
        })
    }

    #[test]
    fn jobs_are_listed_one_line_each() {
        assert_eq!(
            render_list(&json!({ "items": [job()], "next": null, "total": 7 })),
            "ID    STATE  LANE      KIND          SUBJECT  ATTEMPTS  CREATED                   NOTE\n\
             019a  dead   standard  stripe.event  cus_1         2/2  2027-01-31T12:00:00.000Z  it failed\n\
             \n\
             1 of 7 jobs\n"
        );
    }

    #[test]
    fn a_job_is_shown_with_its_history() {
        let shown = render_job(&job());
        for line in [
            "kind             stripe.event\n",
            "finished at      -\n",
            "last error       it failed\n",
            "\nATTEMPT  OUTCOME  ENDED                     NODE  ERROR\n",
            "      1  retry    2027-01-31T12:00:01.000Z  ff    it failed\n",
        ] {
            assert!(shown.contains(line), "{line} in {shown}");
        }
    }

    #[test]
    fn filters_survive_their_way_through_a_url() {
        let args = ListArgs {
            filters: Filters {
                search: Some("a b&c=é".to_owned()),
                state: Some("dead".to_owned()),
                ..Filters::default()
            },
            limit: 5,
            ..ListArgs::default()
        };
        assert_eq!(query(&args), "state=dead&q=a%20b%26c%3D%C3%A9&limit=5");
    }
}
