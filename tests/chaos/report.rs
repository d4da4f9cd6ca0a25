//! What a storm came to, in words and figures.

use std::{collections::BTreeMap, fmt};

use super::{checker::Findings, fault::Fault, recovery::Recovery};

/// What was owed once the last fault and the last event were over.
#[derive(Debug, Default)]
pub struct Backlog {
    /// `None` if the database never said.
    pub at_first: Option<i64>,
    /// How long it took until nothing was, or until it no longer became less.
    pub seconds: f64,
    pub left: i64,
}

/// What a storm came to.
#[derive(Debug)]
pub struct Report {
    pub scenario: &'static str,
    pub seed: u64,
    pub faults: Vec<Fault>,
    /// Faults that this machine cannot make, and why.
    pub skipped: Vec<String>,
    pub seconds: f64,
    pub sent: usize,
    pub taken: usize,
    pub done: usize,
    pub asked: usize,
    /// Events that the first attempt did not bring in, and those of them that were sent while nothing but Redis was
    /// away.
    pub came_again: [usize; 2],
    /// Jobs that one about the same person overtook that was sent after they had been answered.
    pub overtaken: usize,
    /// Questions that nobody answered, because the daemon was down.
    pub unanswered: usize,
    /// The floor in place of what is known about a person.
    pub fallbacks: usize,
    pub backlog: Backlog,
    pub findings: Findings,
    pub recoveries: Vec<Recovery>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.findings;
        writeln!(f, "{} (seed {}, {:.0} s)", self.scenario, self.seed, self.seconds)?;
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for fault in &self.faults {
            *kinds.entry(fault.name()).or_default() += 1;
        }
        let kinds: Vec<String> = kinds.into_iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(f, "  {} faults: {}", self.faults.len(), kinds.join(", "))?;
        for skipped in &self.skipped {
            writeln!(f, "  skipped: {skipped}")?;
        }
        writeln!(
            f,
            "  {:>8} {:>8} {:>8} {:>6} {:>6} {:>8} {:>7} {:>6} {:>7} {:>6}",
            "sent", "taken", "done", "lost", "twice", "foreign", "refused", "floor", "fallen", "cries"
        )?;
        writeln!(
            f,
            "  {:>8} {:>8} {:>8} {:>6} {:>6} {:>8} {:>7} {:>6} {:>7} {:>6}",
            self.sent,
            self.taken,
            self.done,
            found.lost.len(),
            found.twice.len(),
            found.foreign.len(),
            found.refused.len(),
            found.floor.len(),
            found.fallen.len(),
            found.cries.len()
        )?;
        writeln!(
            f,
            "  asked {}: {} unanswered while down, {} answered with the floor alone",
            self.asked, self.unanswered, self.fallbacks
        )?;
        let [came_again, without_redis] = self.came_again;
        writeln!(
            f,
            "  sent more than once until it was taken: {came_again}, {without_redis} of them with nothing away but redis"
        )?;
        writeln!(f, "  overtaken by a later one about the same person: {}", self.overtaken)?;
        let Backlog { at_first, seconds, left } = &self.backlog;
        let at_first = at_first.unwrap_or(0);
        writeln!(f, "  owed after the last fault: {at_first}; {left} of them {seconds:.1} s later")?;
        if !self.recoveries.is_empty() {
            writeln!(
                f,
                "  {:<28} {:>7} {:>9} {:>9} {:>9}   promised",
                "milliseconds", "count", "p50", "p99", "max"
            )?;
        }
        for recovery in &self.recoveries {
            let [half, most, max] = [50, 99, 100].map(|percent| recovery.percentile(percent));
            let promised = match recovery.limit_ms {
                Some(limit_ms) if max > limit_ms => format!("{limit_ms:.0}, EXCEEDED"),
                Some(limit_ms) => format!("{limit_ms:.0}"),
                None => String::new(),
            };
            let (what, count) = (recovery.what, recovery.count());
            write!(f, "  {what:<28} {count:>7} {half:>9.1} {most:>9.1} {max:>9.1}   {promised}")?;
            match recovery.cut_off {
                0 => writeln!(f)?,
                cut_off => writeln!(f, " ({cut_off} until the next death)")?,
            }
        }
        Ok(())
    }
}
