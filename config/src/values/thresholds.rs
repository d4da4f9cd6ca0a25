//! Numbers by name. Whether somebody is called so, whoever goes by them says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::schema::{Kind, SettingType};

/// More than there are rules.
const THRESHOLDS_MAX: usize = 100;

/// Bounds by the name of what they bound: at most 100 of them, finite and not negative.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, f64>")]
pub struct Thresholds(BTreeMap<String, f64>);

/// Numbers that bound nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ThresholdsError {
    /// There are so many.
    #[error("{0} numbers are more than the 100 that are taken")]
    TooMany(usize),
    /// One of them.
    #[error("`{0}` has {1}, which is no bound: it has to be finite and not negative")]
    NoBound(String, f64),
}

impl Thresholds {
    /// Each name with its bound.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, bound)| (name.as_str(), *bound))
    }
}

impl TryFrom<BTreeMap<String, f64>> for Thresholds {
    type Error = ThresholdsError;

    fn try_from(numbers: BTreeMap<String, f64>) -> Result<Self, ThresholdsError> {
        if numbers.len() > THRESHOLDS_MAX {
            return Err(ThresholdsError::TooMany(numbers.len()));
        }
        match numbers.iter().find(|(_, number)| !number.is_finite() || number.is_sign_negative()) {
            Some((name, number)) => Err(ThresholdsError::NoBound(name.chars().take(80).collect(), *number)),
            None => Ok(Self(numbers)),
        }
    }
}

impl SettingType for Thresholds {
    const KIND: Kind = Kind::Numbers;
}
