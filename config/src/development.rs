//! Secrets that are made up, so that everything works at once on somebody's machine. Never in production.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rand::RngCore as _;
use zeroize::Zeroizing;

use crate::{
    layers::{Layer, file_layer, read_bounded},
    origin::Origin,
    problem::{ConfigErrors, Problem},
    schema::field,
};

/// The name of the file in the state directory.
pub const DEVELOPMENT_SECRETS_FILE: &str = "dev-secrets.toml";

/// The secrets without which nothing can be received, read or stored.
pub(crate) const REQUIRED_SECRETS: &[&str] =
    &["stripe.webhook_secrets", "app.webhook_secrets", "access.tokens", "encryption.keys"];

/// Stands in every made-up secret, so that production recognises one that was copied. Twenty characters of
/// base64, so that what follows is decoded as if it stood alone.
pub(crate) const MADE_UP: &str = "KeepwellDevelopment0";

/// Which made-up secrets are in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevelopmentSecrets {
    /// The file that keeps them.
    pub path: PathBuf,
    /// The settings that they are the values of.
    pub keys: Vec<&'static str>,
    /// Those of them that were made up just now.
    pub created: Vec<&'static str>,
}

/// Reads the secrets named in `missing` from the file in `state_dir`, and makes up those that are not there
/// if `create`.
pub(crate) fn find_or_make_up(
    state_dir: &Path,
    missing: &[&'static str],
    create: bool,
) -> Result<(Layer, DevelopmentSecrets), ConfigErrors> {
    let path = state_dir.join(DEVELOPMENT_SECRETS_FILE);
    let failed = |error: &io::Error, what: &str| {
        let remedy =
            "make the state directory writable for this user, choose another `state_dir`, or set the secrets";
        let problem = Problem::general(format!("{what} ({error})"), remedy);
        ConfigErrors::from(problem.at(Origin::DevelopmentSecrets(path.clone())))
    };
    // Held until the end: two daemons that start at the same time agree on one set.
    let _lock = match create.then(|| lock(state_dir)).transpose() {
        Ok(lock) => lock,
        Err(error) => return Err(failed(&error, "development secrets cannot be kept")),
    };
    let text = match read_bounded(&path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Zeroizing::default(),
        // They belong to the daemon's user; somebody else does without.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !create => Zeroizing::default(),
        Err(error) => return Err(failed(&error, "development secrets cannot be read")),
    };
    let (kept, problems) = file_layer(&path, &text);
    if !problems.is_empty() {
        return Err(ConfigErrors { problems });
    }
    let absent = |key: &&'static str| !kept.keys().any(|kept| kept == *key);
    let created: Vec<&'static str> =
        if create { missing.iter().copied().filter(absent).collect() } else { Vec::new() };
    let mut layer = kept.only(missing);
    if !created.is_empty() {
        let added = Zeroizing::new(made_up(&created));
        let text = Zeroizing::new(if text.is_empty() {
            format!("{HEADER}{}", *added)
        } else {
            format!("{}{}", *text, *added)
        });
        write_atomically(&path, &text)
            .map_err(|error| failed(&error, "development secrets cannot be kept"))?;
        layer = file_layer(&path, &text).0.only(missing);
    }
    layer.relocate(&Origin::DevelopmentSecrets(path.clone()));
    let keys = layer.keys().collect();
    Ok((layer, DevelopmentSecrets { path, keys, created }))
}

const HEADER: &str = "\
# Secrets that keepwell made up because none were set, for development only.
# Stored data is sealed with the key in here: without this file it cannot be read any more.
";

/// One line of TOML for each of `keys`.
fn made_up(keys: &[&'static str]) -> String {
    let lines = keys.iter().filter_map(|key| {
        let whsec = || format!("whsec_{MADE_UP}{}", random());
        Some(match *key {
            "encryption.keys" => {
                // 20 characters that are 15 bytes, and 17 random bytes: 32.
                let mut bytes = Zeroizing::new([0; 17]);
                rand::rng().fill_bytes(bytes.as_mut_slice());
                format!(
                    "{key} = [{{ id = \"development\", key = \"{MADE_UP}{}\" }}]\n",
                    BASE64_STANDARD.encode(*bytes)
                )
            }
            "access.tokens" => format!("{key} = [\"{MADE_UP}{}\"]\n", random()),
            _ if field(key).is_some() => {
                format!("{key} = [{{ id = \"development\", secret = \"{}\" }}]\n", whsec())
            }
            _ => return None,
        })
    });
    lines.collect()
}

/// 24 random bytes as 32 characters of base64, all of them letters and digits, so that a double click selects
/// them.
fn random() -> String {
    let mut bytes = [0; 24];
    rand::rng().fill_bytes(&mut bytes);
    BASE64_STANDARD.encode(bytes).replace(['+', '/'], "x")
}

fn lock(state_dir: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    let path = state_dir.join(".dev-secrets.lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    lock.lock()?;
    Ok(lock)
}

/// Writes a file that only its owner may read, so that it is there completely or not at all.
fn write_atomically(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("toml.unfinished");
    // A leftover of an interrupted start; the lock says that nobody is writing it now.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
