//! What a person has said of their contacts and nobody has read: its job waits in a slower lane, or is dead,
//! quarantined or cancelled. Its sender was told that it had been taken in, so it counts when a contact is told.
//!
//! What still waits counts as if it had been read now. What will not be read any more counts only if it takes
//! something back, because nobody knows what was wrong with it; and no longer when the person has stated the same anew
//! after it was recorded. An operator who retries its job has it read, whatever was stated since.

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
    kind: PersonDataKind,
    stated: Stated,
    recorded_ms: UnixMs,
    /// It will be read.
    owed: bool,
}

impl Unread {
    /// All that `customer` has said and nobody has read, in the order in which it was recorded. To be asked before what
    /// is known, so that nothing that is read meanwhile is missed. An `Err` is how the run ends.
    pub(crate) async fn of(
        reader: &mut Reader,
        keys: &KeyRing,
        customer: &str,
    ) -> Result<Vec<Self>, Outcome> {
        let (mut unread, mut after) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = unfinished(reader, keys, kinds::PERSON_DATA_UPDATED, customer, after, PAGE).await;
            let page = page.map_err(|error| unasked(&error))?;
            after = page.last().map(|job| job.id);
            let is_last = page.len() < PAGE as usize;
            for job in page {
                unread.extend(Self::read(job)?);
            }
            if is_last {
                return Ok(unread);
            }
        }
        Err(Outcome::retry("the person has said more of their contacts than can be looked through"))
    }

    /// `None` if it is about something else.
    fn read(job: Unfinished) -> Result<Option<Self>, Outcome> {
        let Unfinished { id, created_ms, owed, payload } = job;
        // Another process may have the key.
        let payload = payload.map_err(|error| {
            Outcome::retry(format!("what the person said in {id} cannot be opened: {error}"))
        })?;
        let signal = Signal::parse(&payload).map_err(|error| {
            Outcome::dead(format!("what the person said in {id} cannot be read, so nobody is told: {error}"))
        })?;
        let kind = PersonDataKind::of_signal(&signal.signal_type);
        Ok(kind.filter(|kind| *kind != PersonDataKind::SafetyPlan).map(|kind| Self {
            kind,
            stated: Stated {
                at_ms: signal.stated_ms.unwrap_or(created_ms).min(created_ms),
                value: signal.data.as_str().as_bytes().to_vec(),
            },
            recorded_ms: created_ms,
            owed,
        }))
    }

    /// What counts of `kind` if `known` is what was read of it.
    pub(crate) fn on_top_of(unread: &[Self], kind: PersonDataKind, known: Option<Stated>) -> Option<Stated> {
        unread.iter().filter(|one| one.kind == kind).fold(known, |known, one| one.replacing(known))
    }

    fn replacing(&self, known: Option<Stated>) -> Option<Stated> {
        let Some(known) = known else { return self.owed.then(|| self.stated.clone()) };
        let takes_back = takes_back(self.kind, &known, &self.stated);
        let counts = if self.owed {
            self.stated.at_ms >= known.at_ms || takes_back
        } else {
            self.recorded_ms > known.at_ms && takes_back
        };
        if !counts {
            return Some(known);
        }
        let after_ms = known.at_ms.saturating_add(i64::from(takes_back));
        Some(Stated { at_ms: self.stated.at_ms.max(after_ms), value: self.stated.value.clone() })
    }
}
