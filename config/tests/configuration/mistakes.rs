//! What is told when something is wrong.

use std::os::unix::fs::PermissionsExt;

use keepwell_config::Config;

use crate::support::Place;

#[test]
fn several_mistakes_are_told_at_once_each_with_its_place() {
    let place = Place::new()
        .file("[pool]\nslot = 8\nlease_ms = 1\n\n[limits]\nbody_bytes_max = \"big\"\n")
        .variable("KEEPWELL_SERVER_LISTEN", "0.0.0.0:80")
        .variable("KEEPWELL_STRIPE__TOLERANCE_SECONDS", "0")
        .variable("MAX_CONCURRENT_WEBHOOKS", "many")
        .credential("stripe.apikey", "x");
    let told = place.load().unwrap_err().to_string();
    for part in [
        "the configuration has 7 problems:\n",
        "keepwell.toml, line 2): there is no such setting; did you mean `pool.slots`?",
        "keepwell.toml, line 3): 1 is out of bounds; choose a number from 500 to 60000",
        "keepwell.toml, line 6): `big` does not fit; it takes: whole number",
        "environment variable KEEPWELL_SERVER_LISTEN: there is no such setting; \
         did you mean `KEEPWELL_SERVER__LISTEN`?",
        "`stripe.tolerance_seconds` (environment variable KEEPWELL_STRIPE__TOLERANCE_SECONDS): 0 is out of bounds",
        "(environment variable MAX_CONCURRENT_WEBHOOKS): `many` does not fit",
        "did you mean `stripe.api_key`?",
    ] {
        assert!(told.contains(part), "{part}\nis not in\n{told}");
    }
}

#[test]
fn a_word_that_is_no_choice_finds_the_one_that_was_meant() {
    let problems = Place::new().variable("KEEPWELL_ENVIRONMENT", "prod").problems();
    assert!(
        problems[0]
            .contains("`prod` is not one of development, staging, production; did you mean `production`?"),
        "{problems:?}"
    );
}

#[test]
fn a_secret_is_never_part_of_what_is_told() {
    let long = "x".repeat(200);
    let places = [
        ("KEEPWELL_STRIPE__WEBHOOK_SECRETS", "whsec_hidden "),
        ("KEEPWELL_STRIPE__WEBHOOK_SECRETS", "sk_live_hidden"),
        ("KEEPWELL_STRIPE__WEBHOOK_SECRETS", "[{ id = \"a\", secert = \"whsec_hidden\" }]"),
        ("KEEPWELL_STRIPE__WEBHOOK_SECRETS", "[{ id = \"a\", secret = [\"whsec_hidden\"] }]"),
        ("KEEPWELL_STRIPE__WEBHOOK_SECRETS", "[\"whsec_hidden]"),
        ("KEEPWELL_APP__WEBHOOK_SECRETS", "whsec_hidden"),
        ("KEEPWELL_APP__WEBHOOK_SECRETS", &format!("whsec_hidden{long}")),
        ("KEEPWELL_ACCESS__TOKENS", "hidden token"),
        ("KEEPWELL_EMERGENCY__TOKEN", "hidden\t"),
        ("KEEPWELL_ENCRYPTION__KEYS", "hidden"),
        ("KEEPWELL_REDIS__URL", "http://:hidden@host"),
        ("KEEPWELL_DATABASE__URL", "hidden"),
    ];
    for (name, text) in places {
        let told = Place::new().variable(name, text).load().unwrap_err();
        assert!(told.to_string().contains(name), "{told}");
        assert!(!format!("{told} {told:?}").contains("hidden"), "{name}: {told:?}");
    }
}

#[test]
fn white_space_in_a_secret_is_refused_with_a_hint() {
    let problems = Place::new().file("[stripe]\nwebhook_secrets = [\"whsec_a\", \"whsec_b\\n\"]").problems();
    assert!(
        problems[0].contains("in item 2: it has white space in it; it was probably copied"),
        "{problems:?}"
    );
}

#[test]
fn a_misspelt_part_of_an_item_finds_the_one_that_was_meant() {
    let problems = Place::new().file("[stripe]\nwebhook_secrets = [{ secert = \"whsec_a\" }]").problems();
    assert!(
        problems[0].contains("there is no `secert` in such an item; did you mean `secret`?"),
        "{problems:?}"
    );
    let problems = Place::new().file("[encryption]\nkeys = [{ id = \"a\" }]").problems();
    assert!(problems[0].contains("`key` is missing"), "{problems:?}");
}

#[test]
fn secrets_of_the_wrong_kind_are_refused() {
    let problems = Place::new()
        .file("[stripe]\nwebhook_secrets = [\"sk_live_x\"]\n[app]\nwebhook_secrets = [\"whsec_!\"]");
    let problems = problems.problems();
    assert!(
        problems[0].contains("line 2") && problems[0].contains("no signing secret of Stripe"),
        "{problems:?}"
    );
    assert!(
        problems[1].contains("line 4") && problems[1].contains("openssl rand -base64 32"),
        "{problems:?}"
    );
}

#[test]
fn two_items_of_one_ring_must_not_share_an_id() {
    let twice = "[encryption]\nkeys = [{ id = \"a\", key = \"KEY\" }, { id = \"a\", key = \"KEY\" }]";
    let problems = Place::new().file(&twice.replace("KEY", &"0".repeat(64))).problems();
    assert!(problems[0].contains("two items have the id `a`"), "{problems:?}");
}

#[test]
fn an_api_key_of_the_other_mode_is_refused() {
    let problems = Place::new().file("[stripe]\nlivemode = true\napi_key = \"sk_test_x\"").problems();
    assert!(problems[0].contains("it is a test key, but stripe.livemode says live"), "{problems:?}");
}

#[test]
fn what_does_not_go_together_is_told() {
    let place = Place::new().file(
        "roles = []\n[operators]\nlisten = \"0.0.0.0:3000\"\n[pool]\nslots = 4\ncrisis_slots = 4\n\
         [crisis_resources]\nhotline = \" \"\n[monitors]\ncanary_every_ms = 99",
    );
    let told = place.problems().join("\n");
    for part in [
        "`roles`",
        "`operators.listen`",
        "`pool.crisis_slots`",
        "`crisis_resources.hotline`",
        "`monitors.canary_every_ms`",
    ] {
        assert!(told.contains(part), "{part}\nis not in\n{told}");
    }
    for well in [0, 100] {
        assert!(Place::new().file(&format!("[monitors]\ncanary_every_ms = {well}")).problems().is_empty());
    }
    let path = format!("operators.socket = \"/{}\"", "x".repeat(107));
    assert!(Place::new().file(&path).problems()[0].contains("a Unix socket may have 107"));
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let told = Config::load(&Place::new().sources().with_file("/nonexistent/keepwell.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("/nonexistent/keepwell.toml cannot be read") && told.contains("--config"),
        "{told}"
    );
}

#[test]
fn a_file_with_secrets_that_everybody_can_read_is_warned_about() {
    let place = Place::new().file("[emergency]\ntoken = \"t\"");
    std::fs::set_permissions(place.file_path(), PermissionsExt::from_mode(0o644)).unwrap();
    let warnings = place.load().unwrap().warnings;
    assert!(warnings[0].contains("`emergency.token`") && warnings[0].contains("chmod o="), "{warnings:?}");
    std::fs::set_permissions(place.file_path(), PermissionsExt::from_mode(0o640)).unwrap();
    assert!(place.load().unwrap().warnings.is_empty());
}

#[test]
fn more_time_for_a_crisis_than_the_protocols_allow_is_warned_about_whoever_gives_it() {
    let warnings = |name: &str, ms: &str| Place::new().variable(name, ms).load().unwrap().warnings;
    for name in ["KEEPWELL_CARE__CRISIS_RESPONSE_MS", "CRISIS_TIMEOUT_MS", "CRISIS_RESPONSE_TIMEOUT_MS"] {
        for ms in ["150", "200"] {
            assert!(warnings(name, ms).is_empty(), "{name}={ms}");
        }
        let told = warnings(name, "201");
        assert!(told.len() == 1 && told[0].contains("`care.crisis_response_ms` = 201"), "{told:?}");
        assert!(told[0].contains(name) && told[0].contains("200 ms"), "{told:?}");
    }
}

#[test]
fn receivers_of_alerts_that_cannot_be_told_are_refused_without_being_shown() {
    for (variables, said) in [
        (&[("WEBHOOK_URL", "https://alerts.example")][..], "alerts.webhook_secret"),
        (&[("WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")], "alerts.webhook_url"),
        (&[("WEBHOOK_URL", "https://alerts.example"), ("WEBHOOK_SECRET", "whsec_hidden")], "base64"),
        (&[("ESCALATION_ROUTING_KEY", "hidden")], "somebody who is told first"),
        (&[("SLACK_URL", "hooks.example/hidden")], "https:// or http://"),
        (&[("LOOK_EVERY_MS", "20000")], "four times alerts.look_every_ms"),
    ] {
        let place = variables.iter().fold(Place::new(), |place, (name, value)| {
            place.variable(&format!("KEEPWELL_ALERTS__{name}"), value)
        });
        let problems = place.problems();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(problems[0].contains(said) && !problems[0].contains("hidden"), "{problems:#?}");
    }
    let place = Place::new().variable("SLACK_WEBHOOK_URL", "https://hooks.example/hidden");
    let loaded = place.load().unwrap();
    assert!(loaded.config.alerts.has_receiver() && !format!("{:?}", loaded.config).contains("hidden"));
}

#[test]
fn bounds_that_bound_nothing_are_refused_and_those_of_the_environment_join_those_of_the_file() {
    let many = (0..101).map(|number| format!("R{number} = 1\n")).collect::<Vec<String>>().concat();
    for (file, said) in [
        ("MemoryHigh = -0.5", "`MemoryHigh` has -0.5, which is no bound"),
        ("MemoryHigh = nan", "`MemoryHigh` has NaN"),
        ("MemoryHigh = inf", "`MemoryHigh` has inf"),
        ("MemoryHigh = \"much\"", "alerts.thresholds"),
        (many.as_str(), "101 numbers are more than the 100"),
    ] {
        let problems = Place::new().file(&format!("[alerts.thresholds]\n{file}")).problems();
        assert!(problems.len() == 1 && problems[0].contains(said), "{problems:#?}");
    }
    let variable = "KEEPWELL_ALERTS__THRESHOLDS";
    let problems = Place::new().variable(variable, "{ MemoryHigh").problems();
    assert!(problems[0].contains("not a TOML table"), "{problems:#?}");

    let place = Place::new().file("[alerts]\nthresholds = { MemoryHigh = 0.7, LaneWaiting = 60 }");
    let loaded = place.variable(variable, "{ MemoryHigh = 0.9 }").load().unwrap();
    let bounds: Vec<(&str, f64)> = loaded.config.alerts.thresholds.iter().collect();
    assert_eq!(bounds, [("LaneWaiting", 60.0), ("MemoryHigh", 0.9)]);
}

#[test]
fn types_of_events_are_named_in_a_table_of_the_file_or_of_a_variable() {
    let written = r#"{ "invoice.paid" = "invoice.payment_succeeded" }"#;
    for place in [
        Place::new().file("[stripe.event_types]\n\"invoice.paid\" = \"invoice.payment_succeeded\""),
        Place::new().file(&format!("[stripe]\nevent_types = {written}")),
        Place::new().variable("KEEPWELL_STRIPE__EVENT_TYPES", written),
    ] {
        let config = place.load().unwrap().config;
        let types: Vec<(&str, &str)> = config.stripe.event_types.iter().collect();
        assert_eq!(types, [("invoice.paid", "invoice.payment_succeeded")]);
    }
    let problems = Place::new().file("[stripe]\nevent_types = { \"invoice.paid\" = 1 }").problems();
    assert!(problems[0].contains("stripe.event_types"), "{problems:?}");
}
