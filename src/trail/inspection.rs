//! Looking through the whole trail beside the work, a bounded piece at a time, over and over: what somebody did to it
//! is found by itself, not only when somebody asks.

use std::time::Duration;

use keepwell_jobs::store::audit::Problem;
use tokio::time::Instant;

use super::Trail;

/// Between two pieces.
const EVERY: Duration = Duration::from_secs(5);

/// Blocks in a piece: 276 000 a day, three times as many as there are if something is sealed every second.
const BLOCKS: i64 = 16;

/// How far the present pass has come, and what the last one found.
#[derive(Debug)]
pub(super) struct Inspection {
    due: Instant,
    next: Option<i64>,
    whole: bool,
}

impl Inspection {
    pub(super) fn new() -> Self {
        Self { due: Instant::now(), next: None, whole: true }
    }

    /// Whether nothing was found that no later pass has found mended.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Looks through the next piece if it is time for it.
    pub(super) async fn step(&mut self, trail: &Trail) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + EVERY;
        let report = match trail.verify(self.next, BLOCKS).await {
            Ok(report) => report,
            Err(error) => {
                return tracing::debug!(
                    error = &*error as &(dyn std::error::Error + 'static),
                    "the audit trail cannot be looked through now"
                );
            }
        };
        match report.finding {
            // Whoever has that key looks.
            Some(finding) if finding.problem == Problem::KeyUnknown => self.next = None,
            Some(finding) => {
                if self.whole {
                    tracing::error!(
                        problem = ?finding.problem, block = finding.block, position = finding.position,
                        "the audit trail is not whole; `keepwell audit verify` says more"
                    );
                }
                (self.next, self.whole) = (None, false);
            }
            None => {
                self.next = report.next;
                self.whole |= report.next.is_none();
            }
        }
    }
}
