//! Applying one job's effects, within bounds. On SQLite whoever has an open transaction keeps everybody else from
//! writing, so what a handler does with it is everybody's business:
//!
//! * Effects take [`EFFECTS_TIME_MAX`] at most, whatever the kind's time-out says; slow work belongs into `prepare`.
//! * Effects of general jobs give way to a crisis writer that has waited for [`CRISIS_PATIENCE`]: they are rolled back,
//!   and the job is run again a moment later, without counting an attempt.
//! * A run asks for at most [`FOLLOW_UPS_MAX`] follow-up jobs.
//!
//! Measured on SQLite, with a handler that held its transaction open for as long as it was let: a crisis job was
//! recorded and settled after 47 ms. Without this it waits for the time-out of the handler's kind, 30 s by default.
//!
//! What nothing here can end is a handler that blocks its thread, or one SQL statement that runs for long: the
//! transaction is its until it is back. The watchdog is for the first; statements are the handlers' own care.

use std::{future::pending, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use tokio::time::timeout;

use super::settle::Verdict;
use crate::{
    database::{FOLLOW_UP_BYTES_MAX, FOLLOW_UPS_MAX, Transaction, turn::Urgency},
    handler::{Handler, Prepared},
    outcome::Outcome,
};

/// How long effects may take at most: a thousand times what a few statements need.
const EFFECTS_TIME_MAX: Duration = Duration::from_secs(2);

/// How long the effects of one of several crises may take that share a transaction, before each is settled by itself:
/// the others have limits of 100 to 300 ms, and had ended.
const SHARED_CRISIS_TIME_MAX: Duration = Duration::from_millis(25);

/// How long a crisis writer waits for effects that could be rolled back. Longer than shared transactions take (see the
/// settler), so that only slow ones give way.
const CRISIS_PATIENCE: Duration = Duration::from_millis(25);

/// How long a rollback is waited for, so that the next writer finds the database free. No longer: a statement that
/// hangs would be waited for too.
const ROLLBACK_TIME_MAX: Duration = Duration::from_millis(50);

/// With whom effects share their transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    /// With nobody.
    Alone,
    /// With those of other jobs.
    Others,
}

/// How effects went.
pub(super) enum Applied {
    /// They came to an end.
    Ended(Outcome),
    /// A crisis needed the database more.
    GaveWay,
}

/// Has `handler` apply its effects. A panic is a failed run, not a failed worker.
pub(super) async fn apply(
    handler: &dyn Handler,
    run: &Verdict,
    prepared: &Prepared,
    transaction: &mut Transaction,
    urgency: Urgency,
    company: Company,
) -> Result<Applied, sqlx::Error> {
    let longest = match (urgency, company) {
        (Urgency::Crisis, Company::Others) => SHARED_CRISIS_TIME_MAX,
        _ => EFFECTS_TIME_MAX,
    };
    let limit = Duration::from_millis(run.policy.timeout_ms).min(longest);
    let crisis_waits = crisis_waits(transaction, urgency);
    transaction.begin_run();
    transaction.work_for(Arc::clone(&run.job));
    // In a block of its own, so that a handler which panics before it returns a future is caught as well.
    let applying = async { handler.apply(&run.job, prepared, transaction).await };
    let outcome = tokio::select! {
        biased;
        applied = timeout(limit, AssertUnwindSafe(applying).catch_unwind()) => match applied {
            Ok(Ok(applied)) => applied?,
            Ok(Err(_)) => Outcome::retry("the handler panicked while applying its effects"),
            Err(_) => {
                Outcome::retry(format!("applying the effects took longer than {} ms", limit.as_millis()))
            }
        },
        () = crisis_waits => return Ok(Applied::GaveWay),
    };
    if transaction.asked_too_much() {
        return Ok(Applied::Ended(Outcome::dead(format!(
            "asked for more than {FOLLOW_UPS_MAX} follow-up jobs, or more than {FOLLOW_UP_BYTES_MAX} bytes of them"
        ))));
    }
    Ok(Applied::Ended(outcome))
}

/// Writes what effects have gathered, within the same bounds.
pub(super) async fn write(transaction: &mut Transaction, urgency: Urgency) -> Result<Applied, sqlx::Error> {
    let crisis_waits = crisis_waits(transaction, urgency);
    let too_slow = || {
        Outcome::retry(format!("writing the effects took longer than {} ms", EFFECTS_TIME_MAX.as_millis()))
    };
    tokio::select! {
        biased;
        written = timeout(EFFECTS_TIME_MAX, transaction.write_together()) => match written {
            Ok(written) => written.map(|()| Applied::Ended(Outcome::Done)),
            Err(_) => Ok(Applied::Ended(too_slow())),
        },
        () = crisis_waits => Ok(Applied::GaveWay),
    }
}

/// Ends once a crisis writer has waited long enough for general effects.
fn crisis_waits(transaction: &Transaction, urgency: Urgency) -> impl Future<Output = ()> + use<> {
    let turns = transaction.write_turns().filter(|_| urgency != Urgency::Crisis);
    async move {
        match &turns {
            Some(turns) => turns.crisis_has_waited(CRISIS_PATIENCE).await,
            None => pending().await,
        }
    }
}

/// Undoes what was applied.
pub(super) async fn give_up(transaction: Transaction) {
    if let Ok(Err(error)) = timeout(ROLLBACK_TIME_MAX, transaction.rollback()).await {
        tracing::debug!(error = %error, "a rollback failed; the connection's end will be one");
    }
}
