//! From sources to a configuration.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

use crate::{
    Config,
    checks::{check_fields, check_production_secrets, check_together, loose_limits, readable_secrets},
    development::{DevelopmentSecrets, REQUIRED_SECRETS, find_or_make_up},
    layers::{
        CONFIG_FILE_VARIABLE, Layer, Merged, credentials, defaults, derived, environment, file_layer, legacy,
        read_bounded,
    },
    origin::Origin,
    problem::{ConfigErrors, Problem},
    values::{Environment, Secret, WebhookSecret},
};

/// The file that is read if no other is named and if it is there.
const SYSTEM_FILE: &str = "/etc/keepwell/keepwell.toml";

/// What a configuration is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run the daemon: missing secrets are made up, or refused in production.
    Serve,
    /// To say whether the daemon would start: like [`Purpose::Serve`], but nothing is written.
    Check,
    /// To find the daemon and talk to it: nothing is written, and secrets may be missing, because somebody on
    /// the command line seldom has the daemon's credentials.
    Client,
}

/// What a configuration is made from.
#[derive(Clone)]
pub struct Sources {
    variables: BTreeMap<String, String>,
    file: Option<PathBuf>,
    system_file: Option<PathBuf>,
    purpose: Purpose,
}

impl Sources {
    /// The environment of this process, and `file` (`--config`) or the file of an installed package.
    pub fn of_process(file: Option<PathBuf>, purpose: Purpose) -> Self {
        // The one place that asks. A name or value that is no Unicode cannot be one of ours, and must not be
        // a panic.
        #[allow(clippy::disallowed_methods)]
        let variables = std::env::vars_os()
            .map(|(name, text)| (name.to_string_lossy().into_owned(), text.to_string_lossy().into_owned()));
        Self { file, system_file: Some(SYSTEM_FILE.into()), ..Self::new(variables, purpose) }
    }

    /// Only `variables`, as if they were the environment, and no file unless they name one.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>, purpose: Purpose) -> Self {
        Self { variables: variables.into_iter().collect(), file: None, system_file: None, purpose }
    }

    /// Reads `file`, which must be there.
    #[must_use]
    pub fn with_file(self, file: impl Into<PathBuf>) -> Self {
        Self { file: Some(file.into()), ..self }
    }

    /// Sets a variable in place of the environment's, if there is a `text`: how a flag such as `--roles`
    /// reaches `roles`.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<String>, text: Option<String>) -> Self {
        self.variables.extend(text.map(|text| (name.into(), text)));
        self
    }

    /// Reads `file` in place of `/etc/keepwell/keepwell.toml`: if no other file is named, and if it is there.
    #[must_use]
    pub fn with_system_file(self, file: impl Into<PathBuf>) -> Self {
        Self { system_file: Some(file.into()), ..self }
    }
}

// By hand, because the values of variables may be secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("system_file", &self.system_file)
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

/// A configuration, and how it came to be.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file that was read, if one was.
    pub file: Option<PathBuf>,
    /// The made-up secrets that are in use, if any are.
    pub development_secrets: Option<DevelopmentSecrets>,
    /// What works, but should be looked at. Free of secrets.
    pub warnings: Vec<String>,
    merged: Merged,
}

impl Loaded {
    /// Where the value of the setting `key` comes from.
    pub fn origin(&self, key: &str) -> Origin {
        self.merged.origin(key)
    }

    /// What to print once, where only the person who started the daemon sees it: the secrets that were made
    /// up just now, in plain text, and where they are kept. `None` if none were. Not for logs.
    pub fn announcement(&self) -> Option<String> {
        let made_up = self.development_secrets.as_ref().filter(|secrets| !secrets.created.is_empty())?;
        let (config, mut lines) = (&self.config, Vec::new());
        for key in &made_up.created {
            let secrets: Vec<&str> = match *key {
                "stripe.webhook_secrets" => {
                    config.stripe.webhook_secrets.iter().map(WebhookSecret::expose).collect()
                }
                "app.webhook_secrets" => {
                    config.app.webhook_secrets.iter().map(WebhookSecret::expose).collect()
                }
                "access.tokens" => config.access.tokens.iter().map(Secret::expose).collect(),
                // Nobody has to type the encryption key anywhere.
                _ => continue,
            };
            lines.push(format!("  {key:<24}{}\n", secrets.join(", ")));
        }
        Some(format!(
            "Made up secrets for development; they are kept in {}:\n{}",
            made_up.path.display(),
            lines.concat()
        ))
    }
}

impl Config {
    /// Reads all `sources`, lays them over each other, and checks the result. All problems are told at once.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
        let Given { mut layers, file, mut warnings, mut problems } = gather(sources)?;
        let mut merged = Merged::of(&layers);
        warnings.extend(file.iter().filter_map(|path| readable_secrets(path, &merged)));

        let production = merged.text("environment").as_deref() == Some(Environment::Production.name());
        problems.extend(check_fields(&merged));
        if production && sources.purpose != Purpose::Client {
            problems.extend(check_production_secrets(&merged));
        }
        none(problems)?;
        let mut config = typed(&merged)?;

        let mut development_secrets = None;
        let missing: Vec<&'static str> =
            REQUIRED_SECRETS.iter().copied().filter(|key| !merged.has(key)).collect();
        if !production && !missing.is_empty() {
            let create = sources.purpose == Purpose::Serve;
            let (layer, in_use) = find_or_make_up(&config.state_dir, &missing, create)?;
            layers.insert(ABOVE_DEFAULTS, layer);
            merged = Merged::of(&layers);
            none(check_fields(&merged))?;
            config = typed(&merged)?;
            development_secrets = Some(in_use).filter(|in_use| !in_use.keys.is_empty());
        }
        warnings.extend(loose_limits(&config, &merged));
        Ok(Loaded { config, file, development_secrets, warnings, merged })
    }
}

/// The typed whole of settings that pass their checks.
fn typed(merged: &Merged) -> Result<Config, ConfigErrors> {
    // Fails only if the checks and the structs disagree.
    let config = merged.extract().ok_or_else(|| {
        Problem::general("the settings do not fit together", "please report this as a fault of keepwell")
    })?;
    none(check_together(&config, merged))?;
    Ok(config)
}

fn none(problems: Vec<Problem>) -> Result<(), ConfigErrors> {
    if problems.is_empty() { Ok(()) } else { Err(ConfigErrors { problems }) }
}

/// What the sources have, the lowest layer first.
struct Given {
    layers: Vec<Layer>,
    file: Option<PathBuf>,
    warnings: Vec<String>,
    problems: Vec<Problem>,
}

/// Where in [`Given::layers`] something belongs that wins over all defaults and over nothing else.
const ABOVE_DEFAULTS: usize = 2;

fn gather(sources: &Sources) -> Result<Given, ConfigErrors> {
    let variables = &sources.variables;
    let mut problems = Vec::new();
    let mut keep = |(layer, found): (Layer, Vec<Problem>)| {
        problems.extend(found);
        layer
    };

    let defaults = keep(defaults());
    let (file, installed) = chosen_file(sources);
    let from_file = match &file {
        Some(path) => keep(read_file(path, installed)?),
        None => Layer::default(),
    };
    let from_credentials =
        match variables.get("CREDENTIALS_DIRECTORY").filter(|directory| !directory.is_empty()) {
            Some(directory) => keep(credentials(Path::new(directory))),
            None => Layer::default(),
        };
    let below_legacy = Merged::of([&defaults, &from_file, &from_credentials]);
    let (from_legacy, warnings) = legacy(variables, &below_legacy);
    let from_legacy = keep(from_legacy);
    let from_environment = keep(environment(variables));

    let mut layers = vec![defaults, from_file, from_credentials, from_legacy, from_environment];
    layers.insert(0, derived(&Merged::of(&layers), variables, installed));
    Ok(Given { layers, file, warnings, problems })
}

/// The file to read, and whether it is the one of an installed package.
fn chosen_file(sources: &Sources) -> (Option<PathBuf>, bool) {
    let named =
        sources.variables.get(CONFIG_FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    match sources.file.clone().or(named) {
        Some(file) => {
            let installed = sources.system_file.as_ref() == Some(&file);
            (Some(file), installed)
        }
        None => match sources.system_file.clone().filter(|file| file.exists()) {
            Some(file) => (Some(file), true),
            None => (None, false),
        },
    }
}

fn read_file(path: &Path, installed: bool) -> Result<(Layer, Vec<Problem>), ConfigErrors> {
    let text = read_bounded(path).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "check the path given by --config or KEEPWELL_CONFIG",
            io::ErrorKind::PermissionDenied if installed => {
                "run as a member of the group that may read it, or with sudo"
            }
            _ => "check that it is a readable text file",
        };
        Problem::general(
            format!("the configuration file {} cannot be read ({error})", path.display()),
            remedy,
        )
    })?;
    Ok(file_layer(path, &text))
}
