//! The command line on the configuration and on the tables, with and without a daemon.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::said::Said;
use crate::support::{
    daemon::{ACCESS_TOKEN, Daemon, EMERGENCY_TOKEN, keepwell},
    door::{STRIPE_SECRET, app_secret},
};

/// A machine on which nothing is configured yet.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        Self(TempDir::with_prefix("keepwell-machine-").expect("a temporary directory"))
    }

    /// Runs `keepwell` there, on a state directory of its own.
    fn says(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Said {
        let state = self.0.path().join("state");
        let state = [("KEEPWELL_STATE_DIR", state.to_str().expect("UTF-8"))];
        Said::of(&keepwell(&[&state, settings].concat(), self.0.path(), arguments))
    }
}

fn of<'v>(list: &'v Value, name: &str, value: &str) -> &'v Value {
    list.as_array()
        .unwrap()
        .iter()
        .find(|one| one[name] == value)
        .unwrap_or_else(|| panic!("no {value} in {list:#}"))
}

#[test]
fn a_check_of_a_fresh_machine_finds_all_well_and_writes_nothing() {
    let machine = Machine::new();
    let findings = machine.says(&[], &["check", "--json"]).json();
    for check in ["configuration", "tiers", "database", "redis"] {
        assert_eq!(of(&findings, "check", check)["ok"], true, "{findings:#}");
    }
    let table = machine.says(&[], &["check"]).done();
    assert!(
        table.starts_with("CHECK          RESULT  DETAIL\n") && table.contains("\nredis          ok "),
        "{table}"
    );
    assert_eq!(machine.0.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_check_names_what_is_missing_and_no_password() {
    let machine = Machine::new();
    let settings = [
        ("KEEPWELL_REDIS__URL", "redis://:hidden-password@127.0.0.1:1/0"),
        ("KEEPWELL_DATABASE__URL", "postgres://me:hidden-password@127.0.0.1:1/none"),
    ];
    let said = machine.says(&settings, &["check", "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(!format!("{said:?}").contains("hidden-password"), "{said:?}");
    let findings: Value = serde_json::from_str(&said.data).expect("JSON");
    for (check, ok) in [("configuration", true), ("database", false), ("redis", false)] {
        assert_eq!(of(&findings, "check", check)["ok"], ok, "{findings:#}");
    }
}

#[tokio::test]
async fn the_configuration_is_shown_with_its_origins_and_without_its_secrets() {
    let daemon = Daemon::start().await;
    let shown = |more: &[&str]| Said::of(&daemon.keepwell(&[&["config", "show"], more].concat()));
    let said = shown(&[]).warned("care.crisis_response_ms");
    let settings = shown(&["--json"]).warned("care.crisis_response_ms");
    let settings: Value = serde_json::from_str(&settings).expect("JSON");
    let keys = std::fs::read_to_string(daemon.state_dir().join("dev-secrets.toml")).unwrap();
    let key = keys.split('"').nth(3).expect("a made-up secret in quotes").to_owned();
    for secret in [STRIPE_SECRET, &app_secret(), ACCESS_TOKEN, EMERGENCY_TOKEN, &key] {
        assert!(!said.contains(secret) && !settings.to_string().contains(secret), "{secret}");
    }
    let listen = of(&settings, "key", "server.listen");
    assert_eq!(listen["origin"], "environment variable KEEPWELL_SERVER__LISTEN");
    assert!(said.contains("# environment variable KEEPWELL_SERVER__LISTEN"), "{said}");
    let slots = of(&settings, "key", "pool.slots");
    assert_eq!(slots, &json!({ "key": "pool.slots", "origin": "default", "value": 64 }));
    assert_eq!(of(&settings, "key", "access.tokens")["value"], json!(["[redacted]"]));
    let made_up = of(&settings, "key", "encryption.keys")["origin"].as_str().unwrap();
    assert!(made_up.contains("dev-secrets.toml"), "{made_up}");
}

#[test]
fn a_setting_is_explained_and_a_slip_of_the_pen_finds_it() {
    let machine = Machine::new();
    let text = machine.says(&[("KEEPWELL_POOL__SLOTS", "8")], &["config", "explain", "pool.slots"]).done();
    for line in
        ["pool.slots\n", "default      64\n", "now          8 (environment variable KEEPWELL_POOL__SLOTS)\n"]
    {
        assert!(text.contains(line), "{line} in {text}");
    }
    let section = machine.says(&[], &["config", "explain", "pool", "--json"]).json();
    let keys: Vec<&str> =
        section.as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    assert!(keys.contains(&"pool.slots") && keys.iter().all(|key| key.starts_with("pool.")), "{keys:?}");
    machine
        .says(&[], &["config", "explain", "pool.slot"])
        .refused(2, &["`pool.slot`", "did you mean `pool.slots`?"]);
}

#[test]
fn a_wrong_setting_is_named_with_the_right_one() {
    let machine = Machine::new();
    let slip = [("KEEPWELL_POOL__SLOT", "8")];
    for command in [&["serve"][..], &["check"], &["queue", "list"], &["migrate"]] {
        machine
            .says(&slip, command)
            .refused(2, &["KEEPWELL_POOL__SLOT", "did you mean `KEEPWELL_POOL__SLOTS`?"]);
    }
    let file = machine.0.path().join("keepwell.toml");
    std::fs::write(&file, "[pool]\nslots = \"many\"\n\n[server]\nlisten_on = \"127.0.0.1:3000\"\n").unwrap();
    let command = ["serve", "--config", file.to_str().unwrap()];
    machine
        .says(&[], &command)
        .refused(2, &["2 problems", "`pool.slots`", "`many`", "listen_on", "`server.listen`"]);
}

#[test]
fn production_without_secrets_does_not_start_and_lists_them() {
    let machine = Machine::new();
    let secrets = ["stripe.webhook_secrets", "app.webhook_secrets", "access.tokens", "encryption.keys"];
    for command in ["serve", "check"] {
        machine.says(&[("KEEPWELL_ENVIRONMENT", "production")], &[command]).refused(2, &secrets);
    }
    assert_eq!(machine.0.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn the_tables_are_made_once_and_not_under_a_running_daemon() {
    let machine = Machine::new();
    let first = machine.says(&[], &["migrate", "--json"]).json();
    assert!(first["version"].as_i64() >= Some(2), "{first}");
    assert_eq!(machine.says(&[], &["migrate", "--json"]).json(), first);
    let text = machine.says(&[], &["migrate"]).done();
    assert_eq!(
        text,
        format!(
            "the tables are up to date: version {}, {} migrations\n",
            first["version"], first["migrations"]
        )
    );

    let daemon = Daemon::start().await;
    let said = Said::of(&daemon.keepwell(&["migrate"]));
    said.refused(1, &["another keepwell daemon uses the state directory"]);
}
