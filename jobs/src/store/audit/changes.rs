//! What a change of a person's facts says in the trail. There is one place where facts are kept, and it asks here, so
//! no handler has to think of it: whatever changes what somebody may use is an `access.changed`, whatever begins,
//! moves or ends grace is a `grace.…`, whatever begins or ends a crisis is a `crisis.…`.

use keepwell_workers::{clock::UnixMs, database::Transaction, seal::KeyRing};
use serde_json::{Map, Value, json};

use super::{
    append::append_together,
    entry::{Actor, AuditEntry},
};
use crate::{
    Care,
    care::{
        access::access_with,
        crisis::Signal as CrisisSignal,
        document::{AccessDocument, UtcTime},
        facts::Facts,
    },
    kinds,
    signal::Signal,
};

/// A person's facts before and after something was learned.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct PersonChange<'f> {
    pub(in crate::store) before: &'f Facts,
    /// When they were changed last: what has ended by time since then is a change too.
    pub(in crate::store) before_ms: UnixMs,
    pub(in crate::store) after: &'f Facts,
}

/// Parts of the access document that say nothing about access by themselves: they follow from time or from the rest.
const BESIDE: [&str; 5] = ["customer", "version", "as_of", "crisis_resources", "message"];

/// Of who said that a crisis is over, so many characters are kept.
const BY_CHARACTERS_MAX: usize = 255;

/// What can be done with grace, what says most last.
const GRACE_ACTIONS: [&str; 4] = ["grace.changed", "grace.extended", "grace.ended", "grace.started"];

/// What an `access.changed` says beside a crisis: whether it has opened with this very change. What was before does not
/// tell, because that is as of the last change: a crisis that has ended by time since then stands there as active.
const OPENED: &str = "opened";

/// Writes what `change` means into the trail.
pub(in crate::store) fn append_change(
    transaction: &mut Transaction,
    care: &Care,
    change: &PersonChange<'_>,
) -> Result<(), sqlx::Error> {
    let now_ms = transaction.now_ms();
    let (job, reason) = cause(transaction);
    let entry = |(action, before, after)| AuditEntry {
        at_ms: now_ms,
        actor: Actor::System { job: job.clone() },
        action,
        subject: Some(change.after.customer.clone()),
        reason: reason.clone(),
        before: Some(before),
        after: Some(after),
    };
    let parts =
        [change.crisis(now_ms, resolved_by(transaction)), change.grace(), change.access(care, now_ms)];
    let entries: Vec<AuditEntry> = parts.into_iter().flatten().map(entry).collect();
    append_together(transaction, &care.keys, &entries)
}

/// Writes that the sign of a crisis `signal`, which `id` tells of, was told and changes nothing: somebody has said
/// since that it is over, or it is too long ago. Nobody is to say that it was lost. `active` is whether there is a
/// crisis all the same.
pub(in crate::store) fn append_past_signal(
    transaction: &mut Transaction,
    keys: &KeyRing,
    customer: &str,
    (id, signal): (&str, &CrisisSignal),
    active: bool,
) -> Result<(), sqlx::Error> {
    let (job, reason) = cause(transaction);
    let signals = Map::from_iter([(id.to_owned(), shown(signal))]);
    let entry = AuditEntry {
        at_ms: transaction.now_ms(),
        actor: Actor::System { job },
        action: "crisis.signalled",
        subject: Some(customer.to_owned()),
        reason,
        before: None,
        after: Some(json!({ "active": active, "signals": signals })),
    };
    append_together(transaction, keys, &[entry])
}

/// Writes that a person's contacts, safety plan or consent were changed, and nothing of what they are.
pub(in crate::store) fn append_data_change(
    transaction: &mut Transaction,
    keys: &KeyRing,
    customer: &str,
    kind: &str,
    stated_ms: UnixMs,
) -> Result<(), sqlx::Error> {
    let (job, reason) = cause(transaction);
    let entry = AuditEntry {
        at_ms: transaction.now_ms(),
        actor: Actor::System { job },
        action: "person.data_changed",
        subject: Some(customer.to_owned()),
        reason,
        before: None,
        after: Some(json!({ "kind": kind, "stated_at": UtcTime(stated_ms) })),
    };
    append_together(transaction, keys, &[entry])
}

/// Whose effect it is, and what that job was recorded for.
fn cause(transaction: &Transaction) -> (String, String) {
    match transaction.job() {
        Some(job) => {
            let reason = job.dedupe_key.clone().unwrap_or_else(|| job.kind.to_string());
            (format!("{} {}", job.kind, job.id), reason)
        }
        None => ("keepwell".to_owned(), String::new()),
    }
}

/// Who said that a crisis is over, in the words of the signal that says it.
fn resolved_by(transaction: &Transaction) -> Option<String> {
    let job = transaction.job().filter(|job| &*job.kind == kinds::CRISIS_RESOLVED)?;
    let signal = Signal::parse(&job.payload).ok()?;
    let [by] = signal.data.fields(["by"]);
    Some(by?.text()?.chars().take(BY_CHARACTERS_MAX).collect())
}

/// An action, and what it was before and after.
type Said = Option<(&'static str, Value, Value)>;

impl PersonChange<'_> {
    /// Whether a crisis opens with it at `now_ms`, and emergency access with that: for whoever was in none, or in one
    /// that has ended by time since the last change.
    pub(in crate::store) fn opens_crisis(&self, now_ms: UnixMs) -> bool {
        self.before.crisis(now_ms).is_none() && self.after.crisis(now_ms).is_some()
    }

    fn access(&self, care: &Care, now_ms: i64) -> Said {
        let document = |facts: &Facts, at_ms| access_with(facts, &care.tiers, &care.resources, at_ms);
        let before = document(self.before, self.before_ms.min(now_ms));
        let mut after = document(self.after, now_ms);
        after.version = before.version;
        let opens = self.opens_crisis(now_ms);
        if before == after && !opens {
            return None;
        }
        let (before, mut after) = difference(&sections(&before), sections(&after), opens);
        if let Some(crisis) = after.get_mut("crisis").and_then(Value::as_object_mut) {
            crisis.insert(OPENED.to_owned(), opens.into());
        }
        (!after.is_empty()).then_some(("access.changed", before.into(), after.into()))
    }

    fn grace(&self) -> Said {
        let (mut before, mut after) = (Map::new(), Map::new());
        let mut action = "grace.changed";
        // What is forgotten because it is long over is no news.
        for (key, grace) in &self.after.graces {
            let known = self.before.graces.get(key);
            if known == Some(grace) {
                continue;
            }
            let one = match known {
                None => "grace.started",
                Some(known) if known.closed && !grace.closed => "grace.started",
                Some(known) if !known.closed && grace.closed => "grace.ended",
                Some(known) if known.ends_ms < grace.ends_ms => "grace.extended",
                Some(_) => "grace.changed",
            };
            // What is told of several at once is the most that was done.
            let weight = |action| GRACE_ACTIONS.iter().position(|known| *known == action);
            action = if weight(one) > weight(action) { one } else { action };
            let name = format!("{} {}", key.reason.name(), key.cause);
            let shown = |grace: &crate::care::grace::Grace| {
                json!({
                    "started_at": UtcTime(grace.started_ms), "ends_at": UtcTime(grace.ends_ms), "closed": grace.closed,
                })
            };
            before.insert(name.clone(), known.map_or(Value::Null, shown));
            after.insert(name, shown(grace));
        }
        (!after.is_empty()).then_some((action, before.into(), after.into()))
    }

    fn crisis(&self, now_ms: UnixMs, by: Option<String>) -> Said {
        let (before, after) = (self.before, self.after);
        let new = after.signals.iter().filter(|(id, _)| !before.signals.contains_key(*id));
        let signals: Map<String, Value> = new.map(|(id, signal)| (id.clone(), shown(signal))).collect();
        let is_crisis = after.crisis(now_ms).is_some()
            || after
                .signals
                .iter()
                .any(|(id, signal)| !signal.only_in_crisis && !before.signals.contains_key(id));
        let resolved = before.resolved_ms != after.resolved_ms;
        if signals.is_empty() && !resolved && before.vulnerable == after.vulnerable {
            return None;
        }
        let action = match (resolved, signals.is_empty()) {
            (true, _) => "crisis.resolved",
            (false, false) if is_crisis => "crisis.signalled",
            // A failed payment, say: it would make a crisis more severe, and is none by itself.
            (false, false) => "crisis.noted",
            (false, true) => "crisis.protection_changed",
        };
        let state = |facts: &Facts, at_ms: UnixMs| {
            let crisis = facts.crisis(at_ms);
            json!({
                "active": crisis.is_some(), "severity": crisis.map(|crisis| crisis.severity.name()),
                "vulnerable": facts.vulnerable, "resolved_at": facts.resolved_ms.map(UtcTime),
            })
        };
        let mut now = state(after, now_ms);
        if !signals.is_empty() {
            now["signals"] = signals.into();
        }
        if let Some(by) = by.filter(|_| resolved) {
            now["by"] = by.into();
        }
        Some((action, state(before, self.before_ms.min(now_ms)), now))
    }
}

fn shown(signal: &CrisisSignal) -> Value {
    json!({
        "source": signal.source.name(), "severity": signal.severity.name(), "at": UtcTime(signal.at_ms),
        "only_in_crisis": signal.only_in_crisis,
    })
}

fn sections(document: &AccessDocument) -> Map<String, Value> {
    // The document is made of texts, numbers and lists.
    let Ok(Value::Object(mut sections)) = serde_json::to_value(document) else { return Map::new() };
    for name in BESIDE {
        sections.remove(name);
    }
    // It says nothing that the end of the grace period does not say.
    if let Some(grace) = sections.get_mut("grace").and_then(Value::as_object_mut) {
        grace.remove("remaining_days");
    }
    sections
}

/// Told together: whether somebody in a crisis has what it opens is to be read off one entry (`care::report::access`).
const TOGETHER: [&str; 2] = ["crisis", "emergency"];

/// The sections that differ, and those that are told [`TOGETHER`] if a crisis `opens`, whether they differ or not.
fn difference(
    before: &Map<String, Value>,
    after: Map<String, Value>,
    opens: bool,
) -> (Map<String, Value>, Map<String, Value>) {
    let mut changed = (Map::new(), Map::new());
    let both = opens || TOGETHER.iter().any(|name| before.get(*name) != after.get(*name));
    for (name, now) in after {
        let was = before.get(&name).cloned().unwrap_or(Value::Null);
        if was != now || both && TOGETHER.contains(&&*name) {
            changed.0.insert(name.clone(), was);
            changed.1.insert(name, now);
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crisis_and_what_it_opens_are_told_together() {
        let state = |tier: &str, crisis: bool, emergency: bool| {
            let [crisis, emergency] = [crisis, emergency].map(|active| json!({ "active": active }));
            let sections = json!({ "tier": tier, "crisis": crisis, "emergency": emergency });
            sections.as_object().cloned().unwrap_or_default()
        };
        let before = state("basic", true, true);
        for (after, told) in [
            (state("basic", true, true), &[][..]),
            (state("premium", true, true), &["tier"]),
            (state("basic", true, false), &["crisis", "emergency"]),
            (state("basic", false, true), &["crisis", "emergency"]),
        ] {
            let (was, now) = difference(&before, after.clone(), false);
            for (sections, of) in [(was, &before), (now, &after)] {
                let names: Vec<&str> = sections.keys().map(String::as_str).collect();
                assert_eq!(names, told);
                assert!(sections.iter().all(|(name, section)| of.get(name) == Some(section)));
            }
        }
        let (was, now) = difference(&before, before.clone(), true);
        assert_eq!(
            (was.len(), now.len()),
            (2, 2),
            "a crisis that opens is told though it looks like the one before"
        );
    }
}
