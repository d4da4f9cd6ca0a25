//! Which source wins.

use keepwell_config::{
    Config, Origin, Purpose, Sources,
    values::{Environment, Role},
};

use crate::support::Place;

#[test]
fn with_nothing_set_the_defaults_of_the_manual_apply() {
    let loaded = Place::new().load().unwrap();
    let config = &loaded.config;
    assert_eq!(config.environment, Environment::Development);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:3000");
    assert_eq!(config.operators.listen.to_string(), "127.0.0.1:3001");
    assert_eq!((config.pool.slots, config.pool.crisis_slots, config.pool.lease_ms), (64, 13, 10_000));
    assert_eq!((config.limits.body_bytes_max, config.limits.requests_in_flight_max), (1 << 20, 512));
    assert_eq!((config.limits.unverified_requests_max, config.limits.unverified_window_ms), (100, 60_000));
    assert_eq!(
        (config.stripe.tolerance_seconds, config.stripe.api_base.as_str()),
        (300, "https://api.stripe.com")
    );
    assert_eq!((config.retention.done_days, config.retention.dead_days), (35, 90));
    assert_eq!(config.crisis_resources.hotline, "988");
    assert!(config.redis.url.is_none() && config.database.url.is_none() && config.stripe.livemode.is_none());
    assert_eq!(loaded.origin("pool.slots"), Origin::Default);
    assert_eq!(loaded.origin("redis.url"), Origin::Unset);
}

#[test]
fn each_layer_wins_over_the_one_below_it() {
    let token = |place: &Place| place.load().unwrap().config.emergency.token.unwrap().expose().to_owned();
    let place = Place::new().file("[emergency]\ntoken = \"file\"");
    assert_eq!(token(&place), "file");
    let place = place.credential("emergency.token", "credential\n");
    assert_eq!(token(&place), "credential");
    let place = place.variable("EMERGENCY_BYPASS_TOKEN", "legacy");
    assert_eq!(token(&place), "legacy");
    let place = place.variable("KEEPWELL_EMERGENCY__TOKEN", "variable");
    assert_eq!(token(&place), "variable");
    let origin = place.load().unwrap().origin("emergency.token");
    assert_eq!(origin, Origin::Variable("KEEPWELL_EMERGENCY__TOKEN".to_owned()));
}

#[test]
fn every_legacy_variable_finds_its_setting() {
    let config = Place::new()
        .variable("NODE_ENV", "staging")
        .variable("PORT", "8080")
        .variable("STRIPE_WEBHOOK_SECRET", "whsec_one")
        .variable("STRIPE_SECRET_KEY", "sk_test_key")
        .variable("ENCRYPTION_KEY", "a pass phrase, of more than 32 characters")
        .variable("CRISIS_HOTLINE_NUMBER", "112")
        .variable("CRISIS_TIMEOUT_MS", "150")
        .variable("WEBHOOK_TIMEOUT_MS", "1500")
        .variable("MAX_CONCURRENT_WEBHOOKS", "50")
        .variable("RATE_LIMIT_MAX_REQUESTS", "10")
        .variable("RATE_LIMIT_WINDOW_MS", "1000")
        .variable("EMERGENCY_BYPASS_TOKEN", "token")
        .load()
        .unwrap()
        .config;
    assert_eq!(config.environment, Environment::Staging);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.stripe.webhook_secrets[0].expose(), "whsec_one");
    assert_eq!(config.stripe.api_key.unwrap().expose(), "sk_test_key");
    assert_eq!(config.encryption.keys.len(), 1);
    assert_eq!(config.crisis_resources.hotline, "112");
    assert_eq!((config.care.crisis_response_ms, config.limits.answer_timeout_ms), (150, 1_500));
    assert_eq!(config.limits.requests_in_flight_max, 50);
    assert_eq!((config.limits.unverified_requests_max, config.limits.unverified_window_ms), (10, 1_000));
    assert_eq!(config.emergency.token.unwrap().expose(), "token");
}

#[test]
fn a_port_keeps_the_host_of_the_file() {
    let place = Place::new().file("server.listen = \"0.0.0.0:3000\"").variable("PORT", "80");
    assert_eq!(place.load().unwrap().config.server.listen.to_string(), "0.0.0.0:80");
}

#[test]
fn a_flag_of_the_command_line_wins_over_the_environment() {
    let place = Place::new().variable("KEEPWELL_ROLES", "receiver");
    let roles = |flag: Option<&str>| {
        let sources = place.sources().with_variable("KEEPWELL_ROLES", flag.map(str::to_owned));
        Config::load(&sources).unwrap().config.roles
    };
    assert_eq!(roles(None), [Role::Receiver]);
    assert_eq!(roles(Some("workers,schedules")), [Role::Workers, Role::Schedules]);
}

#[test]
fn a_list_replaces_the_list_below_it() {
    let config = Place::new()
        .file("[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]")
        .variable("KEEPWELL_SERVER__TRUSTED_PROXIES", "192.0.2.1")
        .load()
        .unwrap()
        .config;
    assert_eq!(
        config.server.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["192.0.2.1/32"]
    );
}

#[test]
fn a_secret_may_be_a_text_or_a_table_in_every_source() {
    let table = r#"[{ id = "new", secret = "whsec_new" }, "whsec_old"]"#;
    let places = [
        Place::new().file(&format!("[stripe]\nwebhook_secrets = {table}")),
        Place::new().variable("KEEPWELL_STRIPE__WEBHOOK_SECRETS", table),
        Place::new().credential("stripe.webhook_secrets", table),
    ];
    for place in places {
        let secrets = place.load().unwrap().config.stripe.webhook_secrets;
        assert_eq!(
            (secrets[0].id.as_str(), secrets[0].expose(), secrets[1].expose()),
            ("new", "whsec_new", "whsec_old")
        );
    }
}

#[test]
fn a_setting_of_digits_stays_a_text() {
    let place = Place::new().variable("KEEPWELL_ACCESS__TOKENS", "0123456789012345678901234567890123456789");
    assert_eq!(place.load().unwrap().config.access.tokens[0].expose().len(), 40);
}

#[test]
fn a_named_file_is_read_instead_of_the_installed_one() {
    let place = Place::new().file("pool.slots = 8");
    let other = place.path().join("other.toml");
    std::fs::write(&other, "pool.slots = 16").unwrap();
    let loaded = Config::load(&place.sources().with_file(&other)).unwrap();
    assert_eq!((loaded.config.pool.slots, loaded.file.as_deref()), (16, Some(other.as_path())));
    let place = place.variable("KEEPWELL_CONFIG", &other.to_string_lossy());
    assert_eq!(place.load().unwrap().config.pool.slots, 16);
}

#[test]
fn an_installed_package_has_its_places_and_a_checkout_has_var() {
    let place = Place::new().file("");
    let sources = Sources::new([], Purpose::Client);
    let installed = Config::load(&sources.clone().with_system_file(place.file_path())).unwrap().config;
    assert_eq!(installed.state_dir.to_str(), Some("/var/lib/keepwell"));
    assert_eq!(installed.operators.socket.to_str(), Some("/run/keepwell/operators.sock"));
    let checkout = Config::load(&sources).unwrap().config;
    assert_eq!(checkout.state_dir.to_str(), Some("./var"));
    assert_eq!(checkout.operators.socket.to_str(), Some("./var/operators.sock"));
}

#[test]
fn health_reports_the_deployment_if_it_has_a_name() {
    assert_eq!(Place::new().load().unwrap().config.environment_label(), "development");
    let place = Place::new().variable("KEEPWELL_DEPLOYMENT", "blue");
    assert_eq!(place.load().unwrap().config.environment_label(), "blue");
}
