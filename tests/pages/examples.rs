//! Reports about nothing, about as much as one can hold, and one that the daemon made.

use std::collections::BTreeMap;

use keepwell::reports::{Format, render};
use keepwell_jobs::{
    care::{
        grace::{DAY_MS, GraceReason},
        report::{
            access::AccessChecks,
            crisis::CrisisReport,
            facts::{
                Answer, AuditFacts, BackupFacts, ChainFacts, CrisisFact, GraceFact, LaneFact, ReportFacts,
                RetentionFacts, SealingFacts, VIOLATIONS, ViolationFact,
            },
            operations::{DeadJob, ErrorFigures, OperationsReport, SlowJob},
            operations_facts::{KindFact, OperationsFacts, RunFact, ScheduleFact},
            period::Period,
        },
        severity::Severity,
    },
    kinds,
    store::reports::ReportContent,
};
use keepwell_workers::lane::Lane;
use serde_json::json;

use crate::{
    road::{app, signal},
    support::daemon::Daemon,
};

/// 2027-01-01T00:00:00Z, from where on January is.
const FROM_MS: i64 = 1_798_761_600_000;
const MONTH: Period = Period { from_ms: FROM_MS, to_ms: FROM_MS + 31 * DAY_MS };
const HOUR_MS: i64 = 60 * 60 * 1_000;

const ID: &str = "0199f0a1-2b3c-7d4e-8f50-61728394a5b6";

/// A page of keepwell's.
pub struct Example {
    pub name: &'static str,
    pub page: String,
    /// On how many sheets it is printed, at least.
    pub sheets_min: usize,
}

/// Every page that there is, with little on it and with much.
pub async fn examples() -> Vec<Example> {
    let page = |content: &ReportContent| render(ID, content, Format::Html);
    let crisis = |facts: &ReportFacts| page(&ReportContent::Crisis(Box::new(CrisisReport::of(facts))));
    let operations =
        |facts: &OperationsFacts| page(&ReportContent::Operations(Box::new(OperationsReport::of(facts))));
    let (one_hour, no_work) = (Period { to_ms: FROM_MS + HOUR_MS, ..MONTH }, operations_facts(MONTH, false));
    let example = |name, page, sheets_min| Example { name, page, sheets_min };
    vec![
        example("a quiet hour", crisis(&facts(one_hour, false)), 2),
        example("a bad month", crisis(&facts(MONTH, true)), 8),
        example("no work", operations(&no_work), 1),
        example("much work", operations(&operations_facts(MONTH, true)), 4),
        example("of a daemon", of_a_daemon().await, 2),
    ]
}

/// What a daemon says that has just taken three crises.
async fn of_a_daemon() -> String {
    let daemon = Daemon::start().await;
    for severity in ["critical", "high", "moderate"] {
        let said = json!({ "source": "button", "severity": severity });
        app(&daemon, &signal("crisis.signal", &format!("cus_{severity}"), said)).await;
    }
    let made = daemon.keepwell(&["report", "crisis", "--from", "1h", "--format", "html"]);
    assert!(made.status.success(), "{made:?}");
    String::from_utf8(made.stdout).unwrap()
}

fn job(number: i64) -> String {
    format!("0199f0a1-2b3c-7d4e-8f50-{number:012x}")
}

fn crises() -> Vec<CrisisFact> {
    let crisis = |number: i64| CrisisFact {
        job: job(number),
        kind: [kinds::CRISIS_SIGNALLED, kinds::ASSESSMENT_COMPLETED][number as usize % 2].to_owned(),
        severity: Severity::ALL[number as usize % 3],
        came_ms: FROM_MS + number * number % (31 * DAY_MS / 60_000) * 60_000,
        limit_ms: Severity::ALL[number as usize % 3].response_limit_ms() as i64,
        answer: match number % 40 {
            0 => Answer::Failed,
            1 => Answer::Owed,
            _ => Answer::Given { took_us: (number * number % 400_000) as u64, measured: number % 7 > 0 },
        },
        audited: Some(number % 5 > 0),
    };
    (0..20_000).map(crisis).collect()
}

fn facts(period: Period, is_bad: bool) -> ReportFacts {
    let many = |count: u64| if is_bad { count } else { 0 };
    let violation = |number: i64| ViolationFact {
        job: job(number * 40),
        severity: Severity::High,
        at_ms: FROM_MS + number * HOUR_MS,
        limit_ms: 200,
        took_ms: 4_200_000,
    };
    let grace = |number: i64| GraceFact {
        reason: GraceReason::ALL[number as usize % 4],
        started_ms: FROM_MS,
        ends_ms: FROM_MS + (7 + number % 31) * DAY_MS,
        closed: number % 3 == 0,
    };
    let actions = ["crisis.resolved", "grace.started", "emergency.switched_on", "security.blocked"];
    let finding =
        "block 1234567: an entry at position 89101112 does not have the code that the chain has of it";
    ReportFacts {
        period,
        as_of_ms: period.to_ms + 60_000,
        crises: if is_bad { crises() } else { Vec::new() },
        crises_left_out: many(123_456),
        violations: (0..many(50) as i64).map(violation).collect(),
        graces: (0..many(12_345) as i64).map(grace).collect(),
        cut: if is_bad { vec![VIOLATIONS, "grace periods"] } else { Vec::new() },
        audit: AuditFacts {
            actions: actions.map(|action| (action.to_owned(), many(1_234_567))).into(),
            violations_without_entry: many(12),
            by_operators: many(34_567),
            by_nobody: many(3),
            access: AccessChecks {
                checked: many(199_999),
                unchecked: many(17),
                floor_lost: many(2),
                emergency_lost: many(1),
                emergency_opened: many(123),
            },
            crisis_pauses: many(2),
            backups: BackupFacts { days: many(1), last_ms: is_bad.then_some(period.from_ms) },
            chain: Some(ChainFacts {
                finding: is_bad.then(|| finding.to_owned()),
                blocks: 4_000,
                entries: 256_000,
                complete: !is_bad,
            }),
        },
        retention: RetentionFacts { required_days: 2_555, kept_days: 2_555, refuses_deletion: !is_bad },
        sealing: SealingFacts { sealed: 123_456_789, by_unknown_key: many(1) },
        lanes: if is_bad { lanes(period) } else { Vec::new() },
        ledger_since_ms: period.from_ms + many(1) as i64,
        contacts: if is_bad { contacts() } else { BTreeMap::new() },
        dropped_paths: 28,
    }
}

fn contacts() -> BTreeMap<String, u64> {
    ["told", "refused", "withdrawn", "unreachable"].map(|result| (result.to_owned(), 321)).into()
}

fn lanes(period: Period) -> Vec<LaneFact> {
    let states = ["done", "owed", "dead", "cancelled"];
    let parts = 0..period.parts().len();
    let of = |part: usize| {
        Lane::ALL.into_iter().flat_map(move |lane| {
            let count = |state: &str| (part * 7_919 + state.len() * 10_007) as u64 * 13 % 1_000_000;
            states.map(|state| LaneFact { part, lane: lane.name(), state, count: count(state) })
        })
    };
    parts.flat_map(of).collect()
}

fn operations_facts(period: Period, is_much: bool) -> OperationsFacts {
    let some = |count: usize| 0..if is_much { count } else { 0 };
    let error = "the gateway answers that it is too busy (503 Service Unavailable) and asks to come again after \
         3600 seconds: https://notifications.example.org/v2/tenants/0199f0a12b3c7d4e8f5061728394a5b6/messages";
    let (kind, lane) = ("app.crisis_signalled", "therapeutic");
    let states = ["done", "owed", "dead", "cancelled"];
    let fact = |number: usize| KindFact {
        kind: kinds::ALL[number / 4].to_owned(),
        state: states[number % 4],
        count: 12_345 * (number as u64 + 1),
        took_ms: 987_654_321_012,
    };
    let run = |number: usize| RunFact {
        kind: kinds::ALL[number / 3].to_owned(),
        outcome: ["retry", "dead", "crashed"][number % 3].to_owned(),
        count: 76_543,
    };
    let schedule = |number: usize| ScheduleFact {
        name: format!("a-schedule-with-quite-a-long-name-{number}"),
        last_tick_ms: Some(FROM_MS),
        next_tick_ms: (number > 0).then_some(FROM_MS + number as i64 * DAY_MS),
        fired: 1_234_567,
        skipped: 89_101,
        paused: number == 1,
        held_back: number == 3,
        known: number != 2,
    };
    let error_of =
        |count: usize| ErrorFigures { kind: kind.to_owned(), error: error.to_owned(), count: count as u64 };
    let slow = |number: usize| SlowJob {
        job: job(number as i64),
        kind: kind.to_owned(),
        lane: lane.to_owned(),
        state: "cancelled".to_owned(),
        took_ms: 2_678_400_000,
    };
    let dead = |number: usize| DeadJob {
        job: job(number as i64),
        kind: kind.to_owned(),
        lane: lane.to_owned(),
        attempts: 25,
        error: number.is_multiple_of(2).then(|| error.to_owned()),
    };
    OperationsFacts {
        period,
        as_of_ms: period.to_ms + 60_000,
        ledger_since_ms: period.from_ms + i64::from(is_much),
        lanes: if is_much { lanes(period) } else { Vec::new() },
        kinds: some(kinds::ALL.len() * 4).map(fact).collect(),
        runs: some(kinds::ALL.len() * 3).map(run).collect(),
        errors: some(20).map(error_of).collect(),
        errors_cut: is_much,
        slowest: some(20).map(slow).collect(),
        dead: some(20).map(dead).collect(),
        schedules: some(9).map(schedule).collect(),
    }
}
