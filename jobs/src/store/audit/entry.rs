//! One entry: what it says, its canonical bytes, and its digest.

use std::iter;

use keepwell_workers::{
    clock::UnixMs,
    id::JobId,
    seal::{KeyRing, SealError},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::types::Uuid;

use super::{
    finding::{Details, Finding, Problem, told_removal},
    promised::REMOVED,
};

/// The longest name of an actor or a subject that is kept, in characters.
const NAME_CHARACTERS_MAX: usize = 255;

/// The longest reason that is kept, in characters.
const REASON_CHARACTERS_MAX: usize = 1_000;

/// The largest values before and after that are kept, in bytes; of larger ones only the size is.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// Bytes of salt in front of the details.
pub(super) const SALT_BYTES: usize = 16;

/// A SHA-256 digest.
pub(super) type Digest32 = [u8; 32];

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// keepwell itself.
    System {
        /// The job whose effect it was: its kind and id; or the part of the daemon.
        job: String,
    },
    /// Somebody who may operate the daemon.
    Operator {
        /// As the operator is known: `uid 0`, a token's name.
        name: String,
    },
    /// Somebody outside who sends webhooks, or pretends to.
    Source {
        /// The source's name: `stripe`, `app`.
        name: String,
    },
}

impl Actor {
    /// Which of the three, as it is stored: `system`, `operator` or `source`.
    pub fn kind(&self) -> &'static str {
        match self {
            Actor::System { .. } => "system",
            Actor::Operator { .. } => "operator",
            Actor::Source { .. } => "source",
        }
    }

    /// Its name among its kind.
    pub fn name(&self) -> &str {
        match self {
            Actor::System { job } => job,
            Actor::Operator { name } | Actor::Source { name } => name,
        }
    }
}

/// Something that is to be remembered.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// When it happened.
    pub at_ms: UnixMs,
    /// Who did it.
    pub actor: Actor,
    /// What was done, in dotted words, such as `access.changed` or `emergency.bypass_activated`.
    pub action: &'static str,
    /// Whom or what it concerns: a customer's id, a lane, a job.
    pub subject: Option<String>,
    /// Why. Sealed.
    pub reason: String,
    /// What it was before. Sealed.
    pub before: Option<Value>,
    /// What it is now. Sealed.
    pub after: Option<Value>,
}

/// The part of an entry that is sealed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SealedDetails {
    pub(super) reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<Value>,
}

impl SealedDetails {
    /// The bytes that are sealed and digested: a salt, then JSON.
    pub(super) fn salted(entry: &AuditEntry, salt: [u8; SALT_BYTES]) -> Vec<u8> {
        let details = SealedDetails {
            reason: entry.reason.chars().take(REASON_CHARACTERS_MAX).collect(),
            before: entry.before.as_ref().map(bounded),
            after: entry.after.as_ref().map(bounded),
        };
        let mut bytes = salt.to_vec();
        // Text and JSON values can always be written as JSON.
        bytes.extend(serde_json::to_vec(&details).unwrap_or_default());
        bytes
    }

    pub(super) fn read(salted: &[u8]) -> Option<Self> {
        serde_json::from_slice(salted.get(SALT_BYTES..)?).ok()
    }
}

fn bounded(value: &Value) -> Value {
    let bytes = serde_json::to_vec(value).map_or(0, |text| text.len());
    if bytes <= VALUE_BYTES_MAX { value.clone() } else { json!({ "too_large_bytes": bytes }) }
}

/// What both databases can keep of a name: PostgreSQL takes no NUL.
pub(super) fn fit(name: &str) -> String {
    name.chars().filter(|character| !character.is_control()).take(NAME_CHARACTERS_MAX).collect()
}

/// An entry as it lies in the table, its details sealed.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct EntryRow {
    pub(super) id: Uuid,
    pub(super) position: Option<i64>,
    pub(super) at_ms: i64,
    pub(super) actor_kind: String,
    pub(super) actor: String,
    pub(super) action: String,
    pub(super) subject: Option<String>,
    pub(super) details_digest: Vec<u8>,
    pub(super) key_id: String,
    pub(super) sealed: Vec<u8>,
}

/// The columns of an [`EntryRow`].
pub(super) const COLUMNS: &str =
    "id, position, at_ms, actor_kind, actor, action, subject, details_digest, key_id, sealed";

impl EntryRow {
    /// What binds the sealed details to the rest of the entry.
    pub(super) fn context(&self) -> Vec<u8> {
        context(&self.id, self.at_ms, [&self.actor_kind, &self.actor, &self.action], self.subject.as_deref())
    }

    /// What the block holds of the entry. Sealing the details with another key does not change it.
    pub(super) fn digest(&self) -> Digest32 {
        Sha256::new().chain_update(self.context()).chain_update(&self.details_digest).finalize().into()
    }

    /// What it is now: more than its digest if its sealed `details` are not known to be those that belong to that.
    /// Those that are may be sealed with another key at any time.
    pub(super) fn print(&self, details: &Details) -> Digest32 {
        let digest = self.digest();
        if *details == Details::Whole {
            return digest;
        }
        let mut bytes = digest.to_vec();
        push_field(&mut bytes, self.key_id.as_bytes());
        push_field(&mut bytes, &self.sealed);
        Sha256::digest(&bytes).into()
    }

    /// Whether its details are those that it was made with.
    pub(super) fn details(&self, keys: &KeyRing) -> Details {
        match self.open(keys) {
            Ok(salted) if self.is_made_of(&salted) => Details::Whole,
            Err(SealError::UnknownKey(id)) => Details::KeyUnknown(id),
            _ => Details::Altered,
        }
    }

    /// What is wrong with it if it is in no block yet.
    pub(super) fn check_unsealed(&self, keys: &KeyRing) -> Result<(), Finding> {
        let details = self.details(keys);
        let Err((problem, detail)) = details.check() else { return Ok(()) };
        let finding = Finding::at_entry(problem, None, (None, Some(JobId(self.id))), detail);
        let entries = (problem == Problem::KeyUnknown).then_some(1);
        Err(Finding { entries, ..finding }.seen_as([self.print(&details)]))
    }

    /// That it is where no entry belongs, and what it tells of.
    pub(super) fn inserted(&self, keys: &KeyRing, detail: &str) -> impl Iterator<Item = Finding> {
        let details = self.details(keys);
        let at = (self.position, Some(JobId(self.id)));
        let finding = Finding::at_entry(Problem::EntryInserted, None, at, detail);
        iter::once(finding.seen_as([self.print(&details)])).chain(self.told_removal(&details))
    }

    /// What it tells of if that is a removal, as a finding by itself: whatever else is wrong where it lies, who looks
    /// into that has not looked into this. `details` say whether it is genuine.
    pub(super) fn told_removal(&self, details: &Details) -> Option<Finding> {
        let is_told = self.action == REMOVED && *details == Details::Whole;
        is_told.then(|| Finding { position: self.position, ..told_removal(JobId(self.id)) })
    }

    /// The salted details.
    pub(super) fn open(&self, keys: &KeyRing) -> Result<Vec<u8>, SealError> {
        keys.open(&self.context(), &self.key_id, &self.sealed)
    }

    /// Whether `salted` is what the entry was made with.
    pub(super) fn is_made_of(&self, salted: &[u8]) -> bool {
        Sha256::digest(salted).as_slice() == self.details_digest
    }

    /// Whether `text` is in what it says in the clear of who, what and whom.
    pub(super) fn mentions(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let said = [Some(&self.actor), Some(&self.action), self.subject.as_ref()];
        said.into_iter().flatten().any(|said| said.to_lowercase().contains(&text))
    }

    /// As people see it.
    pub(super) fn view(self, keys: &KeyRing) -> EntryView {
        let details = self.open(keys).ok().filter(|salted| self.is_made_of(salted));
        let details = details.as_deref().and_then(SealedDetails::read);
        let readable = details.is_some();
        let details = details.unwrap_or(SealedDetails { reason: String::new(), before: None, after: None });
        EntryView {
            id: JobId(self.id),
            position: self.position,
            at_ms: self.at_ms,
            actor_kind: self.actor_kind,
            actor: self.actor,
            action: self.action,
            subject: self.subject,
            reason: details.reason,
            before: details.before,
            after: details.after,
            readable,
        }
    }
}

/// The canonical bytes of what an entry says in the clear: each field behind its length.
pub(super) fn context(
    id: &Uuid,
    at_ms: UnixMs,
    [actor_kind, actor, action]: [&str; 3],
    subject: Option<&str>,
) -> Vec<u8> {
    let mut bytes = b"keepwell audit entry 1\0".to_vec();
    for field in
        [id.as_bytes(), &at_ms.to_be_bytes()[..], actor_kind.as_bytes(), actor.as_bytes(), action.as_bytes()]
    {
        push_field(&mut bytes, field);
    }
    bytes.push(u8::from(subject.is_some()));
    push_field(&mut bytes, subject.unwrap_or_default().as_bytes());
    bytes
}

/// Appends `field` behind its length.
pub(super) fn push_field(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend((field.len() as u64).to_be_bytes());
    bytes.extend_from_slice(field);
}

/// An entry as people see it.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryView {
    /// Its identity, which carries the instant.
    pub id: JobId,
    /// Its place in the chain; `None` until it is in a block.
    pub position: Option<i64>,
    /// When it happened.
    pub at_ms: UnixMs,
    /// `system`, `operator` or `source`.
    pub actor_kind: String,
    /// Who did it.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// Whom or what it concerns.
    pub subject: Option<String>,
    /// Why.
    pub reason: String,
    /// What it was before.
    pub before: Option<Value>,
    /// What it is now.
    pub after: Option<Value>,
    /// Whether the details could be opened.
    pub readable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_entries_have_the_same_canonical_bytes() {
        let id = Uuid::nil();
        let one = context(&id, 1, ["system", "ab", "c"], None);
        assert_ne!(one, context(&id, 1, ["system", "a", "bc"], None));
        assert_ne!(one, context(&id, 1, ["system", "ab", "c"], Some("")));
        assert_ne!(one, context(&id, 2, ["system", "ab", "c"], None));
    }

    #[test]
    fn what_is_too_large_leaves_its_size() {
        let entry = AuditEntry {
            at_ms: 0,
            actor: Actor::Operator { name: "o".to_owned() },
            action: "a.b",
            subject: None,
            reason: "é".repeat(2_000),
            before: None,
            after: Some("x".repeat(70_000).into()),
        };
        let details = SealedDetails::read(&SealedDetails::salted(&entry, [7; SALT_BYTES])).unwrap();
        assert_eq!(details.after, Some(json!({ "too_large_bytes": 70_002 })));
        assert_eq!(details.reason.chars().count(), 1_000);
        assert_eq!(fit("a\0b\nc"), "abc");
    }
}
