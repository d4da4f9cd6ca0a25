//! What Prometheus and Grafana are given: rules that fire and resolve there as they do in the daemon, and figures that
//! are there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use keepwell_jobs::alerts::{
    figure::{Figure, Series},
    rule::{Bound, Rule, When},
    rules::RULES,
};
use serde_json::{Value, json};

use super::{
    app,
    event::{Event, SHAPES},
    signal, stripe,
};
use crate::support::{
    daemon::Daemon,
    eventually,
    gateway::{Gateway, Sort},
};

pub(super) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

pub(super) fn promtool(arguments: &[&str]) {
    let said = Command::new("promtool").args(arguments).output();
    let said = said.expect("promtool; `scripts/needs.sh test` installs it");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(said.status.success(), "{}{}", text(&said.stdout), text(&said.stderr));
}

#[test]
fn prometheus_takes_the_rules() {
    promtool(&[
        "check",
        "rules",
        "--lint=all",
        "--lint-fatal",
        file("alerts/keepwell.rules.yml").to_str().unwrap(),
    ]);
}

/// A series that shows `wrong` for ten minutes and `well` after that.
fn series(series: &Series, more: Option<&str>, wrong: f64, well: f64) -> Value {
    let labels: Vec<String> =
        series.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let labels: Vec<String> = labels.into_iter().chain(more.map(|label| format!("{label}=\"x\""))).collect();
    json!({
        "series": format!("{}{{{}}}", series.name, labels.join(",")),
        "values": format!("{wrong}x9 {well}x90"),
    })
}

/// `/metrics` while `rule` is broken and when all is well again.
fn history(figure: &Figure, bound: Bound) -> Vec<Value> {
    let mut input: BTreeMap<String, Value> = BTreeMap::new();
    let mut put = |value: Value| input.insert(value["series"].as_str().unwrap().to_owned(), value);
    for growth in figure.growths() {
        for counter in growth.plus {
            let mut grows = series(counter, Some("other"), 0.0, 0.0);
            grows["values"] = "0+4000x9 36000x90".into();
            put(grows);
        }
        for counter in growth.minus {
            put(series(counter, None, 0.0, 0.0));
        }
    }
    let (wrong, well) = match bound {
        Bound::Above(bound) => (bound + 1.0, bound),
        Bound::Below(bound) => (bound - 1.0, bound),
    };
    match figure {
        Figure::Highest { of, by } => _ = put(series(of, *by, wrong, well)),
        Figure::Lowest(of) => _ = put(series(of, None, wrong, well)),
        Figure::Ratio { part, of } => {
            put(series(part, None, 9.0, 8.0));
            put(series(of, None, 10.0, 10.0));
        }
        Figure::Load { of, .. } => _ = put(series(of, None, 2.0, 2.0)),
        Figure::Growth(_) | Figure::Share { .. } => {}
    }
    input.into_values().collect()
}

fn case(rule: &Rule) -> Option<Value> {
    let When::Figure(figure, bound) = &rule.when else { return None };
    let mut labels =
        json!({ "severity": rule.severity.name(), "tell_within": format!("{}s", rule.tell_within_s) });
    if let Some(by) = rule.by() {
        labels[by] = "x".into();
    }
    let fires = json!({
        "exp_labels": labels,
        "exp_annotations": { "summary": rule.summary, "runbook": rule.runbook },
    });
    let windows = figure.growths().iter().map(|growth| growth.window_s).max().unwrap_or(0);
    let over = format!("{}s", 600 + windows + 300);
    let test = |time: &str, alerts: Vec<&Value>| json!({ "eval_time": time, "alertname": rule.name, "exp_alerts": alerts });
    Some(json!({
        "name": rule.name,
        "interval": "1m",
        "input_series": history(figure, *bound),
        "alert_rule_test": [test("9m", vec![&fires]), test(&over, vec![])],
    }))
}

/// Nothing is heard for twenty minutes, and then a daemon is.
fn nobody_there() -> Value {
    let rules = fs::read_to_string(file("alerts/keepwell.rules.yml")).unwrap();
    let rule = rules.split("- alert: ").find(|rule| rule.starts_with("KeepwellSilent")).unwrap();
    let annotation = |key: &str| {
        let (_, after) = rule.split_once(&format!("{key}: '")).unwrap();
        after.split_once("'\n").unwrap().0.to_owned()
    };
    let fires = json!({
        "exp_labels": { "severity": "critical", "tell_within": "0s" },
        "exp_annotations": { "summary": annotation("summary"), "runbook": annotation("runbook") },
    });
    let test = |time: &str, alerts: Vec<&Value>| json!({ "eval_time": time, "alertname": "KeepwellSilent", "exp_alerts": alerts });
    json!({
        "name": "KeepwellSilent",
        "interval": "1m",
        "input_series": [{ "series": "keepwell_dependency_up{dependency=\"redis\"}", "values": "_x20 1x90" }],
        "alert_rule_test": [test("9m", vec![&fires]), test("30m", vec![])],
    })
}

#[test]
fn every_rule_fires_and_resolves_in_prometheus_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut tests: Vec<Value> = RULES.into_iter().filter_map(case).collect();
    tests.push(nobody_there());
    assert!(tests.len() > 25, "{}", tests.len());
    let suite = json!({
        "rule_files": [file("alerts/keepwell.rules.yml")], "evaluation_interval": "1m", "tests": tests,
    });
    // JSON is YAML.
    let path = folder.path().join("suite.yml");
    fs::write(&path, suite.to_string()).unwrap();
    promtool(&["test", "rules", path.to_str().unwrap()]);
}

/// The metrics that `text` names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("keepwell_")).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_figure_of_rules_and_dashboards_is_measured() {
    let channel = Gateway::of(Sort::Channel).await;
    let schedules = r#"[{ name = "yearly", cron = "0 0 6 1 1 *", kind = "app.signal_recorded" }]"#;
    let daemon = Daemon::start_with(&[
        ("KEEPWELL_SCHEDULES", schedules),
        ("KEEPWELL_ALERTS__SLACK_URL", &channel.url()),
        ("KEEPWELL_MONITORS__CANARY_EVERY_MS", "60000"),
    ])
    .await;
    app(&daemon, &signal("crisis.signal", "cus_1", json!({ "severity": "high" }))).await;
    stripe(&daemon, &Event::of(SHAPES[0], "invoice.payment_failed", "measured")).await;
    // The figures of the last hour are made a moment after the start.
    let metrics = eventually("the figures of the last hour are made", async || {
        let metrics = daemon.public().get("/metrics").await.text();
        metrics.contains("keepwell_compliance_target_ratio{").then_some(metrics)
    })
    .await;
    // Of an hour in which nothing happened there is no share, but there is its description.
    let is_measured = |line: &&str| !line.starts_with('#') || line.starts_with("# TYPE keepwell_compliance_");
    let measured = named(&metrics.lines().filter(is_measured).fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{line}");
        all
    }));
    let rules = fs::read_to_string(file("alerts/keepwell.rules.yml")).unwrap();
    let board = fs::read_to_string(file("grafana/keepwell.json")).unwrap();
    let board: Value = serde_json::from_str(&board).expect("JSON");
    for (name, text) in [("the rules", rules), ("the dashboard", board.to_string())] {
        let named = named(&text);
        assert!(named.len() > 15, "{name}: {named:?}");
        let missing: Vec<&String> = named.difference(&measured).collect();
        assert!(missing.is_empty(), "{name}: {missing:?} is not measured");
    }
    for Series { name, labels } in RULES.iter().flat_map(|rule| rule.series()) {
        // Of all kinds together nothing has ended yet.
        if labels.iter().any(|(label, _)| *label == "outcome") && labels.len() == 1 {
            continue;
        }
        let is_there = |line: &str| {
            let has = |(label, value): &(&str, &str)| line.contains(&format!("{label}=\"{value}\""));
            line.starts_with(name) && labels.iter().all(has)
        };
        assert!(metrics.lines().any(is_there), "{name} with {labels:?}");
    }
}
