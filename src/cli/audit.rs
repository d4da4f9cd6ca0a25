//! `keepwell audit`: read, verify and export the audit trail.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

mod acknowledge;

use clap::{Args, Subcommand};
use keepwell_jobs::store::audit::{Acknowledged, Finding, Findings, Problem, verify_file};
use serde_json::{Value, json};

use acknowledge::AcknowledgeArgs;

use super::{
    Context,
    daemon::Operators,
    failure::Failure,
    filters::encoded,
    say,
    table::{Align, Table, items, one_line},
};
use crate::{api::instant::rfc3339, serve::key_ring};

/// The audit trail.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Says whether the trail is as keepwell wrote it; exit code 1 and everything that is wrong if not. What was
    /// acknowledged is told as well, and is no failure
    Verify {
        /// An exported file instead of the running daemon's database. With `encryption.keys` configured as for the
        /// daemon it is also certain who made it
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Whose signature the file has to bear, instead of that of `encryption.keys`: as `keepwell report keys` tells
        #[arg(long, value_name = "DIGITS", requires = "file")]
        public_key: Option<String>,
    },
    /// Says that something that is wrong with the trail has been looked into, as an entry of the trail. It stays a
    /// finding, with your name, and no longer keeps the alert up; whatever else is found at the same place does
    #[command(visible_alias = "ack")]
    Acknowledge(AcknowledgeArgs),
    /// Lists entries, newest first
    List(ListArgs),
    /// Writes the trail as lines of JSON with a signed manifest at the end, for `verify --file`
    Export {
        #[command(flatten)]
        filter: FilterArgs,
        /// Where to, instead of standard output
        #[arg(long, short = 'o', value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// Which entries.
#[derive(Debug, Default, Args)]
pub(super) struct FilterArgs {
    /// Only since then: an instant such as 2027-01-31T12:00:00Z, or 90s, 15m, 36h, 7d ago
    #[arg(long)]
    since: Option<String>,
    /// Only before then
    #[arg(long)]
    until: Option<String>,
    /// Only about this customer, lane, job or key
    #[arg(long)]
    subject: Option<String>,
    /// Only this action, such as access.changed, or all of a group: access, grace, crisis, lane, key
    #[arg(long)]
    action: Option<String>,
    /// Only with this text in actor, action or subject
    #[arg(long, short = 'q', value_name = "TEXT")]
    search: Option<String>,
}

/// Which entries, and how many.
#[derive(Debug, Default, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
    /// Goes on where a page ended: its `next`
    #[arg(long)]
    cursor: Option<String>,
}

impl FilterArgs {
    fn query(&self) -> String {
        let pairs = [
            ("since", &self.since),
            ("until", &self.until),
            ("subject", &self.subject),
            ("action", &self.action),
            ("q", &self.search),
        ];
        let asked = pairs.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        asked.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
    }
}

pub(super) async fn run(context: &Context, command: &AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Verify { file: Some(file), public_key } => {
            verify_exported(context, file, public_key.as_deref())
        }
        AuditCommand::Verify { file: None, .. } => verify(context).await,
        AuditCommand::Acknowledge(args) => acknowledge::run(context, args).await,
        AuditCommand::List(args) => list(context, args).await,
        AuditCommand::Export { filter, output } => export(context, filter, output.as_ref()).await,
    }
}

async fn list(context: &Context, args: &ListArgs) -> Result<(), Failure> {
    let operators = Operators::of(&context.client_config()?.config);
    let cursor =
        args.cursor.as_deref().map_or(String::new(), |cursor| format!("&cursor={}", encoded(cursor)));
    let path = format!("/api/v1/audit?limit={}{cursor}&{}", args.limit, args.filter.query());
    let page = operators.get(&path).await?;
    context.print(&page, render_list);
    if let (false, Some(next)) = (context.json, page["next"].as_str()) {
        say(&format!("more: --cursor {next}"));
    }
    Ok(())
}

/// What the daemon says of the piece of the trail from block `from` on, and what it found there.
async fn piece(operators: &Operators, from: Option<i64>) -> Result<(Value, Findings), Failure> {
    let query = from.map_or(String::new(), |from| format!("?from={from}"));
    let report = operators.get(&format!("/api/v1/audit/verify{query}")).await?;
    let found = serde_json::from_value(report.clone());
    Ok((report, found.map_err(|error| Failure::because("the daemon's answer cannot be read", error))?))
}

async fn verify(context: &Context) -> Result<(), Failure> {
    let operators = Operators::of(&context.client_config()?.config);
    let (mut blocks, mut entries) = (0, 0);
    let (mut findings, mut from) = (Findings::default(), None);
    loop {
        let (report, found) = piece(&operators, from).await?;
        blocks += report["blocks"].as_u64().unwrap_or(0);
        entries += report["entries"].as_u64().unwrap_or(0);
        // What is wrong in one piece hides nothing in the next one.
        findings.join(found);
        from = report["next"].as_i64();
        if from.is_some() {
            continue;
        }
        let unsealed = report["unsealed"].as_u64().unwrap_or(0);
        let unsealed_since = report["unsealed_since_ms"].as_i64().map(rfc3339);
        let mut result = json!({
            "whole": is_whole(&findings), "blocks": blocks, "entries": entries, "unsealed": unsealed,
            "unsealed_since": unsealed_since, "awaited_key": report["awaited_key"], "end": report["end"],
        });
        add_findings(&mut result, &findings);
        return told(context, &result);
    }
}

/// Adds what is wrong, as the daemon says it.
fn add_findings(result: &mut Value, findings: &Findings) {
    if let (Some(result), Ok(Value::Object(findings))) =
        (result.as_object_mut(), serde_json::to_value(findings))
    {
        result.extend(findings);
    }
}

fn verify_exported(context: &Context, file: &Path, public_key: Option<&str>) -> Result<(), Failure> {
    let lines = fs::read_to_string(file)
        .map_err(|error| Failure::because(format!("{} cannot be read", file.display()), error))?;
    // Without a configuration the chain is checked all the same; with a public key nothing else is believed.
    let configured = || context.client_config().ok().and_then(|loaded| key_ring(&loaded.config).ok());
    let keys = if public_key.is_none() { configured() } else { None };
    let report = verify_file(&lines, keys.as_ref(), public_key);
    if report.findings.first.is_none() && !report.authenticated {
        say("hint: configure `encryption.keys` as for the daemon, or nobody can say who made this file");
    }
    if report.findings.named().any(|finding| finding.problem == Problem::KeyUnknown) {
        say("hint: with the public key that was filed when it was made: --public-key DIGITS");
    }
    let mut result = json!({
        "whole": is_whole(&report.findings), "blocks": report.blocks, "entries": report.entries, "unsealed": 0,
        "end": report.end, "authenticated": report.authenticated, "filter": report.filter,
    });
    add_findings(&mut result, &report.findings);
    told(context, &result)
}

/// Whether nothing is wrong, acknowledged or not.
fn is_whole(findings: &Findings) -> bool {
    findings.count() + findings.acknowledged_count() == 0
}

/// Prints what verifying came to; a failure if something is wrong that nobody has acknowledged.
fn told(context: &Context, result: &Value) -> Result<(), Failure> {
    context.print(result, render_verified);
    if result["finding"].is_null() { Ok(()) } else { Err(Failure::Said) }
}

fn render_verified(result: &Value) -> String {
    let findings: Findings = serde_json::from_value(result.clone()).unwrap_or_default();
    let mut lines = Vec::new();
    for finding in findings.named() {
        let what = match finding.problem {
            Problem::KeyUnknown => "the trail cannot be verified here",
            _ => "the trail is not whole",
        };
        lines.push(format!("{what}: {}", in_words(finding)));
        if !finding.fingerprint.is_empty() {
            lines.push(format!("  its fingerprint: {}", finding.fingerprint));
        }
    }
    if findings.more > 0 {
        lines.push(format!("and {} more", findings.more));
    }
    if findings.more_unknown_keys > 0 {
        let more = findings.more_unknown_keys;
        lines.push(format!("and {more} more that are sealed with keys that are not in the ring"));
    }
    for finding in &findings.acknowledged {
        lines.push(format!("acknowledged: {}", in_words(finding)));
        if let Some(Acknowledged { by, at, reason }) = finding.acknowledged.as_deref() {
            lines.push(format!("  by {by}, {at}: {reason}"));
        }
    }
    if findings.more_acknowledged > 0 {
        lines.push(format!("and {} more that are acknowledged", findings.more_acknowledged));
    }
    let since = result["unsealed_since"].as_str().map(|since| format!(" (the oldest since {since})"));
    let key = result["awaited_key"]
        .as_str()
        .map(|key| format!("; some of these wait for whoever seals to be given the key {key}"));
    lines.push(format!(
        "{} entries in {} blocks are whole, {} of them wait for a block{}{}; the chain ends with block {} ({})",
        result["entries"],
        result["blocks"],
        result["unsealed"],
        since.unwrap_or_default(),
        key.unwrap_or_default(),
        result["end"]["block"],
        result["end"]["hash"].as_str().unwrap_or_default()
    ));
    // Somebody who wrote it into the database or the file may have written it for this terminal.
    lines.iter().map(|line| one_line(line) + "\n").collect()
}

/// What was found, and where.
fn in_words(finding: &Finding) -> String {
    let place = [("block", finding.block), ("position", finding.position)];
    let mut place: Vec<String> =
        place.iter().filter_map(|(word, value)| value.map(|value| format!("{word} {value}"))).collect();
    place.extend(finding.entry.as_ref().map(|id| format!("entry {id}")));
    place.extend(finding.entries.map(|entries| format!("{entries} in all")));
    let place = if place.is_empty() { String::new() } else { format!(", {}", place.join(", ")) };
    let problem = serde_json::to_value(finding.problem).unwrap_or_default();
    format!("{}{place}: {}", problem.as_str().unwrap_or_default(), finding.detail)
}

async fn export(context: &Context, filter: &FilterArgs, output: Option<&PathBuf>) -> Result<(), Failure> {
    let operators = Operators::of(&context.client_config()?.config);
    let failed = |error| Failure::because("the export cannot be written", error);
    let mut out: Box<dyn io::Write> = match output {
        Some(path) => Box::new(io::BufWriter::new(private(path).map_err(failed)?)),
        None => Box::new(io::stdout().lock()),
    };
    let mut cursor = String::new();
    loop {
        let page = operators.get(&format!("/api/v1/audit/export?{}{cursor}", filter.query())).await?;
        for line in page["lines"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            writeln!(out, "{line}").map_err(failed)?;
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={}", encoded(next)),
            None => return out.flush().map_err(failed),
        }
    }
}

/// A file that nobody else reads: an export tells of people what the database keeps sealed.
fn private(path: &Path) -> io::Result<fs::File> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

fn render_list(page: &Value) -> String {
    let mut table = Table::new(&[
        ("AT", Align::Left),
        ("ACTION", Align::Left),
        ("SUBJECT", Align::Left),
        ("ACTOR", Align::Left),
        ("REASON", Align::Left),
        ("POSITION", Align::Right),
    ]);
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    for entry in items(page) {
        table.row([
            text(entry, "at"),
            text(entry, "action"),
            text(entry, "subject"),
            format!("{} {}", text(&entry["actor"], "kind"), text(&entry["actor"], "name")),
            text(entry, "reason"),
            entry["position"].as_i64().map(|position| position.to_string()).unwrap_or_default(),
        ]);
    }
    format!("{}\n{} in all\n", table.text(), page["total"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let mut result = json!({
            "whole": true, "finding": null, "further_findings": [], "more_findings": 0, "blocks": 2, "entries": 9,
            "unsealed": 1, "unsealed_since": "2027-01-31T12:00:00.000Z", "awaited_key": null,
            "end": { "block": 2, "hash": "ab" },
        });
        assert_eq!(
            render_verified(&result),
            "9 entries in 2 blocks are whole, 1 of them wait for a block (the oldest since 2027-01-31T12:00:00.000Z); \
             the chain ends with block 2 (ab)\n"
        );
        result["awaited_key"] = "new".into();
        let waits = "; some of these wait for whoever seals to be given the key new; the chain ends";
        assert!(render_verified(&result).contains(waits), "{}", render_verified(&result));
        result["finding"] = json!({
            "problem": "entry_removed", "block": 3, "position": 17, "entry": null,
            "detail": "the entry at this position is gone",
        });
        result["further_findings"] = json!([
            { "problem": "head_altered", "block": null, "position": null, "entry": null, "detail": "the head" },
            { "problem": "key_unknown", "block": 4, "position": null, "entry": null, "detail": "the key" },
        ]);
        result["more_findings"] = 7.into();
        let told = render_verified(&result);
        let lines: Vec<&str> = told.lines().collect();
        let wrong = [
            "the trail is not whole: entry_removed, block 3, position 17: the entry at this position is gone",
            "the trail is not whole: head_altered: the head",
            "the trail cannot be verified here: key_unknown, block 4: the key",
            "and 7 more",
        ];
        assert_eq!((&lines[..4], lines.len()), (&wrong[..], 5), "{told}");
        result["more_unknown_keys"] = 3.into();
        let told = render_verified(&result);
        assert!(told.contains("and 3 more that are sealed with keys that are not in the ring\n"), "{told}");
    }

    #[test]
    fn what_somebody_wrote_into_the_trail_does_nothing_to_the_terminal() {
        let told = render_verified(&json!({
            "whole": false, "blocks": 2, "entries": 9, "unsealed": 1, "awaited_key": "\u{1b}[2Jnew",
            "finding": {
                "problem": "key_unknown", "block": 1, "position": 3, "entry": "\r",
                "detail": "the key `\u{1b}]0;all is well\u{7}\n`",
            },
            "end": { "block": 2, "hash": "\u{9b}2J" },
        }));
        assert!(told.lines().count() == 2 && told.ends_with('\n'), "{told:?}");
        assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
    }

    #[test]
    fn an_entry_is_one_line() {
        let entry = json!({
            "at": "2027-01-31T12:00:00.000Z", "action": "lane.paused", "subject": "crisis", "reason": "an\nupgrade",
            "actor": { "kind": "operator", "name": "uid 0" }, "position": 7,
        });
        let text = render_list(&json!({ "items": [entry], "total": 1 }));
        assert!(text.contains("lane.paused  crisis   operator uid 0  an upgrade         7\n"), "{text}");
    }
}
