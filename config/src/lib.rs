//! The configuration of keepwell: typed, layered, and explained where it is wrong.
//!
//! [`Config`] and its sections in [`settings`] are the manual: every doc comment there becomes the text of
//! `keepwell config explain` and of `example.toml`. What applies when nothing is set stands in `default.toml`
//! only.
//!
//! Later layers win over earlier ones, setting by setting (a list replaces a list):
//!
//! 1. the built-in defaults (`default.toml`, and what follows from other settings, see [`Origin::Derived`]),
//! 2. development secrets (`<state_dir>/dev-secrets.toml`, never in production),
//! 3. the file given by `--config` or `KEEPWELL_CONFIG`, else `/etc/keepwell/keepwell.toml` if there is one,
//! 4. systemd credentials: files in `$CREDENTIALS_DIRECTORY` named like the setting
//!    (`stripe.webhook_secrets`),
//! 5. well-known variables without our prefix ([`LEGACY_VARIABLES`]),
//! 6. variables named `KEEPWELL_SECTION__KEY`.
//!
//! An empty variable counts as not set. Lists are separated by commas in variables and by line ends in
//! credentials, or written as TOML arrays in both.

#[macro_use]
mod schema;

mod checks;
mod development;
mod layers;
mod load;
mod manual;
mod origin;
mod problem;
pub mod settings;
mod suggest;
mod supervision;
pub mod values;

pub use development::{DEVELOPMENT_SECRETS_FILE, DevelopmentSecrets};
pub use layers::legacy::{LEGACY_VARIABLES, LegacyEffect, LegacyVariable};
pub use load::{Loaded, Purpose, Sources};
pub use manual::{
    example::example_toml,
    explain::{Explanation, UnknownKey, explain},
    show::{Setting, show, show_text},
};
pub use origin::Origin;
pub use problem::{ConfigErrors, Problem};
pub use schema::{Bounds, Field, Kind, Section, field, fields, sections};
pub use settings::Config;
pub use supervision::Supervision;

/// The built-in tiers and prices: the text of `tiers.toml`, used unless `care.tiers_file` names another.
pub const TIERS_TOML: &str = include_str!("../tiers.toml");

/// The built-in values of all settings that have one: the text of `default.toml`.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");
