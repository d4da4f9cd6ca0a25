//! The units in `systemd/`, as systemd reads them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use http::StatusCode;
use keepwell::serve::STOPPING_MAX_MS;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    road::{
        event::{Event, SHAPES},
        taken,
    },
    support::{
        daemon::ACCESS_TOKEN,
        door::{Door, STRIPE_SECRET, app_secret},
        service_manager::ServiceManager,
    },
};

/// What `systemd-analyze security` may find at most: 0 is perfect, 10 is no protection at all.
const EXPOSURE_MAX: f64 = 1.3;

fn unit(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)).expect("the unit")
}

/// The values of `key` in the text of a unit.
fn values<'t>(unit: &'t str, key: &'t str) -> impl Iterator<Item = &'t str> {
    unit.lines().filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='))
}

/// The units as they would be installed, with the program that was just built.
fn installed() -> (TempDir, [PathBuf; 2]) {
    let folder = TempDir::with_prefix("keepwell-units-").unwrap();
    let program = env!("CARGO_BIN_EXE_keepwell");
    let paths = ["keepwell.service", "keepwell.socket"].map(|name| {
        let path = folder.path().join(name);
        fs::write(&path, unit(name).replace("/usr/bin/keepwell", program)).unwrap();
        path
    });
    (folder, paths)
}

/// Runs `systemd-analyze`; `None` where there is none.
fn analyze(arguments: &[&str], paths: &[PathBuf]) -> Option<Output> {
    let output = Command::new("systemd-analyze").args(arguments).args(paths).output();
    if output.is_err() {
        eprintln!("skipped: there is no systemd-analyze on this machine (Debian: apt-get install systemd)");
    }
    output.ok()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let (_folder, paths) = installed();
    let Some(verified) = analyze(&["verify", "--man=no"], &paths) else { return };
    let complaints = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && complaints.is_empty(), "{complaints}");
}

#[test]
fn the_service_is_as_confined_as_it_can_be() {
    let (_folder, [service, _]) = installed();
    let arguments = ["security", "--offline=true", "--json=short", "--no-pager"];
    let Some(judged) = analyze(&arguments, &[service]) else { return };
    let findings: Value = serde_json::from_slice(&judged.stdout).expect("JSON");
    let findings = findings.as_array().expect("a list");
    let number = |finding: &Value, name: &str| -> f64 {
        finding[name].as_str().and_then(|text| text.parse().ok()).unwrap_or(0.0)
    };
    let exposure: f64 = findings.iter().map(|finding| number(finding, "exposure")).sum();
    let open: Vec<&Value> = findings.iter().filter(|finding| number(finding, "exposure") > 0.0).collect();
    assert!(findings.len() > 50 && exposure <= EXPOSURE_MAX, "{exposure:.1}: {open:#?}");
}

#[test]
fn the_units_promise_what_the_daemon_does() {
    let (service, socket) = (unit("keepwell.service"), unit("keepwell.socket"));
    let has = |key, value| assert_eq!(values(&service, key).collect::<Vec<_>>(), [value], "{key}");
    has("Type", "notify");
    has("ExecReload", "/bin/kill -HUP $MAINPID");
    has("Restart", "always");
    has("StartLimitIntervalSec", "0");
    has("OOMPolicy", "continue");
    // The alert about memory goes by it too: the sandbox hides how much the machine has.
    has("MemoryMax", "75%");
    assert_eq!(values(&service, "MemoryHigh").count(), 0, "a crisis would be slowed down with the rest");
    has("Requires", "keepwell.socket");
    assert_eq!(values(&socket, "ListenStream").collect::<Vec<_>>(), ["127.0.0.1:3000"]);
    // What the drain may take, and what comes after it, fits into the time that systemd gives.
    let stop_s: u64 = values(&service, "TimeoutStopSec").next().unwrap().parse().unwrap();
    let drain_ms =
        keepwell_config::DEFAULT_TOML.lines().find_map(|line| line.strip_prefix("drain_timeout_ms = "));
    let drain_ms: u64 = drain_ms.expect("it has a default").replace('_', "").parse().unwrap();
    assert!(stop_s * 1_000 > drain_ms + STOPPING_MAX_MS, "{stop_s} s for {drain_ms} ms");
}

#[tokio::test]
async fn the_credentials_that_the_unit_loads_are_all_that_production_needs() {
    let manager = ServiceManager::new().await;
    let folder = manager.folder().join("credentials");
    fs::create_dir(&folder).unwrap();
    let service = unit("keepwell.service");
    let names: Vec<&str> =
        values(&service, "LoadCredential").filter_map(|value| Some(value.split_once(':')?.0)).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    for name in names {
        let secret = match name {
            "stripe.webhook_secrets" => STRIPE_SECRET.to_owned(),
            "app.webhook_secrets" => app_secret(),
            "access.tokens" => ACCESS_TOKEN.to_owned(),
            "encryption.keys" => "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned(),
            other => panic!("{other} is a credential that nobody reads"),
        };
        fs::write(folder.join(name), format!("{secret}\n")).unwrap();
    }
    let manager = manager
        .without("KEEPWELL_STRIPE__WEBHOOK_SECRETS")
        .without("KEEPWELL_APP__WEBHOOK_SECRETS")
        .without("KEEPWELL_ACCESS__TOKENS")
        .with("KEEPWELL_ENVIRONMENT", "production")
        .with("CREDENTIALS_DIRECTORY", folder.to_str().unwrap());
    let daemon = manager.start_ready().await;
    taken(Door::of(manager.public()).stripe(&Event::of(SHAPES[0], "invoice.payment_failed", "sealed")).await);
    let reader = manager.public().with_token(ACCESS_TOKEN);
    assert_eq!(reader.get("/v1/customers/cus_sealed/access").await.status, StatusCode::OK);
    assert!(!manager.folder().join("state/dev-secrets.toml").exists(), "{}", daemon.log());
}
