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
    /// Until when; not included.
    until_ms: HashMap<String, UnixMs>,
    /// Until when high-risk periods last; not included.
    at_risk_until_ms: HashMap<String, UnixMs>,
    since_review: usize,
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
        marked.until_ms.get(customer).copied().filter(|until_ms| *until_ms > now_ms)
    }

    /// Marks everybody who is marked in `database`, by whatever process. Nobody's mark is taken away or ends sooner:
    /// one too many costs a place in the crisis lane, and one too few could cost the person one.
    pub async fn refresh(&self, database: &Database) -> Result<(), sqlx::Error> {
        let found = store::marked(database, self.clock.now_ms()).await?;
        let mut marked = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        for (customer, until_ms) in found {
            let known_ms = marked.until_ms.entry(customer).or_insert(until_ms);
            *known_ms = until_ms.max(*known_ms);
        }
        Ok(())
    }

    /// Whether `customer` is in a high-risk period.
    pub fn is_at_risk(&self, customer: &str) -> bool {
        let now_ms = self.clock.now_ms();
        let marked = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        marked.at_risk_until_ms.get(customer).is_some_and(|until_ms| *until_ms > now_ms)
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
            marked.at_risk_until_ms.extend(piece.iter().cloned());
        }
        let mut marked = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        marked.at_risk_until_ms.retain(|_, until_ms| *until_ms > now_ms);
        Ok(())
    }

    /// Notes until when the high-risk period of `customer` lasts, or that there is none.
    pub fn set_at_risk(&self, customer: &str, until_ms: Option<UnixMs>) {
        let mut marked = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        put(&mut marked.at_risk_until_ms, customer, until_ms);
    }

    /// Whether anybody is marked.
    pub fn is_anybody(&self) -> bool {
        let now_ms = self.clock.now_ms();
        let marked = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        marked.until_ms.values().any(|until_ms| *until_ms > now_ms)
    }

    /// Marks `customer` until an instant, or no longer.
    pub fn set(&self, customer: &str, until_ms: Option<UnixMs>) {
        let now_ms = self.clock.now_ms();
        let mut marked = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        put(&mut marked.until_ms, customer, until_ms);
        marked.since_review += 1;
        if marked.since_review >= MARKS_PER_REVIEW {
            marked.since_review = 0;
            marked.until_ms.retain(|_, until_ms| *until_ms > now_ms);
        }
    }
}

fn put(people: &mut HashMap<String, UnixMs>, customer: &str, until_ms: Option<UnixMs>) {
    match until_ms {
        Some(until_ms) => _ = people.insert(customer.to_owned(), until_ms),
        None => _ = people.remove(customer),
    }
}

impl fmt::Debug for Marks {
    /// How many, never who.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let marked = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Marks").field("count", &marked.until_ms.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_ends_by_itself_and_is_forgotten() {
        let clock = ManualClock::at(1_000);
        let marks = Marks::new(clock.clone());
        marks.set("cus_1", Some(2_000));
        marks.set("cus_2", Some(3_000));
        assert!(marks.contains("cus_1") && marks.clone().contains("cus_2") && !marks.contains("cus_3"));
        clock.advance_ms(1_000);
        assert!(!marks.contains("cus_1") && marks.contains("cus_2") && marks.is_anybody());
        marks.set("cus_2", None);
        assert!(!marks.contains("cus_2") && !marks.is_anybody());
        for number in 0..MARKS_PER_REVIEW {
            marks.set(&number.to_string(), Some(1_500));
        }
        assert_eq!(format!("{marks:?}"), "Marks { count: 3, .. }", "those that came after the review");
    }
}
