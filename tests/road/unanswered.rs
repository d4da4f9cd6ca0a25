//! Crises that are not answered and whose process is no more: the next one finds them in the ledger.

use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use super::{access, app, finished, on_call::OnCall, signal, taken};
use crate::support::{
    daemon::Daemon,
    eventually,
    gateway::{GATEWAY_TOKEN, Gateway, Manner},
    postgres::{Postgres, Sync},
};

async fn database(daemon: &Daemon) -> SqliteConnection {
    let file = format!("sqlite:{}", daemon.state_dir().join("keepwell.db").display());
    SqliteConnection::connect(&file).await.unwrap()
}

/// What `customer` may use once something was granted to them.
async fn granted(daemon: &Daemon, customer: &str) -> Value {
    let granted = eventually("the basic set is granted", async || {
        let access = access(daemon, customer).await;
        (access["emergency"]["active"] == true).then_some(access)
    })
    .await;
    assert_eq!(
        (&granted["emergency"]["level"], &granted["crisis"]["active"]),
        (&"crisis_only".into(), &false.into())
    );
    granted
}

/// How often somebody was told with these words.
fn told(daemon: &Daemon, alert: &str) -> usize {
    daemon.log().matches(alert).count()
}

#[tokio::test]
async fn a_crisis_that_outlives_its_process_is_granted_and_told_by_the_next_one() {
    let mut daemon = Daemon::start_with(&[("KEEPWELL_CARE__CRISIS_RESPONSE_MS", "200")]).await;
    daemon.says(&["queue", "pause", "crisis", "--override", "--reason", "so that it is still owed"]).done();
    let pressed = signal("crisis.signal", "cus_1", json!({ "severity": "critical" }));
    let job = taken(daemon.app("msg_1", &pressed).await);
    for life in 1..=3 {
        granted(&daemon, "cus_1").await;
        eventually("somebody is told", async || {
            (told(&daemon, "crisis_response_time_violation") >= life).then_some(())
        })
        .await;
        daemon.kill();
        daemon.start_again().await;
    }
    daemon.says(&["queue", "resume", "crisis"]).done();
    finished(&daemon, &job).await;
    eventually("the violation is kept", async || {
        let access = access(&daemon, "cus_1").await;
        (access["crisis"]["type"] == "combined" && access["emergency"]["level"] == "full").then_some(())
    })
    .await;
    let sql = "SELECT COUNT(*), MIN(limit_ms) FROM crisis_violations";
    let kept: (i64, i64) = sqlx::query_as(sql).fetch_one(&mut database(&daemon).await).await.unwrap();
    assert_eq!(kept, (1, 100), "once, however often it was seen");
}

#[tokio::test]
async fn whose_crisis_is_dead_has_the_basic_set_in_the_next_process_too_for_a_day() {
    let mut daemon = Daemon::start().await;
    daemon.says(&["queue", "pause", "crisis", "--override", "--reason", "so that it is still owed"]).done();
    for customer in ["cus_later", "cus_lately", "cus_long_ago"] {
        let pressed = signal("crisis.signal", customer, json!({ "severity": "high" }));
        taken(daemon.app(customer, &pressed).await);
    }
    daemon.kill();
    // As the quarantine leaves them that a process wrote which died before it could say so.
    let dead = "UPDATE jobs SET state = 'dead', finished_at_ms = created_at_ms; \
                UPDATE jobs SET finished_at_ms = created_at_ms - 86400000 WHERE subject = 'cus_long_ago'; \
                UPDATE jobs SET state = 'owed', finished_at_ms = NULL WHERE subject = 'cus_later'";
    database(&daemon).await.execute(dead).await.unwrap();
    daemon.start_again().await;
    granted(&daemon, "cus_lately").await;
    assert_eq!(told(&daemon, "crisis_not_answered"), 1);
    assert_eq!(access(&daemon, "cus_long_ago").await["emergency"]["active"], false);
    assert_eq!(audited(&daemon, "cus_lately").await, 1);

    daemon.kill();
    let dead = "UPDATE jobs SET state = 'dead', finished_at_ms = created_at_ms WHERE subject = 'cus_later'";
    database(&daemon).await.execute(dead).await.unwrap();
    daemon.start_again().await;
    // Without a receiver of alerts each process tells of every death that it finds, and of this one last.
    assert_eq!(audited(&daemon, "cus_later").await, 1);
    assert_eq!(told(&daemon, "crisis_not_answered"), 3);
    assert_eq!(audited(&daemon, "cus_lately").await, 1, "one death, one entry, whoever finds it");
}

/// How often the trail tells that `customer` was granted something from memory, once it does.
async fn audited(daemon: &Daemon, customer: &str) -> u64 {
    let path = format!("/api/v1/audit?action=crisis.granted_from_memory&subject={customer}");
    eventually("it is in the trail", async || {
        let page = daemon.operator().get(&path).await.json();
        page["total"].as_u64().filter(|total| *total > 0)
    })
    .await
}

/// More than were ever looked after at once.
const FLOOD: usize = 300;

#[tokio::test]
async fn what_another_process_has_answered_is_taken_back_however_many_were_late() {
    let daemon = Daemon::start_with(&[("KEEPWELL_CARE__CRISIS_RESPONSE_MS", "200")]).await;
    daemon.says(&["queue", "pause", "crisis", "--override", "--reason", "so that all are late"]).done();
    for number in 0..FLOOD {
        let customer = format!("cus_{number}");
        let pressed = signal("crisis.signal", &customer, json!({ "severity": "critical" }));
        taken(daemon.app(&customer, &pressed).await);
    }
    let last = format!("cus_{}", FLOOD - 1);
    granted(&daemon, "cus_0").await;
    granted(&daemon, &last).await;
    eventually("all of them are told", async || {
        (told(&daemon, "crisis_response_time_violation") == FLOOD).then_some(())
    })
    .await;
    // As another process does; what it changes for the person besides is no matter here.
    let done =
        "UPDATE jobs SET state = 'done', finished_at_ms = created_at_ms + 200 WHERE subject <> 'cus_1'";
    database(&daemon).await.execute(done).await.unwrap();
    for customer in ["cus_0", &last] {
        eventually("it is taken back", async || {
            (access(&daemon, customer).await["emergency"]["active"] == false).then_some(())
        })
        .await;
    }
    granted(&daemon, "cus_1").await;
}

#[tokio::test]
async fn who_was_told_of_a_dead_crisis_is_not_told_again_but_of_one_that_died_since() {
    let told_alerts = OnCall::start().await.settings();
    let settings: Vec<(&str, &str)> = told_alerts.iter().map(|(name, value)| (*name, &**value)).collect();
    let mut daemon = Daemon::start_with(&settings).await;
    daemon.says(&["queue", "pause", "crisis", "--override", "--reason", "so that they are owed"]).done();
    for customer in ["cus_before", "cus_since"] {
        let pressed = signal("crisis.signal", customer, json!({ "severity": "high" }));
        taken(daemon.app(customer, &pressed).await);
    }
    daemon.kill();
    let mut database = database(&daemon).await;
    let dead = "UPDATE jobs SET state = 'dead', finished_at_ms = created_at_ms WHERE subject = 'cus_before'";
    database.execute(dead).await.unwrap();
    daemon.start_again().await;
    granted(&daemon, "cus_before").await;
    let seen = "SELECT COUNT(*) FROM alerts WHERE rule = 'CrisisGrantedFromMemory' AND resolved_ms IS NULL";
    eventually("the alert is kept", async || {
        let (open,): (i64,) = sqlx::query_as(seen).fetch_one(&mut database).await.ok()?;
        (open == 1).then_some(())
    })
    .await;
    assert_eq!(told(&daemon, "crisis_not_answered"), 1);

    daemon.kill();
    // It died after that, and nobody was there to say so.
    let dead = "UPDATE jobs SET state = 'dead', finished_at_ms = 60000 + \
                (SELECT MAX(seen_ms) FROM alerts) WHERE subject = 'cus_since'";
    database.execute(dead).await.unwrap();
    daemon.start_again().await;
    granted(&daemon, "cus_before").await;
    granted(&daemon, "cus_since").await;
    assert_eq!(told(&daemon, "crisis_not_answered"), 2, "each once");
    eventually("what was told before is said in one line", async || {
        (told(&daemon, "died before and were told of then") == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_died_about_contacts_with_its_process_is_told_by_the_next_one_and_once() {
    let (on_call, gateway) = (OnCall::start().await.settings(), Gateway::start().await);
    gateway.always(Manner::Answers(503, vec![("retry-after", "60".to_owned())]));
    let url = gateway.url();
    let mut settings: Vec<(&str, &str)> = on_call.iter().map(|(name, value)| (*name, &**value)).collect();
    settings.extend([("KEEPWELL_NOTIFY__URL", &*url), ("KEEPWELL_NOTIFY__TOKEN", GATEWAY_TOKEN)]);
    let mut daemon = Daemon::start_with(&settings).await;
    let named = |customer| {
        let contact = json!({ "id": "one", "phone": "+1 555-0001", "consent_to_contact": true });
        let triggers = json!(["moderate"]);
        let named = json!({ "automatic_notification": true, "crisis_level_triggers": triggers, "contacts": [contact] });
        signal("contacts.updated", customer, named)
    };
    app(&daemon, &named("cus_1")).await;
    app(&daemon, &signal("consent.updated", "cus_1", json!({ "crisis_contact_consent": true }))).await;
    app(&daemon, &signal("crisis.signal", "cus_1", json!({ "severity": "high" }))).await;
    let contacts = async |daemon: &Daemon| daemon.operator().get("/api/v1/contacts").await.json();
    eventually("the gateway has refused to tell the contact", async || {
        // The person's own words are refused too, and perhaps before.
        let told = daemon.operator().get("/api/v1/jobs?kind=care.contact_told").await.json();
        (told["items"][0]["attempts"] == 1 && contacts(&daemon).await["queued"] == 1).then_some(())
    })
    .await;
    daemon.says(&["queue", "pause", "therapeutic", "--reason", "so that it is not read"]).done();
    taken(daemon.app("msg_unread", &named("cus_2")).await);
    daemon.kill();
    let mut database = database(&daemon).await;
    let dead =
        "UPDATE jobs SET state = 'dead', finished_at_ms = created_at_ms WHERE kind = 'care.contact_told'";
    database.execute(dead).await.unwrap();
    daemon.start_again().await;
    let seen = "SELECT COUNT(*) FROM alerts WHERE rule = 'ContactNotTold' AND resolved_ms IS NULL";
    eventually("the alert is kept", async || {
        let (open,): (i64,) = sqlx::query_as(seen).fetch_one(&mut database).await.ok()?;
        (open == 1).then_some(())
    })
    .await;
    eventually("the contact counts as not told", async || {
        let counts = contacts(&daemon).await;
        (counts["queued"] == 0 && counts["skipped"] == json!({ "not_delivered": 1 })).then_some(())
    })
    .await;
    assert_eq!(told(&daemon, "contact_not_told"), 1);
    let metrics = daemon.public().get("/metrics").await.text();
    assert!(metrics.contains("keepwell_contact_jobs_found_dead_total 1\n"), "{metrics}");

    daemon.kill();
    // It died after that, and nobody was there to say so.
    let dead = "UPDATE jobs SET state = 'dead', finished_at_ms = 60000 + \
                (SELECT MAX(seen_ms) FROM alerts) WHERE kind = 'app.person_data_updated' AND subject = 'cus_2'";
    database.execute(dead).await.unwrap();
    daemon.start_again().await;
    eventually("what nobody could read is told", async || {
        (told(&daemon, "contact_not_told") == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_receiver_of_alerts_a_death_is_counted_once_and_not_by_every_beginning() {
    let mut daemon = Daemon::start().await;
    daemon.says(&["queue", "pause", "therapeutic", "--reason", "so that it is not read"]).done();
    for customer in ["cus_1", "cus_2"] {
        let named = signal("contacts.updated", customer, json!({ "contacts": [] }));
        taken(daemon.app(customer, &named).await);
    }
    daemon.kill();
    let dead = "UPDATE jobs SET state = 'dead', finished_at_ms = created_at_ms WHERE subject = 'cus_1'";
    let mut database = database(&daemon).await;
    database.execute(dead).await.unwrap();
    let found_dead = "keepwell_contact_jobs_found_dead_total 1\n";
    let is_counted = async |daemon: &Daemon| {
        eventually("it is counted", async || {
            daemon.public().get("/metrics").await.text().contains(found_dead).then_some(())
        })
        .await;
    };
    daemon.start_again().await;
    is_counted(&daemon).await;
    assert_eq!(told(&daemon, "contact_not_told"), 1);

    daemon.kill();
    // As it is left when the next walk begins, a minute later.
    let (died_ms,): (i64,) =
        sqlx::query_as("SELECT MAX(finished_at_ms) FROM jobs").fetch_one(&mut database).await.unwrap();
    let note = json!({ "crises_ms": i64::MIN, "contacts_ms": died_ms });
    std::fs::write(daemon.state_dir().join("deaths.told"), note.to_string()).unwrap();
    let dead =
        "UPDATE jobs SET state = 'dead', finished_at_ms = 60000 + created_at_ms WHERE subject = 'cus_2'";
    database.execute(dead).await.unwrap();
    daemon.start_again().await;
    // The other one, and not both.
    is_counted(&daemon).await;
    assert_eq!(told(&daemon, "contact_not_told"), 2);
}

#[tokio::test]
async fn what_was_answered_in_time_violates_nothing_when_it_is_told_again_slowly() {
    let postgres = Postgres::start(Sync::Off).await;
    let url = postgres.database("keepwell").await;
    let settings = [("KEEPWELL_DATABASE__URL", url.as_str()), ("KEEPWELL_CARE__CRISIS_RESPONSE_MS", "1000")];
    let mut daemon = Daemon::start_with(&settings).await;
    let pressed = signal("crisis.signal", "cus_1", json!({ "severity": "moderate" }));
    finished(&daemon, &taken(daemon.app("msg_1", &pressed).await)).await;
    let resolved = signal("crisis.resolved", "cus_1", json!({ "by": "clinician" }));
    finished(&daemon, &taken(daemon.app("msg_2", &resolved).await)).await;
    assert_eq!(access(&daemon, "cus_1").await["emergency"]["active"], false);
    // The next process does not know that it was answered.
    daemon.stop().await;
    daemon.start_again().await;

    let mut blocker = PgConnection::connect(&url).await.unwrap();
    blocker.execute("BEGIN; LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE").await.unwrap();
    let told_again = async { taken(daemon.app("msg_1", &pressed).await) };
    let let_go = async {
        granted(&daemon, "cus_1").await;
        blocker.execute("ROLLBACK").await.unwrap();
    };
    assert_eq!(tokio::join!(told_again, let_go).0["duplicate"], true);
    eventually("it is found to be answered", async || {
        (access(&daemon, "cus_1").await["emergency"]["active"] == false).then_some(())
    })
    .await;
    let sql = "SELECT COUNT(*) FROM jobs WHERE kind = 'care.crisis_answered_late'";
    let (violations,): (i64,) = sqlx::query_as(sql).fetch_one(&mut blocker).await.unwrap();
    assert_eq!(violations, 0);
}
