//! The end of a run: effects, follow-up jobs and `done` in one transaction.
//!
//! Jobs share a transaction as long as all of them end well. If one does not, nothing of that transaction is kept and
//! each is settled in a transaction of its own, so a neighbour's failure costs time and never an effect.

use std::{slice, sync::Arc, time::Duration};

use sqlx::QueryBuilder;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    IS_OWED, Ledger,
    attempts::{fit, note_attempt},
    bulk::padded,
    effects::{Applied, Company, apply, give_up, write},
    record::record,
};
use crate::{
    clock::UnixMs,
    database::{Durability, FOLLOW_UPS_MAX, Transaction, Trouble, turn::Urgency},
    handler::{Handler, Prepared},
    id::{JobId, NodeId},
    job::Job,
    lane::Lane,
    lanes::{Placement, PlacementQueue},
    on_connection,
    outcome::Outcome,
    policy::Policy,
    state::{Transition, settle},
};

/// A run that has come to its end.
pub struct Verdict {
    /// The job.
    pub job: Arc<Job>,
    /// Its kind's limits.
    pub policy: Policy,
    /// What its preparation came to.
    pub prepared: Result<(Arc<dyn Handler>, Prepared), Outcome>,
}

/// What the ledger made of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Its effects are in.
    Done,
    /// Somebody else had settled it before; nothing was changed.
    NothingOwed,
    /// It is owed again, not before this instant.
    Later(UnixMs),
    /// Given up on or cancelled.
    Over,
    /// The database could not say, or a crisis needed it more; the job counts as still owed.
    Unsettled,
}

/// What became of a shared transaction.
enum Shared {
    Committed(Vec<Settled>),
    /// Each is to be settled by itself; the one in this place, if it is known, last.
    Alone(Option<usize>),
}

/// What became of several runs, and how long the database was theirs for it: without the wait for a turn to write, of
/// which no share is to blame.
pub(crate) struct AllSettled {
    /// In their order.
    pub(crate) settled: Vec<Settled>,
    pub(crate) took: Duration,
}

impl Ledger {
    /// Settles `runs`. Follow-up jobs go to `placements`.
    ///
    /// A run whose commit was not answered is [`Settled::Unsettled`]: the lanes keep its job until a later delivery
    /// finds out whether it is still owed.
    pub(crate) async fn settle(
        &self,
        runs: &[Verdict],
        urgency: Urgency,
        node: NodeId,
        placements: &PlacementQueue,
    ) -> AllSettled {
        let mut took = Duration::ZERO;
        let mut last = None;
        if runs.len() > 1 && runs.iter().all(|run| run.prepared.is_ok()) {
            match self.settle_together(runs, urgency, placements, &mut took).await {
                Ok(Shared::Committed(settled)) => return AllSettled { settled, took },
                Ok(Shared::Alone(offender)) => last = offender,
                Err(error) if is_outage(&error) => {
                    tracing::warn!(error = %error, jobs = runs.len(), "the database is in trouble; the jobs stay owed");
                    return AllSettled { settled: vec![Settled::Unsettled; runs.len()], took };
                }
                Err(error) => {
                    tracing::warn!(error = %error, jobs = runs.len(), "a shared transaction failed; settling one by one");
                }
            }
        }
        let mut settled = vec![Settled::Unsettled; runs.len()];
        for place in (0..runs.len()).filter(|place| Some(*place) != last).chain(last) {
            let run = &runs[place];
            match self.settle_alone(run, urgency, node, placements, &mut took).await {
                Ok(one) => settled[place] = one,
                Err(error) => {
                    tracing::warn!(error = %error, job.id = %run.job.id, "the database is in trouble; the job stays owed");
                    // Each of the others would wait in vain for as long as this one did.
                    if is_outage(&error) {
                        break;
                    }
                }
            }
        }
        AllSettled { settled, took }
    }

    async fn settle_together(
        &self,
        runs: &[Verdict],
        urgency: Urgency,
        placements: &PlacementQueue,
        took: &mut Duration,
    ) -> Result<Shared, sqlx::Error> {
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(urgency, Durability::Relaxed, now_ms).await?;
        let _taking = Taking::new(took);
        let owed = self.finish(&mut transaction, runs).await?;
        let mut settled = Vec::with_capacity(runs.len());
        for (place, run) in runs.iter().enumerate() {
            if !owed.contains(&run.job.id.0) {
                settled.push(Settled::NothingOwed);
                continue;
            }
            let Ok((handler, prepared)) = &run.prepared else { return Ok(Shared::Alone(None)) };
            let company = Company::Others;
            match apply(handler.as_ref(), run, prepared, &mut transaction, urgency, company).await? {
                Applied::Ended(Outcome::Done) if transaction.follow_ups() <= FOLLOW_UPS_MAX => {
                    settled.push(Settled::Done);
                }
                Applied::Ended(_) | Applied::GaveWay => {
                    give_up(transaction).await;
                    return Ok(Shared::Alone(Some(place)));
                }
            }
        }
        let Applied::Ended(Outcome::Done) = write(&mut transaction, urgency).await? else {
            give_up(transaction).await;
            return Ok(Shared::Alone(None));
        };
        self.commit_effects(transaction, placements).await?;
        Ok(Shared::Committed(settled))
    }

    /// An error says that the database is in trouble and that the job stays owed.
    async fn settle_alone(
        &self,
        run: &Verdict,
        urgency: Urgency,
        node: NodeId,
        placements: &PlacementQueue,
        took: &mut Duration,
    ) -> Result<Settled, sqlx::Error> {
        let outcome = match &run.prepared {
            Ok((handler, prepared)) => {
                match self.apply_alone(run, handler.as_ref(), prepared, urgency, placements, took).await {
                    Ok(Ok(settled)) => return Ok(settled),
                    Ok(Err(outcome)) => outcome,
                    Err(error) if Trouble::of(&error).is_some() => return Err(error),
                    Err(error) => Outcome::retry(format!("database: {error}")),
                }
            }
            Err(outcome) => outcome.clone(),
        };
        self.turn_down(run, outcome, urgency, node).await
    }

    /// The effects of one job in a transaction of its own; an outcome other than `Done` leaves nothing behind.
    async fn apply_alone(
        &self,
        run: &Verdict,
        handler: &dyn Handler,
        prepared: &Prepared,
        urgency: Urgency,
        placements: &PlacementQueue,
        took: &mut Duration,
    ) -> Result<Result<Settled, Outcome>, sqlx::Error> {
        let now_ms = self.clock.now_ms();
        let mut transaction = self.database.begin(urgency, Durability::Relaxed, now_ms).await?;
        let _taking = Taking::new(took);
        if self.finish(&mut transaction, slice::from_ref(run)).await?.is_empty() {
            return Ok(Ok(Settled::NothingOwed));
        }
        let mut applied = apply(handler, run, prepared, &mut transaction, urgency, Company::Alone).await?;
        if let Applied::Ended(Outcome::Done) = applied {
            applied = write(&mut transaction, urgency).await?;
        }
        match applied {
            Applied::Ended(Outcome::Done) => {
                self.commit_effects(transaction, placements).await?;
                Ok(Ok(Settled::Done))
            }
            Applied::Ended(outcome) => {
                give_up(transaction).await;
                Ok(Err(outcome))
            }
            Applied::GaveWay => {
                give_up(transaction).await;
                tracing::info!(job.id = %run.job.id, job.kind = %run.job.kind, "slow effects gave way to a crisis");
                Ok(Ok(Settled::Unsettled))
            }
        }
    }

    /// Notes a run that did not end in `Done`.
    async fn turn_down(
        &self,
        run: &Verdict,
        outcome: Outcome,
        urgency: Urgency,
        node: NodeId,
    ) -> Result<Settled, sqlx::Error> {
        const SQL: &str = "UPDATE jobs SET state = $2, attempts = attempts + $3, last_error = COALESCE($4, last_error), \
             run_at_ms = COALESCE($5, run_at_ms), finished_at_ms = CASE WHEN $2 = 'owed' THEN NULL ELSE $6 END \
             WHERE id = $1 AND state = 'owed' AND attempts = $7";
        let now_ms = self.clock.now_ms();
        let word = outcome.name();
        let outcome = outcome.map_text(fit);
        let transition = settle(outcome, run.job.attempts, &run.policy, now_ms, rand::random());
        let mut transaction = self.database.begin(urgency, Durability::Relaxed, now_ms).await?;
        let (state, counted, error, run_at_ms, settled) = match &transition {
            // `Done` never comes here: it is committed with its effects.
            Transition::Finish => return Ok(Settled::Unsettled),
            Transition::RetryAt { run_at_ms, error } => {
                ("owed", 1, Some(error), Some(*run_at_ms), Settled::Later(*run_at_ms))
            }
            Transition::SnoozeUntil { run_at_ms } => {
                ("owed", 0, None, Some(*run_at_ms), Settled::Later(*run_at_ms))
            }
            Transition::Cancel { reason } => ("cancelled", 0, Some(reason), None, Settled::Over),
            Transition::Bury { error } => ("dead", 1, Some(error), None, Settled::Over),
        };
        let changed = on_connection!(transaction, |connection| {
            sqlx::query(SQL)
                .bind(run.job.id.0)
                .bind(state)
                .bind(counted)
                .bind(error.map(String::as_str))
                .bind(run_at_ms)
                .bind(now_ms)
                .bind(i32::try_from(run.job.attempts).unwrap_or(i32::MAX))
                .execute(connection)
                .await
                .map(|done| done.rows_affected())
        })?;
        if changed == 0 {
            // Settled before, or somebody else's run of it has failed meanwhile, and the next one is not this one's
            // to end.
            return Ok(if is_owed(&mut transaction, run.job.id).await? {
                Settled::Unsettled
            } else {
                Settled::NothingOwed
            });
        }
        let attempt = run.job.attempts + 1;
        note_attempt(&mut transaction, run.job.id, attempt, word, error.map(String::as_str), node).await?;
        transaction.commit().await?;
        Ok(settled)
    }

    /// Records what the handlers asked for in the same transaction, commits it, and has those jobs placed.
    async fn commit_effects(
        &self,
        mut transaction: Transaction,
        placements: &PlacementQueue,
    ) -> Result<(), sqlx::Error> {
        let follow_ups = transaction.take_follow_ups();
        let sealed = follow_ups
            .into_iter()
            .map(|job| self.seal(job))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        let recorded = record(&mut transaction, &sealed.iter().collect::<Vec<_>>()).await?;
        let fresh = sealed.iter().zip(recorded).filter(|(_, recorded)| !recorded.duplicate);
        let follow_ups: Vec<Placement> = fresh.map(|(job, _)| job.placement()).collect();
        if !follow_ups.is_empty() {
            let placements = placements.clone();
            transaction.when_in_doubt(move || placements.doubt());
        }
        transaction.commit().await?;
        placements.push(follow_ups);
        Ok(())
    }

    /// Marks the jobs of those of `runs` that are owed as done and says which they were. When that was is noted, of a
    /// crisis, by the clock that recorded it, so that the ledger knows how long it took.
    async fn finish(
        &self,
        transaction: &mut Transaction,
        runs: &[Verdict],
    ) -> Result<Vec<Uuid>, sqlx::Error> {
        let now_ms = transaction.now_ms();
        let ids: Vec<JobId> = runs.iter().map(|run| run.job.id).collect();
        let crises = runs.iter().filter(|run| run.job.lane == Lane::Crisis).map(|run| run.job.id);
        let apart = |id| Some((id, self.clocks.to_recorders_ms(id).filter(|by_ms| *by_ms != 0)?));
        let apart: Vec<(JobId, i64)> = crises.filter_map(apart).collect();
        let rows: Vec<(Uuid,)> = on_connection!(transaction, |connection| {
            let mut statement = QueryBuilder::new(
                "UPDATE jobs SET state = 'done', attempts = attempts + 1, finished_at_ms = ",
            );
            statement.push_bind(now_ms);
            if !apart.is_empty() {
                statement.push(" + CASE id");
                for (id, by_ms) in padded(&apart) {
                    statement.push(" WHEN ").push_bind(id.0).push(" THEN ").push_bind(*by_ms);
                }
                statement.push(" ELSE 0 END");
            }
            statement.push(" WHERE ").push(IS_OWED).push(" AND id IN (");
            let mut list = statement.separated(", ");
            for id in padded(&ids) {
                list.push_bind(id.0);
            }
            statement.push(") RETURNING id");
            statement.build_query_as().fetch_all(connection).await
        })?;
        Ok(rows.into_iter().map(|(id,)| id).collect())
    }
}

/// Adds the time until it is dropped.
struct Taking<'t>(&'t mut Duration, Instant);

impl<'t> Taking<'t> {
    fn new(took: &'t mut Duration) -> Self {
        Self(took, Instant::now())
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        *self.0 += self.1.elapsed();
    }
}

/// Whether whatever else is tried now would fail too.
fn is_outage(error: &sqlx::Error) -> bool {
    Trouble::of(error).is_some_and(|trouble| !trouble.is_one_transactions())
}

async fn is_owed(transaction: &mut Transaction, id: JobId) -> Result<bool, sqlx::Error> {
    let state: Option<(String,)> = on_connection!(transaction, |connection| {
        sqlx::query_as("SELECT state FROM jobs WHERE id = $1").bind(id.0).fetch_optional(connection).await
    })?;
    Ok(state.is_some_and(|(state,)| state == "owed"))
}
