//! Grace periods that end, many at once, while the daemon is up and while it is down.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use super::nothing_owed;
use crate::support::{daemon::Daemon, eventually};

/// Periods that have ended, and as many that end tomorrow: several pages of each.
const COUNT: i64 = 300;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

async fn database(daemon: &Daemon) -> SqliteConnection {
    let file = daemon.state_dir().join("keepwell.db");
    SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.expect("a file that opens")
}

/// Gives people grace periods that ended an hour ago, and others some that end tomorrow.
async fn fill(database: &mut SqliteConnection) {
    let people = format!(
        "INSERT INTO customers (id, version, payment_method_on_file, vulnerable, marked, touched_ms) \
         WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {}) \
         SELECT 'cus_' || n, 1, FALSE, FALSE, FALSE, 0 FROM numbers",
        2 * COUNT
    );
    let graces = format!(
        "INSERT INTO grace_periods (customer, reason, cause, started_ms, ends_ms, closed) \
         SELECT id, 'payment_failure', 'in_1', 0, CAST(strftime('%s', 'now') AS INTEGER) * 1000 \
         + CASE WHEN CAST(substr(id, 5) AS INTEGER) <= {COUNT} THEN -3600000 ELSE {DAY_MS} END, FALSE FROM customers"
    );
    for sql in [people, graces] {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *database).await.expect("rows");
    }
}

async fn count(database: &mut SqliteConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(database).await.expect("a number")
}

async fn jobs(daemon: &Daemon, key: &str) -> Value {
    let page =
        daemon.operator().get(&format!("/api/v1/jobs?kind=care.grace_due&q={key}&limit=1")).await.json();
    page["total"].clone()
}

#[tokio::test]
async fn what_ended_while_the_daemon_was_down_is_seen_to_at_once_and_everything_once() {
    const CLOSED: &str = "SELECT count(*) FROM grace_periods WHERE closed";
    let mut daemon = Daemon::start().await;
    daemon.stop().await;
    let mut database = database(&daemon).await;
    fill(&mut database).await;
    daemon.start_again().await;
    eventually("some have ended", async || (count(&mut database, CLOSED).await > 0).then_some(())).await;
    daemon.kill();
    daemon.start_again().await;
    eventually("all have ended", async || (count(&mut database, CLOSED).await == COUNT).then_some(())).await;
    eventually("those of tomorrow are announced", async || {
        (jobs(&daemon, "grace:soon").await == COUNT).then_some(())
    })
    .await;
    nothing_owed(&daemon).await;
    assert_eq!(
        (jobs(&daemon, "grace:ended").await, jobs(&daemon, "grace:soon").await),
        (COUNT.into(), COUNT.into())
    );
    let versions = "SELECT count(*) FROM customers WHERE version = 2";
    assert_eq!(
        count(&mut database, versions).await,
        COUNT,
        "each was changed once, and those of tomorrow not at all"
    );
}
