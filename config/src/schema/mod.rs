//! What is known about every setting: its name, its manual, its type and its bounds.
//!
//! One declaration (`settings!`) makes both the struct and this knowledge, so that they cannot drift apart.

mod kind;
#[macro_use]
mod declare;

use figment::value::Value;

pub use kind::Kind;
pub(crate) use kind::SettingType;

use crate::settings::{Config, SECTIONS};

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its full name: `section.key`, or `key` at the top level.
    pub key: &'static str,
    /// The lines of its doc comment.
    pub doc: &'static [&'static str],
    /// What values look like.
    pub kind: Kind,
    /// Whether it may have no value at all.
    pub optional: bool,
    /// The least and the greatest number allowed.
    pub bounds: Option<Bounds>,
    /// A value to show where there is no default, as TOML.
    pub example: Option<&'static str>,
    /// What is wrong with a value of the setting, if anything is.
    pub(crate) check: fn(&Value) -> Option<figment::Error>,
}

/// The least and the greatest number that a setting may have, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The least.
    pub min: u64,
    /// The greatest.
    pub max: u64,
}

/// A group of settings: a `[table]` of the file, or its top level.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// The name of the table; empty for the top level.
    pub name: &'static str,
    /// The lines of its doc comment.
    pub doc: &'static [&'static str],
    /// Its settings, in the order of the manual.
    pub fields: &'static [Field],
}

impl Field {
    /// The variable that sets it: `KEEPWELL_SERVER__LISTEN` for `server.listen`.
    pub fn variable(&self) -> String {
        format!("{}{}", Self::VARIABLE_PREFIX, self.key.replace('.', "__").to_ascii_uppercase())
    }

    /// The name without its section.
    pub fn name(&self) -> &'static str {
        self.key.rsplit_once('.').map_or(self.key, |(_, name)| name)
    }

    /// What every variable of ours begins with.
    pub const VARIABLE_PREFIX: &'static str = "KEEPWELL_";
}

/// All sections in the order of the manual, the top level first.
pub fn sections() -> impl Iterator<Item = Section> {
    std::iter::once(Config::SECTION).chain(SECTIONS.iter().copied())
}

/// All settings in the order of the manual.
pub fn fields() -> impl Iterator<Item = &'static Field> {
    sections().flat_map(|section| section.fields)
}

/// The setting named `key`.
pub fn field(key: &str) -> Option<&'static Field> {
    fields().find(|field| field.key == key)
}
