//! A database that the daemon cannot use is left as it is, and the operator is told what is wrong and what to do.

use std::{fs, path::PathBuf};

use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tempfile::TempDir;

use super::said::Said;
use crate::support::{
    daemon::keepwell,
    postgres::{Postgres, Sync},
};

struct Machine(TempDir);

impl Machine {
    /// A machine with a database as `keepwell migrate` makes it.
    fn new() -> Self {
        let machine = Self(TempDir::with_prefix("keepwell-machine-").expect("a temporary directory"));
        machine.says(&["migrate"], "").done();
        machine
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("keepwell.db")
    }

    /// Runs `keepwell` on it, its address ending in `options`.
    fn says(&self, arguments: &[&str], options: &str) -> Said {
        let url = format!("sqlite:{}{options}", self.file().display());
        let state = self.0.path().join("state");
        let settings = [
            ("KEEPWELL_DATABASE__URL", url.as_str()),
            ("KEEPWELL_STATE_DIR", state.to_str().expect("UTF-8")),
            ("KEEPWELL_SERVER__LISTEN", "127.0.0.1:0"),
            ("KEEPWELL_OPERATORS__LISTEN", "127.0.0.1:0"),
        ];
        Said::of(&keepwell(&settings, self.0.path(), arguments))
    }

    /// Fails the test unless the daemon does not start, says all of `words`, and leaves the file as it is.
    fn assert_left_alone(&self, options: &str, words: &[&str]) {
        let before = fs::read(self.file()).expect("a file");
        for command in ["serve", "migrate"] {
            let said = self.says(&[command], options);
            assert_eq!(said.code, 1, "{said:?}");
            for word in words {
                assert!(said.talk.contains(word), "{word} in {}", said.talk);
            }
            assert!(fs::read(self.file()).expect("a file") == before, "`{command}` has changed the file");
            let log = fs::metadata(self.0.path().join("keepwell.db-wal"));
            assert!(log.is_err() || log.is_ok_and(|log| log.len() == 0), "`{command}` has written something");
        }
    }
}

#[test]
fn something_else_than_a_database_is_left_alone() {
    let machine = Machine::new();
    fs::write(machine.file(), "a letter to a friend, and by no means a database".repeat(100)).unwrap();
    machine.assert_left_alone("", &["no database, or a damaged one", "file is not a database", "backup"]);
}

#[test]
fn a_damaged_database_is_left_alone() {
    let machine = Machine::new();
    let mut bytes = fs::read(machine.file()).unwrap();
    // The first page keeps its name and loses what it says about the tables.
    bytes[100..4_096].fill(0xff);
    fs::write(machine.file(), bytes).unwrap();
    machine.assert_left_alone("", &["damaged", "malformed", "backup"]);
}

#[test]
fn a_database_that_can_only_be_read_is_refused() {
    Machine::new().assert_left_alone("?mode=ro", &["can only be read", "right to write"]);
}

/// Runs `keepwell serve` with the database at `url`, which ends by itself.
fn refused(url: &str) -> Said {
    let machine = TempDir::with_prefix("keepwell-machine-").expect("a temporary directory");
    let state = machine.path().join("state");
    let settings = [
        ("KEEPWELL_DATABASE__URL", url),
        ("KEEPWELL_STATE_DIR", state.to_str().expect("UTF-8")),
        ("KEEPWELL_SERVER__LISTEN", "127.0.0.1:0"),
        ("KEEPWELL_OPERATORS__LISTEN", "127.0.0.1:0"),
    ];
    Said::of(&keepwell(&settings, machine.path(), &["serve"]))
}

#[tokio::test]
async fn an_address_that_leads_nowhere_ends_the_start() {
    let postgres = Postgres::start(Sync::Off).await;
    let url = postgres.database("keepwell").await;
    for (url, word) in [
        ("sqlite:/no/such/folder/keepwell.db".to_owned(), "unable to open database file"),
        (url.replace("user=keepwell", "user=nobody"), "nobody"),
        (url.replace("/keepwell?", "/another?"), "another"),
    ] {
        let said = refused(&url);
        assert_eq!(said.code, 1, "{url}: {said:?}");
        assert!(said.talk.contains("`database.url`") && said.talk.contains(word), "{word} in {}", said.talk);
    }
}

#[tokio::test]
async fn tables_of_a_newer_version_are_left_alone() {
    let machine = Machine::new();
    let mut newer = SqliteConnection::connect(&format!("sqlite:{}", machine.file().display())).await.unwrap();
    let step = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9001, 'of the future', TRUE, X'00', 1)";
    newer.execute(step).await.unwrap();
    newer.close().await.unwrap();
    machine.assert_left_alone("", &["newer version", "9001", "start that version again"]);
}
