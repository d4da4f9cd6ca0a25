//! Compliance reports, as a compliance officer meets them.

use std::{collections::BTreeSet, fs, path::Path};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;

use super::{
    app,
    event::{Event, SHAPES},
    nothing_owed,
    said::Said,
    signal, stripe, taken,
};
use crate::support::{
    daemon::Daemon,
    eventually,
    gateway::{GATEWAY_TOKEN, Gateway, Manner},
};

/// Crises that come one after the other.
const CROWD: i64 = 60;

fn says(daemon: &Daemon, arguments: &[&str]) -> Said {
    Said::of(&daemon.keepwell(arguments))
}

/// How many answers were noted by the process that gave them.
async fn measured(daemon: &Daemon) -> i64 {
    noted(daemon, "SELECT COUNT(*) FROM crisis_responses WHERE measured AND took_us > 0").await
}

/// What `sql` counts.
async fn noted(daemon: &Daemon, sql: &'static str) -> i64 {
    let url = format!("sqlite:{}", daemon.state_dir().join("keepwell.db").display());
    let mut database = SqliteConnection::connect(&url).await.unwrap();
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
    for figures in ["3 of 3 crises answered; 0 not", "Times that a crisis opened emergency access"] {
        assert!(page.contains(figures), "{figures} is not in the page");
    }
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

#[tokio::test]
async fn the_watch_the_metrics_and_the_report_call_the_same_crises_late() {
    // About as long as an answer takes: some are late by a fraction of a millisecond, and some just in time.
    let daemon = Daemon::start_with(&[("KEEPWELL_CARE__CRISIS_RESPONSE_MS", "5")]).await;
    let press = async |number: i64| {
        let data = json!({ "source": "button", "severity": "high" });
        let pressed = signal("crisis.signal", &format!("cus_{number}"), data);
        taken(daemon.app(&format!("msg_{number}"), &pressed).await);
    };
    // What comes while the daemon begins may be noted from the ledger, to the millisecond: once the first one is noted,
    // the comparison with the ledger that a beginning makes is of what came before.
    press(0).await;
    let first = "SELECT COUNT(*) FROM crisis_responses WHERE took_us > 0";
    eventually("the first answer is noted", async || (noted(&daemon, first).await == 1).then_some(())).await;
    let before = measured(&daemon).await;
    for number in 1..=CROWD {
        press(number).await;
    }
    let all = before + CROWD;
    eventually("every answer is noted", async || (measured(&daemon).await == all).then_some(())).await;
    nothing_owed(&daemon).await;
    eventually("all of them say the same", async || {
        let report = says(&daemon, &["report", "crisis", "--from", "1h"]);
        let report: Value = serde_json::from_str(&report.data).unwrap();
        let late = report["report"]["responseTimeCompliance"]["violations"].as_u64()?;
        let recorded = report["report"]["safetyMetrics"]["violationsRecorded"].as_u64()?;
        let metrics = daemon.public().get("/metrics").await.text();
        let says = |series: &str| metrics.lines().any(|line| line == format!("keepwell_{series} {late}"));
        let counted = says("crisis_response_violations_total")
            && says("crisis_response_recent_crises{window=\"1h\",result=\"late\"}");
        (late == recorded && counted).then_some(())
    })
    .await;
}

const SCHEDULES: &str = r#"[
    { name = "monthly", cron = "0 0 6 1 1 *", kind = "report.due", payload = { report = "crisis", period = "month" } },
    { name = "hourly", cron = "0 5 6 1 1 *", kind = "report.due", payload = { report = "operations", period = "hour" } },
]"#;

/// The reports in `folder`, by file name.
fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// A daemon that brings its reports to `folder` and posts them to `receiver`.
async fn delivering(receiver: &Gateway, folder: &Path) -> Daemon {
    Daemon::start_with(&[
        ("KEEPWELL_SCHEDULES", SCHEDULES),
        ("KEEPWELL_REPORTS__DIRECTORY", folder.to_str().unwrap()),
        ("KEEPWELL_REPORTS__URL", &receiver.url()),
        ("KEEPWELL_REPORTS__TOKEN", GATEWAY_TOKEN),
    ])
    .await
}

#[tokio::test]
async fn reports_on_schedule_are_made_once_and_brought_to_a_directory_and_an_address() {
    let (receiver, folder) = (Gateway::start().await, TempDir::with_prefix("keepwell-reports-").unwrap());
    // The receiver is out of order at first.
    receiver.next([Manner::Answers(503, vec![])]);
    let daemon = delivering(&receiver, folder.path()).await;
    let checked = says(&daemon, &["check"]).warned("care.crisis_response_ms");
    assert!(checked.contains("reports.url"), "{checked}");
    let mut reports = Vec::new();
    for (schedule, kind) in [("monthly", "crisis"), ("hourly", "operations")] {
        let job = says(&daemon, &["schedule", "run", schedule, "--json"]).json()["job"].clone();
        reports.push((kind, job.as_str().unwrap().to_owned()));
    }
    let delivered = "/api/v1/jobs?kind=report.delivered&state=done";
    eventually("both are delivered", async || {
        (daemon.operator().get(delivered).await.json()["total"] == 2).then_some(())
    })
    .await;
    assert_eq!(says(&daemon, &["report", "list", "--json"]).json()["total"], 2);

    let mut expected = Vec::new();
    for (kind, id) in &reports {
        for form in ["csv", "csv.sig", "html", "html.sig", "json", "json.sig"] {
            expected.push(format!("{kind}-{id}.{form}"));
        }
        for form in ["csv", "html", "json"] {
            let file = folder.path().join(format!("{kind}-{id}.{form}"));
            says(&daemon, &["report", "verify", file.to_str().unwrap()]).done();
        }
        let taken = receiver.taken();
        let posted = taken.iter().find(|it| it.document["report"] == id.as_str()).unwrap();
        assert_eq!(posted.document["kind"], *kind);
        let (file, signature) = (folder.path().join("posted"), folder.path().join("posted.sig"));
        fs::write(&file, posted.document["content"].as_str().unwrap()).unwrap();
        fs::write(&signature, posted.document["signature"].to_string()).unwrap();
        says(&daemon, &["report", "verify", file.to_str().unwrap()]).done();
        fs::remove_file(file).unwrap();
        fs::remove_file(signature).unwrap();
    }
    expected.sort();
    assert_eq!(files(folder.path()), expected);

    let month = says(&daemon, &["report", "show", &reports[0].1]).json();
    let period = &month["report"]["reportPeriod"];
    for end in ["startDate", "endDate"] {
        assert!(period[end].as_str().unwrap().contains("-01T00:00:00"), "{period}");
    }
    let now = says(&daemon, &["report", "operations", "--from", "1h"]);
    let now: Value = serde_json::from_str(&now.data).unwrap();
    let figures = &now["report"];
    let made = figures["kinds"].as_array().unwrap().iter().find(|it| it["kind"] == "report.due").unwrap();
    assert_eq!((&made["recorded"], &made["states"]["done"]), (&json!(2), &json!(2)), "{figures:#}");
    let delivered =
        figures["kinds"].as_array().unwrap().iter().find(|it| it["kind"] == "report.delivered").unwrap();
    assert_eq!((&delivered["recorded"], &delivered["retries"]), (&json!(2), &json!(1)), "{figures:#}");
    assert!(figures["errors"][0]["error"].as_str().unwrap().contains("(503)"));
    let health: Vec<_> = figures["schedules"].as_array().unwrap().iter().map(|it| &it["health"]).collect();
    assert_eq!(health, ["on_time", "on_time"]);
    let page = says(&daemon, &["report", "operations", "--from", "1h", "--format", "html"]).data;
    assert!(page.contains("<h1>Operations report</h1>"), "{page}");
    for forbidden in ["<script", "href=", "src=", "http://"] {
        assert!(!page.contains(forbidden), "{forbidden} in the page");
    }
}

#[tokio::test]
async fn compliance_reports_are_made_by_themselves_and_others_are_delivered_when_somebody_asks() {
    let folder = TempDir::with_prefix("keepwell-reports-").unwrap();
    let mut daemon = Daemon::start_with(&[
        ("KEEPWELL_REPORTS__PERIODS", r#"["hour", "day", "month"]"#),
        ("KEEPWELL_REPORTS__TIME_ZONE", "Europe/Berlin"),
    ])
    .await;
    let checked = says(&daemon, &["check"]).warned("care.crisis_response_ms");
    assert!(checked.contains("report-daily") && checked.contains("Europe/Berlin"), "{checked}");
    for name in ["report-hourly", "report-daily", "report-monthly"] {
        says(&daemon, &["schedule", "run", name]).done();
    }
    let kept = eventually("all three are kept", async || {
        let page = says(&daemon, &["report", "list", "--json"]).json();
        // One more if the clock has just passed its time.
        (page["total"].as_u64()? >= 3).then_some(page)
    })
    .await;
    let kept = kept["items"].as_array().unwrap();
    assert!(kept.iter().all(|report| report["kind"] == "crisis"), "{kept:?}");
    let listed = says(&daemon, &["schedule", "list"]).done();
    assert!(!listed.contains("operations-"), "{listed}");
    let id = kept[0]["id"].as_str().unwrap();
    says(&daemon, &["report", "deliver", id]).refused(1, &["`reports.directory`", "`reports.url`"]);

    daemon.set("KEEPWELL_REPORTS__PERIODS", "[]");
    daemon.set("KEEPWELL_REPORTS__DIRECTORY", folder.path().to_str().unwrap());
    assert!(daemon.stop().await.success());
    daemon.start_again().await;
    let made = says(&daemon, &["report", "operations", "--from", "1h"]);
    assert_eq!(made.code, 0, "{made:?}");
    let made = says(&daemon, &["report", "crisis", "--from", "1h", "--deliver"]);
    assert!(made.code == 0 && made.talk.contains("where reports go"), "{made:?}");
    says(&daemon, &["report", "deliver", id]).done();
    let delivered = "/api/v1/jobs?kind=report.delivered&state=done";
    eventually("both are delivered", async || {
        (daemon.operator().get(delivered).await.json()["total"] == 2).then_some(())
    })
    .await;
    let files = files(folder.path());
    assert_eq!(files.len(), 12, "{files:?}");
    assert!(files.iter().all(|name| name.starts_with("crisis-")), "the other one was only kept: {files:?}");
    assert!(files.contains(&format!("crisis-{id}.html.sig")), "{files:?}");
    let asked = says(&daemon, &["audit", "list", "--action", "report.delivery_asked", "--json"]).json();
    assert_eq!(asked["items"].as_array().unwrap().len(), 2, "{asked:#}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_keeps_no_report_from_its_address() {
    let (receiver, folder) = (Gateway::start().await, TempDir::with_prefix("keepwell-reports-").unwrap());
    let daemon = delivering(&receiver, folder.path()).await;
    fs::remove_dir(folder.path()).unwrap();
    says(&daemon, &["schedule", "run", "hourly"]).done();
    eventually("it is posted", async || (!receiver.taken().is_empty()).then_some(())).await;
    let owed = "/api/v1/jobs?kind=report.delivered&state=owed";
    eventually("what is wrong with the folder is said", async || {
        let page = daemon.operator().get(owed).await.json();
        page["items"][0]["last_error"].as_str()?.contains("`reports.directory`").then_some(())
    })
    .await;
}

#[tokio::test]
async fn operations_reports_are_made_by_themselves_kept_signed_and_brought_where_reports_go() {
    let (receiver, folder) = (Gateway::start().await, TempDir::with_prefix("keepwell-reports-").unwrap());
    let daemon = Daemon::start_with(&[
        ("KEEPWELL_REPORTS__OPERATIONS_PERIODS", r#"["hour", "day", "month"]"#),
        ("KEEPWELL_REPORTS__DIRECTORY", folder.path().to_str().unwrap()),
        ("KEEPWELL_REPORTS__URL", &receiver.url()),
        ("KEEPWELL_REPORTS__TOKEN", GATEWAY_TOKEN),
    ])
    .await;
    let listed = says(&daemon, &["schedule", "list"]).done();
    assert!(!listed.contains("report-"), "those on crises are another setting: {listed}");
    for name in ["operations-hourly", "operations-daily", "operations-monthly"] {
        assert!(listed.contains(name), "{listed}");
        says(&daemon, &["schedule", "run", name]).done();
    }
    let delivered = "/api/v1/jobs?kind=report.delivered&state=done";
    let kept = eventually("all three are delivered", async || {
        let delivered = daemon.operator().get(delivered).await.json()["total"].as_u64()?;
        let kept = says(&daemon, &["report", "list", "--json"]).json();
        // One more if the clock has just passed its time.
        (delivered >= 3 && kept["total"] == delivered).then_some(kept)
    })
    .await;
    let kept = kept["items"].as_array().unwrap();
    let at = |report: &Value, end: &str| report[end].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    let hours = |report: &Value| (at(report, "to") - at(report, "from")).num_hours();
    let spans: BTreeSet<i64> = kept.iter().map(hours).collect();
    assert!(spans.contains(&1) && spans.contains(&24) && spans.last() >= Some(&(28 * 24)), "{kept:?}");
    for report in kept {
        assert_eq!(report["kind"], "operations", "{report:#}");
        let name = format!("operations-{}", report["id"].as_str().unwrap());
        for format in ["json", "csv", "html"] {
            let path = folder.path().join(format!("{name}.{format}"));
            let verified = says(&daemon, &["report", "verify", path.to_str().unwrap()]).done();
            assert!(verified.starts_with("genuine"), "{verified}");
        }
    }
    let posted = receiver.taken();
    assert!(posted.len() >= 3, "{posted:?}");
    assert!(posted.iter().all(|posted| posted.document["kind"] == "operations"), "{posted:?}");
}
