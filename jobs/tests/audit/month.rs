//! A generated month. Its true figures are counted here a second time, plainly, from what was generated.

use keepwell_jobs::{
    care::{
        grace::GraceReason,
        report::{crisis::CrisisReport, period::Period},
        severity::Severity,
        tiers::FLOOR,
    },
    kinds,
    store::{
        audit::{Actor, AuditEntry, AuditFilter, append, list},
        reports::{CrisisResponse, note_responses, read_facts},
    },
};
use keepwell_workers::{id::JobId, lane::Lane};
use serde_json::{Value, json};

use crate::{
    oracle,
    reports::{ledger_job, said, settings},
    support::{DAY_MS, NOW_MS, Room, on_each_database},
    trail::{begin, execute, sealer},
};

pub(super) const MONTH: Period = Period { from_ms: NOW_MS - 30 * DAY_MS, to_ms: NOW_MS };

/// Crises of the month.
const CRISES: usize = 700;

/// Numbers that look like chance and are the same every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Crises over thirty days: most are answered in time, some late, some never. One of nine is a payment of somebody who
/// is in a crisis.
fn crises(chance: &mut Chance) -> Vec<CrisisResponse> {
    let mut crises = Vec::new();
    for _ in 0..CRISES {
        let severity = Severity::ALL[chance.below(3) as usize];
        let came_ms = MONTH.from_ms + chance.below(30 * DAY_MS as u64) as i64;
        let took_us = match chance.below(100) {
            0 => None,
            1..=4 => Some(100_000 + chance.below(900_000)),
            _ => Some(1_000 + chance.below(110_000)),
        };
        crises.push(CrisisResponse {
            job: JobId::new(came_ms),
            kind: if chance.below(9) == 0 { kinds::INVOICE_PAID } else { kinds::CRISIS_SIGNALLED }.to_owned(),
            severity,
            came_ms,
            limit_ms: severity.response_limit_ms() as i64,
            took_us,
            measured: true,
        });
    }
    crises
}

fn entry(actor: String, action: &'static str, at_ms: i64, after: Value) -> AuditEntry {
    AuditEntry {
        at_ms,
        actor: Actor::System { job: actor },
        action,
        subject: Some("somebody".to_owned()),
        reason: "generated".to_owned(),
        before: None,
        after: Some(after),
    }
}

/// A violation that was written.
pub(super) struct Missed {
    pub(super) job: String,
    pub(super) severity: Severity,
    pub(super) at_ms: i64,
    pub(super) limit_ms: i64,
    pub(super) took_ms: i64,
}

/// A grace period that was written.
pub(super) struct Grace {
    pub(super) reason: GraceReason,
    pub(super) days: i64,
    pub(super) ends_ms: i64,
    pub(super) closed: bool,
}

/// What was written beside the crises.
#[derive(Default)]
pub(super) struct Written {
    /// Every entry of the trail, those from before the month included.
    pub(super) entries: u64,
    pub(super) with_entry: u64,
    /// Signals that were answered and left none.
    pub(super) without_entry: Vec<(i64, String)>,
    pub(super) opened: u64,
    pub(super) missing: u64,
    pub(super) resolved: u64,
    pub(super) overrides: u64,
    pub(super) contacts: [u64; 3],
    pub(super) whole_changes: u64,
    pub(super) broken_changes: u64,
    pub(super) missed: Vec<Missed>,
    pub(super) missed_without_entry: u64,
    pub(super) graces: Vec<Grace>,
    pub(super) graces_begun: u64,
    pub(super) by_operators: u64,
    pub(super) by_nobody: u64,
    pub(super) blocked: u64,
    pub(super) backups_told: u64,
    /// When backups were made.
    pub(super) backups_ms: Vec<i64>,
    /// Lane, state and instant of each job in the ledger.
    pub(super) jobs: Vec<(Lane, &'static str, i64)>,
    /// Crises that only the ledger knows, whose time is not over.
    pub(super) pending: u64,
}

async fn write(room: &Room, chance: &mut Chance, crises: &mut Vec<CrisisResponse>) -> Written {
    note_responses(&room.database, crises, NOW_MS).await.unwrap();
    let mut written = Written::default();
    jobs(room, chance, crises, &mut written).await;
    let mut transaction = begin(room).await;
    for crisis in &*crises {
        let is_signal = crisis.kind == kinds::CRISIS_SIGNALLED;
        // One of fifty answers left no entry.
        if is_signal && crisis.took_us.is_some() && chance.below(50) == 0 {
            written.without_entry.push((crisis.came_ms, crisis.job.to_string()));
        } else if is_signal && crisis.took_us.is_some() {
            let actor = format!("{} {}", crisis.kind, crisis.job);
            let entry = entry(actor, "crisis.signalled", crisis.came_ms, json!({}));
            append(&mut transaction, &entry).await.unwrap();
            written.with_entry += 1;
        }
        // One of three crises changed what somebody may use, and one of forty of these took from the floor.
        if chance.below(3) == 0 {
            let broken = chance.below(40) == 0;
            let enabled = if broken { &FLOOR[1..] } else { &FLOOR[..] };
            let after = json!({ "features": { "enabled": enabled } });
            let entry = entry("generated".to_owned(), "access.changed", crisis.came_ms, after);
            append(&mut transaction, &entry).await.unwrap();
            if broken { written.broken_changes += 1 } else { written.whole_changes += 1 }
        }
        // Every other signal opens emergency access; the others find it open.
        if is_signal && crisis.took_us.is_some() {
            let opens = chance.below(2) == 0;
            let state =
                |active: bool| json!({ "crisis": { "active": active }, "emergency": { "active": active } });
            let entry = entry("generated".to_owned(), "access.changed", crisis.came_ms, state(true));
            append(&mut transaction, &AuditEntry { before: Some(state(!opens)), ..entry }).await.unwrap();
            written.opened += u64::from(opens);
            written.whole_changes += 1;
        }
        let beside = |action, subject: &str| AuditEntry {
            subject: Some(subject.to_owned()),
            ..entry("generated".to_owned(), action, crisis.came_ms, json!({}))
        };
        let (beside, counted) = match chance.below(20) {
            0 => (beside("access.missing", "somebody"), Some(&mut written.missing)),
            1 => (beside("crisis.resolved", "somebody"), Some(&mut written.resolved)),
            2 => (beside("emergency.switched_on", "global_bypass"), Some(&mut written.overrides)),
            3 => (beside("lane.paused", "crisis"), Some(&mut written.overrides)),
            4 => (beside("lane.paused", "standard"), None),
            5 => (beside("emergency.switched_off", "global_bypass"), None),
            _ => continue,
        };
        append(&mut transaction, &beside).await.unwrap();
        if let Some(counted) = counted {
            *counted += 1;
        }
    }
    transaction.commit().await.unwrap();
    let customer = "INSERT INTO customers (id, version, payment_method_on_file, vulnerable, marked, touched_ms) \
         VALUES ('cus_grace', 1, FALSE, FALSE, FALSE, 0)";
    execute(room, customer).await.unwrap();
    violations(room, chance, crises, &mut written).await;
    graces(room, chance, &mut written).await;
    beside(room, chance, &mut written).await;
    written.contacts = contacts(room, chance).await;
    let (filter, keys) = (AuditFilter::default(), &room.care.keys);
    written.entries = list(&room.database, keys, &filter, None, 1).await.unwrap().total;
    sealer(room, 64).round().await.unwrap();
    written
}

/// Jobs that only the ledger knows: of all lanes, in all states, and three crises, of which one is still in time.
async fn jobs(room: &Room, chance: &mut Chance, crises: &mut Vec<CrisisResponse>, written: &mut Written) {
    let emergency = |days: i64, state: &'static str| (Lane::Crisis, state, MONTH.from_ms + days * DAY_MS + 5);
    written.jobs = vec![
        emergency(3, "done"),
        emergency(4, "dead"),
        emergency(5, "owed"),
        (Lane::Crisis, "owed", NOW_MS - 50),
    ];
    for (lane, state, at_ms) in written.jobs.clone() {
        let said = said("cus_ledger", at_ms, Severity::High);
        let job = ledger_job(room, lane.name(), state, at_ms, Some(said)).await;
        let response = CrisisResponse {
            job,
            kind: kinds::CRISIS_SIGNALLED.to_owned(),
            severity: Severity::High,
            came_ms: at_ms,
            limit_ms: 200,
            took_us: (state == "done").then_some(150_000),
            measured: state != "done",
        };
        if at_ms == NOW_MS - 50 { written.pending += 1 } else { crises.push(response) }
    }
    for _ in 0..80 {
        let lane = Lane::ALL[1 + chance.below(4) as usize];
        let state = ["done", "done", "done", "dead", "cancelled", "owed"][chance.below(6) as usize];
        let at_ms = MONTH.from_ms + chance.below(30 * DAY_MS as u64) as i64;
        ledger_job(room, lane.name(), state, at_ms, None).await;
        written.jobs.push((lane, state, at_ms));
    }
    crises.sort_by_key(|it| (it.came_ms, it.job));
}

/// Most crises that were late or are not answered were noticed, and most of those are in the trail.
async fn violations(room: &Room, chance: &mut Chance, crises: &[CrisisResponse], written: &mut Written) {
    for crisis in crises.iter().filter(|it| it.took_us.is_none_or(|us| us > it.limit_ms as u64 * 1_000)) {
        if chance.below(6) == 0 {
            continue;
        }
        let missed = Missed {
            job: crisis.job.to_string(),
            severity: crisis.severity,
            at_ms: crisis.came_ms + crisis.limit_ms + 7,
            limit_ms: crisis.limit_ms,
            took_ms: crisis.limit_ms + chance.below(50) as i64,
        };
        let sql = format!(
            "INSERT INTO crisis_violations (id, customer, severity, at_ms, limit_ms, took_ms) \
             VALUES ('{}', 'cus_grace', '{}', {}, {}, {})",
            missed.job,
            missed.severity.name(),
            missed.at_ms,
            missed.limit_ms,
            missed.took_ms
        );
        execute(room, &sql).await.unwrap();
        if chance.below(8) == 0 {
            written.missed_without_entry += 1;
        } else {
            let actor = format!("watch over {}", missed.job);
            append_all(room, [entry(actor, "crisis.answered_late", missed.at_ms, json!({}))]).await;
        }
        written.missed.push(missed);
    }
}

/// Grace periods of every reason, an entry for each, and five of which only their entry is left.
async fn graces(room: &Room, chance: &mut Chance, written: &mut Written) {
    for number in 0..60 {
        let reason = GraceReason::ALL[number % 4];
        let started_ms = MONTH.from_ms + chance.below(30 * DAY_MS as u64) as i64;
        let (days, closed) = (1 + chance.below(30) as i64, chance.below(3) == 0);
        let ends_ms = started_ms + days * DAY_MS;
        let sql = format!(
            "INSERT INTO grace_periods (customer, reason, cause, started_ms, ends_ms, closed) \
             VALUES ('cus_grace', '{}', 'in_{number}', {started_ms}, {ends_ms}, {})",
            reason.name(),
            if closed { "TRUE" } else { "FALSE" }
        );
        execute(room, &sql).await.unwrap();
        written.graces.push(Grace { reason, days, ends_ms, closed });
        append_all(room, [entry("generated".to_owned(), "grace.started", started_ms, json!({}))]).await;
    }
    let gone = |number| entry("generated".to_owned(), "grace.started", MONTH.from_ms + number, json!({}));
    append_all(room, (0..5).map(gone)).await;
    written.graces_begun = 65;
    // Of the months before and after.
    for at_ms in [MONTH.from_ms - 1, MONTH.to_ms] {
        append_all(room, [entry("generated".to_owned(), "grace.started", at_ms, json!({}))]).await;
    }
}

/// What operators did, what was refused, and backups: those that `keepwell backup` told of, and others.
async fn beside(room: &Room, chance: &mut Chance, written: &mut Written) {
    for number in 0..23 {
        let at_ms = MONTH.from_ms + chance.below(30 * DAY_MS as u64) as i64;
        let action = ["job.retried", "database.backed_up", "database.backup_checked"][number % 3];
        let name = if number % 7 == 0 { " " } else { "uid 7" };
        let actor = Actor::Operator { name: name.to_owned() };
        append_all(room, [AuditEntry { actor, ..entry(String::new(), action, at_ms, json!({})) }]).await;
        match action {
            "database.backed_up" => written.backups_told += 1,
            "database.backup_checked" => written.backups_ms.push(at_ms),
            _ => {}
        }
        written.by_operators += 1;
        written.by_nobody += u64::from(name == " ");
    }
    let blocked =
        |number| entry("the door".to_owned(), "security.blocked", MONTH.from_ms + number, json!({}));
    append_all(room, (0..9).map(blocked)).await;
    written.blocked = 9;
}

async fn append_all(room: &Room, entries: impl IntoIterator<Item = AuditEntry>) {
    let mut transaction = begin(room).await;
    for entry in entries {
        append(&mut transaction, &entry).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

/// Emergency contacts of the month who were notified, are to be, or were left out; and one of the month before.
async fn contacts(room: &Room, chance: &mut Chance) -> [u64; 3] {
    let mut counts = [0; 3];
    for number in 0..90 {
        let result = chance.below(3) as usize;
        let words =
            ["'notified', NULL, 'text'", "'queued', NULL, 'text'", "'skipped', 'no_consent', NULL"][result];
        let at_ms =
            if number == 0 { MONTH.from_ms - 1 } else { MONTH.from_ms + chance.below(1_000_000) as i64 };
        let sql = format!(
            "INSERT INTO contact_notices (customer, cause, contact, severity, result, reason, method, at_ms) \
             VALUES ('cus_grace', 'cause {number}', 0, 'high', {words}, {at_ms})"
        );
        execute(room, &sql).await.unwrap();
        counts[result] += u64::from(number > 0);
    }
    counts
}

#[tokio::test]
async fn every_number_of_a_generated_month_equals_what_was_generated() {
    on_each_database(async |room| {
        let mut chance = Chance(2_026);
        let mut crises = crises(&mut chance);
        let written = write(room, &mut chance, &mut crises).await;
        let facts = read_facts(&room.database, &room.care.keys, &settings(room), MONTH, None, NOW_MS).await;
        let found = serde_json::to_value(CrisisReport::of(&facts.unwrap())).unwrap();
        let expected = oracle::report(&crises, &written);
        let differences = oracle::differences("", &oracle::counted(found), &expected);
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    })
    .await;
}
