//! What this process has written and no block holds yet. Inside the database nothing says how many such entries there
//! are: one that is taken away by somebody who first removes the triggers leaves no gap. So whoever wrote it remembers
//! it until it is in a block, and if it is gone before, an entry says so, which `verify` finds.
//!
//! Writing costs a place in memory, after the commit; nobody waits, and nothing more is written. The price is that a
//! process that dies takes what it remembers along: what it wrote in its last second, and what somebody removes before
//! the next process has sealed it, is missed by nobody.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, Dialect, Durability, ServerLife, turn::Urgency},
    id::JobId,
    on_connection,
};
use serde_json::json;
use sqlx::{QueryBuilder, types::Uuid};

use super::{
    append::append_as,
    entry::{Actor, AuditEntry},
    finding::told_removal,
};

/// What an entry says that tells of one that is gone: `verify` finds it.
pub(super) const REMOVED: &str = "audit.entry_removed";

/// The same where the database itself may have lost it: its server was restarted, or one of its processes died, and it
/// has nothing that this process committed afterwards.
const LOST: &str = "audit.entry_lost";

/// Entries that are remembered at most: a minute's at a thousand a second. Of more, nothing is promised.
const PROMISES_MAX: usize = 65_536;

/// Entries that are looked for at once. Nearly all are in a block by then, and not looked for.
const LOOKED_FOR_MAX: usize = 1_024;

/// Entries in one statement.
const IDS_PER_STATEMENT: usize = 256;

/// Missing entries that are told of in one transaction; the others are with the next look.
const TOLD_MAX: usize = 32;

/// An entry, as whoever wrote it remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Promise {
    pub(super) at_ms: UnixMs,
    pub(super) action: &'static str,
    pub(super) subject: Option<String>,
    /// How many commits this process had seen done when it was written, before its own began.
    pub(super) begun: u64,
    /// Which of these commits was its own; 0 until it is done.
    pub(super) done: u64,
}

impl Promise {
    /// Whether a database that has `kept` has had this as well. A server that dies loses what was committed last:
    /// nothing in front of what it still has, and no half of a commit.
    fn is_kept_with(&self, kept: &Self) -> bool {
        self.done <= kept.begun || self.done == kept.done
    }
}

/// The entries that this process has committed to one database and that no block holds as far as it knows.
#[derive(Debug, Default)]
pub(super) struct Promised(Mutex<Promises>);

#[derive(Debug, Default)]
struct Promises {
    waiting: BTreeMap<Uuid, Promise>,
    /// Those of them that were there when the database began another life, and that nobody has found in that one yet:
    /// it may have lost them itself.
    doubtful: BTreeSet<Uuid>,
    /// Behind which the next look goes on: what stays without a block hides nothing.
    after: Uuid,
    /// Commits of entries that were seen done.
    commits: u64,
    /// The one of those in a block that was begun last.
    newest: Option<(Uuid, Promise)>,
    /// The life of the database at the last look.
    life: Option<ServerLife>,
}

impl Promised {
    /// How many commits of entries are done: what is committed from now on comes behind all of these.
    pub(super) fn commits(&self) -> u64 {
        self.lock().commits
    }

    /// `entries` were committed, together.
    pub(super) fn add(&self, entries: Vec<(Uuid, Promise)>) {
        let mut promises = self.lock();
        promises.commits += 1;
        let (room, done) = (PROMISES_MAX.saturating_sub(promises.waiting.len()), promises.commits);
        let entries = entries.into_iter().map(|(id, promise)| (id, Promise { done, ..promise }));
        promises.waiting.extend(entries.take(room));
    }

    /// They are in a block.
    pub(super) fn settle(&self, ids: impl IntoIterator<Item = Uuid>) {
        let mut promises = self.lock();
        for id in ids {
            promises.doubtful.remove(&id);
            let Some(promise) = promises.waiting.remove(&id) else { continue };
            if promises.newest.as_ref().is_none_or(|(_, newest)| newest.begun < promise.begun) {
                promises.newest = Some((id, promise));
            }
        }
    }

    /// It was told that they are gone.
    fn forget(&self, ids: impl IntoIterator<Item = Uuid>) {
        let mut promises = self.lock();
        for id in ids {
            promises.waiting.remove(&id);
            promises.doubtful.remove(&id);
        }
    }

    /// The one of those in a block that was begun last.
    fn newest(&self) -> Option<(Uuid, Promise)> {
        self.lock().newest.clone()
    }

    fn next(&self) -> Vec<(Uuid, Promise)> {
        let mut promises = self.lock();
        let behind = |after: Uuid| promises.waiting.range(after..).filter(move |(id, _)| **id > after);
        let mut next: Vec<_> = behind(promises.after).take(LOOKED_FOR_MAX).collect();
        // As far as there is room from the beginning again: what another process seals is settled only when it is seen.
        next.extend(promises.waiting.range(..=promises.after).take(LOOKED_FOR_MAX - next.len()));
        let next: Vec<(Uuid, Promise)> =
            next.into_iter().map(|(id, promise)| (*id, promise.clone())).collect();
        promises.after = next.last().map_or(Uuid::nil(), |(id, _)| *id);
        next
    }

    /// The database lives its life `life` now, and `found` was there since the look before. If it was another life
    /// before, or nobody knows of any, it may have lost whatever waits by now; if not, it has `found` in this one.
    fn lives<'i>(&self, life: ServerLife, found: impl IntoIterator<Item = &'i Uuid>) {
        let mut promises = self.lock();
        if promises.life.as_ref().is_some_and(|known| known.is_same_as(&life)) {
            for id in found {
                promises.doubtful.remove(id);
            }
        } else {
            promises.doubtful = promises.waiting.keys().copied().collect();
        }
        promises.life = Some(life);
    }

    /// Whether the database itself may have lost the entry `id`.
    fn is_doubtful(&self, id: Uuid) -> bool {
        self.lock().doubtful.contains(&id)
    }

    fn lock(&self) -> MutexGuard<'_, Promises> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks whether what this process has written to `database` is in a block or still waits for one, and writes an entry
/// for each that is neither. Answers the fingerprints of the findings that those entries are which tell of a removal;
/// those of what the database itself may have lost are none. Some are left for the next look if there are many.
pub async fn tell_of_missing(database: &Database, now_ms: UnixMs) -> Result<Vec<String>, sqlx::Error> {
    let promised = database.beside::<Promised>();
    let asked = promised.next();
    let newest = promised.newest().filter(|_| !asked.is_empty());
    let ids: Vec<Uuid> = asked.iter().chain(&newest).map(|(id, _)| *id).collect();
    let found = look_for(database, &ids).await?;
    // SQLite loses nothing while this process lives.
    if database.dialect() == Dialect::Postgres {
        // Afterwards, so that a server that died before the look is known to have done so.
        promised.lives(database.server_life().await?, found.keys());
    }
    promised.settle(found.iter().filter(|(_, in_block)| **in_block).map(|(id, _)| *id));
    let kept = asked.iter().chain(&newest).filter(|(id, _)| found.contains_key(id));
    let kept: Vec<&Promise> = kept.map(|(_, promise)| promise).collect();
    let is_lost = |id, promise: &Promise| {
        promised.is_doubtful(id) && !kept.iter().any(|kept| promise.is_kept_with(kept))
    };
    let missing = asked.iter().filter(|(id, _)| !found.contains_key(id)).take(TOLD_MAX);
    let missing: Vec<_> = missing.map(|(id, promise)| (*id, is_lost(*id, promise), promise)).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let mut removed = Vec::new();
    let mut transaction = database.begin(Urgency::General, Durability::Durable, now_ms).await?;
    for (id, is_lost, promise) in &missing {
        let told = JobId::new(now_ms);
        append_as(&mut transaction, &entry(*id, promise, *is_lost, now_ms), told).await?;
        if !is_lost {
            removed.push(told_removal(told).fingerprint);
        }
    }
    transaction.commit().await?;
    promised.forget(missing.iter().map(|(id, ..)| *id));
    let lost = missing.len() - removed.len();
    if lost > 0 {
        tracing::warn!(
            entries = lost,
            "the database has lost entries of the audit trail that were in no block yet; an entry tells of each"
        );
    }
    Ok(removed)
}

/// Those of `asked` that are there, and whether they are in a block.
async fn look_for(database: &Database, asked: &[Uuid]) -> Result<HashMap<Uuid, bool>, sqlx::Error> {
    let mut found = HashMap::with_capacity(asked.len());
    if asked.is_empty() {
        return Ok(found);
    }
    // One connection for all: it does not outlive the server, so what it finds is of one life.
    let mut reader = database.reader(Urgency::General).await?;
    for piece in asked.chunks(IDS_PER_STATEMENT) {
        let rows: Vec<(Uuid, Option<i64>)> = on_connection!(reader, |connection| {
            let mut statement = QueryBuilder::new("SELECT id, position FROM audit_entries WHERE id IN (");
            let mut ids = statement.separated(", ");
            for id in piece {
                ids.push_bind(*id);
            }
            statement.push(")");
            statement.build_query_as().fetch_all(connection).await
        })?;
        found.extend(rows.into_iter().map(|(id, position)| (id, position.is_some())));
    }
    Ok(found)
}

fn entry(id: Uuid, promise: &Promise, is_lost: bool, now_ms: UnixMs) -> AuditEntry {
    let (action, reason) = if is_lost {
        (
            LOST,
            "the database's server began anew, and has lost an entry of the trail that was in no block yet",
        )
    } else {
        (REMOVED, "somebody removed an entry of the trail before it was in a block")
    };
    AuditEntry {
        at_ms: now_ms,
        actor: Actor::System { job: "audit trail".to_owned() },
        action,
        subject: promise.subject.clone(),
        reason: reason.to_owned(),
        before: Some(
            json!({ "entry": JobId(id).to_string(), "at_ms": promise.at_ms, "action": promise.action }),
        ),
        after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promises(ids: std::ops::Range<u128>) -> Vec<(Uuid, Promise)> {
        let promise = Promise { at_ms: 0, action: "lane.paused", subject: None, begun: 0, done: 1 };
        ids.map(|id| (Uuid::from_u128(id), promise.clone())).collect()
    }

    #[test]
    fn what_waits_for_long_hides_nothing_that_was_written_later_and_not_all_is_remembered() {
        let promised = Promised::default();
        let all = LOOKED_FOR_MAX as u128 + 5;
        promised.add(promises(1..all));
        let first: Vec<u128> = promised.next().iter().map(|(id, _)| id.as_u128()).collect();
        assert_eq!((first.len(), first.first()), (LOOKED_FOR_MAX, Some(&1)));
        let second = promised.next();
        assert_eq!(second[..4], promises(LOOKED_FOR_MAX as u128 + 1..all));
        assert_eq!((second.len(), second[4].0.as_u128()), (LOOKED_FOR_MAX, 1), "from the beginning again");
        promised.settle((2..all).map(Uuid::from_u128));
        assert_eq!(promised.next(), promises(1..2));
        promised.add(promises(1..2 * PROMISES_MAX as u128));
        assert!(promised.lock().waiting.len() <= PROMISES_MAX);
    }

    #[test]
    fn what_was_committed_before_something_that_is_there_was_not_lost() {
        let promised = Promised::default();
        let promise = |begun| Promise { at_ms: 0, action: "lane.paused", subject: None, begun, done: 0 };
        let begun = promised.commits();
        for (id, begun) in [(1, begun), (2, begun), (3, begun + 1)] {
            promised
                .add(vec![(Uuid::from_u128(id), promise(begun)), (Uuid::from_u128(10 + id), promise(begun))]);
        }
        let all: BTreeMap<_, _> =
            promised.next().into_iter().map(|(id, promise)| (id.as_u128(), promise)).collect();
        let kept_with = |kept| all.values().map(|it| it.is_kept_with(&all[&kept])).collect::<Vec<_>>();
        // Of two whose commits overlapped nobody knows which one came first.
        assert_eq!(kept_with(2), [false, true, false, false, true, false]);
        assert_eq!(kept_with(3), [true, false, true, true, false, true]);
        promised.settle([2, 3, 1].map(Uuid::from_u128));
        assert_eq!(promised.newest().map(|(id, _)| id.as_u128()), Some(3));
    }

    #[test]
    fn a_database_that_was_restarted_may_have_lost_what_is_missing() {
        let promised = Promised::default();
        let doubtful = |ids: std::ops::Range<u128>| {
            ids.map(|id| promised.is_doubtful(Uuid::from_u128(id))).collect::<Vec<_>>()
        };
        let life = |started: &str, helpers: [i32; 2]| ServerLife::new(started, helpers, 0);
        promised.add(promises(1..2));
        promised.lives(life("one", [1, 2]), []);
        assert_eq!(doubtful(1..2), [true], "nobody has looked before");
        promised.settle([Uuid::from_u128(1)]);
        promised.add(promises(1..3));
        promised.lives(life("one", [2, 3]), []);
        promised.lives(life("one", [3, 4]), []);
        assert_eq!(doubtful(1..3), [false, false], "its helpers come and go");
        // What was found may have been found before the server died.
        promised.lives(life("one", [5, 6]), &[Uuid::from_u128(1)]);
        promised.add(promises(3..4));
        // However many looks it takes until they are looked for.
        promised.lives(life("one", [5, 6]), []);
        assert_eq!(doubtful(1..4), [true, true, false]);
        promised.lives(life("one", [5, 6]), &[Uuid::from_u128(1)]);
        assert_eq!(doubtful(1..4), [false, true, false], "what it had afterwards it has not lost");
        let subject = Some("crisis".to_owned());
        let promise = Promise { at_ms: 7, action: "lane.paused", subject, begun: 0, done: 1 };
        for (is_lost, action) in [(true, LOST), (false, REMOVED)] {
            let told = entry(Uuid::nil(), &promise, is_lost, 9);
            assert_eq!((told.action, told.subject.as_deref(), told.at_ms), (action, Some("crisis"), 9));
        }
    }
}
