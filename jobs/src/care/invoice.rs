//! Invoices: paid is final, and a failure that arrives after it says nothing new.

use keepwell_workers::clock::UnixMs;

/// What is known about an invoice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invoice {
    /// What it is for.
    pub subscription: Option<String>,
    /// When the newest event that called it paid was made, in seconds since the Unix epoch.
    pub paid_s: Option<i64>,
    /// When the newest event that called its payment failed was made, in seconds since the Unix epoch.
    pub failed_s: Option<i64>,
    /// When the last of these events was learned.
    pub learned_ms: UnixMs,
}

impl Invoice {
    /// Whether it is paid, whatever failed before or is told later.
    pub const fn is_paid(&self) -> bool {
        self.paid_s.is_some()
    }

    /// Takes in what another event says. The result is the same for every order and number of events.
    pub fn merge(&mut self, other: Self) {
        self.paid_s = self.paid_s.max(other.paid_s);
        self.failed_s = self.failed_s.max(other.failed_s);
        self.learned_ms = self.learned_ms.max(other.learned_ms);
        if other.subscription > self.subscription {
            self.subscription = other.subscription;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_told_late_leaves_a_paid_invoice_paid() {
        assert!(!Invoice { failed_s: Some(9), ..Invoice::default() }.is_paid());
        let mut invoice = Invoice { paid_s: Some(5), ..Invoice::default() };
        invoice.merge(Invoice { failed_s: Some(9), subscription: Some("sub".into()), ..Invoice::default() });
        assert!(invoice.is_paid());
        assert_eq!(invoice.subscription.as_deref(), Some("sub"));
    }
}
