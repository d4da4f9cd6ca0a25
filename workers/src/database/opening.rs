//! A database that is opened while everybody holds it already: what they ask fails until then, as if it were away.

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::{
    ConnectError, Database, DatabaseOptions, Dialect, Pools,
    beside::Beside,
    breaks::Breaks,
    connect::{connect_postgres, connect_sqlite},
    turn::WriteTurns,
};

/// A database that may not be there yet.
pub struct Unopened {
    url: String,
    options: DatabaseOptions,
    shared: Database,
}

impl Unopened {
    /// The database at `url` (see [`Database::connect`]). Nothing is asked of it yet.
    pub fn at(url: &str, options: &DatabaseOptions) -> Result<Self, ConnectError> {
        let dialect = if url.starts_with("sqlite:") {
            Dialect::Sqlite
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Dialect::Postgres
        } else {
            return Err(ConnectError::UnknownScheme);
        };
        let shared = Database {
            pools: Arc::default(),
            dialect,
            connections_max: options.connections_max,
            turns: WriteTurns::default(),
            turns_timeout: Duration::from_millis(options.acquire_timeout_ms),
            breaks: Breaks::default(),
            beside: Beside::default(),
            keys: None,
        };
        Ok(Self { url: url.to_owned(), options: options.clone(), shared })
    }

    /// What everybody may hold. Whatever is asked of it is refused until somebody has called [`Unopened::publish`].
    pub fn database(&self) -> Database {
        self.shared.clone()
    }

    /// Opens it for whoever prepares it for the others; to them it is still away.
    pub async fn open(&self) -> Result<Database, ConnectError> {
        let Self { url, options, shared } = self;
        let pools = match shared.dialect {
            Dialect::Sqlite => connect_sqlite(url, options, &shared.turns).await?,
            Dialect::Postgres => connect_postgres(url, options, &shared.breaks).await?,
        };
        Ok(Database { pools: Arc::new(OnceLock::from(pools)), ..shared.clone() })
    }

    /// Lets everybody at what was `opened`.
    pub fn publish(&self, opened: &Database) {
        if let Some(pools) = opened.pools.get() {
            // Once it is open it stays so.
            self.shared.pools.get_or_init(|| pools.clone());
        }
    }
}

impl fmt::Debug for Unopened {
    /// Without its address: that may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unopened").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Database {
    pub(super) fn pools(&self) -> Result<&Pools, sqlx::Error> {
        let unopened = || io::Error::new(io::ErrorKind::NotConnected, "the database is not open yet");
        self.pools.get().ok_or_else(|| sqlx::Error::Io(unopened()))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Durability, Trouble, turn::Urgency},
        *,
    };

    #[tokio::test]
    async fn a_database_that_is_not_open_is_away_and_is_there_for_everybody_once_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("later.db").display());
        let unopened = Unopened::at(&url, &DatabaseOptions::default()).unwrap();
        let database = unopened.database();
        assert_eq!(Trouble::of(&database.reader(Urgency::Crisis).await.unwrap_err()), Some(Trouble::Away));
        let begun = database.begin(Urgency::General, Durability::Durable, 0).await;
        assert_eq!(Trouble::of(&begun.expect_err("it is not open")), Some(Trouble::Away));

        let opened = unopened.open().await.unwrap();
        opened.reader(Urgency::General).await.unwrap();
        assert!(database.reader(Urgency::General).await.is_err(), "it is not prepared yet");

        unopened.publish(&opened);
        database.reader(Urgency::General).await.unwrap();
        database.begin(Urgency::General, Durability::Durable, 0).await.unwrap().commit().await.unwrap();
        database.close().await;
    }

    #[tokio::test]
    async fn only_what_passes_is_worth_waiting_for() {
        let folder = tempfile::tempdir().unwrap();
        let quick = DatabaseOptions { acquire_timeout_ms: 200, ..DatabaseOptions::default() };
        let opened = async |url: &str| Unopened::at(url, &quick).unwrap().open().await.expect_err(url);
        let nowhere = format!("sqlite:{}", folder.path().join("no/such/folder/k.db").display());
        let no_server = format!("postgres://keepwell@localhost/keepwell?host={}", folder.path().display());
        for (url, passes) in [
            (nowhere.as_str(), false),
            ("postgres://keepwell@127.0.0.1:1/keepwell?sslmode=perhaps", false),
            ("postgres://keepwell@127.0.0.1:1/keepwell?sslmode=disable", true),
            (no_server.as_str(), true),
        ] {
            let error = opened(url).await;
            assert_eq!(error.is_passing(), passes, "{error:?}");
        }
        assert!(matches!(Unopened::at("mysql://x", &quick), Err(ConnectError::UnknownScheme)));
    }
}
