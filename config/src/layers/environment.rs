//! Variables named `KEEPWELL_SECTION__KEY`.

use std::collections::BTreeMap;

use super::{
    Read,
    text::{Separator, parse},
};
use crate::{
    origin::Origin,
    problem::Problem,
    schema::{Field, Kind, fields},
    suggest::{did_you_mean, nearest_variable},
};

/// The variable that names the configuration file.
pub(crate) const CONFIG_FILE_VARIABLE: &str = "KEEPWELL_CONFIG";

/// Variables that tests use for their own ends; the daemon does not read them.
const TEST_PREFIX: &str = "KEEPWELL_TEST_";

/// Whether it is a variable that Kubernetes sets in every container beside a service named `keepwell`.
fn is_service_link(name: &str, text: &str) -> bool {
    name.starts_with("KEEPWELL_SERVICE_")
        || name.starts_with("KEEPWELL_PORT_")
        || (name == "KEEPWELL_PORT" && text.contains("://"))
}

/// The settings among `variables`.
pub(crate) fn environment(variables: &BTreeMap<String, String>) -> Read {
    let known: BTreeMap<String, &'static Field> = fields().map(|field| (field.variable(), field)).collect();
    let (mut layer, mut problems) = Read::default();
    let ours = variables.iter().filter(|(name, text)| {
        name.starts_with(Field::VARIABLE_PREFIX)
            && !name.starts_with(TEST_PREFIX)
            && name.as_str() != CONFIG_FILE_VARIABLE
            && !is_service_link(name, text)
    });
    for (name, text) in ours {
        let origin = Origin::Variable(name.clone());
        let Some(field) = known.get(name) else {
            let remedy = did_you_mean(
                nearest_variable(name).as_deref(),
                "variables are named KEEPWELL_SECTION__KEY, such as KEEPWELL_SERVER__LISTEN",
            );
            problems.push(Problem::general("there is no such setting", remedy).at(origin));
            continue;
        };
        if text.is_empty() {
            continue;
        }
        match parse(text, field.kind, Separator::Comma) {
            Ok(value) => layer.set(field, value, origin),
            Err(what) => {
                let remedy = match field.kind {
                    Kind::Numbers | Kind::Texts => "write a TOML table",
                    _ => "separate items by commas, or write a TOML array",
                };
                problems.push(Problem::of(field.key, what, remedy).at(origin));
            }
        }
    }
    (layer, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Read {
        environment(&variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    #[test]
    fn a_variable_sets_the_setting_of_its_name() {
        let (layer, problems) = read(&[
            ("KEEPWELL_STATE_DIR", "/x"),
            ("KEEPWELL_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
            ("KEEPWELL_STRIPE__API_KEY", ""),
            ("KEEPWELL_CONFIG", "/etc/other.toml"),
            ("KEEPWELL_TEST_POSTGRES", "x"),
            ("KEEPWELL_SERVICE_HOST", "10.0.0.1"),
            ("KEEPWELL_PORT", "tcp://10.0.0.1:3000"),
            ("KEEPWELL_PORT_3000_TCP_ADDR", "10.0.0.1"),
            ("HOME", "/root"),
        ]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(layer.keys().collect::<Vec<_>>(), ["server.trusted_proxies", "state_dir"]);
    }

    #[test]
    fn an_unknown_variable_of_ours_is_told() {
        let (_, problems) = read(&[("KEEPWELL_SERVER_LISTEN", "x"), ("KEEPWELL_NONSENSE_AT_ALL", "x")]);
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(
            told[0].contains("KEEPWELL_NONSENSE_AT_ALL") && told[0].contains("KEEPWELL_SECTION__KEY"),
            "{told:?}"
        );
        assert!(told[1].contains("did you mean `KEEPWELL_SERVER__LISTEN`?"), "{told:?}");
    }
}
