//! Decides what follows: which alerts open, who is told of which, which are escalated, and which are over.
//!
//! Everything in a [`Plan`] happens in one transaction or not at all: no alert is open that nobody will be told of, and
//! none is told of that is not open. A plan that another node was quicker to carry out fails as a whole
//! (see `store::alerts`), and the next look makes another one.

use keepwell_workers::{clock::UnixMs, id::JobId, job::NewJob};
use serde::{Deserialize, Serialize};

pub use super::moves::Move;
use super::{
    rule::{Severity, When},
    rules::rule,
    telling::{Action, Receiver, Telling, ToldAlert},
    unseen::Unseen,
    watch::Seen,
};

/// Alerts that one plan opens, tells of or resolves, each at most: the jobs of a transaction are bounded too.
const STEPS_MAX: usize = 32;

/// A node that sees an alert says so this many times before it would be taken for over.
const REFRESHES: i64 = 4;

/// How alerts are told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Habits {
    /// Who can be told.
    pub receivers: Vec<Receiver>,
    /// After how long an alert that is still open and that nobody has acknowledged is told of again.
    pub repeat_ms: i64,
    /// After how long a critical one that nobody has acknowledged is escalated.
    pub escalate_ms: i64,
    /// An alert is over when nobody has seen it for so long.
    pub quiet_ms: i64,
    /// What this node is called.
    pub source: String,
}

impl Habits {
    /// Who is told of an alert of `severity`: 004 sends what is critical to PagerDuty and Slack and everything else to
    /// Slack. Where only PagerDuty is configured, it has the warnings too.
    pub fn told_of(&self, severity: Severity) -> Vec<Receiver> {
        let listens = |receiver: &Receiver| match (receiver, severity) {
            (Receiver::Escalation, _) | (Receiver::Pagerduty, Severity::Info) => false,
            (Receiver::Pagerduty, Severity::Warning) => {
                !self.receivers.iter().any(|other| matches!(other, Receiver::Slack | Receiver::Webhook))
            }
            _ => true,
        };
        self.receivers.iter().copied().filter(listens).collect()
    }

    /// Whether `receiver` is told of this `action` on an alert of `severity`.
    pub fn tells(&self, receiver: Receiver, action: Action, severity: Severity, is_escalated: bool) -> bool {
        match (receiver, action) {
            // One hears only of what is escalated, and the other has that incident already.
            (Receiver::Escalation, Action::Triggered) | (Receiver::Pagerduty, Action::Escalated) => false,
            (Receiver::Escalation, _) => is_escalated && self.receivers.contains(&receiver),
            _ => self.told_of(severity).contains(&receiver),
        }
    }
}

/// An alert that is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenAlert {
    /// What is told of it.
    pub told: ToldAlert,
    /// When a node saw it last.
    pub seen_ms: UnixMs,
    /// When somebody is to be told of it (again); `None` if only the digest tells of it. Of one that is over: `None`
    /// once a digest has said so.
    pub tell_at_ms: Option<UnixMs>,
    /// How often it was told of.
    pub times_told: i64,
    /// When somebody acknowledged it.
    pub acknowledged_ms: Option<UnixMs>,
    /// Whether it was escalated.
    pub escalated: bool,
}

/// A rule that nobody is told of for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// The rule.
    pub rule: String,
    /// Until when.
    pub until_ms: UnixMs,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    pub by: String,
}

/// What follows.
#[derive(Debug, Default)]
pub struct Plan {
    /// The changes of alerts, in order.
    pub moves: Vec<Move>,
    /// The jobs that tell of them.
    pub jobs: Vec<NewJob>,
}

/// What is known when it is decided.
#[derive(Debug, Clone, Copy)]
pub struct View<'v> {
    /// What this node sees now.
    pub seen: &'v [Seen],
    /// What is open.
    pub open: &'v [OpenAlert],
    /// Who is not to be told of what.
    pub silences: &'v [Silence],
    /// Since when this node has not seen what is open.
    pub unseen: &'v Unseen,
    /// Whether what nobody has seen may be taken for over: not before the database has been there for as long as that
    /// takes, so that every other node could say in it what it sees.
    pub may_resolve: bool,
    /// Whether the database has been back for a while. What is seen in the first moments after an outage may be what
    /// was wrong in it, however many looks there are in them.
    pub is_settled: bool,
    /// When.
    pub now_ms: UnixMs,
}

impl View<'_> {
    /// Whether nobody is to be told of `rule`.
    pub fn is_silent(&self, rule: &str) -> bool {
        self.silences.iter().any(|silence| silence.rule == rule && silence.until_ms > self.now_ms)
    }
}

/// What follows from `view`.
pub fn plan(view: &View<'_>, habits: &Habits) -> Plan {
    let mut plan = Plan::default();
    // Nobody is told that something is wrong in the moment in which it is over, and nobody again, or beside those who
    // know, of what no node has seen for so long: what was told in an outage may have been over for hours. Whether it
    // is over is found out before that.
    let (unseen, wrong): (Vec<&OpenAlert>, _) =
        view.open.iter().partition(|alert| is_unseen(alert, view, habits));
    let is_well = |alert: &&OpenAlert| view.unseen.is_well(alert, view.now_ms);
    let over = if view.may_resolve { unseen.into_iter().filter(is_well).collect() } else { Vec::new() };
    let wrong = if view.is_settled { wrong } else { Vec::new() };
    let mut telling = open_and_refresh(view, habits, &mut plan);
    tell_due(&wrong, view, habits, &mut plan, &mut telling);
    tell(&mut plan, habits, Action::Triggered, &telling, view.now_ms);
    escalate(&wrong, view, habits, &mut plan);
    resolve(&over, habits, &mut plan, view.now_ms);
    plan
}

/// An alert of what was `seen`, of which nobody was told yet.
pub fn opened(seen: &Seen, habits: &Habits, now_ms: UnixMs) -> OpenAlert {
    let rule = seen.rule;
    let told = ToldAlert {
        id: JobId::new(now_ms).to_string(),
        rule: rule.name.to_owned(),
        cause: seen.cause.clone(),
        severity: rule.severity,
        summary: rule.summary.to_owned(),
        runbook: rule.runbook.to_owned(),
        value: seen.value,
        source: habits.source.clone(),
        opened_ms: now_ms,
        resolved_ms: None,
        acknowledged_by: None,
    };
    let wait_ms = i64::from(rule.tell_within_s) * 1_000;
    OpenAlert {
        told,
        seen_ms: now_ms,
        tell_at_ms: (rule.severity != Severity::Info).then_some(now_ms + wait_ms),
        times_told: 0,
        acknowledged_ms: None,
        escalated: false,
    }
}

/// What follows if `by` acknowledges `alert`. What was only told is over with it.
pub fn acknowledge(alert: &OpenAlert, by: &str, habits: &Habits, now_ms: UnixMs) -> Plan {
    let mut plan = Plan::default();
    let id = alert.told.id.clone();
    plan.moves.push(Move::Acknowledged { id: id.clone(), at_ms: now_ms, by: by.to_owned() });
    let mut told = ToldAlert { acknowledged_by: Some(by.to_owned()), ..alert.told.clone() };
    let is_over = matches!(rule(&alert.told.rule).map(|rule| rule.when), Some(When::Told { .. }));
    let mut action = Action::Acknowledged;
    if is_over {
        plan.moves.push(Move::Resolved { id, at_ms: now_ms });
        told.resolved_ms = Some(now_ms);
        action = Action::Resolved;
    }
    if alert.times_told > 0 {
        tell(&mut plan, habits, action, &[(told, alert.escalated, 0)], now_ms);
    }
    plan
}

/// An alert that is told of, whether it was escalated, and which time it is.
type Due = (ToldAlert, bool, i64);

fn open_and_refresh(view: &View<'_>, habits: &Habits, plan: &mut Plan) -> Vec<Due> {
    let (now_ms, mut telling, mut opened) = (view.now_ms, Vec::new(), 0);
    for (place, seen) in view.seen.iter().enumerate() {
        if let Some(known) = view.open.iter().find(|known| seen.is_of(&known.told)) {
            if now_ms - known.seen_ms >= habits.quiet_ms / REFRESHES {
                let id = known.told.id.clone();
                plan.moves.push(Move::Seen { id, value: seen.value, at_ms: now_ms });
            }
            continue;
        }
        let is_again = |other: &Seen| other.rule == seen.rule && other.cause == seen.cause;
        if !seen.is_ripe || opened == STEPS_MAX || view.seen[..place].iter().any(is_again) {
            continue;
        }
        opened += 1;
        let at_once = seen.rule.severity == Severity::Critical && !view.is_silent(seen.rule.name);
        let mut alert = self::opened(seen, habits, now_ms);
        if at_once {
            (alert.times_told, alert.tell_at_ms) = (1, Some(now_ms + habits.repeat_ms));
            telling.push((alert.told.clone(), false, 1));
        }
        plan.moves.push(Move::Open(Box::new(alert)));
    }
    telling
}

/// Those whose time has come; with the first warning, all that wait to be told of: one message instead of many.
fn tell_due(wrong: &[&OpenAlert], view: &View<'_>, habits: &Habits, plan: &mut Plan, telling: &mut Vec<Due>) {
    let waits = |alert: &OpenAlert| {
        alert.tell_at_ms.is_some() && alert.acknowledged_ms.is_none() && !view.is_silent(&alert.told.rule)
    };
    let is_due = |alert: &OpenAlert| alert.tell_at_ms.is_some_and(|at_ms| at_ms <= view.now_ms);
    let waiting: Vec<&OpenAlert> = wrong.iter().copied().filter(|alert| waits(alert)).collect();
    let warns = waiting.iter().any(|alert| is_due(alert) && alert.told.severity == Severity::Warning);
    let due = waiting.into_iter().filter(|alert| is_due(alert) || (warns && alert.times_told == 0));
    for alert in due.take(STEPS_MAX) {
        let (before, next_ms) = (alert.times_told, view.now_ms + habits.repeat_ms);
        let times = before + 1;
        plan.moves.push(Move::Told { id: alert.told.id.clone(), before, times, next_ms });
        telling.push((alert.told.clone(), alert.escalated, times));
    }
}

/// 003 ends its path with `notify_crisis_team` and `audit_incident`; what comes before, the watch has done.
fn escalate(wrong: &[&OpenAlert], view: &View<'_>, habits: &Habits, plan: &mut Plan) {
    let ignored = wrong.iter().copied().filter(|alert| is_ignored(alert, view, habits));
    let ignored: Vec<&OpenAlert> = ignored.take(STEPS_MAX).collect();
    plan.moves.extend(ignored.iter().map(|alert| Move::Escalated { id: alert.told.id.clone() }));
    let telling: Vec<Due> = ignored.iter().map(|alert| (alert.told.clone(), true, 0)).collect();
    tell(plan, habits, Action::Escalated, &telling, view.now_ms);
}

/// Whether nobody has acknowledged what is critical for so long that it is escalated.
fn is_ignored(alert: &OpenAlert, view: &View<'_>, habits: &Habits) -> bool {
    alert.told.severity == Severity::Critical
        && alert.times_told > 0
        && alert.acknowledged_ms.is_none()
        && !alert.escalated
        && !view.is_silent(&alert.told.rule)
        && view.now_ms - told_since_ms(alert, habits) >= habits.escalate_ms
}

/// What follows for a critical `alert` by itself, without the database: that it is told again, and escalated. It is as
/// if that were recorded.
pub fn go_on(alert: &mut OpenAlert, view: &View<'_>, habits: &Habits) -> Vec<Action> {
    let is_known = alert.acknowledged_ms.is_some() || view.is_silent(&alert.told.rule);
    if alert.told.severity != Severity::Critical || is_known || is_unseen(alert, view, habits) {
        return Vec::new();
    }
    let mut actions = Vec::new();
    if is_ignored(alert, view, habits) {
        alert.escalated = true;
        actions.push(Action::Escalated);
    }
    if alert.tell_at_ms.is_some_and(|at_ms| at_ms <= view.now_ms) {
        (alert.times_told, alert.tell_at_ms) = (alert.times_told + 1, Some(view.now_ms + habits.repeat_ms));
        actions.push(Action::Triggered);
    }
    actions
}

/// Since when somebody might have acknowledged it: a silence that has ended gives as much time as there is otherwise.
fn told_since_ms(alert: &OpenAlert, habits: &Habits) -> UnixMs {
    let told_ms = alert.tell_at_ms.map(|next_ms| next_ms - habits.repeat_ms * alert.times_told);
    told_ms.map_or(alert.told.opened_ms, |told_ms| told_ms.max(alert.told.opened_ms))
}

/// Whether nobody has seen it for long enough to take it for over.
fn is_unseen(alert: &OpenAlert, view: &View<'_>, habits: &Habits) -> bool {
    let quiet_ms = match rule(&alert.told.rule).map(|rule| &rule.when) {
        Some(When::Told { quiet_ms }) => *quiet_ms,
        _ => habits.quiet_ms,
    };
    let is_seen = view.seen.iter().any(|seen| seen.is_of(&alert.told));
    !is_seen && view.now_ms - alert.seen_ms >= quiet_ms
}

fn resolve(over: &[&OpenAlert], habits: &Habits, plan: &mut Plan, at_ms: UnixMs) {
    let over = &over[..over.len().min(STEPS_MAX)];
    plan.moves.extend(over.iter().map(|alert| Move::Resolved { id: alert.told.id.clone(), at_ms }));
    let told = over
        .iter()
        .filter(|alert| alert.times_told > 0)
        .map(|alert| (ToldAlert { resolved_ms: Some(at_ms), ..alert.told.clone() }, alert.escalated, 0));
    tell(plan, habits, Action::Resolved, &told.collect::<Vec<Due>>(), at_ms);
}

/// Adds the jobs that tell of `due`: one for each alert where incidents are kept, else one for all. A signed webhook
/// hears by itself of what somebody without the database may tell it too, under the identity that those give it.
fn tell(plan: &mut Plan, habits: &Habits, action: Action, due: &[Due], at_ms: UnixMs) {
    for receiver in &habits.receivers {
        let receiver = *receiver;
        let listens =
            |(alert, escalated, _): &&Due| habits.tells(receiver, action, alert.severity, *escalated);
        let is_alone = |(alert, ..): &&Due| {
            receiver.keeps_incidents() || receiver == Receiver::Webhook && is_told_unrecorded(action, alert)
        };
        let (alone, together): (Vec<&Due>, Vec<&Due>) = due.iter().filter(listens).partition(is_alone);
        let telling = |alerts, known_as| Telling { receiver, action, alerts, at_ms, known_as };
        let each = |(alert, _, time): &&Due| {
            let known_as = (receiver == Receiver::Webhook).then(|| alert.known_as(action, *time));
            telling(vec![alert.clone()], known_as).job(*time)
        };
        plan.jobs.extend(alone.iter().map(each));
        if let Some((_, _, time)) = together.first() {
            let alerts = together.iter().map(|(alert, ..)| alert.clone()).collect();
            plan.jobs.push(telling(alerts, None).job(*time));
        }
    }
}

/// Whether this `action` on `alert` is told without the database too, by whoever has none ([`go_on`]).
fn is_told_unrecorded(action: Action, alert: &ToldAlert) -> bool {
    matches!(action, Action::Triggered | Action::Escalated) && alert.severity == Severity::Critical
}

/// The digest of `alerts` for those who have no incidents to keep, named after its `day`. What is over is in no other.
pub fn digest(alerts: &[OpenAlert], day: &str, habits: &Habits, at_ms: UnixMs) -> Plan {
    let told: Vec<ToldAlert> = alerts.iter().map(|alert| alert.told.clone()).collect();
    let job = |receiver: Receiver| {
        let telling =
            Telling { receiver, action: Action::Digest, alerts: told.clone(), at_ms, known_as: None };
        telling.job(0).dedupe_key(format!("alert:digest:{}:{day}", receiver.name()))
    };
    let over = told.iter().filter(|alert| alert.resolved_ms.is_some());
    Plan {
        moves: over.map(|alert| Move::Digested { id: alert.id.clone() }).collect(),
        jobs: habits.told_of(Severity::Info).into_iter().map(job).collect(),
    }
}
