//! Whether the ledger takes what it is given, as the last attempts to record something have shown.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use crate::database::Trouble;

/// What stood in the way of recording last, if anything does. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recording(Arc<AtomicU8>);

impl Recording {
    /// What stands in the way; `None` if nothing does.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        Trouble::numbered(self.0.load(Ordering::Acquire))
    }

    /// Something was recorded.
    pub(crate) fn works(&self) {
        if self.0.swap(0, Ordering::AcqRel) != 0 {
            tracing::info!("the ledger takes jobs again");
        }
    }

    /// Nothing could be recorded.
    pub(crate) fn fails(&self, trouble: Trouble, error: &sqlx::Error) {
        if self.0.swap(trouble as u8, Ordering::AcqRel) == trouble as u8 {
            tracing::debug!(error = %error, "the ledger still cannot be written");
        } else {
            tracing::error!(error = %error, because = %trouble, "the ledger cannot be written; senders are told to come again");
        }
    }
}
