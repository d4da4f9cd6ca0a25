//! The dashboard for Grafana, as far as it can be judged without one. That what it shows is measured,
//! `prometheus.rs` says.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use super::prometheus::{file, promtool};

/// The width of Grafana's grid, in cells.
const GRID_WIDTH: u64 = 24;

/// Units by the names that Grafana's value formats have; an unknown one is shown as a suffix.
const UNITS: [&str; 9] = ["short", "none", "s", "ms", "percentunit", "percent", "ops", "reqps", "bytes"];

/// Panels that every Grafana has; one that it does not know is a box that says so.
const KINDS: [&str; 6] = ["timeseries", "table", "stat", "gauge", "bargauge", "heatmap"];

fn panels() -> Vec<Value> {
    let board = fs::read_to_string(file("grafana/keepwell.json")).unwrap();
    let board: Value = serde_json::from_str(&board).unwrap();
    let panels = board["panels"].as_array().unwrap().clone();
    assert!(panels.len() > 15, "{}", panels.len());
    panels
}

/// What is no heading.
fn charts() -> Vec<Value> {
    panels().into_iter().filter(|panel| panel["type"] != "row").collect()
}

fn targets(panel: &Value) -> &Vec<Value> {
    panel["targets"].as_array().unwrap()
}

#[test]
fn prometheus_understands_every_expression_of_the_dashboard() {
    let folder = tempfile::tempdir().unwrap();
    let mut rules = Vec::new();
    for panel in charts() {
        for target in targets(&panel) {
            let name = format!("panel_{}_{}", panel["id"], target["refId"].as_str().unwrap());
            rules.push(json!({ "record": name, "expr": target["expr"] }));
        }
    }
    assert!(rules.len() > 25, "{}", rules.len());
    let path = folder.path().join("dashboard.yml");
    // JSON is YAML.
    let rules = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    fs::write(&path, rules.to_string()).unwrap();
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", path.to_str().unwrap()]);
}

#[test]
fn every_panel_of_the_dashboard_says_what_it_shows_and_asks_whichever_prometheus_was_chosen() {
    let board: Value =
        serde_json::from_str(&fs::read_to_string(file("grafana/keepwell.json")).unwrap()).unwrap();
    let variables = board["templating"]["list"].as_array().unwrap();
    let chosen = |it: &&Value| it["name"] == "datasource" && it["type"] == "datasource";
    assert!(variables.iter().find(chosen).is_some_and(|it| it["query"] == "prometheus"), "{variables:?}");
    // Grafana 10 and later read it; older schemas are migrated, newer ones refused.
    assert!((36..=41).contains(&board["schemaVersion"].as_u64().unwrap()), "{}", board["schemaVersion"]);
    let mut ids = BTreeSet::new();
    for panel in panels() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels are {}", panel["id"]);
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{panel:#}");
    }
    for panel in charts() {
        let title = panel["title"].as_str().unwrap();
        let says = |text: &Value| text.as_str().is_some_and(|text| !text.is_empty());
        assert!(says(&panel["description"]), "{title} has no description");
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
        assert!(UNITS.contains(&unit), "{title} has the unit `{unit}`");
        let kind = panel["type"].as_str().unwrap_or_default();
        assert!(KINDS.contains(&kind), "{title} is a `{kind}`");
        let source = json!({ "type": "prometheus", "uid": "${datasource}" });
        assert_eq!(panel["datasource"], source, "{title}");
        let names: BTreeSet<&str> =
            targets(&panel).iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert!(!names.is_empty() && names.len() == targets(&panel).len(), "{title}: {names:?}");
        if panel["type"] == "table" {
            // Otherwise it would show one series of many, over time.
            let is_now = |target: &Value| target["instant"] == true && target["format"] == "table";
            assert!(targets(&panel).iter().all(is_now), "{title}");
        }
    }
}

#[test]
fn no_panel_of_the_dashboard_lies_on_another() {
    let mut taken = BTreeSet::new();
    for panel in panels() {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= GRID_WIDTH, "{} is wider than the grid", panel["title"]);
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{} lies on another at {cell:?}", panel["title"]);
        }
    }
}

/// What the deployment guide asks to be seen (`panels`), and what the daemon measures of it; what it does not measure
/// is called by the exporter that does.
#[test]
fn everything_that_is_to_be_seen_has_a_panel_that_is_named_after_what_it_shows() {
    let charts = charts();
    let panel = |title: &str| {
        let found = charts.iter().find(|panel| panel["title"] == title);
        let panel = found.unwrap_or_else(|| panic!("there is no panel `{title}`"));
        targets(panel).iter().map(|target| target["expr"].to_string()).collect::<String>()
    };
    for (title, metric) in [
        ("Therapeutic continuity", "keepwell_compliance_ratio{figure=\\\"therapeutic_access\\\"}"),
        ("Therapeutic access held", "keepwell_access_checked_total"),
        ("Access that was missing", "keepwell_access_mended_total"),
        ("Compliance", "by (figure) (keepwell_compliance_ratio)"),
        ("Crises and violations of an hour", "keepwell_compliance_violations"),
        ("Canaries", "keepwell_canary_duration_seconds_bucket"),
        ("Canaries that were not well", "keepwell_canary_bad_in_a_row"),
        ("Disk usage (node exporter)", "node_filesystem_avail_bytes"),
        ("Network (node exporter)", "node_netstat_Tcp_RetransSegs"),
        ("Longest waiting, crisis and therapeutic", "keepwell_lane_oldest_waiting_seconds"),
    ] {
        assert!(panel(title).contains(metric), "{title}: {}", panel(title));
    }
    for panel in &charts {
        let asks = |target: &Value| target["expr"].as_str().unwrap().contains("node_");
        if targets(panel).iter().any(asks) {
            assert!(panel["title"].as_str().unwrap().ends_with("(node exporter)"), "{}", panel["title"]);
        }
    }
}
