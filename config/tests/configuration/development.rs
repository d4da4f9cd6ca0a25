//! Secrets that are made up on first start.

use std::{fs, os::unix::fs::PermissionsExt as _};

use keepwell_config::{DEVELOPMENT_SECRETS_FILE, Loaded, Origin, Purpose};

use crate::support::Place;

fn secrets(loaded: &Loaded) -> Vec<String> {
    let config = &loaded.config;
    vec![
        config.stripe.webhook_secrets[0].expose().to_owned(),
        config.app.webhook_secrets[0].expose().to_owned(),
        config.access.tokens[0].expose().to_owned(),
        format!("{:?}", **config.encryption.keys[0].bytes()),
    ]
}

#[test]
fn secrets_are_made_up_once_and_found_again() {
    let place = Place::new();
    let first = place.load().unwrap();
    assert_eq!(first.development_secrets.as_ref().unwrap().created.len(), 4);
    assert!(first.config.app.webhook_secrets[0].standard_webhooks_key().is_some());

    let second = place.load().unwrap();
    let in_use = second.development_secrets.as_ref().unwrap();
    assert_eq!((in_use.created.len(), in_use.keys.len()), (0, 4));
    assert_eq!(secrets(&first), secrets(&second));
    let path = place.state_dir().join(DEVELOPMENT_SECRETS_FILE);
    assert_eq!(second.origin("access.tokens"), Origin::DevelopmentSecrets(path));
    assert_ne!(secrets(&first), secrets(&Place::new().load().unwrap()));
}

#[test]
fn only_their_owner_can_read_them() {
    let place = Place::new();
    place.load().unwrap();
    let mode = |path: std::path::PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.state_dir()), 0o700);
    assert_eq!(mode(place.state_dir().join(DEVELOPMENT_SECRETS_FILE)), 0o600);
    let left: Vec<_> =
        fs::read_dir(place.state_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("unfinished")), "{left:?}");
}

#[test]
fn the_command_line_finds_them_and_makes_none() {
    let place = Place::new().purpose(Purpose::Client);
    let before = place.load().unwrap();
    assert!(before.development_secrets.is_none() && before.config.access.tokens.is_empty());
    assert!(!place.state_dir().exists());

    let place = place.purpose(Purpose::Serve);
    let daemon = place.load().unwrap();
    let client = place.purpose(Purpose::Client).load().unwrap();
    assert_eq!(secrets(&daemon), secrets(&client));
}

#[test]
fn what_is_set_is_not_made_up_and_what_is_missing_later_is_added() {
    let place = Place::new().variable("STRIPE_WEBHOOK_SECRET", "whsec_given");
    let first = place.load().unwrap();
    assert_eq!(first.config.stripe.webhook_secrets[0].expose(), "whsec_given");
    assert!(!first.development_secrets.as_ref().unwrap().keys.contains(&"stripe.webhook_secrets"));

    let place = place.variable("STRIPE_WEBHOOK_SECRET", "");
    let second = place.load().unwrap();
    assert_eq!(second.development_secrets.as_ref().unwrap().created, ["stripe.webhook_secrets"]);
    assert_eq!(secrets(&first)[1..], secrets(&second)[1..]);
}

#[test]
fn with_every_secret_set_nothing_is_written() {
    let place = Place::new()
        .variable("STRIPE_WEBHOOK_SECRET", "whsec_x")
        .variable("KEEPWELL_APP__WEBHOOK_SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        .variable("KEEPWELL_ACCESS__TOKENS", "t")
        .variable("ENCRYPTION_KEY", "a pass phrase of more than 32 characters");
    assert!(place.load().unwrap().development_secrets.is_none());
    assert!(!place.state_dir().exists());
}

#[test]
fn nothing_is_made_up_for_a_configuration_that_is_wrong() {
    for (name, text) in [("KEEPWELL_POOL__SLOTS", "0"), ("KEEPWELL_OPERATORS__LISTEN", "127.0.0.1:3000")] {
        let place = Place::new().variable(name, text);
        assert_eq!(place.problems().len(), 1);
        assert!(!place.state_dir().exists());
    }
}

#[test]
fn daemons_that_start_at_the_same_time_agree() {
    let place = Place::new();
    let found: Vec<Vec<String>> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| secrets(&place.load().unwrap()))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert!(found.iter().all(|secrets| *secrets == found[0]), "{found:?}");
}

#[test]
fn the_announcement_names_what_was_made_up_now_and_only_then() {
    let place = Place::new();
    let first = place.load().unwrap();
    let announcement = first.announcement().unwrap();
    for secret in &secrets(&first)[..3] {
        assert!(announcement.contains(secret), "{announcement}");
    }
    assert!(
        announcement.contains(DEVELOPMENT_SECRETS_FILE) && !announcement.contains("encryption"),
        "{announcement}"
    );
    assert!(place.load().unwrap().announcement().is_none());
}

#[test]
fn a_state_directory_that_cannot_be_made_is_told() {
    let place = Place::new();
    fs::write(place.state_dir(), "a file").unwrap();
    let problems = place.problems();
    assert!(problems[0].contains("cannot be kept") && problems[0].contains("`state_dir`"), "{problems:?}");
}
