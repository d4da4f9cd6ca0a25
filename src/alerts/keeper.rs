//! Looks again and again whether something is wrong, and carries out what follows. Nothing here is on the way of a
//! webhook or a crisis.

use std::{path::Path, sync::Arc, time::Duration};

use keepwell_jobs::{
    alerts::{
        day::digest_day,
        moves::carried_out,
        plan::{Move, OpenAlert, Plan, Silence, View, digest, plan},
        rule::Rule,
        samples::Samples,
        telling::ToldAlert,
        unseen::Unseen,
        watch::{Seen, Watch},
    },
    store::{
        alerts::{AlertChanges, Which, alerts, forget_alerts, silences},
        audit::{Actor, AuditEntry},
    },
};
use keepwell_workers::{clock::UnixMs, job::NewJob};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    AlertBoard, AlertDesk, AlertOptions, AlertParts, Figures, desk::CarriedOut, direct::Direct, note::Note,
    signed::Signed,
};

/// How long the database may take to say which alerts are open, and to take what follows.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last look waits for the figures.
const LAST_FIGURES_TIMEOUT: Duration = Duration::from_millis(150);

/// The database and Redis are waited for this part of the time after which an alert would be over.
const PATIENCE: i64 = 4;

/// They are waited for so long at most, in milliseconds, which is also what the defaults come to: an alert may stay
/// open for an hour, and whoever is on call must not hear of a crisis so late.
const PATIENCE_MAX_MS: i64 = 15_000;

/// Why what is wrong could not be recorded.
pub(super) type LookError = Box<dyn std::error::Error + Send + Sync>;

/// Keeps alerts.
#[derive(Debug)]
pub struct AlertKeeper {
    desk: AlertDesk,
    options: AlertOptions,
    figures: Arc<dyn Figures>,
    board: AlertBoard,
    watch: Watch,
    heard: mpsc::Receiver<&'static Rule>,
    /// What was said to have happened and is not recorded yet; each rule once.
    told: Vec<&'static Rule>,
    /// Since when the database has been there, but for breaks that are no outage.
    well_since_ms: Option<UnixMs>,
    /// The day whose digest was asked for.
    digested: Option<String>,
    /// Since when the database has not taken what is wrong.
    late_since_ms: Option<UnixMs>,
    /// Since when what is open has not been seen.
    unseen: Unseen,
    direct: Direct,
    /// What was open when the database was last read or written.
    open: Vec<OpenAlert>,
    /// What was silenced then.
    silences: Vec<Silence>,
}

impl AlertKeeper {
    /// One that does what follows at `desk`, and notes in `state_dir` what it could not record.
    pub(super) fn new(desk: AlertDesk, options: AlertOptions, parts: AlertParts, state_dir: &Path) -> Self {
        let AlertParts { delivery, figures, board, heard, .. } = parts;
        Self {
            watch: Watch::new(options.rules.iter().copied(), options.thresholds.clone(), desk.clock.now_ms()),
            unseen: Unseen::new(options.habits.quiet_ms),
            direct: Direct::new(delivery, desk.engine.clone(), Note::in_directory(state_dir)),
            desk,
            options,
            figures,
            board,
            heard,
            told: Vec::new(),
            well_since_ms: None,
            digested: None,
            late_since_ms: None,
            open: Vec::new(),
            silences: Vec::new(),
        }
    }

    /// Looks until `stop`, and at once when something is said or a look is asked for; and once more then, for which
    /// somebody has to set a limit.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut rounds = interval(self.options.look_every);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(rule) = self.heard.recv() => self.hear(rule),
                () = self.desk.sink.look_is_asked_for() => {}
                _ = rounds.tick() => {}
            }
            self.hear_all();
            // Whoever is interrupted here finds everything as it was, or done.
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.look() => {}
            }
        }
        // What was said and counted since the last look would be gone with this process.
        self.hear_all();
        // What was said and signed is recorded also where the figures wait for a silent Redis.
        let text = timeout(LAST_FIGURES_TIMEOUT, self.figures.text()).await.unwrap_or_default();
        self.look_at(&text).await;
    }

    fn hear_all(&mut self) {
        while let Ok(rule) = self.heard.try_recv() {
            self.hear(rule);
        }
    }

    fn hear(&mut self, rule: &'static Rule) {
        if self.options.rules.contains(&rule) && !self.told.contains(&rule) {
            self.told.push(rule);
        }
    }

    async fn look(&mut self) {
        let text = self.figures.text().await;
        self.look_at(&text).await;
    }

    async fn look_at(&mut self, text: &str) {
        let now_ms = self.desk.clock.now_ms();
        let told =
            self.told.iter().map(|rule| Seen { rule, cause: String::new(), value: None, is_ripe: true });
        // First, because it is let go with this look, and one plan opens only so many.
        let mut seen: Vec<Seen> = told.collect();
        seen.extend(self.watch.look(&Samples::read(text), now_ms));
        let patience_ms = self.patience_ms();
        let recorded = timeout(DATABASE_TIMEOUT, self.record_all(&mut seen, now_ms)).await;
        let failed: LookError = match recorded {
            Ok(Ok(())) => {
                self.late_since_ms = None;
                self.direct.write_down().await;
                self.direct.tell_without_redis(patience_ms, now_ms).await;
                return;
            }
            Ok(Err(error)) => error,
            Err(late) => late.into(),
        };
        self.unseen.look(&seen, &self.open, now_ms);
        if self.late_since_ms.is_none() {
            // Said once, not every few seconds.
            tracing::error!(error = %failed, "alerts cannot be recorded; it is tried again");
        }
        let late_since_ms = *self.late_since_ms.get_or_insert(now_ms);
        if now_ms - late_since_ms >= patience_ms {
            self.well_since_ms = None;
            let (open, silences, unseen) = (&self.open[..], &self.silences[..], &self.unseen);
            let (may_resolve, is_settled) = (false, false);
            let view = View { seen: &seen, open, silences, unseen, may_resolve, is_settled, now_ms };
            self.direct.tell_without_database(&view, &self.options.habits).await;
        }
    }

    /// How long the database and Redis are waited for.
    fn patience_ms(&self) -> i64 {
        (self.options.habits.quiet_ms / PATIENCE).min(PATIENCE_MAX_MS)
    }

    /// Records what is `seen`, and what somebody has left a sign of.
    async fn record_all(&mut self, seen: &mut Vec<Seen>, now_ms: UnixMs) -> Result<(), LookError> {
        let AlertOptions { rules, thresholds, .. } = &self.options;
        let signed = Signed::read(&self.desk.database, rules, thresholds, seen).await?;
        if self.record(seen, now_ms).await? {
            signed.are_recorded(&self.desk.database, now_ms).await?;
        }
        self.digest(now_ms).await
    }

    /// Whether all of it is recorded; else somebody else was quicker with some of it.
    async fn record(&mut self, seen: &[Seen], now_ms: UnixMs) -> Result<bool, LookError> {
        let database = &self.desk.database;
        (self.open, self.silences) =
            (alerts(database, &Which::Open).await?, silences(database, now_ms).await?);
        self.board.write(&self.open);
        self.unseen.look(seen, &self.open, now_ms);
        self.catch_up(now_ms).await?;
        self.end_doubles(now_ms).await?;
        let habits = &self.options.habits;
        let well_for_ms = now_ms - *self.well_since_ms.get_or_insert(now_ms);
        let (may_resolve, is_settled) = (well_for_ms >= habits.quiet_ms, well_for_ms >= self.patience_ms());
        let (opens, mut jobs) = self.direct.unrecorded();
        let known = [&self.open[..], &opens[..]].concat();
        let (open, silences, unseen) = (&known[..], &self.silences[..], &self.unseen);
        let planned = plan(&View { seen, open, silences, unseen, may_resolve, is_settled, now_ms }, habits);
        let opens = opens.into_iter().map(|alert| Move::Open(Box::new(alert)));
        let moves: Vec<Move> = opens.chain(planned.moves).collect();
        jobs.extend(planned.jobs);
        let is_whole = moves.is_empty() || self.carry_out(moves, jobs).await?;
        if is_whole {
            self.told.clear();
            self.direct.recorded();
        }
        Ok(is_whole)
    }

    /// Has the database take what was done without it for alerts that it knows: those from before the outage, and those
    /// of a commit that went through though nobody heard of it. They may be over by now.
    async fn catch_up(&mut self, now_ms: UnixMs) -> Result<(), LookError> {
        for id in self.direct.unrecorded_ids() {
            let found = alerts(&self.desk.database, &Which::Id(id.clone())).await?;
            let Some(row) = found.first() else { continue };
            let (moves, jobs) = self.direct.caught_up(row, &self.options.habits, now_ms);
            // If somebody else was quicker, the next look finds what is left.
            if (moves.is_empty() && jobs.is_empty()) || self.carry_out(moves, jobs).await? {
                self.direct.is_recorded(&id);
            }
        }
        Ok(())
    }

    /// Has what was told without the database ended where it was told, if somebody else had it opened. By itself: the
    /// jobs of a plan say whether somebody else has carried it out.
    async fn end_doubles(&mut self, now_ms: UnixMs) -> Result<(), LookError> {
        let (moves, jobs) = self.direct.ends(&self.open, &self.options.habits, now_ms);
        // If somebody else was quicker, the next look finds what is left.
        if (moves.is_empty() && jobs.is_empty()) || self.carry_out(moves, jobs).await? {
            self.direct.forget(&self.open);
        }
        Ok(())
    }

    async fn carry_out(&mut self, moves: Vec<Move>, jobs: Vec<NewJob>) -> Result<bool, LookError> {
        let escalated = |step: &Move| match step {
            Move::Escalated { id } => Some(self.escalation(id)),
            // It was before this could be recorded.
            Move::Open(alert) if alert.escalated => Some(self.escalation(&alert.told.id)),
            _ => None,
        };
        let entries = moves.iter().filter_map(escalated).collect();
        let changes = AlertChanges::new(moves.clone()).noting(entries);
        let CarriedOut::Now(recorded) = self.desk.carry_out(changes, jobs.clone()).await? else {
            return Ok(false);
        };
        let opened = moves.iter().filter_map(|step| match step {
            Move::Open(alert) => Some(&alert.told),
            _ => None,
        });
        for ToldAlert { id, rule, cause, severity, .. } in opened {
            tracing::warn!(rule, cause, severity = severity.name(), alert = id, "an alert is open");
        }
        carried_out(&mut self.open, &moves);
        self.direct.remember(&jobs, &recorded);
        Ok(true)
    }

    /// 003 ends its path with `audit_incident`.
    fn escalation(&self, id: &str) -> AuditEntry {
        AuditEntry {
            at_ms: self.desk.clock.now_ms(),
            actor: Actor::System { job: "alerts".to_owned() },
            action: "alert.escalated",
            subject: Some(id.to_owned()),
            reason: "nobody has acknowledged it in time".to_owned(),
            before: None,
            after: None,
        }
    }

    /// Has the digest sent that is due, and lets go what is long over.
    async fn digest(&mut self, now_ms: UnixMs) -> Result<(), LookError> {
        let AlertOptions { habits, digest_hour, time_zone, .. } = &self.options;
        let day = digest_day(now_ms, *digest_hour, *time_zone);
        let Some(day) = day.filter(|day| self.digested.as_ref() != Some(day)) else { return Ok(()) };
        let found = alerts(&self.desk.database, &Which::Undigested).await?;
        let Plan { moves, jobs } = digest(&found, &day, habits, now_ms);
        if !jobs.is_empty() {
            // Whoever finds the jobs' keys taken comes after another node: what it has is for the next day's. If only
            // an alert of it was told of elsewhere, the next look tells of the others.
            let carried_out = self.desk.carry_out(AlertChanges::new(moves), jobs).await?;
            if matches!(carried_out, CarriedOut::Raced) {
                return Ok(());
            }
        }
        forget_alerts(&self.desk.database, now_ms).await?;
        self.digested = Some(day);
        Ok(())
    }
}
