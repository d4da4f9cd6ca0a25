//! Which jobs a command is about, as every command spells it.

use std::fmt::Write as _;

use clap::Args;

/// Which jobs.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Filters {
    /// Only in this state: owed, done, dead or cancelled
    #[arg(long)]
    pub(super) state: Option<String>,
    /// Only of this kind
    #[arg(long)]
    pub(super) kind: Option<String>,
    /// Only in this lane: crisis, therapeutic, realtime, standard or background
    #[arg(long)]
    pub(super) lane: Option<String>,
    /// Only about this customer or device
    #[arg(long)]
    pub(super) subject: Option<String>,
    /// Only recorded since then: an instant such as 2027-01-31T12:00:00Z, or 90s, 15m, 36h, 7d ago
    #[arg(long)]
    pub(super) since: Option<String>,
    /// Only recorded before then
    #[arg(long)]
    pub(super) until: Option<String>,
    /// Only with this text in kind, subject, dedupe key or last error
    #[arg(long, short = 'q', value_name = "TEXT")]
    pub(super) search: Option<String>,
}

/// The names and values of a URL's query.
pub(super) type Pairs = Vec<(&'static str, String)>;

impl Filters {
    /// Those that are set, as the daemon calls them.
    pub(super) fn pairs(&self) -> Pairs {
        let pairs = [
            ("state", &self.state),
            ("kind", &self.kind),
            ("lane", &self.lane),
            ("subject", &self.subject),
            ("since", &self.since),
            ("until", &self.until),
            ("q", &self.search),
        ];
        pairs.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

/// `pairs` as they stand in a URL.
pub(super) fn query(pairs: &[(&'static str, String)]) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// `text` as it may stand in a URL.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
