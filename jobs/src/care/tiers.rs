//! Tiers: what each one opens, and which of Stripe's prices buys which.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::subscription::Grants;

/// What everybody may use at every moment, whatever is owed, broken or unknown. Configuration can add to it; nothing
/// can take from it (crisis safety protocols, core principles; payment-aware sync, preserved therapeutic access).
pub const FLOOR: [&str; 8] = [
    "crisis_button",
    "hotline_988",
    "emergency_contacts",
    "safety_plan",
    "breathing_exercises",
    "phq9_assessment",
    "gad7_assessment",
    "basic_check_in",
];

/// The word for having no tier, only the floor.
pub const FLOOR_TIER: &str = "floor";

/// How eagerly devices are kept up to date (payment-aware sync, tier feature flags).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncFrequency {
    /// When there is nothing better to do.
    Background,
    /// As most apps do.
    Standard,
    /// More often than most.
    Frequent,
    /// At once.
    Realtime,
}

/// One tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// Of two tiers the one with the higher rank is the better one.
    pub rank: i64,
    /// What it opens, beside the floor.
    pub features: Vec<String>,
    /// What apps show as switched off.
    pub disabled: Vec<String>,
    /// How eagerly devices are kept up to date.
    pub sync_frequency: SyncFrequency,
    /// Megabytes (10^6 bytes) a person may sync; `None` is no limit.
    pub data_limit_mb: Option<u64>,
}

/// Every tier, and how prices lead to them.
#[derive(Debug, Clone)]
pub struct Tiers {
    by_name: BTreeMap<String, Arc<Tier>>,
    by_price: HashMap<String, Arc<Tier>>,
    default: Arc<Tier>,
    trial: Arc<Tier>,
    grace_period: Arc<Tier>,
    floor: Vec<String>,
}

/// The text does not describe tiers.
#[derive(Debug, thiserror::Error)]
pub enum TiersError {
    /// No TOML, or not of the expected shape.
    #[error("the tiers cannot be read")]
    Toml(#[from] toml::de::Error),
    /// A name leads nowhere.
    #[error("{place} names the tier `{name}`, which is not described")]
    UnknownTier {
        /// Where it is named.
        place: String,
        /// The name.
        name: String,
    },
    /// `trial` and `grace_period` are entered by rule, so they have to be there.
    #[error("the tier `{0}` has to be described: the rules of care lead to it")]
    Missing(&'static str),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TiersFile {
    default_tier: String,
    #[serde(default)]
    floor: FloorFile,
    tiers: BTreeMap<String, TierFile>,
    #[serde(default)]
    prices: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FloorFile {
    #[serde(default)]
    features: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TierFile {
    rank: i64,
    features: Vec<String>,
    #[serde(default)]
    disabled: Vec<String>,
    sync_frequency: SyncFrequency,
    data_limit_mb: Option<u64>,
}

impl Tiers {
    /// Reads the tiers in `text` (TOML).
    pub fn from_toml(text: &str) -> Result<Self, TiersError> {
        let file: TiersFile = toml::from_str(text)?;
        let by_name: BTreeMap<String, Arc<Tier>> =
            file.tiers.into_iter().map(|(name, tier)| (name.clone(), Arc::new(tier.named(name)))).collect();
        let find = |name: &str, place: &dyn Fn() -> String| {
            by_name
                .get(name)
                .cloned()
                .ok_or_else(|| TiersError::UnknownTier { place: place(), name: name.to_owned() })
        };
        let by_price = file
            .prices
            .iter()
            .map(|(price, name)| Ok((price.clone(), find(name, &|| format!("the price `{price}`"))?)))
            .collect::<Result<_, TiersError>>()?;
        let required = |name: &'static str| by_name.get(name).cloned().ok_or(TiersError::Missing(name));
        let mut floor: Vec<String> = FLOOR.map(str::to_owned).to_vec();
        add_missing(&mut floor, &file.floor.features);
        Ok(Self {
            default: find(&file.default_tier, &|| "`default_tier`".to_owned())?,
            trial: required("trial")?,
            grace_period: required("grace_period")?,
            by_price,
            floor,
            by_name,
        })
    }

    /// The tier of a trial.
    pub fn trial(&self) -> &Arc<Tier> {
        &self.trial
    }

    /// The tier of a grace period.
    pub fn grace_period(&self) -> &Arc<Tier> {
        &self.grace_period
    }

    /// The best tier there is.
    pub fn best(&self) -> &Arc<Tier> {
        self.by_name.values().max_by_key(|tier| tier.rank).unwrap_or(&self.default)
    }

    /// The best tier that `prices` buy; an unknown price buys the default one.
    pub fn of_prices(&self, prices: &[String]) -> &Arc<Tier> {
        prices
            .iter()
            .map(|price| self.by_price.get(price).unwrap_or(&self.default))
            .max_by_key(|tier| tier.rank)
            .unwrap_or(&self.default)
    }

    /// The tier that a subscription opens whose status grants `grants` and which bought `prices`.
    pub fn granted(&self, grants: Grants, prices: &[String]) -> Option<&Arc<Tier>> {
        match grants {
            Grants::Tier => Some(self.of_prices(prices)),
            Grants::Trial => Some(&self.trial),
            Grants::GracePeriod => Some(&self.grace_period),
            Grants::Nothing => None,
        }
    }

    /// What everybody may use: [`FLOOR`] and what the configuration adds.
    pub fn floor(&self) -> &[String] {
        &self.floor
    }

    /// Every tier, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Tier> {
        self.by_name.values().map(AsRef::as_ref)
    }
}

impl TierFile {
    fn named(self, name: String) -> Tier {
        Tier {
            name,
            rank: self.rank,
            features: self.features,
            disabled: self.disabled,
            sync_frequency: self.sync_frequency,
            data_limit_mb: self.data_limit_mb,
        }
    }
}

/// Appends those of `more` that `features` lacks.
pub(crate) fn add_missing(features: &mut Vec<String>, more: &[impl AsRef<str>]) {
    for feature in more {
        if !features.iter().any(|known| known == feature.as_ref()) {
            features.push(feature.as_ref().to_owned());
        }
    }
}

#[cfg(test)]
pub(crate) fn shipped() -> Tiers {
    Tiers::from_toml(include_str!("../../../config/tiers.toml")).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        default_tier = "one"
        [floor]
        features = ["lighthouse"]
        [tiers.one]
        rank = 1
        features = ["a"]
        sync_frequency = "standard"
        [tiers.trial]
        rank = 0
        features = []
        sync_frequency = "background"
        data_limit_mb = 10
        [tiers.grace_period]
        rank = -1
        features = []
        sync_frequency = "frequent"
        [prices]
        p0 = "trial"
        p1 = "one"
    "#;

    #[test]
    fn the_best_price_counts_and_an_unknown_one_buys_the_default() {
        let tiers = Tiers::from_toml(SMALL).unwrap();
        let of = |prices: &[&str]| {
            tiers.of_prices(&prices.iter().map(ToString::to_string).collect::<Vec<_>>()).name.clone()
        };
        assert_eq!((of(&["p0"]), of(&["p0", "p1"])), ("trial".into(), "one".into()));
        assert_eq!((of(&[]), of(&["p9"])), ("one".into(), "one".into()));
    }

    #[test]
    fn configuration_adds_to_the_floor_and_never_takes_from_it() {
        let tiers = Tiers::from_toml(SMALL).unwrap();
        assert!(FLOOR.iter().all(|feature| tiers.floor().iter().any(|known| known == feature)));
        assert_eq!(tiers.floor().last().unwrap(), "lighthouse");
    }

    #[test]
    fn a_name_that_leads_nowhere_is_refused() {
        for (from, to) in [
            ("p1 = \"one\"", "p1 = \"two\""),
            ("default_tier = \"one\"", "default_tier = \"two\""),
            ("tiers.trial", "tiers.other"),
            ("rank = 1", "rang = 1"),
        ] {
            assert!(Tiers::from_toml(&SMALL.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn the_shipped_tiers_are_those_of_the_sync_policies() {
        let tiers = shipped();
        let limits: Vec<_> = tiers.iter().map(|tier| (tier.name.as_str(), tier.data_limit_mb)).collect();
        assert_eq!(
            limits,
            [("basic", Some(50)), ("grace_period", Some(25)), ("premium", None), ("trial", Some(10))]
        );
        assert_eq!(tiers.best().name, "premium");
        assert_eq!(tiers.floor(), FLOOR, "the file says the same");
    }

    #[test]
    fn what_each_shipped_tier_opens_is_what_the_sync_policies_list_entry_for_entry() {
        use SyncFrequency::{Background, Frequent, Realtime, Standard};
        // 002: `getTierFeatureFlags`, in its order.
        let base =
            ["basic_check_in", "phq9_assessment", "gad7_assessment", "crisis_button", "breathing_exercises"];
        let premium = [
            "advanced_analytics",
            "custom_exercises",
            "priority_support",
            "real_time_sync",
            "cross_device_sync",
            "advanced_crisis_features",
        ];
        let policies: [(&str, &[&str], &[&str], SyncFrequency); 4] = [
            ("basic", &["mood_tracking", "progress_charts"], &[], Standard),
            ("grace_period", &["mood_tracking"], &["advanced_analytics", "custom_exercises"], Frequent),
            ("premium", &premium, &[], Realtime),
            ("trial", &["trial_features"], &[], Background),
        ];
        let tiers = shipped();
        for (tier, (name, more, disabled, sync_frequency)) in tiers.iter().zip(policies) {
            assert_eq!((tier.name.as_str(), tier.sync_frequency), (name, sync_frequency));
            let listed = [&base[..], more].concat();
            if name == "grace_period" {
                // 003: "access to all therapeutic features remains completely available". It wins, so nothing of what
                // 002 opens is missing, and of what it closes only what is no care stays closed.
                assert_eq!(tier.features, [&listed[..], &THERAPEUTIC_IN_GRACE].concat());
                assert_eq!(tier.disabled, ["advanced_analytics"]);
                continue;
            }
            assert_eq!(tier.features, listed, "{name}");
            assert_eq!(tier.disabled, disabled, "{name}");
        }
        assert_eq!(tiers.iter().count(), policies.len());
    }

    /// What 002 leaves out of a grace period and 003 promises for it: exercises and progress.
    const THERAPEUTIC_IN_GRACE: [&str; 3] =
        ["progress_charts", "custom_exercises", "advanced_crisis_features"];

    #[test]
    fn whoever_falls_into_grace_loses_nothing_that_is_care() {
        // No care: figures for the app's own use, a faster answer to questions, and how devices are kept alike.
        let no_care = ["advanced_analytics", "priority_support", "real_time_sync", "cross_device_sync"];
        let tiers = shipped();
        let grace = tiers.grace_period();
        for tier in tiers.iter().filter(|tier| tier.rank > grace.rank) {
            let lost = tier.features.iter().filter(|feature| !grace.features.contains(feature));
            let lost: Vec<&String> = lost.filter(|feature| !no_care.contains(&feature.as_str())).collect();
            assert!(
                lost.is_empty() || tier.name == "trial" && lost == ["trial_features"],
                "{}: {lost:?}",
                tier.name
            );
        }
        assert!(grace.disabled.iter().all(|feature| no_care.contains(&feature.as_str())));
    }
}
