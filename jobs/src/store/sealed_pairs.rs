//! Tables of sealed columns whose rows are named by a customer and one more word.

use async_trait::async_trait;
use keepwell_workers::{
    database::{Reader, Transaction},
    on_connection,
    seal::Sealed,
};

use super::{
    person_data::context,
    rotation::{Place, SealedTable, SealedValue},
};

/// A table with the columns `customer`, `second`, `key_id` and `sealed`; what it seals is bound to the first two as
/// [`context`] says.
#[derive(Debug)]
pub(super) struct SealedPairs {
    pub(super) table: &'static str,
    pub(super) second: &'static str,
}

/// Contacts, safety plans, consent.
pub(super) const PERSON_DATA: SealedPairs = SealedPairs { table: "person_data", second: "kind" };

/// How devices are reached.
pub(super) const DEVICES: SealedPairs = SealedPairs { table: "devices", second: "id" };

/// The scores of the last weeks.
pub(super) const SCORES: SealedPairs = SealedPairs { table: "assessment_scores", second: "kind" };

fn name(pair: (&str, &str)) -> String {
    // Two texts can always be written as JSON.
    serde_json::to_string(&pair).unwrap_or_default()
}

fn pair(name: &str) -> (String, String) {
    serde_json::from_str(name).unwrap_or_default()
}

#[async_trait]
impl SealedTable for SealedPairs {
    fn name(&self) -> &'static str {
        self.table
    }

    async fn look(&self, reader: &mut Reader, after: &str, limit: i64) -> Result<Vec<Place>, sqlx::Error> {
        let Self { table, second } = self;
        let sql = format!(
            "SELECT customer, {second}, key_id, CAST(length(sealed) AS BIGINT) FROM {table} \
             WHERE (customer, {second}) > ($1, $2) ORDER BY customer, {second} LIMIT $3"
        );
        let (customer, word) = pair(after);
        let rows: Vec<(String, String, String, i64)> = on_connection!(reader, |connection| {
            sqlx::query_as(sqlx::AssertSqlSafe(sql))
                .bind(customer)
                .bind(word)
                .bind(limit)
                .fetch_all(connection)
                .await
        })?;
        let place = |(customer, word, key_id, bytes): (String, String, String, i64)| Place {
            name: name((&customer, &word)),
            key_id,
            bytes: u64::try_from(bytes).unwrap_or(0),
        };
        Ok(rows.into_iter().map(place).collect())
    }

    async fn read(&self, reader: &mut Reader, place: &str) -> Result<Option<SealedValue>, sqlx::Error> {
        let Self { table, second } = self;
        let sql = format!("SELECT key_id, sealed FROM {table} WHERE customer = $1 AND {second} = $2");
        let (customer, word) = pair(place);
        let found: Option<(String, Vec<u8>)> = on_connection!(reader, |connection| {
            sqlx::query_as(sqlx::AssertSqlSafe(sql))
                .bind(&customer)
                .bind(&word)
                .fetch_optional(connection)
                .await
        })?;
        let context = context(&customer, &word);
        Ok(found.map(|(key_id, sealed)| SealedValue { context, key_id, sealed }))
    }

    async fn replace(
        &self,
        transaction: &mut Transaction,
        place: &str,
        old: &SealedValue,
        new: &Sealed,
    ) -> Result<(), sqlx::Error> {
        let Self { table, second } = self;
        let sql = format!(
            "UPDATE {table} SET key_id = $4, sealed = $5 WHERE customer = $1 AND {second} = $2 AND sealed = $3"
        );
        let (customer, word) = pair(place);
        on_connection!(transaction, |connection| {
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(customer)
                .bind(word)
                .bind(&old.sealed)
                .bind(&*new.key_id)
                .bind(&new.bytes)
                .execute(connection)
                .await
                .map(|_| ())
        })
    }
}

#[cfg(test)]
mod tests {
    use keepwell_workers::{
        database::{Database, DatabaseOptions, Durability, turn::Urgency},
        seal::{KeyRing, SealingKey},
    };
    use zeroize::Zeroizing;

    use super::*;

    #[tokio::test]
    async fn what_changed_since_it_was_read_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("pairs.db").display());
        let database = Database::connect(&url, &DatabaseOptions::default()).await.unwrap();
        database.migrate(&crate::migrations()).await.unwrap();
        let keys = KeyRing::new(SealingKey::new("new", &Zeroizing::new([1; 32])), []);
        let mut transaction = database.begin(Urgency::General, Durability::Relaxed, 0).await.unwrap();
        for sql in [
            "INSERT INTO customers (id, version, payment_method_on_file, vulnerable, marked, touched_ms) VALUES ('cus_1', 1, FALSE, FALSE, FALSE, 0)",
            "INSERT INTO person_data VALUES ('cus_1', 'consent', 0, 'old', x'01')",
        ] {
            on_connection!(transaction, |connection| sqlx::query(sql).execute(connection).await.map(|_| ()))
                .unwrap();
        }
        transaction.commit().await.unwrap();
        let mut reader = database.reader(Urgency::General).await.unwrap();
        let place = PERSON_DATA.look(&mut reader, "", 9).await.unwrap().remove(0);
        let old = PERSON_DATA.read(&mut reader, &place.name).await.unwrap().unwrap();
        let mut transaction = database.begin(Urgency::General, Durability::Relaxed, 0).await.unwrap();
        let newer = "UPDATE person_data SET sealed = x'02'";
        on_connection!(transaction, |connection| sqlx::query(newer).execute(connection).await.map(|_| ()))
            .unwrap();
        let sealed = keys.seal(&old.context, b"stale").unwrap();
        PERSON_DATA.replace(&mut transaction, &place.name, &old, &sealed).await.unwrap();
        transaction.commit().await.unwrap();
        let left = PERSON_DATA.read(&mut reader, &place.name).await.unwrap().unwrap();
        assert_eq!((left.key_id.as_str(), left.sealed), ("old", vec![2]));
    }
}
