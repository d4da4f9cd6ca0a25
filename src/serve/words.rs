//! What people in need read and whom they can turn to, and what brings it to them, as the configuration says.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use keepwell_config::Config;
use keepwell_jobs::{
    Care,
    care::{
        lines::{CRISIS_LINES_TOML, CrisisLines},
        pressing::pressing,
        resources::CrisisResources,
        templates::Templates,
    },
    outbound::notify::{Notifier, NotifierOptions},
    outreach::Outreach,
};
use keepwell_workers::{clock::SharedClock, database::Database};

use super::error::ServeError;

/// Messages that are sent at a time, at most; on a small pool a quarter of its slots for general work. A gateway that
/// hangs holds as many, and no more.
const MESSAGES_IN_FLIGHT_MAX: usize = 8;

/// The name of a language's file in `care.messages_dir`.
const MESSAGES_FILE: &str = "messages.toml";

/// Languages that are read; more are a slip.
const LANGUAGES_MAX: usize = 200;

/// `care`, speaking and reaching people as `config` says; `database` and `clock` say whether they are still to be
/// reached.
pub(super) fn speaking(
    care: Care,
    config: &Config,
    (database, clock): (&Database, &SharedClock),
) -> Result<Care, ServeError> {
    let templates = templates(config)?;
    for text in pressing(&templates) {
        tracing::warn!("{text}; reword it in `care.messages_dir`");
    }
    let care = care
        .with_resources(crisis_resources(config))
        .with_lines(crisis_lines(config)?)
        .with_templates(templates);
    if let Some(notifier) = notifier(config)? {
        let (database, clock) = (database.clone(), Arc::clone(clock));
        return Ok(care.with_outreach(Outreach { notifier, database, clock }));
    }
    tracing::warn!(
        "no notification gateway is configured (`notify.url`): neither people nor emergency contacts are told"
    );
    Ok(care)
}

/// Whom to turn to where no country is known, as `config` says.
pub(crate) fn crisis_resources(config: &Config) -> CrisisResources {
    let resources = &config.crisis_resources;
    CrisisResources {
        hotline: resources.hotline.clone().into(),
        text: resources.text.clone().into(),
        chat_url: resources.chat_url.as_str().to_owned().into(),
        international: resources.international.clone().into(),
    }
}

/// Whom to turn to, by country, as `config` says.
pub(crate) fn crisis_lines(config: &Config) -> Result<CrisisLines, ServeError> {
    let elsewhere = crisis_resources(config);
    let Some(file) = &config.crisis_resources.lines_file else {
        return Ok(CrisisLines::from_toml(CRISIS_LINES_TOML, elsewhere)?);
    };
    let text = fs::read_to_string(file).map_err(|error| ServeError::LinesFile(file.clone(), error))?;
    Ok(CrisisLines::from_toml(&text, elsewhere)?)
}

/// The texts, as `config` says.
pub(crate) fn templates(config: &Config) -> Result<Templates, ServeError> {
    let built_in = Templates::default();
    let Some(directory) = &config.care.messages_dir else { return Ok(built_in) };
    languages(directory)?.into_iter().try_fold(built_in, |templates, (locale, file)| {
        let text =
            fs::read_to_string(&file).map_err(|error| ServeError::MessagesFile(file.clone(), error))?;
        Ok(templates.with(&locale, &text)?)
    })
}

/// The folders in `directory` that hold a language, in the order of their names.
fn languages(directory: &Path) -> Result<Vec<(String, PathBuf)>, ServeError> {
    let failed = |error| ServeError::MessagesFile(directory.to_owned(), error);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)?.take(LANGUAGES_MAX) {
        let entry = entry.map_err(failed)?;
        let file = entry.path().join(MESSAGES_FILE);
        if file.is_file() {
            found.push((entry.file_name().to_string_lossy().into_owned(), file));
        }
    }
    // By length first: `de-AT` takes what it does not say from `de`, which therefore has to be there.
    found.sort_by(|(one, _), (other, _)| (one.len(), one).cmp(&(other.len(), other)));
    Ok(found)
}

/// The gateway, if `config` names one.
pub(crate) fn notifier(config: &Config) -> Result<Option<Notifier>, ServeError> {
    let (Some(url), Some(token)) = (&config.notify.url, &config.notify.token) else { return Ok(None) };
    let file = config.notify.authorities_file.as_ref();
    let read =
        |file: &PathBuf| fs::read(file).map_err(|error| ServeError::AuthoritiesFile(file.clone(), error));
    let authorities = file.map(read).transpose()?;
    // Both kinds may have to run in the slots for general work, and half of these stay free of them.
    let quarter = config.pool.slots.saturating_sub(config.pool.crisis_slots).div_ceil(4);
    let options = NotifierOptions {
        url: url.as_str(),
        token: token.expose(),
        timeout_ms: config.notify.timeout_ms,
        authorities: authorities.as_deref(),
        urgent_in_flight_max: urgent_in_flight_max(config.pool.crisis_slots).min(quarter),
        in_flight_max: quarter.min(MESSAGES_IN_FLIGHT_MAX),
    };
    Ok(Some(Notifier::new(&options)?))
}

/// Of `crisis_slots`, which are two at least, half may wait for a gateway; however slow that is, one is left.
const fn urgent_in_flight_max(crisis_slots: usize) -> usize {
    crisis_slots.div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_gateway_never_holds_every_crisis_slot() {
        for crisis_slots in 2..100 {
            assert!((1..crisis_slots).contains(&urgent_in_flight_max(crisis_slots)), "{crisis_slots}");
        }
    }
}
