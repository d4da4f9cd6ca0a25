//! Signs that a process has left in the ledger for whoever looks next, because it may die before it looks itself.

use keepwell_jobs::{
    alerts::{rule::Rule, threshold::Thresholds, watch::Seen},
    store::alert_signs::{forget_signs, signs},
};
use keepwell_workers::{clock::UnixMs, database::Database};

use super::keeper::LookError;

/// How long a sign counts, in milliseconds: as long as what a process has counted itself.
const COUNTS_FOR_MS: i64 = keepwell_jobs::alerts::rules::RECENT_S as i64 * 1_000;

/// What is to be let go when an alert of it is recorded.
#[derive(Debug, Default)]
pub(super) struct Signed {
    oldest_ms: Option<UnixMs>,
}

impl Signed {
    /// Adds to `seen` what there are signs of, where one of `rules` asks for it, and nobody has seen it yet.
    pub(super) async fn read(
        database: &Database,
        rules: &[&'static Rule],
        thresholds: &Thresholds,
        seen: &mut Vec<Seen>,
    ) -> Result<Self, LookError> {
        let found = signs(database).await?;
        for signs in &found {
            let Some(rule) = rules.iter().find(|rule| rule.name == signs.rule) else { continue };
            #[allow(clippy::cast_precision_loss)] // No figure is told that exactly.
            let count = signs.count as f64;
            let is_wrong = thresholds.bound(rule).is_none_or(|bound| bound.is_broken_by(count));
            if is_wrong && !seen.iter().any(|seen| seen.rule.name == rule.name) {
                seen.push(Seen { rule, cause: String::new(), value: Some(count), is_ripe: true });
            }
        }
        Ok(Self { oldest_ms: found.iter().map(|signs| signs.oldest_ms).min() })
    }

    /// Everything that was seen is recorded: lets go what counts no more. What is older was seen now if never before.
    pub(super) async fn are_recorded(&self, database: &Database, now_ms: UnixMs) -> Result<(), LookError> {
        let before_ms = now_ms - COUNTS_FOR_MS;
        if self.oldest_ms.is_some_and(|oldest_ms| oldest_ms < before_ms) {
            forget_signs(database, before_ms, now_ms).await?;
        }
        Ok(())
    }
}
