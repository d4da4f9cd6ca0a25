//! What a rule is.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::figure::{Figure, Series};

/// How bad it is (001: "Alerting System").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// In the daily digest.
    Info,
    /// Somebody is told within the hour.
    Warning,
    /// Somebody is told at once.
    Critical,
}

impl Severity {
    /// All of them, the worst first.
    pub const ALL: [Severity; 3] = [Severity::Critical, Severity::Warning, Severity::Info];

    /// Its name, in the table, in metrics and for PagerDuty.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }

    /// The severity called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name() == name)
    }
}

/// Where a figure is wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// Above this.
    Above(f64),
    /// Below this.
    Below(f64),
}

impl Bound {
    /// Whether `value` is wrong.
    pub fn is_broken_by(self, value: f64) -> bool {
        match self {
            Bound::Above(bound) => value > bound,
            Bound::Below(bound) => value < bound,
        }
    }

    /// The number.
    pub fn number(self) -> f64 {
        let (Bound::Above(number) | Bound::Below(number)) = self;
        number
    }

    /// The same with another number.
    #[must_use]
    pub fn at(self, number: f64) -> Self {
        match self {
            Bound::Above(_) => Bound::Above(number),
            Bound::Below(_) => Bound::Below(number),
        }
    }
}

/// As PromQL compares.
impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Above(bound) => write!(f, "> {bound}"),
            Bound::Below(bound) => write!(f, "< {bound}"),
        }
    }
}

/// What makes an alert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// A figure that is wrong.
    Figure(Figure, Bound),
    /// Nothing that is measured: somebody says so (see [`super::sink`]). It is over when nobody has said so for
    /// `quiet_ms` milliseconds, or when somebody has acknowledged it.
    Told {
        /// How long nobody has to say so.
        quiet_ms: i64,
    },
}

/// A rule.
#[derive(Debug, PartialEq)]
pub struct Rule {
    /// What it is called, here and in Prometheus.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What makes an alert of it.
    pub when: When,
    /// For how long that has to hold, in seconds.
    pub for_s: u32,
    /// How soon somebody is told, in seconds; critical ones are told at once, info in the digest.
    pub tell_within_s: u32,
    /// What is the matter, for somebody who was just woken.
    pub summary: &'static str,
    /// What to do first.
    pub runbook: &'static str,
}

impl Rule {
    /// Every series that it looks at.
    pub fn series(&self) -> Vec<Series> {
        match &self.when {
            When::Figure(figure, _) => figure.series(),
            When::Told { .. } => Vec::new(),
        }
    }

    /// The label that tells its alerts apart.
    pub fn by(&self) -> Option<&'static str> {
        match self.when {
            When::Figure(Figure::Highest { by, .. }, _) => by,
            _ => None,
        }
    }
}
