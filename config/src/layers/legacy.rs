//! Well-known variables without our prefix, as deployments of payment webhooks commonly have them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use figment::value::Value;

use super::{
    Merged, Read,
    text::{Separator, parse},
};
use crate::{
    origin::Origin,
    problem::Problem,
    schema::{Kind, field},
};

/// A variable without our prefix that is understood.
#[derive(Debug, Clone, Copy)]
pub struct LegacyVariable {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub effect: LegacyEffect,
}

/// What a [`LegacyVariable`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegacyEffect {
    /// Sets the setting of this key.
    Sets(&'static str),
    /// Sets the setting of this key, a list, to this one item, commas and all.
    SetsOneItem(&'static str),
    /// Sets only the port of this address.
    SetsPort(&'static str),
    /// Sets `environment`; the word `test`, which has no meaning here, counts as `development`.
    SetsEnvironment,
    /// Nothing: what it switches is always on. Says why.
    AlwaysOn(&'static str),
}

impl LegacyEffect {
    /// The key of the setting that it sets, if it sets one.
    pub fn key(self) -> Option<&'static str> {
        match self {
            LegacyEffect::Sets(key) | LegacyEffect::SetsOneItem(key) | LegacyEffect::SetsPort(key) => {
                Some(key)
            }
            LegacyEffect::SetsEnvironment => Some("environment"),
            LegacyEffect::AlwaysOn(_) => None,
        }
    }
}

const fn variable(name: &'static str, effect: LegacyEffect) -> LegacyVariable {
    LegacyVariable { name, effect }
}

/// Every variable without our prefix that is understood. Of two for the same setting the later one wins; a
/// `KEEPWELL_` variable wins over all of them.
pub const LEGACY_VARIABLES: &[LegacyVariable] = &[
    variable("NODE_ENV", LegacyEffect::SetsEnvironment),
    variable("PORT", LegacyEffect::SetsPort("server.listen")),
    variable("STRIPE_WEBHOOK_SECRET", LegacyEffect::Sets("stripe.webhook_secrets")),
    variable("STRIPE_SECRET_KEY", LegacyEffect::Sets("stripe.api_key")),
    variable("ENCRYPTION_KEY", LegacyEffect::SetsOneItem("encryption.keys")),
    variable("EMERGENCY_BYPASS_TOKEN", LegacyEffect::Sets("emergency.token")),
    variable("CRISIS_HOTLINE_NUMBER", LegacyEffect::Sets("crisis_resources.hotline")),
    variable("CRISIS_TIMEOUT_MS", LegacyEffect::Sets("care.crisis_response_ms")),
    variable("CRISIS_RESPONSE_TIMEOUT_MS", LegacyEffect::Sets("care.crisis_response_ms")),
    variable("WEBHOOK_TIMEOUT_MS", LegacyEffect::Sets("limits.answer_timeout_ms")),
    variable("MAX_CONCURRENT_WEBHOOKS", LegacyEffect::Sets("limits.requests_in_flight_max")),
    variable("RATE_LIMIT_MAX_REQUESTS", LegacyEffect::Sets("limits.unverified_requests_max")),
    variable("RATE_LIMIT_WINDOW_MS", LegacyEffect::Sets("limits.unverified_window_ms")),
    variable("PAGERDUTY_ROUTING_KEY", LegacyEffect::Sets("alerts.pagerduty_routing_key")),
    variable("PAGERDUTY_WEBHOOK_URL", LegacyEffect::Sets("alerts.pagerduty_url")),
    variable("SLACK_WEBHOOK_URL", LegacyEffect::Sets("alerts.slack_url")),
    variable(
        "EMERGENCY_BYPASS_ENABLED",
        LegacyEffect::AlwaysOn("whoever has `emergency.token` can switch it; leave that out to have none"),
    ),
    variable(
        "CRISIS_ALERTING_ENABLED",
        LegacyEffect::AlwaysOn("a crisis that is not answered in time is always told; `alerts` says to whom"),
    ),
    variable(
        "MONITORING_ENABLED",
        LegacyEffect::AlwaysOn("health and metrics cost nothing and are always served"),
    ),
];

/// The settings among `variables`, laid over what is `below`, and warnings about those that are without
/// effect.
pub(crate) fn legacy(variables: &BTreeMap<String, String>, below: &Merged) -> (Read, Vec<String>) {
    let ((mut layer, mut problems), mut warnings) = (Read::default(), Vec::new());
    for LegacyVariable { name, effect } in LEGACY_VARIABLES {
        let Some(text) = variables.get(*name).filter(|text| !text.is_empty()) else { continue };
        let origin = Origin::Variable((*name).to_owned());
        let Some(field) = effect.key().and_then(field) else {
            if let LegacyEffect::AlwaysOn(why) = effect
                && parse(text, Kind::Boolean, Separator::Comma)
                    .is_ok_and(|value| value.to_bool() == Some(false))
            {
                warnings.push(format!("{name}={text} is without effect: {why}"));
            }
            continue;
        };
        let value = match effect {
            LegacyEffect::SetsOneItem(_) => Ok(Value::from(vec![Value::from(text.as_str())])),
            LegacyEffect::SetsPort(key) => with_port(below.text(key).as_deref(), text),
            LegacyEffect::SetsEnvironment if text == "test" => Ok("development".into()),
            _ => parse(text, field.kind, Separator::Comma),
        };
        match value {
            Ok(value) => layer.set(field, value, origin),
            Err(what) => {
                let remedy = format!("correct it, or set {} instead", field.variable());
                problems.push(Problem::of(field.key, what, remedy).at(origin));
            }
        }
    }
    ((layer, problems), warnings)
}

fn with_port(below: Option<&str>, text: &str) -> Result<Value, String> {
    let port: u16 =
        text.trim().parse().map_err(|_| "it is not a port, a number from 0 to 65535".to_owned())?;
    let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let mut address: SocketAddr = below.and_then(|address| address.parse().ok()).unwrap_or(loopback);
    address.set_port(port);
    Ok(address.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Layer, defaults};

    fn read(variables: &[(&str, &str)]) -> (Layer, Vec<Problem>, Vec<String>) {
        let variables =
            variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let ((layer, problems), warnings) = legacy(&variables, &Merged::of([&defaults().0]));
        (layer, problems, warnings)
    }

    #[test]
    fn every_legacy_variable_names_a_setting_that_exists() {
        for variable in LEGACY_VARIABLES {
            if let Some(key) = variable.effect.key() {
                assert!(field(key).is_some(), "{} sets {key}", variable.name);
            }
        }
    }

    #[test]
    fn a_port_replaces_only_the_port() {
        assert_eq!(
            read(&[("PORT", "8080")]).0.entries["server.listen"].value.as_str(),
            Some("127.0.0.1:8080")
        );
        let (_, problems, _) = read(&[("PORT", "http")]);
        assert!(problems[0].to_string().contains("KEEPWELL_SERVER__LISTEN"), "{problems:?}");
    }

    #[test]
    fn an_encryption_key_may_have_commas_in_it() {
        let (layer, ..) = read(&[("ENCRYPTION_KEY", "a,b")]);
        let keys = layer.entries["encryption.keys"].value.as_array().unwrap();
        assert_eq!(keys.iter().map(|key| key.as_str().unwrap()).collect::<Vec<_>>(), ["a,b"]);
    }

    #[test]
    fn switching_off_what_is_always_on_is_warned_about() {
        assert!(read(&[("MONITORING_ENABLED", "true")]).2.is_empty());
        assert!(read(&[("MONITORING_ENABLED", "false")]).2[0].contains("always served"));
        let ours = [("EMERGENCY_BYPASS_ENABLED", "emergency.token"), ("CRISIS_ALERTING_ENABLED", "`alerts`")];
        for (name, why) in ours {
            assert!(read(&[(name, "true")]).2.is_empty());
            assert!(read(&[(name, "false")]).2[0].contains(why), "{name}");
        }
    }

    #[test]
    fn the_environment_of_a_test_run_is_development() {
        assert_eq!(
            read(&[("NODE_ENV", "test")]).0.entries["environment"].value.as_str(),
            Some("development")
        );
        assert_eq!(
            read(&[("NODE_ENV", "production")]).0.entries["environment"].value.as_str(),
            Some("production")
        );
    }
}
