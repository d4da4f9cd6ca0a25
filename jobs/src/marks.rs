//! Who is marked: people in a crisis or vulnerable after one. Their events go through the crisis lane, and the door
//! has to know that without asking anybody, so the set is kept in memory. A mark ends by itself when what it stands for
//! is over.
//!
//! Beside it, who is in a high-risk period: of their events only those go through the crisis lane that may be a crisis
//! because of it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use keepwell_workers::{
    clock::{ManualClock, SharedClock, UnixMs},
    database::Database,
};

use crate::{care::definitions::Definitions, store};

/// Marks between two looks at which of them have ended.
const MARKS_PER_REVIEW: usize = 1_024;

/// People whom the door may have to wait for, at most, while others are added.
const ADDED_AT_ONCE: usize = 1_024;

/// The set of marked people. Cheap to clone; clones share the set.
#[derive(Clone)]
pub struct Marks {
    shared: Arc<RwLock<Marked>>,
    clock: SharedClock,
}

#[derive(Default)]
struct Marked {
    people: People,
    /// Who is in a high-risk period.
    at_risk: People,
    since_review: usize,
}

/// By customer.
type People = HashMap<String, Mark>;

#[derive(Clone, Copy)]
struct Mark {
    /// Not included.
    until_ms: UnixMs,
    /// Of the facts that say so; 0 if only the database was asked.
    version: i64,
}

impl Default for Marks {
    /// Nobody, at a time that stands still.
    fn default() -> Self {
        Self::new(ManualClock::at(0))
    }
}

impl Marks {
    /// Nobody yet.
    pub fn new(clock: SharedClock) -> Self {
        Self { shared: Arc::default(), clock }
    }

    /// Whether `customer` is marked.
    pub fn contains(&self, customer: &str) -> bool {
        self.until_ms(customer).is_some()
    }

    /// Until when `customer` is marked; not included.
    pub fn until_ms(&self, customer: &str) -> Option<UnixMs> {
        let now_ms = self.clock.now_ms();
        // A set that a panic interrupted is still a set.
        let marked = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        marked.people.get(customer).map(|mark| mark.until_ms).filter(|until_ms| *until_ms > now_ms)
    }

    /// Marks everybody who is marked in `database`, by whatever process. Nobody's mark is taken away or ends sooner:
    /// one too many costs a place in the crisis lane, and one too few could cost the person one.
    pub async fn refresh(&self, database: &Database) -> Result<(), sqlx::Error> {
        let found = store::marked(database, self.clock.now_ms()).await?;
        let mut marked = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        for (customer, until_ms) in found {
            let mark = marked.people.entry(customer).or_insert(Mark { until_ms, version: 0 });
            mark.until_ms = until_ms.max(mark.until_ms);
        }
        Ok(())
    }

    /// Whether `customer` is in a high-risk period.
    pub fn is_at_risk(&self, customer: &str) -> bool {
        let now_ms = self.clock.now_ms();
        let marked = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        marked.at_risk.get(customer).is_some_and(|mark| mark.until_ms > now_ms)
    }

    /// Learns of everybody who is in a high-risk period by what `database` says and `definitions` mean.
    pub async fn refresh_at_risk(
        &self,
        database: &Database,
        definitions: &Definitions,
    ) -> Result<(), sqlx::Error> {
        let now_ms = self.clock.now_ms();
        let found = store::at_risk(database, definitions, now_ms).await?;
        for piece in found.chunks(ADDED_AT_ONCE) {
            let mut marked = self.shared.write().unwrap_or_else(PoisonError::into_inner);
            for (customer, until_ms) in piece {
                let version = marked.at_risk.get(customer).map_or(0, |mark| mark.version);
                marked.at_risk.insert(customer.clone(), Mark { until_ms: *until_ms, version });
            }
        }
        let mut marked = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        marked.at_risk.retain(|_, mark| mark.until_ms > now_ms);
        Ok(())
    }

    /// Notes until when the high-risk period of `customer` lasts by the facts of `version`, or that there is none.
    pub fn set_at_risk(&self, customer: &str, version: i64, until_ms: Option<UnixMs>) {
        let mut marked = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        put(&mut marked.at_risk, customer, version, until_ms);
    }

    /// Whether anybody is marked.
    pub fn is_anybody(&self) -> bool {
        let now_ms = self.clock.now_ms();
        let marked = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        marked.people.values().any(|mark| mark.until_ms > now_ms)
    }

    /// Marks `customer` until an instant, or no longer, by the facts of `version`. Of two commits the older one may
    /// come here last: it takes no mark away, and ends none sooner.
    pub fn set(&self, customer: &str, version: i64, until_ms: Option<UnixMs>) {
        let now_ms = self.clock.now_ms();
        let mut marked = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        put(&mut marked.people, customer, version, until_ms);
        marked.since_review += 1;
        if marked.since_review >= MARKS_PER_REVIEW {
            marked.since_review = 0;
            marked.people.retain(|_, mark| mark.until_ms > now_ms);
        }
    }
}

fn put(people: &mut People, customer: &str, version: i64, until_ms: Option<UnixMs>) {
    let newer = people.get_mut(customer).filter(|known| known.version > version);
    match (newer, until_ms) {
        (Some(newer), _) => newer.until_ms = newer.until_ms.max(until_ms.unwrap_or(UnixMs::MIN)),
        (None, Some(until_ms)) => _ = people.insert(customer.to_owned(), Mark { until_ms, version }),
        (None, None) => _ = people.remove(customer),
    }
}

impl fmt::Debug for Marks {
    /// How many, never who.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let marked = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Marks").field("count", &marked.people.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_ends_by_itself_and_is_forgotten() {
        let clock = ManualClock::at(1_000);
        let marks = Marks::new(clock.clone());
        marks.set("cus_1", 1, Some(2_000));
        marks.set("cus_2", 1, Some(3_000));
        assert!(marks.contains("cus_1") && marks.clone().contains("cus_2") && !marks.contains("cus_3"));
        clock.advance_ms(1_000);
        assert!(!marks.contains("cus_1") && marks.contains("cus_2") && marks.is_anybody());
        marks.set("cus_2", 2, None);
        assert!(!marks.contains("cus_2") && !marks.is_anybody());
        for number in 0..MARKS_PER_REVIEW {
            marks.set(&number.to_string(), 1, Some(1_500));
        }
        assert_eq!(format!("{marks:?}"), "Marks { count: 3, .. }", "those that came after the review");
    }

    #[test]
    fn an_older_commit_that_is_heard_of_last_takes_no_mark_away() {
        let marks = Marks::new(ManualClock::at(1_000));
        let until_ms = || marks.until_ms("cus_1");
        marks.set("cus_1", 5, Some(3_000));
        for (version, older_ms, known_ms) in
            [(4, None, 3_000), (4, Some(2_000), 3_000), (3, Some(4_000), 4_000)]
        {
            marks.set("cus_1", version, older_ms);
            assert_eq!(until_ms(), Some(known_ms), "{version} {older_ms:?}");
        }
        // Whose fate was in doubt is followed by another of the same version.
        marks.set("cus_1", 5, Some(2_000));
        assert_eq!(until_ms(), Some(2_000));
        marks.set("cus_1", 6, None);
        assert_eq!(until_ms(), None);
        marks.set_at_risk("cus_1", 5, Some(3_000));
        marks.set_at_risk("cus_1", 4, None);
        assert!(marks.is_at_risk("cus_1"));
        marks.set_at_risk("cus_1", 6, None);
        assert!(!marks.is_at_risk("cus_1"));
    }
}
