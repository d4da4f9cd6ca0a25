//! What an app keeps in memory beside a database.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Database, Transaction};

/// One value of each type, shared by all clones of a database and by their transactions.
#[derive(Clone, Default)]
pub(super) struct Beside(Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>);

impl Beside {
    fn of<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value = kept.entry(TypeId::of::<T>()).or_insert_with(|| Arc::<T>::default());
        // It is kept under its type, so it is of that type.
        Arc::clone(value).downcast().unwrap_or_default()
    }
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Beside").finish_non_exhaustive()
    }
}

impl Database {
    /// The value of the type `T` that is kept in memory beside this database; made when it is first asked for. All
    /// clones of the database have the same one, and so have their transactions.
    pub fn beside<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        self.beside.of()
    }
}

impl Transaction {
    /// The value of the type `T` that is kept beside the transaction's database (see [`Database::beside`]).
    pub fn beside<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        self.beside.of()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{
        super::{DatabaseOptions, Durability, turn::Urgency},
        *,
    };

    #[tokio::test]
    async fn all_clones_of_a_database_and_their_transactions_have_the_same_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("beside.db").display());
        let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
        database.clone().beside::<AtomicU64>().store(7, Ordering::SeqCst);
        let transaction = database.begin(Urgency::General, Durability::Relaxed, 0).await.unwrap();
        assert_eq!(transaction.beside::<AtomicU64>().load(Ordering::SeqCst), 7);
        transaction.rollback().await.unwrap();
        let other = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
        assert_eq!(other.beside::<AtomicU64>().load(Ordering::SeqCst), 0, "it is another one");
        other.close().await;
        database.close().await;
    }
}
