//! What a person has said of their contacts and nobody has read: its job waits in a slower lane, or is dead,
//! quarantined or cancelled. Its sender was told that it had been taken in, so it counts when a contact is told.
//!
//! What still waits counts as if it had been read now. What will not be read any more counts only if it takes
//! something back, because nobody knows what was wrong with it; and no longer when the person has stated the same anew
//! after it was recorded. An operator who retries its job has it read, whatever was stated since.
//!
//! What cannot be read at all may be a no, and hides nothing of what was said beside it: nobody is told because of the
//! others, or else not until it is mended, or until the person has stated both contacts and consent anew.

use keepwell_workers::{
    clock::UnixMs,
    database::Reader,
    ledger::{Unfinished, unfinished},
    outcome::Outcome,
    seal::KeyRing,
};

use crate::{
    kinds,
    outreach::unasked,
    signal::Signal,
    store::{PersonDataKind, Stated, takes_back},
};

/// Jobs of one person that are read at once.
const PAGE: u32 = 32;

/// Pages that are looked through, at most. With more of them nobody is told until some were read.
const PAGES_MAX: u32 = 32;

/// One statement.
#[derive(Debug)]
pub(crate) struct Unread {
    /// What it says; or how a run ends that has to know.
    said: Result<Said, Outcome>,
    recorded_ms: UnixMs,
    /// It will be read.
    owed: bool,
}

#[derive(Debug)]
struct Said {
    kind: PersonDataKind,
    stated: Stated,
}

/// All jobs of `kind` about `customer` that have had no effects, oldest first; `None` if there are more than are looked
/// through.
pub(crate) async fn all_unfinished(
    reader: &mut Reader,
    keys: &KeyRing,
    kind: &str,
    customer: &str,
) -> Result<Option<Vec<Unfinished>>, sqlx::Error> {
    let (mut all, mut after) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let page = unfinished(reader, keys, kind, customer, after, PAGE).await?;
        after = page.last().map(|job| job.id);
        let is_last = page.len() < PAGE as usize;
        all.extend(page);
        if is_last {
            return Ok(Some(all));
        }
    }
    Ok(None)
}

impl Unread {
    /// All that `customer` has said and nobody has read, in the order in which it was recorded. To be asked before what
    /// is known, so that nothing that is read meanwhile is missed. An `Err` is how the run ends.
    pub(crate) async fn of(
        reader: &mut Reader,
        keys: &KeyRing,
        customer: &str,
    ) -> Result<Vec<Self>, Outcome> {
        let jobs = all_unfinished(reader, keys, kinds::PERSON_DATA_UPDATED, customer).await;
        let jobs = jobs.map_err(|error| unasked(&error))?.ok_or_else(|| {
            Outcome::retry("the person has said more of their contacts than can be looked through")
        })?;
        Ok(jobs.into_iter().filter_map(Self::read).collect())
    }

    /// `None` if it is about something else.
    fn read(job: Unfinished) -> Option<Self> {
        let (recorded_ms, owed) = (job.created_ms, job.owed);
        let said = Said::read(job).transpose()?;
        Some(Self { said, recorded_ms, owed })
    }

    /// How a run ends that has to know what this says, if it cannot be read and not both of what is `known` was stated
    /// after it was recorded.
    pub(crate) fn unreadable(&self, known: &[Option<Stated>]) -> Option<Outcome> {
        let outcome = self.said.as_ref().err()?;
        let is_later = |known: &Stated| known.at_ms >= self.recorded_ms;
        let is_outdated = known.iter().all(|known| known.as_ref().is_some_and(is_later));
        (!is_outdated).then(|| outcome.clone())
    }

    /// What counts of `kind` if `known` is what was read of it.
    pub(crate) fn on_top_of(unread: &[Self], kind: PersonDataKind, known: Option<Stated>) -> Option<Stated> {
        unread.iter().fold(known, |known, one| match &one.said {
            Ok(said) if said.kind == kind => one.replacing(said, known),
            _ => known,
        })
    }

    fn replacing(&self, Said { kind, stated }: &Said, known: Option<Stated>) -> Option<Stated> {
        let Some(known) = known else { return self.owed.then(|| stated.clone()) };
        let takes_back = takes_back(*kind, &known, stated);
        let counts = if self.owed {
            stated.at_ms >= known.at_ms || takes_back
        } else {
            self.recorded_ms > known.at_ms && takes_back
        };
        if !counts {
            return Some(known);
        }
        let after_ms = known.at_ms.saturating_add(i64::from(takes_back));
        Some(Stated { at_ms: stated.at_ms.max(after_ms), value: stated.value.clone() })
    }
}

impl Said {
    /// `None` if it is about something else.
    fn read(job: Unfinished) -> Result<Option<Self>, Outcome> {
        let Unfinished { id, created_ms, payload, .. } = job;
        // Another process may have the key.
        let payload = payload.map_err(|error| {
            Outcome::retry(format!("what the person said in {id} cannot be opened: {error}"))
        })?;
        let signal = Signal::parse(&payload).map_err(|error| {
            Outcome::dead(format!("what the person said in {id} cannot be read, so nobody is told: {error}"))
        })?;
        let kind = PersonDataKind::of_signal(&signal.signal_type);
        Ok(kind.filter(|kind| *kind != PersonDataKind::SafetyPlan).map(|kind| {
            let at_ms = signal.stated_ms.unwrap_or(created_ms).min(created_ms);
            Self { kind, stated: Stated { at_ms, value: signal.data.as_str().as_bytes().to_vec() } }
        }))
    }
}
