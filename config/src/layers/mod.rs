//! The layers that a configuration is made of, and how they are laid over each other.

mod credentials;
mod derived;
mod environment;
mod file;
pub(crate) mod legacy;
mod text;

use std::{collections::BTreeMap, fmt};

use figment::{
    Figment, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

pub(crate) use credentials::credentials;
pub(crate) use derived::derived;
pub(crate) use environment::{CONFIG_FILE_VARIABLE, environment};
pub(crate) use file::{defaults, file_layer, read_bounded};
pub(crate) use legacy::legacy;

use crate::{
    origin::Origin,
    problem::Problem,
    schema::{Field, sections},
};

/// The settings that one source has, by their keys.
#[derive(Clone, Default)]
pub(crate) struct Layer {
    entries: BTreeMap<&'static str, Entry>,
}

/// A value and where it stands.
#[derive(Clone)]
struct Entry {
    value: Value,
    origin: Origin,
}

/// The whole number that a value is, however it was written.
pub(crate) fn whole_number(value: &Value) -> Option<i128> {
    value.to_i128().or_else(|| value.to_u128().and_then(|number| i128::try_from(number).ok()))
}

/// A layer together with what was wrong in its source.
pub(crate) type Read = (Layer, Vec<Problem>);

impl Layer {
    /// Sets `field`.
    pub(crate) fn set(&mut self, field: &'static Field, value: Value, origin: Origin) {
        self.entries.insert(field.key, Entry { value, origin });
    }

    /// Only the settings named in `keys`.
    pub(crate) fn only(mut self, keys: &[&'static str]) -> Self {
        self.entries.retain(|key, _| keys.contains(key));
        self
    }

    /// Says of all its settings that they come from `origin`.
    pub(crate) fn relocate(&mut self, origin: &Origin) {
        self.entries.values_mut().for_each(|entry| entry.origin = origin.clone());
    }

    /// The settings in it.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.entries.keys().copied()
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named("keepwell")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        // Every section, or one in which nothing is set would be missing from the whole.
        let named = sections().filter(|section| !section.name.is_empty());
        let mut data: Dict =
            named.map(|section| (section.name.to_owned(), Value::from(Dict::new()))).collect();
        for (key, entry) in &self.entries {
            let value = entry.value.clone();
            match key.split_once('.') {
                None => drop(data.insert((*key).to_owned(), value)),
                Some((section, name)) => {
                    if let Some(Value::Dict(_, settings)) = data.get_mut(section) {
                        settings.insert(name.to_owned(), value);
                    }
                }
            }
        }
        Ok(Profile::Default.collect(data))
    }
}

/// Layers on top of each other.
#[derive(Clone)]
pub(crate) struct Merged {
    figment: Figment,
    origins: BTreeMap<&'static str, Origin>,
}

// By hand, because the values may be secrets.
impl fmt::Debug for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merged").field("origins", &self.origins).finish_non_exhaustive()
    }
}

impl Merged {
    /// Lays `layers` over each other, the lowest first.
    pub(crate) fn of<'a>(layers: impl IntoIterator<Item = &'a Layer>) -> Self {
        let empty = Self { figment: Figment::new(), origins: BTreeMap::new() };
        layers.into_iter().fold(empty, Self::over)
    }

    fn over(mut self, layer: &Layer) -> Self {
        for (key, entry) in &layer.entries {
            self.origins.insert(key, entry.origin.clone());
        }
        // `admerge` would join lists; a list of secrets or networks must say all that counts.
        Self { figment: self.figment.merge(layer), ..self }
    }

    /// The value on top.
    pub(crate) fn value(&self, key: &str) -> Option<Value> {
        self.figment.find_value(key).ok()
    }

    /// The text on top, if it is one.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        self.value(key)?.into_string()
    }

    /// Where the value on top comes from.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Unset)
    }

    /// Whether there is a value on top, and not just an empty list.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.value(key).is_some_and(|value| value.as_array().is_none_or(|items| !items.is_empty()))
    }

    /// The typed whole, if every setting passes its check. The error is not handed on, because it could quote
    /// a value.
    pub(crate) fn extract(&self) -> Option<crate::Config> {
        self.figment.extract().ok()
    }
}
