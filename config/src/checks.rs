//! Is it a configuration that the daemon can be started with? All answers at once.

use std::{collections::HashSet, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path};

use figment::{
    error::{Actual, Kind as FigmentKind},
    value::{Empty, Value},
};

use crate::{
    Config,
    development::{MADE_UP, REQUIRED_SECRETS},
    layers::{Merged, whole_number},
    origin::Origin,
    problem::Problem,
    schema::{Bounds, Field, field, fields},
    suggest::{did_you_mean, nearest},
    values::{Environment, HttpUrl, WebhookSecret},
};

/// How long the crisis safety protocols allow the answer to a crisis to take, in milliseconds (003:
/// `CRISIS_RESPONSE_LIMIT`).
const CRISIS_RESPONSE_LIMIT_MS: u64 = 200;

/// Shorter tokens could be guessed by somebody who has a while to try.
const TOKEN_CHARACTERS_MIN: usize = 16;

/// Canaries that come faster than this would be a load of their own, in milliseconds.
const CANARY_EVERY_MS_MIN: u64 = 100;

/// What a Unix socket's path may have, one byte kept for its end (`sockaddr_un`).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Checks every setting by itself: its type and its bounds.
pub(crate) fn check_fields(merged: &Merged) -> Vec<Problem> {
    fields().filter_map(|field| check_field(field, merged)).collect()
}

fn check_field(field: &Field, merged: &Merged) -> Option<Problem> {
    let origin = merged.origin(field.key);
    let Some(value) = merged.value(field.key) else {
        let required = !field.optional;
        return required.then(|| Problem::of(field.key, "it has no value", "set it").at(origin));
    };
    if let (Some(Bounds { min, max }), Some(number)) = (field.bounds, whole_number(&value)) {
        let inside = (i128::from(min)..=i128::from(max)).contains(&number);
        if !inside {
            let what = format!("{number} is out of bounds");
            return Some(
                Problem::of(field.key, what, format!("choose a number from {min} to {max}")).at(origin),
            );
        }
    }
    let (what, remedy) = describe(field, &(field.check)(&value)?);
    Some(Problem::of(field.key, what, remedy).at(origin))
}

/// What is wrong with a value, without showing it if it is a secret.
fn describe(field: &Field, error: &figment::Error) -> (String, String) {
    let item = match error.path.first().and_then(|index| index.parse::<usize>().ok()) {
        Some(index) => format!("in item {}: ", index + 1),
        None => String::new(),
    };
    let expected = format!("it takes: {}", field.kind);
    let (what, remedy) = match &error.kind {
        FigmentKind::Message(message) => {
            (message.clone(), format!("see `keepwell config explain {}`", field.key))
        }
        FigmentKind::UnknownVariant(word, words) => (
            format!("`{word}` is not one of {}", words.join(", ")),
            did_you_mean(nearest(word, words.iter().copied()), &expected),
        ),
        FigmentKind::UnknownField(name, names) => {
            let otherwise = format!("such an item has {}", names.join(", "));
            (
                format!("there is no `{name}` in such an item"),
                did_you_mean(nearest(name, names.iter().copied()), &otherwise),
            )
        }
        FigmentKind::MissingField(name) => (format!("`{name}` is missing"), expected),
        FigmentKind::InvalidType(found, _) | FigmentKind::InvalidValue(found, _)
            if !field.kind.is_secret() =>
        {
            (format!("{} does not fit", found_text(found)), expected)
        }
        _ => ("the value does not fit".to_owned(), expected),
    };
    (format!("{item}{what}"), remedy)
}

fn found_text(found: &Actual) -> String {
    match found {
        Actual::Str(text) => format!("`{text}`"),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        Actual::Bool(truth) => truth.to_string(),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a table".to_owned(),
        _ => "the value".to_owned(),
    }
}

/// In production: is every secret given, and none made up?
pub(crate) fn check_production_secrets(merged: &Merged) -> Vec<Problem> {
    let mut problems = Vec::new();
    for key in REQUIRED_SECRETS {
        let Some(field) = field(key) else { continue };
        if merged.value(key).is_some_and(|value| is_made_up(&value)) {
            let what = "a development secret is in use, which production refuses";
            problems.push(Problem::of(*key, what, "make a new one for production").at(merged.origin(key)));
        } else if !merged.has(key) {
            let remedy = format!("set it in the file, as the credential `{key}`, or as {}", field.variable());
            problems.push(Problem::of(*key, "production needs this secret, and it is not set", remedy));
        }
    }
    problems
}

fn is_made_up(value: &Value) -> bool {
    match value {
        Value::String(_, text) => text.contains(MADE_UP),
        Value::Array(_, items) => items.iter().any(is_made_up),
        Value::Dict(_, entries) => entries.values().any(is_made_up),
        Value::Char(..) | Value::Bool(..) | Value::Num(..) | Value::Empty(_, Empty::None | Empty::Unit) => {
            false
        }
    }
}

/// Checks what only shows when settings are seen together.
pub(crate) fn check_together(config: &Config, merged: &Merged) -> Vec<Problem> {
    let mut problems = check_secrets(config);
    problems.extend(check_places(config));
    if config.notify.url.is_some() != config.notify.token.is_some() {
        let what = "the gateway needs an address (notify.url) and a token (notify.token), and one of them is missing";
        let key = if config.notify.url.is_some() { "notify.token" } else { "notify.url" };
        problems.push(Problem::of(key, what, "set both, or neither"));
    }
    if config.reports.url.is_some() != config.reports.token.is_some() {
        let what = "the receiver of reports needs an address (reports.url) and a token (reports.token), and one of them \
             is missing";
        let key = if config.reports.url.is_some() { "reports.token" } else { "reports.url" };
        problems.push(Problem::of(key, what, "set both, or neither"));
    }
    problems.extend(check_alerts(config));
    if config.pool.crisis_slots >= config.pool.slots {
        let what = format!(
            "{} of {} slots would leave none for other work",
            config.pool.crisis_slots, config.pool.slots
        );
        problems.push(Problem::of("pool.crisis_slots", what, "choose fewer, or raise pool.slots"));
    }
    if (1..CANARY_EVERY_MS_MIN).contains(&config.monitors.canary_every_ms) {
        let what =
            format!("a canary every {} ms would be a load of its own", config.monitors.canary_every_ms);
        let remedy = format!("choose {CANARY_EVERY_MS_MIN} or more, or 0 for none");
        problems.push(Problem::of("monitors.canary_every_ms", what, remedy));
    }
    if config.environment == Environment::Production {
        problems.extend(check_strength(config));
    }
    let empty = |(key, text): &(&str, &str)| text.trim().is_empty().then(|| (*key).to_owned());
    let texts = [
        ("crisis_resources.hotline", config.crisis_resources.hotline.as_str()),
        ("crisis_resources.text", &config.crisis_resources.text),
        ("crisis_resources.international", &config.crisis_resources.international),
        ("redis.key_prefix", &config.redis.key_prefix),
        ("log.level", &config.log.level),
    ];
    problems.extend(
        texts
            .iter()
            .filter_map(empty)
            .map(|key| Problem::of(key, "it is empty", "set it, or leave it out for the default")),
    );
    if config.redis.key_prefix.contains(['{', '}']) {
        // It stands in the hash tag of all keys, `{prefix:0}`, which another brace would end early.
        problems.push(Problem::of(
            "redis.key_prefix",
            "it has braces in it, which keepwell itself puts around it",
            "leave them out",
        ));
    }
    if config.roles.is_empty() {
        problems.push(Problem::of("roles", "a daemon without a role does nothing", "name at least one role"));
    }
    for problem in &mut problems {
        problem.origin = problem.key.as_deref().map(|key| merged.origin(key));
    }
    problems
}

fn check_secrets(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, secret) in config.stripe.webhook_secrets.iter().enumerate() {
        if !secret.has_prefix() {
            let what = format!(
                "item {} does not begin with `whsec_`, so it is no signing secret of Stripe",
                index + 1
            );
            let remedy =
                "copy the signing secret of the webhook endpoint from Stripe's dashboard, not an API key";
            problems.push(Problem::of("stripe.webhook_secrets", what, remedy));
        }
    }
    for (index, secret) in config.app.webhook_secrets.iter().enumerate() {
        if !secret.has_prefix() || secret.standard_webhooks_key().is_none() {
            let what = format!(
                "item {} is not `whsec_` and base64 of 16 to 64 bytes, as Standard Webhooks asks for",
                index + 1
            );
            let remedy = "make one with `echo whsec_$(openssl rand -base64 32)`";
            problems.push(Problem::of("app.webhook_secrets", what, remedy));
        }
    }
    let ids = |secrets: &[WebhookSecret]| secrets.iter().map(|secret| secret.id.clone()).collect::<Vec<_>>();
    for (key, ids) in [
        ("stripe.webhook_secrets", ids(&config.stripe.webhook_secrets)),
        ("app.webhook_secrets", ids(&config.app.webhook_secrets)),
        ("encryption.keys", config.encryption.keys.iter().map(|key| key.id.clone()).collect()),
    ] {
        let mut seen = HashSet::new();
        if let Some(twice) = ids.iter().find(|id| !seen.insert(*id)) {
            let what = format!("two items have the id `{twice}`, so nobody could tell them apart");
            problems.push(Problem::of(key, what, "remove one, or give them ids of their own"));
        }
    }
    if let (Some(livemode), Some(api_key)) = (config.stripe.livemode, &config.stripe.api_key) {
        let of_mode = |mode: &str| {
            ["sk", "rk"].iter().any(|kind| api_key.expose().starts_with(&format!("{kind}_{mode}_")))
        };
        let (expected, other) = if livemode { ("live", "test") } else { ("test", "live") };
        if of_mode(other) {
            let what = format!(
                "it is a {other} key, but stripe.livemode says {expected}, so it would find no object of any event"
            );
            problems.push(Problem::of(
                "stripe.api_key",
                what,
                format!("use the {expected} key, or correct stripe.livemode"),
            ));
        }
    }
    problems
}

fn check_places(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let overlap = |one: SocketAddr, other: SocketAddr| {
        let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
        one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || everywhere)
    };
    if overlap(config.server.listen, config.operators.listen) {
        let what = format!("{} is also where the public listener is", config.operators.listen);
        problems.push(Problem::of("operators.listen", what, "choose another port"));
    }
    let socket_bytes = config.operators.socket.as_os_str().len();
    if socket_bytes > SOCKET_PATH_BYTES_MAX {
        let what =
            format!("the path has {socket_bytes} bytes; a Unix socket may have {SOCKET_PATH_BYTES_MAX}");
        problems.push(Problem::of(
            "operators.socket",
            what,
            "choose a shorter path, such as /run/keepwell/operators.sock",
        ));
    }
    problems
}

fn check_alerts(config: &Config) -> Vec<Problem> {
    let (alerts, mut problems) = (&config.alerts, Vec::new());
    if alerts.webhook_url.is_some() != alerts.webhook_secret.is_some() {
        let what = "the webhook of alerts needs an address (alerts.webhook_url) and a secret (alerts.webhook_secret), and \
             one of them is missing";
        let key = if alerts.webhook_url.is_some() { "alerts.webhook_secret" } else { "alerts.webhook_url" };
        problems.push(Problem::of(key, what, "set both, or neither"));
    }
    if alerts.webhook_secret.as_ref().is_some_and(|secret| secret.standard_webhooks_key().is_none()) {
        let what = "it is not base64 of 16 to 64 bytes, as Standard Webhooks asks for";
        let remedy = "make one with `echo whsec_$(openssl rand -base64 24)`";
        problems.push(Problem::of("alerts.webhook_secret", what, remedy));
    }
    if alerts.escalation_routing_key.is_some() && !alerts.has_receiver() {
        let what = "an escalation needs somebody who is told first";
        let remedy = "set alerts.pagerduty_routing_key, alerts.slack_url or alerts.webhook_url too";
        problems.push(Problem::of("alerts.escalation_routing_key", what, remedy));
    }
    if alerts.resolve_after_ms / 4 < alerts.look_every_ms {
        let what = "an alert would be taken for over between two looks (alerts.look_every_ms)";
        let remedy = "choose at least four times alerts.look_every_ms";
        problems.push(Problem::of("alerts.resolve_after_ms", what, remedy));
    }
    // The address is a secret; the error shows nothing of it.
    let slack_url = alerts.slack_url.as_ref().map(|url| HttpUrl::try_from(url.expose().to_owned()));
    if slack_url.is_some_and(|url| url.is_err()) {
        let what = "it is no address that begins with https:// or http:// and names a host";
        let remedy = "copy the webhook URL of the app \"Incoming Webhooks\"";
        problems.push(Problem::of("alerts.slack_url", what, remedy));
    }
    problems
}

fn check_strength(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let slack_url = config.alerts.slack_url.as_ref();
    let slack_url = slack_url.and_then(|url| HttpUrl::try_from(url.expose().to_owned()).ok());
    for (key, url) in [
        ("alerts.pagerduty_url", Some(&config.alerts.pagerduty_url)),
        ("alerts.slack_url", slack_url.as_ref()),
        ("alerts.webhook_url", config.alerts.webhook_url.as_ref()),
    ] {
        if url.is_some_and(HttpUrl::is_readable_on_the_way) {
            let what = "alerts would travel unencrypted, which production refuses";
            problems.push(Problem::of(key, what, "use an https:// address"));
        }
    }
    let tokens = config.access.tokens.iter().map(|token| ("access.tokens", token));
    for (key, token) in tokens.chain(config.emergency.token.iter().map(|token| ("emergency.token", token))) {
        if token.expose().chars().count() < TOKEN_CHARACTERS_MIN {
            let what =
                format!("a token has fewer than {TOKEN_CHARACTERS_MIN} characters, which production refuses");
            problems.push(Problem::of(key, what, "make one with `openssl rand -hex 32`"));
        }
    }
    if config.stripe.api_base.is_readable_on_the_way() {
        let what = "the API key would travel unencrypted, which production refuses";
        problems.push(Problem::of("stripe.api_base", what, "use an https:// address"));
    }
    if config.stripe.published_addresses && config.stripe.addresses_url.is_readable_on_the_way() {
        let what = "the list of addresses could be another one on its way, which production refuses";
        problems.push(Problem::of("stripe.addresses_url", what, "use an https:// address"));
    }
    if config.notify.url.as_ref().is_some_and(HttpUrl::is_readable_on_the_way) {
        let what = "what people are told would travel unencrypted, which production refuses";
        problems.push(Problem::of("notify.url", what, "use an https:// address"));
    }
    if config.reports.url.as_ref().is_some_and(HttpUrl::is_readable_on_the_way) {
        let what = "reports and the token would travel unencrypted, which production refuses";
        problems.push(Problem::of("reports.url", what, "use an https:// address"));
    }
    problems
}

/// A warning if everybody on this machine can read the secrets in the file at `path`.
pub(crate) fn readable_secrets(path: &Path, merged: &Merged) -> Option<String> {
    let in_it = |field: &&Field| {
        field.kind.is_secret()
            && matches!(merged.origin(field.key), Origin::File { path: file, .. } if file == path)
    };
    let key = fields().find(in_it)?.key;
    let mode = path.metadata().ok()?.permissions().mode();
    (mode & 0o007 != 0).then(|| {
        let path = path.display();
        format!(
            "{path} holds a secret (`{key}`) and can be read by everybody on this machine; chmod o= {path}"
        )
    })
}

/// Is more time given to a crisis than the protocols allow? It works, and nobody should do so unawares.
pub(crate) fn loose_limits(config: &Config, merged: &Merged) -> Option<String> {
    let (key, limit_ms) = ("care.crisis_response_ms", config.care.crisis_response_ms);
    (limit_ms > CRISIS_RESPONSE_LIMIT_MS).then(|| {
        format!(
            "`{key}` = {limit_ms} ({}) is more than the {CRISIS_RESPONSE_LIMIT_MS} ms that the crisis safety protocols \
             allow: people wait longer for the basic set, and reports call late what took longer than they say",
            merged.origin(key)
        )
    })
}
