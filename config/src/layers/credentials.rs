//! systemd credentials: one file per setting, named like the setting.

use std::{fs, path::Path};

use super::{
    Read, read_bounded,
    text::{Separator, parse},
};
use crate::{
    origin::Origin,
    problem::Problem,
    schema::field,
    suggest::{did_you_mean, nearest_key},
};

/// The settings in the files of `directory` (`$CREDENTIALS_DIRECTORY`).
pub(crate) fn credentials(directory: &Path) -> Read {
    let (mut layer, mut problems) = Read::default();
    let mut paths: Vec<_> = match fs::read_dir(directory) {
        Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).collect(),
        Err(error) => {
            let what = format!("the directory of credentials cannot be read ({error})");
            let remedy = "start the daemon through systemd, or unset CREDENTIALS_DIRECTORY";
            return (
                layer,
                vec![Problem::general(what, remedy).at(Origin::Credential(directory.to_owned()))],
            );
        }
    };
    paths.sort();
    for path in paths {
        let key = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let origin = Origin::Credential(path.clone());
        let Some(field) = field(&key) else {
            let remedy =
                did_you_mean(nearest_key(&key), "name the credential like the setting, as in stripe.api_key");
            problems.push(Problem::of(key, "there is no such setting", remedy).at(origin));
            continue;
        };
        let text = match read_bounded(&path) {
            Ok(text) => text,
            Err(error) => {
                let what = format!("the credential cannot be read as a text ({error})");
                problems.push(Problem::of(key, what, "check LoadCredential= in the unit").at(origin));
                continue;
            }
        };
        let text =
            text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
        match parse(text, field.kind, Separator::LineEnd) {
            Ok(value) => layer.set(field, value, origin),
            Err(what) => {
                problems.push(Problem::of(key, what, "write one item per line, or a TOML array").at(origin));
            }
        }
    }
    (layer, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_credential_is_a_setting_and_loses_its_last_line_end() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("stripe.webhook_secrets"), "whsec_one\nwhsec_two\n").unwrap();
        fs::write(directory.path().join("emergency.token"), "token\n").unwrap();
        let (layer, problems) = credentials(directory.path());
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(layer.entries["stripe.webhook_secrets"].value.as_array().unwrap().len(), 2);
        assert_eq!(layer.entries["emergency.token"].value.as_str(), Some("token"));
    }

    #[test]
    fn an_unknown_or_unreadable_credential_is_told_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("stripe.webhook_secret"), "hidden").unwrap();
        fs::write(directory.path().join("stripe.api_key"), [0xff, 0xfe]).unwrap();
        let told: Vec<String> = credentials(directory.path()).1.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2);
        assert!(
            told[0].contains("cannot be read as a text") && told[0].contains("LoadCredential="),
            "{told:?}"
        );
        assert!(
            told[1].contains("did you mean `stripe.webhook_secrets`?") && !told[1].contains("hidden"),
            "{told:?}"
        );
        assert!(credentials(&directory.path().join("gone")).1[0].to_string().contains("cannot be read"));
    }
}
