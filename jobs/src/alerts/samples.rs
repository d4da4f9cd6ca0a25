//! Reads `/metrics`: alerts go by the very text that Prometheus reads.

use super::figure::Series;

/// The samples of one look at `/metrics`.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples<'t>(Vec<Sample<'t>>);

#[derive(Debug, Clone, PartialEq)]
struct Sample<'t> {
    name: &'t str,
    labels: Vec<(&'t str, &'t str)>,
    value: f64,
}

impl<'t> Samples<'t> {
    /// Those in `text`, which is in the form of Prometheus or OpenMetrics. A line that cannot be read is passed over.
    pub fn read(text: &'t str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    /// Whether there is any of `series`.
    pub fn has(&self, series: &Series) -> bool {
        self.of(series).next().is_some()
    }

    /// All of `series` together; 0 if there is none.
    pub fn sum(&self, series: &Series) -> f64 {
        self.of(series).fold(0.0, |sum, sample| sum + sample.value)
    }

    /// The greatest of `series`.
    pub fn highest(&self, series: &Series) -> Option<f64> {
        self.of(series).map(|sample| sample.value).reduce(f64::max)
    }

    /// The least of `series`.
    pub fn lowest(&self, series: &Series) -> Option<f64> {
        self.of(series).map(|sample| sample.value).reduce(f64::min)
    }

    /// The greatest of `series` for each value of `label`, at most `max` of them.
    pub fn highest_by(&self, series: &Series, label: &str, max: usize) -> Vec<(&'t str, f64)> {
        let mut found: Vec<(&str, f64)> = Vec::new();
        for sample in self.of(series) {
            let Some((_, value)) = sample.labels.iter().find(|(name, _)| *name == label) else { continue };
            if let Some((_, highest)) = found.iter_mut().find(|(known, _)| known == value) {
                *highest = highest.max(sample.value);
            } else if found.len() < max {
                found.push((value, sample.value));
            }
        }
        found
    }

    fn of(&self, series: &Series) -> impl Iterator<Item = &Sample<'t>> {
        self.0.iter().filter(move |sample| {
            sample.name == series.name && series.labels.iter().all(|label| sample.labels.contains(label))
        })
    }
}

fn sample(line: &str) -> Option<Sample<'_>> {
    if line.starts_with('#') {
        return None;
    }
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    // Behind the value there may be an exemplar or a timestamp.
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample { name, labels, value })
}

/// The labels that `rest` begins with, as they are written, and what stands behind the brace.
fn labels(mut rest: &str) -> Option<(Vec<(&str, &str)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, value) = rest.split_once("=\"")?;
        let mut escaped = false;
        let end = value.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        labels.push((name, &value[..end]));
        rest = &value[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a what\n# TYPE a gauge\na 7\nb{lane=\"crisis\",state=\"up\"} 0.5 # {} 1\n\
         b{lane=\"standard\"} 2\nc{note=\"a \\\"b\\\" } c\",x=\"y\"} 3\nbroken{\nworse{a=\"} 1\nno_number x\n# EOF\n";

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let samples = Samples::read(TEXT);
        let sum = |name, labels| samples.sum(&Series { name, labels }).to_string();
        assert_eq!(
            (sum("a", &[]), sum("b", &[]), sum("nothing", &[])),
            ("7".into(), "2.5".into(), "0".into())
        );
        assert_eq!(sum("b", &[("lane", "crisis")]), "0.5");
        assert_eq!(sum("c", &[("x", "y")]), "3", "a brace in quotes ends nothing");
        assert!(!samples.has(&Series::all("worse")) && !samples.has(&Series::all("no_number")));
        assert_eq!(
            (samples.highest(&Series::all("b")), samples.lowest(&Series::all("b"))),
            (Some(2.0), Some(0.5))
        );
        assert_eq!(samples.highest_by(&Series::all("b"), "lane", 9), [("crisis", 0.5), ("standard", 2.0)]);
        assert_eq!(samples.highest_by(&Series::all("b"), "lane", 1), [("crisis", 0.5)]);
    }
}
