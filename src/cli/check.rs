//! `keepwell check`: whether the daemon would start and have what it needs. Writes nothing.

use std::{fs, io, path::Path, process::Stdio, sync::Arc, time::Duration};

use keepwell_config::{Config, Loaded, Purpose, TIERS_TOML};
use keepwell_jobs::care::{pressing::pressing, tiers::Tiers};
use keepwell_schedules::schedule::Schedule;
use keepwell_workers::{
    clock::{Clock as _, SystemClock},
    database::{Database, DatabaseOptions},
    handler::Registry,
    lanes::{Lanes, LanesOptions},
    ledger::Ledger,
};
use serde::Serialize;
use tokio::{process::Command, time::timeout};

use super::{
    Context,
    failure::Failure,
    say,
    table::{Align, Table},
};
use crate::{
    alerts::described,
    api::BindError,
    serve::{
        ServeError, asked_in_words, courier, crisis_lines, database_url, drop_paths, event_types, key_ring,
        notifier, schedules, templates,
    },
};

/// How long each of the others may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    ok: bool,
    detail: String,
}

impl Finding {
    fn of(check: &'static str, found: Result<String, String>) -> Self {
        let ok = found.is_ok();
        Self { check, ok, detail: found.unwrap_or_else(|detail| detail) }
    }
}

pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let loaded = Config::load(&context.sources(Purpose::Check))?;
    let config = &loaded.config;
    if !config.operators.listen.ip().to_canonical().is_loopback() {
        return Err(Failure::Usage(BindError::NotLoopback(config.operators.listen).to_string()));
    }
    for warning in &loaded.warnings {
        say(&format!("warning: {warning}"));
    }
    let findings = vec![
        Finding::of("configuration", Ok(configuration(&loaded))),
        Finding::of("tiers", tiers(config)),
        Finding::of("privacy", privacy(config)),
        Finding::of("events", events(config)),
        Finding::of("words", words(config)),
        Finding::of("gateway", gateway(config)),
        Finding::of("reports", reports(config)),
        Finding::of("stripe", Ok(asked_in_words(config).to_owned())),
        Finding::of("alerts", alerts(config)),
        Finding::of("database", database(config).await),
        Finding::of("redis", redis(config).await),
    ];
    let findings = [findings, schedule_findings(config)].concat();
    context.print(&findings, |findings| render(findings));
    if findings.iter().all(|finding| finding.ok) { Ok(()) } else { Err(Failure::Said) }
}

fn configuration(loaded: &Loaded) -> String {
    let from = loaded.file.as_ref().map_or("no file".to_owned(), |file| file.display().to_string());
    let secrets = match &loaded.development_secrets {
        Some(secrets) => format!("development secrets in {}", secrets.path.display()),
        None if loaded.config.encryption.keys.is_empty() => {
            "secrets are made up at the first start".to_owned()
        }
        None => "all secrets are set".to_owned(),
    };
    format!("{}, {from}, {secrets}", loaded.config.environment)
}

fn tiers(config: &Config) -> Result<String, String> {
    let Some(file) = &config.care.tiers_file else {
        return Tiers::from_toml(TIERS_TOML)
            .map(|_| "built in".to_owned())
            .map_err(|error| error.to_string());
    };
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Tiers::from_toml(&text)
        .map(|_| file.display().to_string())
        .map_err(|error| chain(&format!("{}: {error}", file.display()), &error))
}

fn privacy(config: &Config) -> Result<String, String> {
    drop_paths(config)
        .map(|_| format!("{} fields of Stripe's events are not kept", config.privacy.drop_paths.len()))
        .map_err(|error| format!("`privacy.drop_paths`: {error}"))
}

/// How many types of Stripe's events change something.
fn events(config: &Config) -> Result<String, String> {
    event_types(config)
        .map(|types| format!("{} types of Stripe's events change something", types.all().count()))
        .map_err(|error| format!("`stripe.event_types`: {error}"))
}

/// In which languages people are told what, and for how many countries there are crisis lines.
fn words(config: &Config) -> Result<String, String> {
    let failed = |error: ServeError| chain(&error.to_string(), &error);
    let templates = templates(config).map_err(failed)?;
    for text in pressing(&templates) {
        say(&format!("warning: {text}; reword it in `care.messages_dir`"));
    }
    // One is for everywhere else.
    let countries = crisis_lines(config).map_err(failed)?.iter().count() - 1;
    let languages: Vec<&str> = templates.locales().collect();
    Ok(format!("in {}; crisis lines of {countries} countries", languages.join(", ")))
}

fn gateway(config: &Config) -> Result<String, String> {
    match notifier(config) {
        Ok(Some(_)) => Ok("configured; it is not called now".to_owned()),
        Ok(None) => Ok("none: neither people nor emergency contacts are told".to_owned()),
        Err(error) => Err(chain(&error.to_string(), &error)),
    }
}

/// What each schedule is understood to mean; one finding for each, so that each can be read.
fn schedule_findings(config: &Config) -> Vec<Finding> {
    match schedules(config, SystemClock.now_ms()) {
        Ok(schedules) => {
            let read = |schedule: &Schedule| {
                let words = format!("{}: {} {}", schedule.name, schedule.kind, schedule.rules.timing.words());
                Finding::of("schedule", Ok(words))
            };
            schedules.iter().map(read).collect()
        }
        Err(error) => vec![Finding::of("schedules", Err(chain(&error.to_string(), &error)))],
    }
}

/// Who is told when something is wrong.
fn alerts(config: &Config) -> Result<String, String> {
    described(config).map_err(|error| chain(&error.to_string(), &error))
}

/// Where reports go that are made on schedule.
fn reports(config: &Config) -> Result<String, String> {
    let courier = courier(config).map_err(|error| chain(&error.to_string(), &error))?;
    let mut places = Vec::new();
    if let Some(directory) = &config.reports.directory {
        if !directory.is_dir() {
            return Err(format!("`reports.directory`: {} is no directory", directory.display()));
        }
        places.push(format!("to {}", directory.display()));
    }
    places.extend(courier.map(|_| "to `reports.url`; it is not called now".to_owned()));
    Ok(if places.is_empty() { "kept, and sent nowhere".to_owned() } else { places.join(", ") })
}

async fn database(config: &Config) -> Result<String, String> {
    let url = database_url(config);
    let shown = config.database.url.as_ref().map_or_else(|| url.clone(), ToString::to_string);
    if url.strip_prefix("sqlite:").is_some_and(|path| !Path::new(path.trim_start_matches("//")).exists()) {
        return Ok(format!("{shown} is made at the first start"));
    }
    let options = DatabaseOptions {
        connections_max: 1,
        acquire_timeout_ms: u64::try_from(ANSWER_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
    };
    let database =
        Database::connect(&url, &options).await.map_err(|error| chain(&error.to_string(), &error))?;
    let found = tables(&database, config).await;
    database.close().await;
    found.map(|found| format!("{shown}, {found}"))
}

/// Whether the tables are there: the ledger answers.
async fn tables(database: &Database, config: &Config) -> Result<String, String> {
    let Ok(keys) = key_ring(config) else { return Ok("opens".to_owned()) };
    let ledger = Ledger::new(database.clone(), keys, Arc::new(SystemClock), Registry::default());
    match timeout(ANSWER_TIMEOUT, ledger.totals()).await {
        Ok(Ok(totals)) => Ok(format!("{} owed, {} dead", totals.owed, totals.dead)),
        Ok(Err(error)) => {
            let what = "the ledger cannot be read; if its tables are missing, `keepwell migrate` makes them";
            Err(chain(what, &error))
        }
        Err(_) => Err("the ledger does not answer".to_owned()),
    }
}

async fn redis(config: &Config) -> Result<String, String> {
    let Some(url) = &config.redis.url else { return private_redis(config).await };
    let lanes = Lanes::connect(url.expose(), LanesOptions::default(), Arc::new(SystemClock));
    let lanes = lanes.map_err(|error| format!("{url} is no address of Redis: {error}"))?;
    match timeout(ANSWER_TIMEOUT, lanes.ping()).await {
        Ok(Ok(())) => Ok(format!("{url} answers")),
        // The error may quote the address with its password; what to do about it does not.
        Ok(Err(error)) => {
            let hint = error.hint().map(|hint| format!(": {hint}")).unwrap_or_default();
            Err(format!("{url} does not answer{hint}"))
        }
        Err(_) => Err(format!("{url} does not answer")),
    }
}

/// Asks the program for a private Redis for its version.
async fn private_redis(config: &Config) -> Result<String, String> {
    let named = config.redis.server_binary.as_deref();
    let candidates = named
        .map_or_else(|| vec![Path::new("redis-server"), Path::new("valkey-server")], |named| vec![named]);
    for program in candidates {
        match version(program).await {
            Ok(version) => return Ok(format!("private: {version}")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", program.display())),
        }
    }
    let name = named.unwrap_or(Path::new("redis-server")).display();
    Err(format!(
        "`{name}` is not there; install it (Debian: apt-get install redis-server) or set `redis.url`"
    ))
}

async fn version(program: &Path) -> io::Result<String> {
    let asked = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output =
        timeout(ANSWER_TIMEOUT, asked).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(String::from_utf8_lossy(&output.stdout).split(" sha=").next().unwrap_or_default().trim().to_owned())
}

/// `what`, and everything that led to `error`.
fn chain(what: &str, error: &dyn std::error::Error) -> String {
    let mut text = what.to_owned();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn render(findings: &[Finding]) -> String {
    let mut table = Table::new(&[("CHECK", Align::Left), ("RESULT", Align::Left), ("DETAIL", Align::Left)]);
    for finding in findings {
        let result = if finding.ok { "ok" } else { "FAILED" };
        table.row([finding.check.to_owned(), result.to_owned(), finding.detail.clone()]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use keepwell_config::Sources;

    use super::*;

    fn config(variables: &[(&str, &str)]) -> Config {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(&Sources::new(variables, Purpose::Client)).unwrap().config
    }

    #[tokio::test]
    async fn a_database_that_is_not_there_yet_is_fine_and_stays_away() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(&[("KEEPWELL_STATE_DIR", directory.path().to_str().unwrap())]);
        let found = database(&config).await.unwrap();
        assert!(found.ends_with("is made at the first start"), "{found}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_redis_that_is_away_is_named_without_its_password() {
        let config = config(&[("KEEPWELL_REDIS__URL", "redis://:hidden@127.0.0.1:1/0")]);
        let found = redis(&config).await.unwrap_err();
        assert!(found.contains("127.0.0.1:1") && !found.contains("hidden"), "{found}");
    }

    #[tokio::test]
    async fn a_missing_program_is_named_with_the_way_out() {
        let config = config(&[("KEEPWELL_REDIS__SERVER_BINARY", "/nowhere/redis-server")]);
        let found = redis(&config).await.unwrap_err();
        assert!(found.contains("`/nowhere/redis-server`") && found.contains("apt-get"), "{found}");
    }

    #[test]
    fn further_types_of_events_are_counted_and_one_that_no_rule_can_handle_is_named() {
        let of = |types: &str| events(&config(&[("KEEPWELL_STRIPE__EVENT_TYPES", types)]));
        let found = of(r#"{ "invoice.paid" = "invoice.payment_succeeded" }"#).unwrap();
        assert!(found.starts_with("7 types"), "{found}");
        let found = of(r#"{ "invoice.paid" = "invoice.piad" }"#).unwrap_err();
        assert!(
            found.contains("`stripe.event_types`: `invoice.paid` cannot be handled as `invoice.piad`"),
            "{found}"
        );
        assert!(events(&config(&[])).unwrap().starts_with("6 types"));
    }

    #[test]
    fn findings_are_shown_as_a_table() {
        let findings = [
            Finding::of("database", Ok("3 owed, 0 dead".to_owned())),
            Finding::of("redis", Err("it does not answer".to_owned())),
        ];
        assert_eq!(
            render(&findings),
            "CHECK     RESULT  DETAIL\n\
             database  ok      3 owed, 0 dead\n\
             redis     FAILED  it does not answer\n"
        );
    }
}
