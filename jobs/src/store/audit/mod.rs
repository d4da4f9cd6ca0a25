//! The audit trail: who did what to whom, why, and what it was before and after.
//!
//! An entry is written in the transaction of what it tells of, so it is there exactly if that happened. Its details are
//! sealed with the key ring. Nothing of the chain is read then: no transaction about a person, and no crisis, ever
//! waits for another one because of the trail. A moment later a [`Sealer`] gives the new entries their positions and
//! binds them into a block: the digest of each entry, the hash of the block before, and an authentication code under
//! a random key that only the key ring opens. Whoever can write the database alone can neither forge a block nor
//! change, remove, reorder or insert an entry without [`Verifier`] naming it.
//!
//! Until its block is there (about a second) an entry is bound by its own sealing: it cannot be changed, but somebody
//! who first removes the database's triggers can take it away. Whoever wrote it misses it then ([`tell_of_missing`])
//! and writes that down, as an entry which [`Verifier`] finds. So what stays unnoticed is what is taken away between
//! the commit and the block, a second as a rule, and only if the process that wrote it dies as well before that second
//! is over. A tail that was cut off is noticed because the head of the chain carries a code of its own, and because the
//! daemon notes the last [`ChainEnd`] outside the database.
//!
//! # What it costs
//!
//! Measured once (release, SQLite with `synchronous=NORMAL`, 2 cores shared with other work, medians of 2 000) by a
//! bench that is not kept, with appending the entries and without. A payment's effects took 182 µs without and 243 µs
//! with them, a crisis' 164 µs and 233 µs; sealing took 9 µs for each entry, beside the work, at most 3 ms at a time
//! at the database; that was before entries were opened first and placed together.

mod acknowledged;
mod append;
mod block;
mod changes;
mod configuration;
mod entry;
mod evidence;
mod export;
mod file;
mod finding;
mod findings;
mod head;
mod held;
mod keys;
mod manifest;
mod promised;
mod prune;
mod query;
mod reseal;
mod sealer;
pub(super) mod stretch;
mod verify;
mod waits;

pub use acknowledged::{Acknowledged, acknowledged_of, acknowledgement};
pub use append::{append, append_once};
pub use block::{Block, ChainEnd};
pub use configuration::{Settings, note_configuration};
pub use entry::{Actor, AuditEntry, EntryView};
pub use export::{ExportError, ExportPage, export};
pub use file::{FileReport, verify_file};
pub use finding::{Finding, Problem};
pub use findings::{FINDINGS_MAX, Findings, UNKNOWN_KEYS_MAX};
pub use promised::tell_of_missing;
pub use prune::prune;
pub use query::{AuditFilter, AuditPage, list};
pub use sealer::{AuditError, Round, Sealer};
pub use verify::{Report, Verifier};
pub use waits::{Waits, waits_first};

pub(super) use changes::{PersonChange, append_change, append_data_change, append_past_signal};
pub(super) use reseal::{AuditEntries, AuditKeys};

use crate::care::grace::DAY_MS;

/// For how many days every entry is kept, at least (production deployment, `retentionDays: 2555`, seven years). The
/// database's own triggers refuse to delete anything younger.
pub const AUDIT_RETENTION_DAYS: i64 = 2_555;

/// The same in milliseconds.
pub const AUDIT_RETENTION_MS: i64 = AUDIT_RETENTION_DAYS * DAY_MS;
