//! Compliance reports, as a compliance officer meets them.

use std::fs;

use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use super::{
    app,
    event::{Event, SHAPES},
    said::Said,
    signal, stripe,
};
use crate::support::{daemon::Daemon, eventually};

fn says(daemon: &Daemon, arguments: &[&str]) -> Said {
    Said::of(&daemon.keepwell(arguments))
}

/// How many answers were noted by the process that gave them.
async fn measured(daemon: &Daemon) -> i64 {
    let url = format!("sqlite:{}", daemon.state_dir().join("keepwell.db").display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    let sql = "SELECT COUNT(*) FROM crisis_responses WHERE measured AND took_us > 0";
    let (count,): (i64,) = sqlx::query_as(sql).fetch_one(&mut database).await.unwrap();
    count
}

#[tokio::test]
async fn a_report_counts_the_crises_that_came_and_is_genuine_until_somebody_touches_it() {
    let daemon = Daemon::start().await;
    for (number, severity) in ["critical", "high", "moderate"].into_iter().enumerate() {
        let data = json!({ "source": "button", "severity": severity });
        app(&daemon, &signal("crisis.signal", &format!("cus_{number}"), data)).await;
    }
    stripe(&daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "pays")).await;
    eventually("every answer is noted", async || (measured(&daemon).await == 3).then_some(())).await;

    let made = says(&daemon, &["report", "crisis", "--from", "1h"]);
    assert_eq!(made.code, 0, "{made:?}");
    let report: Value = serde_json::from_str(&made.data).unwrap();
    let figures = &report["report"];
    let response = &figures["responseTimeCompliance"];
    assert_eq!(
        (&response["latency"]["count"], &response["fromLedger"]),
        (&3.into(), &0.into()),
        "{response:#}"
    );
    assert_eq!(figures["therapeuticAccessCompliance"]["interruptions"], 0);
    assert_eq!(figures["emergencyAccessCompliance"]["status"], "compliant");
    assert_eq!(figures["auditCompliance"]["auditTrailComplete"], true, "{figures:#}");
    assert!(!made.data.contains("cus_"), "nobody is named");

    let file = daemon.state_dir().join("crisis.html");
    let path = file.to_str().unwrap();
    let written = says(&daemon, &["report", "crisis", "--from", "1h", "--format", "html", "-o", path]);
    assert_eq!((written.code, written.data.as_str()), (0, ""), "{written:?}");
    let page = fs::read_to_string(&file).unwrap();
    for forbidden in ["<script", "href=", "src=", "http://", "cus_"] {
        assert!(!page.contains(forbidden), "{forbidden} in the page");
    }
    assert!(says(&daemon, &["report", "verify", path]).done().starts_with("genuine"));
    let keys = says(&daemon, &["report", "keys", "--json"]).json();
    let public = keys["items"][0]["public_key"].as_str().unwrap().to_owned();
    says(&daemon, &["report", "verify", path, "--public-key", &public]).done();
    fs::write(&file, page.replacen("compliant", "compliaNt", 1)).unwrap();
    let touched = says(&daemon, &["report", "verify", path]);
    assert_eq!(touched.code, 1);
    assert!(touched.data.contains("not the one that was signed"), "{touched:?}");

    let listed = says(&daemon, &["report", "list", "--json"]).json();
    assert_eq!(listed["total"], 2);
    let id = listed["items"][0]["id"].as_str().unwrap();
    let table = says(&daemon, &["report", "show", id, "--format", "csv"]).done();
    assert!(table.contains("report.responseTimeCompliance.latency.count,3\r\n"), "{table}");
    says(&daemon, &["report", "crisis", "--from", "1h", "--to", "2h"]).refused(2, &["ends before it begins"]);
}
