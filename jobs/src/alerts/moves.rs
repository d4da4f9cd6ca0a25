//! What changes of alerts: in the table, and in what a process remembers of it.

use keepwell_workers::clock::UnixMs;

use super::plan::OpenAlert;

/// A change of an alert, in the table.
#[derive(Debug, Clone, PartialEq)]
pub enum Move {
    /// It opens, unless one of the same rule and cause is open.
    Open(Box<OpenAlert>),
    /// It was seen again.
    Seen {
        /// Which.
        id: String,
        /// The figure.
        value: Option<f64>,
        /// When.
        at_ms: UnixMs,
    },
    /// It is told of, unless it was told of more often than `before`, or is over.
    Told {
        /// Which.
        id: String,
        /// How often it was told of before.
        before: i64,
        /// How often it has been told of then: more than once more if that could not be recorded meanwhile.
        times: i64,
        /// When it is to be told of again.
        next_ms: UnixMs,
    },
    /// It is escalated, unless it was.
    Escalated {
        /// Which.
        id: String,
    },
    /// Somebody has acknowledged it, unless somebody had.
    Acknowledged {
        /// Which.
        id: String,
        /// When.
        at_ms: UnixMs,
        /// Who.
        by: String,
    },
    /// It is over, unless it was.
    Resolved {
        /// Which.
        id: String,
        /// When.
        at_ms: UnixMs,
    },
    /// A digest has told that it is over, unless one had.
    Digested {
        /// Which.
        id: String,
    },
}

/// `open` is what was open; now it is what is, after these `moves`.
pub fn carried_out(open: &mut Vec<OpenAlert>, moves: &[Move]) {
    let find = |open: &mut Vec<OpenAlert>, id: &str, change: &dyn Fn(&mut OpenAlert)| {
        if let Some(alert) = open.iter_mut().find(|alert| alert.told.id == id) {
            change(alert);
        }
    };
    for step in moves {
        match step {
            Move::Open(alert) => open.push((**alert).clone()),
            Move::Seen { id, at_ms, .. } => find(open, id, &|alert| alert.seen_ms = *at_ms),
            Move::Told { id, times, next_ms, .. } => find(open, id, &|alert| {
                (alert.times_told, alert.tell_at_ms) = (*times, Some(*next_ms));
            }),
            Move::Escalated { id } => find(open, id, &|alert| alert.escalated = true),
            Move::Acknowledged { id, at_ms, .. } => {
                find(open, id, &|alert| alert.acknowledged_ms = Some(*at_ms));
            }
            Move::Resolved { id, .. } => open.retain(|alert| alert.told.id != *id),
            Move::Digested { .. } => {}
        }
    }
}
