//! What the manual says, and that it is true.

use std::{fs, path::Path};

use keepwell_config::{Origin, example_toml, explain, fields, sections, show, show_text};

use crate::support::Place;

#[test]
fn example_toml_is_what_the_doc_comments_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("example.toml");
    assert!(
        fs::read_to_string(&path).unwrap() == example_toml(),
        "{} is out of date; run\n    \
         cargo run --package keepwell-config --example generate-example -- config/example.toml",
        path.display(),
    );
}

#[test]
fn example_toml_changes_nothing_as_it_is() {
    let place = Place::new().file(&example_toml());
    let loaded = place.load().unwrap();
    let from_file: Vec<_> =
        show(&loaded).into_iter().filter(|s| matches!(s.origin, Origin::File { .. })).collect();
    assert!(from_file.is_empty(), "{from_file:?}");
}

#[test]
fn every_line_of_example_toml_works_once_its_hash_is_removed() {
    let active = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') && !setting.is_empty() => setting.to_owned(),
        _ => line.to_owned(),
    };
    let text = example_toml().lines().map(active).collect::<Vec<_>>().join("\n");
    let loaded = Place::new().file(&text).load().unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    for setting in show(&loaded) {
        assert!(
            matches!(setting.origin, Origin::File { .. }),
            "{} comes from {}",
            setting.key,
            setting.origin
        );
    }
}

#[test]
fn every_setting_has_a_manual_and_either_a_default_or_an_example() {
    for field in fields() {
        let [explanation] = explain(field.key, None).unwrap().try_into().unwrap();
        assert!(explanation.doc.ends_with('.') && explanation.doc.len() > 15, "{}", field.key);
        assert!(explanation.default.is_some() || explanation.example.is_some(), "{}", field.key);
        assert_eq!(explanation.default.is_none() && !field.optional, is_derived(field.key), "{}", field.key);
        if let Some(bounds) = field.bounds {
            assert!(bounds.min < bounds.max, "{}", field.key);
        }
    }
    assert!(sections().all(|section| !section.doc.is_empty()));
}

fn is_derived(key: &str) -> bool {
    // A secret without a default is made up or must be given.
    ["state_dir", "operators.socket", "pool.crisis_slots"].contains(&key)
}

#[test]
fn an_explanation_has_everything_one_needs_to_set_it() {
    let loaded = Place::new().file("stripe.tolerance_seconds = 60").load().unwrap();
    let told = explain("stripe.tolerance_seconds", Some(&loaded)).unwrap()[0].to_string();
    for part in [
        "How old a signature may be, in seconds.",
        "whole number from 1 to 86400",
        "default      300",
        "KEEPWELL_STRIPE__TOLERANCE_SECONDS",
        "now          60 (",
        "keepwell.toml, line 1)",
    ] {
        assert!(told.contains(part), "{part}\nis not in\n{told}");
    }
    let told = explain("care.crisis_response_ms", None).unwrap()[0].to_string();
    assert!(
        told.contains("KEEPWELL_CARE__CRISIS_RESPONSE_MS, CRISIS_RESPONSE_TIMEOUT_MS, CRISIS_TIMEOUT_MS"),
        "{told}"
    );
}

#[test]
fn a_section_explains_all_its_settings_and_a_slip_finds_its_way() {
    assert_eq!(explain("app", None).unwrap().len(), 3);
    let error = explain("stripe.webhook_secret", None).unwrap_err();
    assert_eq!(error.suggestion, Some("stripe.webhook_secrets"));
    assert!(error.to_string().contains("did you mean `stripe.webhook_secrets`?"));
    assert!(explain("", None).is_err());
}

#[test]
fn what_is_shown_has_every_setting_and_no_secret() {
    let place = Place::new()
        .variable("KEEPWELL_REDIS__URL", "redis://:hidden@host:6379")
        .variable("KEEPWELL_DATABASE__URL", "postgres://u:hidden@host/db")
        .variable("KEEPWELL_STRIPE__API_KEY", "sk_test_hidden");
    let loaded = place.load().unwrap();
    let settings = show(&loaded);
    assert_eq!(settings.len(), fields().count());
    let shown = [
        show_text(&settings),
        serde_json::to_string(&settings).unwrap(),
        format!("{loaded:?} {:?}", place.sources()),
    ];
    let secrets = [
        "hidden".to_owned(),
        loaded.config.access.tokens[0].expose().to_owned(),
        loaded.config.app.webhook_secrets[0].expose().to_owned(),
        loaded.config.stripe.webhook_secrets[0].expose().to_owned(),
    ];
    for text in shown {
        assert!(secrets.iter().all(|secret| !text.contains(secret.as_str())), "{text}");
    }
    let text = show_text(&settings);
    assert!(
        text.contains("\"redis://[redacted]@host:6379\"  # environment variable KEEPWELL_REDIS__URL"),
        "{text}"
    );
    assert!(text.contains("pool.crisis_slots") && text.contains("13  # a fifth of pool.slots"), "{text}");
}
