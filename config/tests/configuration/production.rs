//! What production insists on.

use std::fs;

use keepwell_config::{DEVELOPMENT_SECRETS_FILE, Purpose, explain, field};

use crate::support::Place;

const TOKEN: &str = "a_token_of_more_than_16_characters";

fn complete() -> Place {
    Place::new()
        .variable("NODE_ENV", "production")
        .variable("STRIPE_WEBHOOK_SECRET", "whsec_x")
        .variable("KEEPWELL_APP__WEBHOOK_SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        .variable("KEEPWELL_ACCESS__TOKENS", TOKEN)
        .variable("ENCRYPTION_KEY", "a pass phrase of more than 32 characters")
}

#[test]
fn every_secret_must_be_given_and_the_way_to_give_it_is_told() {
    assert!(complete().load().unwrap().development_secrets.is_none());
    let place = Place::new().variable("KEEPWELL_ENVIRONMENT", "production");
    let problems = place.problems();
    assert_eq!(problems.len(), 4, "{problems:#?}");
    assert!(problems[0].contains("`stripe.webhook_secrets`") && problems[0].contains("as the credential"));
    assert!(problems[3].contains("as KEEPWELL_ENCRYPTION__KEYS"), "{problems:#?}");
    assert!(!place.state_dir().exists());
    assert_eq!(place.purpose(Purpose::Check).problems().len(), 4);
}

#[test]
fn somebody_on_the_command_line_needs_no_secret() {
    let place = Place::new().variable("KEEPWELL_ENVIRONMENT", "production").purpose(Purpose::Client);
    assert!(place.load().unwrap().config.access.tokens.is_empty());
}

#[test]
fn an_emergency_token_may_be_missing() {
    assert!(complete().load().unwrap().config.emergency.token.is_none());
}

#[test]
fn development_secrets_are_refused_even_when_they_were_copied() {
    let place = Place::new();
    place.load().unwrap();
    let production = |place: Place| place.variable("KEEPWELL_ENVIRONMENT", "production").problems();

    let made_up = fs::read_to_string(place.state_dir().join(DEVELOPMENT_SECRETS_FILE)).unwrap();
    let problems = production(Place::new().file(&made_up));
    assert_eq!(problems.len(), 4, "{problems:#?}");
    assert!(problems.iter().all(|problem| problem.contains("development secret is in use")), "{problems:#?}");

    let problems = production(place);
    assert_eq!(problems.len(), 4, "the file in the state directory counts for nothing: {problems:#?}");
    assert!(problems.iter().all(|problem| problem.contains("is not set")), "{problems:#?}");
}

#[test]
fn the_examples_of_the_manual_are_refused() {
    let secrets = ["app.webhook_secrets", "access.tokens", "emergency.token", "encryption.keys"];
    for key in secrets {
        let example = explain(key, None).unwrap()[0].example.clone().unwrap();
        let problems = complete().variable(&field(key).unwrap().variable(), example.trim_matches('"'));
        // A legacy variable would lose against ours, so the example is what counts.
        assert!(problems.problems().iter().any(|problem| problem.contains("production refuses")), "{key}");
    }
}

#[test]
fn weak_tokens_and_open_lines_are_refused() {
    let problems = complete()
        .variable("EMERGENCY_BYPASS_TOKEN", "short")
        .variable("KEEPWELL_STRIPE__API_BASE", "http://stripe.example")
        .variable("KEEPWELL_STRIPE__PUBLISHED_ADDRESSES", "true")
        .variable("KEEPWELL_STRIPE__ADDRESSES_URL", "http://stripe.example/list")
        .problems();
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert!(
        problems[0].contains("`emergency.token` (environment variable EMERGENCY_BYPASS_TOKEN)"),
        "{problems:?}"
    );
    assert!(problems[1].contains("https://"), "{problems:?}");
    assert!(problems[2].contains("`stripe.addresses_url`"), "{problems:?}");
    complete().variable("KEEPWELL_STRIPE__API_BASE", "http://127.0.0.1:12111").load().unwrap();
    for key in ["ALERTS__SLACK_URL", "ALERTS__PAGERDUTY_URL"] {
        let variable = format!("KEEPWELL_{key}");
        let problems = complete().variable(&variable, "http://elsewhere.example/secret").problems();
        assert!(
            problems.len() == 1 && problems[0].contains("alerts would travel unencrypted"),
            "{problems:?}"
        );
        complete().variable(&variable, "http://127.0.0.1:1/secret").load().unwrap();
    }
}
