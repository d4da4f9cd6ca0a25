//! The grace that a person has now: of several periods the latest end counts, and the first reason is told.

use std::cmp::Reverse;

use keepwell_workers::clock::UnixMs;

use super::{facts::Facts, grace::GraceReason};

/// Grace that runs at some instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningGrace {
    /// The reason that is told.
    pub reason: GraceReason,
    /// When we learned of that reason.
    pub started_ms: UnixMs,
    /// Until when it lasts; not included.
    pub ends_ms: UnixMs,
}

/// The grace that `facts` give at `now_ms`.
pub fn running_grace(facts: &Facts, now_ms: UnixMs) -> Option<RunningGrace> {
    let running = facts.graces.iter().filter(|(key, grace)| !grace.closed && !facts.has_recovered(key));
    let running: Vec<RunningGrace> = running
        .map(|(key, grace)| RunningGrace {
            reason: key.reason,
            started_ms: grace.started_ms,
            ends_ms: grace.ends_ms(facts.protected_until_ms(key), now_ms),
        })
        .filter(|grace| grace.ends_ms > now_ms)
        .collect();
    let told = running.iter().min_by_key(|grace| (grace.reason, Reverse(grace.ends_ms), grace.started_ms))?;
    let ends_ms = running.iter().map(|grace| grace.ends_ms).max()?;
    Some(RunningGrace { ends_ms, ..*told })
}

/// The end that is written down: of the grace that runs, or that nobody has seen to since it ended. Unlike
/// [`RunningGrace::ends_ms`] it holds no extension that has not been granted yet.
pub fn written_end_ms(facts: &Facts) -> Option<UnixMs> {
    let open = facts.graces.iter().filter(|(key, grace)| !grace.closed && !facts.has_recovered(key));
    open.map(|(_, grace)| grace.ends_ms).max()
}
