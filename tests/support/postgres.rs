//! A PostgreSQL of the test's own, on a Unix socket in a temporary directory.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

use super::{eventually, process::Process};

/// Whether a commit waits for the disk. Only a test that pulls the plug needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    On,
    Off,
}

/// A running PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    directory: TempDir,
    sync: Sync,
}

impl Postgres {
    /// Makes a cluster, starts it and waits until it answers. Takes about a second.
    pub async fn start(sync: Sync) -> Self {
        let directory = TempDir::with_prefix("keepwell-postgres-").expect("a temporary directory");
        make_cluster(directory.path());
        let postgres = Self { process: launch(directory.path(), sync), directory, sync };
        postgres.answers().await;
        postgres
    }

    /// The address, for `database.url`, of a new and empty database called `name`.
    pub async fn database(&self, name: &str) -> String {
        let mut connection =
            PgConnection::connect(&self.url("postgres")).await.expect("a server that answers");
        let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE \"{name}\""));
        connection.execute(sqlx::raw_sql(statement)).await.expect("a new database");
        connection.close().await.expect("a clean goodbye");
        self.url(name)
    }

    /// Has the superuser execute `statement`.
    pub async fn execute(&self, statement: &str) {
        let mut connection =
            PgConnection::connect(&self.url("postgres")).await.expect("a server that answers");
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        connection.execute(sqlx::raw_sql(statement)).await.expect("a statement that works");
    }

    /// Throws every session out but the one that does it.
    pub async fn throw_out(&self) {
        self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            .await;
    }

    /// `kill -9` for the whole server; what was committed with [`Sync::On`] is on disk.
    pub fn kill(&mut self) {
        // The postmaster alone would leave a shared memory segment behind; told to quit at once, it takes everybody
        // along without a checkpoint, which to the data is the same.
        self.process.kill(Signal::QUIT);
    }

    /// Starts again on the same data at the same address after [`Postgres::kill`].
    pub async fn start_again(&mut self) {
        self.process = launch(self.directory.path(), self.sync);
        self.answers().await;
    }

    /// Dumps `database` with PostgreSQL's own program; answers with the file.
    pub fn dump(&self, database: &str) -> PathBuf {
        let file = self.directory.path().join(format!("{database}.dump"));
        let to = format!("--file={}", file.display());
        self.run("pg_dump", &["--format=custom", &to, &format!("--dbname={}", self.url(database))]);
        file
    }

    /// Brings a dump into the empty `database`.
    pub fn restore(&self, dump: &Path, database: &str) {
        let to = format!("--dbname={}", self.url(database));
        self.run("pg_restore", &["--exit-on-error", "--no-owner", &to, &dump.display().to_string()]);
    }

    fn run(&self, name: &str, arguments: &[&str]) {
        let output = program(name).current_dir(self.directory.path()).args(arguments).output().expect(name);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The Unix socket that it answers on.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join(".s.PGSQL.5432")
    }

    fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user={USER}", self.directory.path().display())
    }

    async fn answers(&self) {
        let url = self.url("postgres");
        eventually("PostgreSQL answers", async || PgConnection::connect(&url).await.ok()?.close().await.ok())
            .await;
    }
}

/// The superuser of the cluster; whoever reaches the socket is trusted.
pub const USER: &str = "keepwell";

fn make_cluster(directory: &Path) {
    if rustix::process::geteuid().is_root() {
        let status = Command::new("chown").arg("postgres:").arg(directory).status().expect("chown");
        assert!(status.success(), "PostgreSQL refuses root, and there is no user `postgres` to run it");
    }
    let output = program("initdb")
        .current_dir(directory)
        .args([
            "--pgdata",
            "data",
            "--username",
            USER,
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--no-locale",
        ])
        .arg("--no-sync")
        .stdin(Stdio::null())
        .output()
        .expect("initdb");
    assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
}

fn launch(directory: &Path, sync: Sync) -> Process {
    let mut command = program("postgres");
    command
        .current_dir(directory)
        .args([
            "-D",
            "data",
            "-c",
            "listen_addresses=",
            "-c",
            "max_connections=100",
            "-c",
            "shared_buffers=32MB",
        ])
        .arg("-c")
        .arg(format!("unix_socket_directories={}", directory.display()));
    if sync == Sync::Off {
        command.args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]);
    }
    Process::start(command, &directory.join("postgres.log"), Signal::QUIT)
}

/// A server program of PostgreSQL; run by `postgres` where we are root, because it refuses to be run by root.
fn program(name: &str) -> Command {
    let path = find(name);
    if !rustix::process::geteuid().is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(path);
    command
}

/// Debian keeps the server's programs out of the PATH, in a directory for each version; the newest is taken.
fn find(name: &str) -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = Path::new("/usr/lib/postgresql")
        .read_dir()
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            let path = entry.path().join("bin").join(name);
            path.exists().then_some((version, path))
        })
        .collect();
    found.sort();
    found.pop().map_or_else(|| PathBuf::from(name), |(_, path)| path)
}

#[tokio::test]
async fn what_postgres_committed_survives_its_death() {
    let mut postgres = Postgres::start(Sync::On).await;
    let url = postgres.database("kept").await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection.execute("CREATE TABLE notes (note TEXT); INSERT INTO notes VALUES ('here')").await.unwrap();

    postgres.kill();
    postgres.start_again().await;

    let mut connection = PgConnection::connect(&url).await.unwrap();
    let note: String = sqlx::query_scalar("SELECT note FROM notes").fetch_one(&mut connection).await.unwrap();
    assert_eq!(note, "here");
}
