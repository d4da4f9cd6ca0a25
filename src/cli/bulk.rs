//! What is done to everything that matches: counted first, confirmed, then done step by step, each a request of its
//! own.

use std::{
    cell::Cell,
    io::{self, BufRead, IsTerminal as _},
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    Context,
    daemon::Operators,
    failure::Failure,
    filters::{Pairs, query},
    progress, write_stderr,
};

/// How careful one is.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct BulkArgs {
    /// Only says how many jobs match
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Does it without asking
    #[arg(long, short = 'y')]
    pub(super) yes: bool,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
}

/// How an action is spoken of.
#[derive(Debug)]
pub(super) struct Words {
    infinitive: &'static str,
    participle: &'static str,
}

/// Cancelling.
pub(super) const CANCEL: Words = Words { infinitive: "cancel", participle: "cancelled" };

/// Owing again.
pub(super) const RETRY: Words = Words { infinitive: "retry", participle: "retried" };

/// Running ticks of a schedule.
pub(super) const RUN: Words = Words { infinitive: "run", participle: "run" };

/// An action of the daemon's, and what it is narrowed down to.
#[derive(Debug)]
pub(super) struct Bulk<'o> {
    operators: &'o Operators,
    path: String,
    filters: Pairs,
    /// What is matched, after the word `jobs`.
    among: String,
    override_crisis: Option<bool>,
}

impl<'o> Bulk<'o> {
    /// The action that is asked for at `path`, on what `filters` leave over.
    pub(super) fn new(operators: &'o Operators, path: impl Into<String>, filters: Pairs) -> Self {
        Self { operators, path: path.into(), filters, among: String::new(), override_crisis: None }
    }

    /// The same, spoken of as `jobs` and then `among`.
    #[must_use]
    pub(super) fn among(self, among: String) -> Self {
        Self { among, ..self }
    }

    /// The same on crisis work too, if `override_crisis` says so.
    #[must_use]
    pub(super) fn with_override(self, override_crisis: bool) -> Self {
        Self { override_crisis: Some(override_crisis), ..self }
    }

    async fn ask(
        &self,
        args: &BulkArgs,
        dry_run: bool,
        more: &[(&'static str, &str)],
    ) -> Result<Value, Failure> {
        let mut pairs = self.filters.clone();
        for (name, value) in more {
            pairs.retain(|(known, _)| known != name);
            pairs.push((name, (*value).to_owned()));
        }
        let mut body = json!({ "dry_run": dry_run, "reason": args.reason.as_deref().unwrap_or_default() });
        if let Some(override_crisis) = self.override_crisis {
            body["override"] = override_crisis.into();
        }
        self.operators.post(&format!("{}?{}", self.path, query(&pairs)), body.to_string()).await
    }
}

/// Does `bulk`, of which `words` speak: counts, asks, goes through all of it, and says what was done.
pub(super) async fn act(
    context: &Context,
    words: &Words,
    bulk: &Bulk<'_>,
    args: &BulkArgs,
) -> Result<(), Failure> {
    let counted = bulk.ask(args, true, &[]).await?;
    let matching = counted["matching"].as_u64().unwrap_or_default();
    let crisis = counted["crisis_left_alone"].as_u64().unwrap_or_default();
    if args.dry_run {
        let answer = json!({ "dry_run": true, "matching": matching, "crisis_left_alone": crisis });
        context.print(&answer, |_| dry_run_text(words, matching, crisis));
        return Ok(());
    }
    if matching > 0 && !args.yes {
        ask(&format!("{} {}{}?", words.infinitive, jobs(matching), bulk.among), words)?;
    }
    // What is recorded from now on was not counted and is left alone.
    let until = counted["until"].as_str().unwrap_or_default();
    let (changed, running) = (Cell::new(0), Cell::new(0));
    let line = || format!("{} {} of {matching}", words.participle, changed.get());
    let all = async {
        let mut cursor = String::new();
        loop {
            let step = bulk.ask(args, false, &[("until", until), ("cursor", &cursor)]).await?;
            changed.set(changed.get() + step["changed"].as_u64().unwrap_or_default());
            running.set(running.get() + step["running"].as_u64().unwrap_or_default());
            match step["next"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return Ok(()),
            }
        }
    };
    let (changed, running) = match progress::during_if_long(all, line).await {
        Ok(()) => (changed.get(), running.get()),
        Err(failure) => return Err(interrupted(failure, words, changed.get())),
    };
    let answer = json!({
        "dry_run": false, "matching": matching, "changed": changed, "running": running, "crisis_left_alone": crisis,
    });
    context.print(&answer, |_| done_text(words, changed, running, crisis));
    Ok(())
}

fn dry_run_text(words: &Words, matching: u64, crisis: u64) -> String {
    format!("{} would be {}{}\n", jobs(matching), words.participle, left_alone(0, crisis))
}

fn done_text(words: &Words, changed: u64, running: u64, crisis: u64) -> String {
    format!("{} {}{}\n", words.participle, jobs(changed), left_alone(running, crisis))
}

fn left_alone(running: u64, crisis: u64) -> String {
    let mut text = String::new();
    if running > 0 {
        text = format!("; {running} left alone, running");
    }
    if crisis > 0 {
        text = format!("{text}; {crisis} left alone, crisis work (--override takes it too)");
    }
    text
}

pub(super) fn jobs(count: u64) -> String {
    if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") }
}

fn interrupted(failure: Failure, words: &Words, changed: u64) -> Failure {
    if changed == 0 {
        return failure;
    }
    let hint = format!("{} had been {}; the same command does the rest", jobs(changed), words.participle);
    Failure::Failed(format!("{failure}\nhint: {hint}"))
}

/// Goes on only if whoever sits there says yes to `question`; without a terminal there is nobody to ask.
pub(super) fn ask(question: &str, words: &Words) -> Result<(), Failure> {
    let stdin = io::stdin();
    confirm(question, words, stdin.is_terminal().then(|| stdin.lock()))
}

/// Goes on only if somebody at `terminal` says yes; without a terminal there is nobody to ask.
fn confirm(question: &str, words: &Words, terminal: Option<impl BufRead>) -> Result<(), Failure> {
    let nothing = format!("nothing was {}", words.participle);
    let Some(mut terminal) = terminal else {
        let what = format!(
            "nobody can be asked \"{question}\", so {nothing}\nhint: --yes does it, --dry-run only counts"
        );
        return Err(Failure::Usage(what));
    };
    write_stderr(&format!("{question} [y/N] "));
    let mut answer = String::new();
    // An answer that cannot be read is none.
    let _ = terminal.read_line(&mut answer);
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::Failed(nothing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (answer, yes) in
            [("y\n", true), ("YES\n", true), ("\n", false), ("", false), ("n\n", false), ("yo\n", false)]
        {
            let confirmed = confirm("cancel 2 jobs?", &CANCEL, Some(answer.as_bytes()));
            assert_eq!(confirmed.is_ok(), yes, "{answer:?}");
            assert!(confirmed.is_ok() || confirmed.unwrap_err().code() == 1);
        }
        let failure = confirm("cancel 2 jobs?", &CANCEL, None::<&[u8]>).unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.to_string().contains("--yes"), "{failure}");
    }

    #[test]
    fn what_was_left_alone_is_said_and_why() {
        assert_eq!(done_text(&CANCEL, 1, 0, 0), "cancelled 1 job\n");
        assert_eq!(
            done_text(&CANCEL, 12, 2, 1),
            "cancelled 12 jobs; 2 left alone, running; 1 left alone, crisis work (--override takes it too)\n"
        );
        assert_eq!(dry_run_text(&RETRY, 3, 0), "3 jobs would be retried\n");
    }
}
