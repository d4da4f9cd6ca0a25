//! A PostgreSQL of the tests' own, on a Unix socket in a temporary directory; one for all tests that run at a time.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

/// The superuser of the cluster; whoever reaches the socket is trusted.
const USER: &str = "keepwell";

/// A collation as far from the order of bytes as there is one.
const DICTIONARY: &str = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-u-ka-shifted'";

/// A running server; stopped when the last test lets go of it.
#[derive(Debug)]
pub struct Postgres {
    directory: TempDir,
    bin: PathBuf,
    databases: AtomicU32,
}

impl Postgres {
    /// The running server, started if there is none; `None` on a machine without PostgreSQL.
    pub fn shared() -> Option<Arc<Self>> {
        static RUNNING: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(postgres) = running.upgrade() {
            return Some(postgres);
        }
        let postgres = Arc::new(Self::start(newest_bin()?));
        *running = Arc::downgrade(&postgres);
        Some(postgres)
    }

    /// A server that nobody else uses and that may be made to die.
    pub fn alone() -> Option<Arc<Self>> {
        Some(Arc::new(Self::start(newest_bin()?)))
    }

    fn start(bin: PathBuf) -> Self {
        let directory = TempDir::with_prefix("keepwell-postgres-").expect("a temporary directory");
        if is_root(directory.path()) {
            let status = Command::new("chown").arg("postgres:").arg(directory.path()).status();
            assert!(
                status.is_ok_and(|it| it.success()),
                "PostgreSQL refuses root; a user `postgres` has to exist"
            );
        }
        let postgres = Self { directory, bin, databases: AtomicU32::new(0) };
        let cluster = ["-D", "data", "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"];
        postgres.run("initdb", &cluster);
        let options = format!(
            "-c listen_addresses= -c unix_socket_directories={} -c fsync=off -c max_connections=100",
            postgres.directory.path().display()
        );
        // `pg_ctl -w` comes back when the server answers.
        postgres.run("pg_ctl", &["start", "-w", "-D", "data", "-l", "log", "-o", &options]);
        postgres
    }

    /// The address of a new and empty database. Texts have the order of a dictionary there, which passes over dots,
    /// slashes and hyphens: whoever needs another one has to say so.
    pub async fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection =
            PgConnection::connect(&self.url("postgres")).await.expect("a server that answers");
        let (version,): (String,) =
            sqlx::query_as("SHOW server_version_num").fetch_one(&mut connection).await.expect("its version");
        // An older server cannot have a database whose own collation is one of these.
        let collation = if version.as_str() >= "150000" { DICTIONARY } else { "" };
        let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} {collation}"));
        connection.execute(sqlx::raw_sql(statement)).await.expect("a new database");
        connection.close().await.expect("a clean goodbye");
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user={USER}", self.directory.path().display())
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.bin.join(program);
        let mut command = Command::new(&program);
        if is_root(Path::new("/proc/self")) {
            command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(&program);
        }
        // The server inherits these, so nothing may wait for them to close.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.current_dir(self.directory.path()).args(arguments).status();
        assert!(status.is_ok_and(|status| status.success()), "{} failed", program.display());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.run("pg_ctl", &["stop", "-w", "-m", "immediate", "-D", "data"]);
    }
}

/// Whether `path` belongs to root; what a process makes, and its entry in /proc, belong to its user.
fn is_root(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.uid() == 0)
}

/// Debian keeps the server's programs in a directory for each version.
fn newest_bin() -> Option<PathBuf> {
    let versions = Path::new("/usr/lib/postgresql").read_dir().ok()?.flatten();
    let installed = versions.filter(|version| version.path().join("bin/pg_ctl").exists());
    let numbered = installed
        .filter_map(|version| Some((version.file_name().to_str()?.parse::<u32>().ok()?, version.path())));
    numbered.max().map(|(_, path)| path.join("bin"))
}
