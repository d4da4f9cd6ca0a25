//! Texts by name. Whether somebody is called so, whoever goes by them says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::schema::{Kind, SettingType};

/// Texts by the name of what they are about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedTexts(BTreeMap<String, String>);

impl NamedTexts {
    /// Each name with its text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

impl SettingType for NamedTexts {
    const KIND: Kind = Kind::Texts;
}
