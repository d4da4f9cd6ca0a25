//! Figures: numbers made of the series of `/metrics`, here and in PromQL.

use std::fmt::{self, Display};

/// Every series of `/metrics` with this name and at least these labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// The name as `/metrics` has it, `_total` included.
    pub name: &'static str,
    /// Labels that it has among others.
    pub labels: &'static [(&'static str, &'static str)],
}

impl Series {
    /// All series called `name`.
    pub const fn all(name: &'static str) -> Self {
        Self { name, labels: &[] }
    }

    /// Those called `name` with these labels.
    pub const fn with(name: &'static str, labels: &'static [(&'static str, &'static str)]) -> Self {
        Self { name, labels }
    }
}

/// As PromQL selects it.
impl Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if self.labels.is_empty() {
            return Ok(());
        }
        let labels: Vec<String> =
            self.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        write!(f, "{{{}}}", labels.join(","))
    }
}

/// By how much counters have grown of late: all of `plus` less all of `minus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// What counts.
    pub plus: &'static [Series],
    /// What does not; histograms have no bucket for what is above an edge.
    pub minus: &'static [Series],
    /// How far back "of late" reaches, in seconds.
    pub window_s: u32,
}

impl Growth {
    /// The growth of `plus` within `window_s` seconds.
    pub const fn of(plus: &'static [Series], window_s: u32) -> Self {
        Self { plus, minus: &[], window_s }
    }
}

impl Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grown = |series: &Series| {
            // A series that is not there yet counts as 0, not as "nobody knows".
            format!("(sum(increase({series}[{}s])) or vector(0))", self.window_s)
        };
        let plus: Vec<String> = self.plus.iter().map(grown).collect();
        write!(f, "{}", plus.join(" + "))?;
        self.minus.iter().try_for_each(|series| write!(f, " - {}", grown(series)))
    }
}

/// A number that a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    /// The greatest of these, by a label if one is named: then each value of the label is an alert of its own.
    Highest {
        /// Gauges.
        of: Series,
        /// The label that tells alerts apart.
        by: Option<&'static str>,
    },
    /// The least of these.
    Lowest(Series),
    /// How much was counted of late.
    Growth(Growth),
    /// How much of what was counted of late is of one sort; nothing unless there was enough of it.
    Share {
        /// The sort.
        part: Growth,
        /// All.
        of: Growth,
        /// Less of all than this says nothing.
        at_least: f64,
    },
    /// One gauge as a share of another.
    Ratio {
        /// What is divided.
        part: Series,
        /// By what.
        of: Series,
    },
    /// How fast a counter grows, a second, for each of a gauge.
    Load {
        /// The counter.
        part: Growth,
        /// The gauge.
        of: Series,
    },
}

/// As PromQL computes it.
impl Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Figure::Highest { of, by: Some(label) } => write!(f, "max by ({label}) ({of})"),
            Figure::Highest { of, by: None } => write!(f, "max({of})"),
            Figure::Lowest(of) => write!(f, "min({of})"),
            Figure::Growth(growth) => write!(f, "{growth}"),
            Figure::Share { part, of, at_least } => {
                write!(f, "(({part}) / (({of}) >= {at_least}))")
            }
            Figure::Ratio { part, of } => write!(f, "max({part} / {of})"),
            Figure::Load { part, of } => write!(f, "(({part}) / {}) / sum({of})", part.window_s),
        }
    }
}

impl Figure {
    /// The counters that have to be remembered for it.
    pub fn growths(&self) -> Vec<Growth> {
        match self {
            Figure::Growth(growth) | Figure::Load { part: growth, .. } => vec![*growth],
            Figure::Share { part, of, .. } => vec![*part, *of],
            Figure::Highest { .. } | Figure::Lowest(_) | Figure::Ratio { .. } => Vec::new(),
        }
    }

    /// Every series that it is made of.
    pub fn series(&self) -> Vec<Series> {
        let mut series: Vec<Series> = self
            .growths()
            .iter()
            .flat_map(|growth| growth.plus.iter().chain(growth.minus))
            .copied()
            .collect();
        match self {
            Figure::Highest { of, .. } | Figure::Lowest(of) | Figure::Load { of, .. } => series.push(*of),
            Figure::Ratio { part, of } => series.extend([*part, *of]),
            Figure::Growth(_) | Figure::Share { .. } => {}
        }
        series
    }
}
