//! Who is marked: people in a crisis or vulnerable after one. Their events go through the crisis lane, and the door
//! has to know that without asking anybody, so the set is kept in memory.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use keepwell_workers::database::Database;

use crate::store;

/// The set of marked people. Cheap to clone; clones share the set.
#[derive(Debug, Clone, Default)]
pub struct Marks(Arc<RwLock<HashSet<String>>>);

impl Marks {
    /// Everybody who is marked in `database`.
    pub async fn load(database: &Database) -> Result<Self, sqlx::Error> {
        let marked = store::marked(database).await?;
        Ok(Self(Arc::new(RwLock::new(marked.into_iter().collect()))))
    }

    /// Whether `customer` is marked.
    pub fn contains(&self, customer: &str) -> bool {
        // A set that a panic interrupted is still a set.
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(customer)
    }

    /// Marks `customer`, or no longer.
    pub fn set(&self, customer: &str, marked: bool) {
        let mut set = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if marked {
            set.insert(customer.to_owned());
        } else {
            set.remove(customer);
        }
    }
}
