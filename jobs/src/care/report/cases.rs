//! A period whose figures are known.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    access::AccessChecks,
    crisis::CrisisReport,
    facts::{
        Answer, AuditFacts, ChainFacts, CrisisFact, GraceFact, LaneFact, ReportFacts, RetentionFacts,
        SealingFacts, VIOLATIONS, ViolationFact,
    },
    period::Period,
    share::{Share, Status},
};
use crate::care::{
    grace::{DAY_MS, GraceReason},
    severity::Severity,
};

pub(super) const FROM_MS: i64 = 1_700_000_000_000;
pub(super) const TO_MS: i64 = FROM_MS + DAY_MS;
const AS_OF_MS: i64 = TO_MS + 1_000;

pub(super) fn crisis(number: i64, severity: Severity, answer: Answer) -> CrisisFact {
    CrisisFact {
        job: format!("job {number}"),
        kind: "app.crisis_signalled".to_owned(),
        severity,
        came_ms: FROM_MS + number * 60_000,
        limit_ms: severity.response_limit_ms() as i64,
        answer,
        audited: matches!(answer, Answer::Given { .. }).then_some(true),
    }
}

pub(super) fn violation(number: i64) -> ViolationFact {
    ViolationFact {
        job: format!("job {number}"),
        severity: Severity::High,
        at_ms: FROM_MS + number * 60_000 + 300,
        limit_ms: 200,
        took_ms: 300,
    }
}

pub(super) fn given(took_us: u64) -> Answer {
    Answer::Given { took_us, measured: true }
}

/// Nothing happened, and everything is as it has to be.
pub(super) fn quiet() -> ReportFacts {
    ReportFacts {
        period: Period { from_ms: FROM_MS, to_ms: TO_MS },
        as_of_ms: AS_OF_MS,
        crises: Vec::new(),
        crises_left_out: 0,
        violations: Vec::new(),
        graces: Vec::new(),
        cut: Vec::new(),
        audit: AuditFacts {
            chain: Some(ChainFacts { finding: None, blocks: 1, entries: 9, complete: true }),
            ..AuditFacts::default()
        },
        retention: RetentionFacts { required_days: 2_555, kept_days: 2_555, refuses_deletion: true },
        sealing: SealingFacts { sealed: 5, by_unknown_key: 0 },
        lanes: Vec::new(),
        ledger_since_ms: FROM_MS,
        contacts: BTreeMap::new(),
        dropped_paths: 12,
    }
}

pub(super) fn codes(report: &CrisisReport) -> Vec<&str> {
    report.recommendations.iter().map(|it| it.code.as_str()).collect()
}

#[test]
fn a_quiet_period_claims_nothing_that_did_not_happen() {
    let report = CrisisReport::of(&quiet());
    assert_eq!((report.overall_compliance, report.overall_status), (None, Status::Compliant));
    let response = &report.response_time_compliance;
    assert_eq!((response.actual, response.status), (None, Status::NoEvents));
    assert_eq!(report.emergency_access_compliance.status, Status::NoEvents);
    assert_eq!(report.audit_compliance.audit_trail_complete, Some(true));
    assert!(report.recommendations.is_empty() && report.action_items.is_empty());
    let text = serde_json::to_string(&report).unwrap();
    let again: CrisisReport = serde_json::from_str(&text).unwrap();
    assert_eq!(again, report, "what is stored says what was made");
}

#[test]
fn each_crisis_is_measured_against_its_own_limit() {
    let mut facts = quiet();
    // 150 ms are in time for a high and a moderate crisis, and late for a critical one.
    facts.crises = Severity::ALL.into_iter().zip(0..).map(|(it, n)| crisis(n, it, given(150_000))).collect();
    let report = CrisisReport::of(&facts);
    let response = &report.response_time_compliance;
    assert_eq!(response.share, Share { kept: 2, of: 3 });
    assert_eq!(
        (response.actual, response.status, response.violations),
        (Some(66.66), Status::NonCompliant, 1)
    );
    let critical = &response.by_severity[0];
    assert_eq!((critical.severity.as_str(), critical.limit_ms), ("critical", 100));
    assert_eq!(critical.share, Share { kept: 0, of: 1 });
    let emergency = &report.emergency_access_compliance;
    assert_eq!((emergency.failures, emergency.actual), (0, Some(100.0)));
    assert_eq!(emergency.within_emergency_limit, Share { kept: 0, of: 3 });
    assert_eq!(codes(&report), ["responses_late", "violations_unnoticed"]);
    assert_eq!((report.overall_compliance, report.overall_status), (Some(66.66), Status::NonCompliant));
}

#[test]
fn a_limit_that_was_loosened_makes_nothing_compliant_and_one_that_was_tightened_counts() {
    // As configured, late, and as it is told.
    for (limit_ms, took_us, kept, told_ms) in [
        (30_000, 100_001, 0, 100),
        (30_000, 100_000, 1, 100),
        (101, 100_001, 0, 100),
        (50, 50_001, 0, 50),
        (50, 50_000, 1, 50),
    ] {
        let mut facts = quiet();
        facts.crises = vec![CrisisFact { limit_ms, ..crisis(0, Severity::Critical, given(took_us)) }];
        let response = CrisisReport::of(&facts).response_time_compliance;
        let critical = &response.by_severity[0];
        assert_eq!(
            (response.share, critical.limit_ms),
            (Share { kept, of: 1 }, told_ms),
            "{limit_ms} {took_us}"
        );
    }
    // What nobody has answered yet is not waited for any longer either.
    let mut facts = quiet();
    let owed = crisis(0, Severity::High, Answer::Owed);
    facts.crises = vec![CrisisFact { limit_ms: 60_000, came_ms: facts.as_of_ms - 201, ..owed }];
    let response = CrisisReport::of(&facts).response_time_compliance;
    assert_eq!((response.pending, response.violations), (0, 1));
}

#[test]
fn nineteen_of_twenty_in_time_are_enough_and_less_is_not() {
    let mut facts = quiet();
    let one = |n: i64| crisis(n, Severity::High, given(if n == 0 { 200_001 } else { 200_000 }));
    facts.crises = (0..20).map(one).collect();
    assert_eq!(CrisisReport::of(&facts).response_time_compliance.status, Status::Compliant);
    facts.crises.pop();
    let response = CrisisReport::of(&facts).response_time_compliance;
    assert_eq!((response.actual, response.status), (Some(94.73), Status::NonCompliant));
}

#[test]
fn a_crisis_that_nothing_answers_is_a_failure_and_something_to_do() {
    let mut facts = quiet();
    facts.crises = vec![
        crisis(0, Severity::Moderate, Answer::Failed),
        crisis(1, Severity::Critical, Answer::Owed),
        crisis(2, Severity::High, given(1_000)),
    ];
    // It came this very moment: nobody can say yet.
    facts.crises.push(CrisisFact { came_ms: AS_OF_MS - 50, ..crisis(3, Severity::Critical, Answer::Owed) });
    let report = CrisisReport::of(&facts);
    let emergency = &report.emergency_access_compliance;
    assert_eq!(emergency.failures, 2);
    assert_eq!((emergency.actual, emergency.status), (Some(33.33), Status::NonCompliant));
    assert_eq!(
        emergency.share().percent(),
        emergency.actual,
        "what stands beside a share is what it is made of"
    );
    let response = &report.response_time_compliance;
    assert_eq!((response.share, response.pending), (Share { kept: 1, of: 3 }, 1));
    let items: Vec<_> = report.action_items.iter().map(|it| (it.code.as_str(), it.job.as_deref())).collect();
    let expected = [("answer_crisis", Some("job 1")), ("answer_crisis", Some("job 0"))];
    assert_eq!(items, expected, "the gravest first");
    let [owed, failed] = [0, 1].map(|item| report.action_items[item].text.as_str());
    assert!(owed.contains("still not answered") && failed.contains("keepwell job retry"), "{owed} {failed}");
    assert!(codes(&report).contains(&"crises_unanswered"));
}

#[test]
fn one_interruption_of_care_is_one_too_many() {
    let mut facts = quiet();
    facts.audit.access =
        AccessChecks { checked: 100_000, unchecked: 0, floor_lost: 1, ..AccessChecks::default() };
    let access = CrisisReport::of(&facts).therapeutic_access_compliance;
    assert_eq!((access.actual, access.status, access.interruptions), (Some(99.99), Status::NonCompliant, 1));
    facts.audit.access = AccessChecks { checked: 5, unchecked: 1, floor_lost: 1, ..AccessChecks::default() };
    let report = CrisisReport::of(&facts);
    assert_eq!(report.therapeutic_access_compliance.status, Status::NonCompliant, "whatever else there was");
    assert_eq!(codes(&report), ["access_interrupted"]);
    facts.audit.access = AccessChecks { checked: 5, unchecked: 1, floor_lost: 0, ..AccessChecks::default() };
    let report = CrisisReport::of(&facts);
    assert_eq!(report.therapeutic_access_compliance.status, Status::NotMeasured, "the sixth may be wrong");
    assert_eq!(report.overall_status, Status::NotMeasured);
    assert!(report.not_measured.iter().any(|it| it.starts_with("1 changes of access")));
    // Every change was as it has to be, and still somebody was found without what they need.
    facts.audit.access = AccessChecks { checked: 8, ..AccessChecks::default() };
    facts.audit.actions.insert("access.missing".to_owned(), 2);
    let report = CrisisReport::of(&facts);
    let access = &report.therapeutic_access_compliance;
    assert_eq!((access.share, access.interruptions), (Share { kept: 8, of: 10 }, 2));
    assert_eq!((access.status, report.overall_status), (Status::NonCompliant, Status::NonCompliant));
    assert_eq!(
        (report.safety_metrics.compliance_violations, codes(&report)),
        (2, vec!["access_interrupted"])
    );
}

#[test]
fn only_what_the_trail_tells_of_has_opened_emergency_access_or_overridden_a_crisis() {
    let mut facts = quiet();
    // A payment of somebody who is in a crisis already was answered in their lane, and opened nothing.
    let paid = CrisisFact { kind: "stripe.invoice_paid".to_owned(), ..crisis(1, Severity::High, given(900)) };
    facts.crises = vec![crisis(0, Severity::High, given(1_000)), CrisisFact { audited: None, ..paid }];
    facts.audit.access = AccessChecks { checked: 1, emergency_opened: 1, ..AccessChecks::default() };
    facts.audit.actions = [("emergency.switched_on", 2), ("emergency.switched_off", 2), ("lane.paused", 5)]
        .map(|(action, count)| (action.to_owned(), count))
        .into();
    facts.audit.crisis_pauses = 1;
    let report = CrisisReport::of(&facts);
    let (metrics, emergency) = (&report.safety_metrics, &report.emergency_access_compliance);
    assert_eq!((metrics.emergency_access_activations, emergency.activations), (1, 1));
    assert_eq!((metrics.crisis_events_handled, emergency.actual), (2, Some(100.0)));
    assert_eq!(metrics.crisis_override_count, 3);
}

#[test]
fn what_is_missing_from_the_trail_or_wrong_with_it_is_said() {
    let mut facts = quiet();
    facts.crises = vec![crisis(0, Severity::High, given(1_000)), crisis(1, Severity::High, given(1_000))];
    facts.crises[1].audited = Some(false);
    let report = CrisisReport::of(&facts);
    let audit = &report.audit_compliance;
    assert_eq!((audit.actual, audit.audit_trail_complete), (Some(50.0), Some(false)));
    assert_eq!(report.action_items[0].code, "explain_missing_entry");
    assert_eq!(codes(&report), ["trail_incomplete"]);
    facts.violations = vec![violation(0), violation(1)];
    facts.audit.violations_without_entry = 1;
    assert_eq!(CrisisReport::of(&facts).audit_compliance.share, Share { kept: 2, of: 4 });

    let mut facts = quiet();
    let finding = Some("block 3 is gone".to_owned());
    facts.audit.chain = Some(ChainFacts { finding, ..ChainFacts::default() });
    facts.audit.by_nobody = 1;
    facts.sealing.by_unknown_key = 1;
    facts.retention = RetentionFacts { refuses_deletion: false, ..facts.retention };
    let report = CrisisReport::of(&facts);
    let audit = &report.audit_compliance;
    assert_eq!(
        [audit.audit_trail_complete, audit.encryption_compliant, audit.retention_compliant],
        [Some(false); 3]
    );
    assert_eq!(audit.access_control_compliant, Some(false));
    let said = ["trail_not_whole", "sealed_by_unknown_key", "retention_unguarded", "operators_unnamed"];
    assert_eq!(codes(&report), said);

    facts.audit.chain = None;
    let audit = CrisisReport::of(&facts).audit_compliance;
    assert_eq!(audit.audit_trail_complete, None, "nobody can say");
}

#[test]
fn no_safeguard_is_taken_for_granted() {
    let status = |facts: &ReportFacts, name: &str| {
        let report = CrisisReport::of(facts);
        report.safeguards.into_iter().find(|it| it.name == name).map(|it| it.status).unwrap()
    };
    let mut facts = quiet();
    facts.crises = vec![crisis(0, Severity::High, given(900_000))];
    assert_eq!(CrisisReport::of(&facts).safeguards.len(), 20);
    assert_eq!(status(&facts, "realTimeMonitoring"), Status::NonCompliant);
    facts.violations = vec![violation(0)];
    for (name, expected) in [
        ("realTimeMonitoring", Status::Compliant),
        ("retentionPeriod", Status::Compliant),
        ("tamperResistant", Status::Compliant),
        ("userAuthentication", Status::NotMeasured),
        ("networkSecurity", Status::NotMeasured),
        ("emergencyAccess", Status::Compliant),
        ("backupValidation", Status::NotMeasured),
        ("dataMinimization", Status::NotMeasured),
    ] {
        assert_eq!(status(&facts, name), expected, "{name}");
    }
    assert_eq!(status(&facts, "auditLogging"), Status::NoEvents);
    facts.audit.by_operators = 1;
    assert_eq!(status(&facts, "auditLogging"), Status::Compliant);
    let report = CrisisReport::of(&facts);
    let safeguards = report.safeguards;
    let sealed = safeguards.iter().find(|it| it.name == "encryptedLogging").unwrap();
    for open in ["crisis_signals", "grace_periods"] {
        assert!(sealed.evidence.contains(open), "{open} is not sealed: {}", sealed.evidence);
        assert!(report.audit_compliance.not_sealed.iter().any(|table| table == open));
    }
    facts.retention.kept_days = 100;
    facts.dropped_paths = 0;
    facts.audit.chain = None;
    for (name, expected) in [
        ("retentionPeriod", Status::NonCompliant),
        ("dataMinimization", Status::NonCompliant),
        ("tamperResistant", Status::NotMeasured),
    ] {
        assert_eq!(status(&facts, name), expected, "{name}");
    }
}

#[test]
fn each_late_crisis_has_to_be_noticed_and_what_was_given_up_on_at_once_is_not_known() {
    let late = || crisis(0, Severity::High, given(900_000));
    let unanswered = || crisis(1, Severity::High, Answer::Owed);
    let dead = || crisis(2, Severity::High, Answer::Failed);
    for (crises, violations, expected) in [
        (vec![], vec![], Status::NoEvents),
        (vec![crisis(3, Severity::High, given(1))], vec![], Status::Compliant),
        (vec![late(), unanswered()], vec![violation(0), violation(1)], Status::Compliant),
        (vec![late(), unanswered()], vec![violation(0)], Status::NonCompliant),
        // Another crisis was noticed, and this one was not.
        (vec![late()], vec![violation(3)], Status::NonCompliant),
        (vec![dead()], vec![violation(2)], Status::Compliant),
        (vec![dead()], vec![], Status::NotMeasured),
        (vec![dead(), late()], vec![violation(0)], Status::NotMeasured),
        (vec![dead(), late()], vec![], Status::NonCompliant),
    ] {
        let mut facts = ReportFacts { crises, violations, ..quiet() };
        let report = CrisisReport::of(&facts);
        let monitoring = report.safeguards.iter().find(|it| it.name == "realTimeMonitoring").unwrap();
        assert_eq!(monitoring.status, expected, "{facts:?}");
        let is_said = codes(&report).contains(&"violations_unnoticed");
        assert_eq!(is_said, expected == Status::NonCompliant, "{facts:?}");
        facts.cut = vec![VIOLATIONS];
        assert!(!codes(&CrisisReport::of(&facts)).contains(&"violations_unnoticed"), "it may be beyond");
    }
}

#[test]
fn the_charts_hold_every_crisis_grace_and_job_once() {
    let mut facts = quiet();
    facts.crises = vec![
        crisis(0, Severity::High, given(7_000)),
        crisis(1, Severity::Critical, given(250_000)),
        crisis(70, Severity::High, Answer::Failed),
    ];
    let grace = |reason, days: i64, closed| GraceFact {
        reason,
        started_ms: FROM_MS,
        ends_ms: FROM_MS + days * DAY_MS,
        closed,
    };
    facts.graces = vec![
        grace(GraceReason::PaymentFailure, 7, false),
        grace(GraceReason::PaymentFailure, 6, false),
        grace(GraceReason::PaymentFailure, 1, false),
        grace(GraceReason::PaymentFailure, 1, true),
        grace(GraceReason::CrisisDetected, 30, false),
    ];
    let lane = |part, lane, state, count| LaneFact { part, lane, state, count };
    facts.lanes =
        vec![lane(0, "crisis", "done", 3), lane(2, "crisis", "dead", 1), lane(2, "standard", "done", 9)];
    let charts = CrisisReport::of(&facts).charts;
    assert_eq!(charts.latency.iter().map(|it| it.count).sum::<u64>(), 2);
    assert_eq!(charts.timeline.len(), 24);
    assert_eq!(charts.timeline.iter().map(|it| it.crises).sum::<u64>(), 3);
    let missed: Vec<_> = charts.timeline.iter().map(|it| it.violations.values().sum::<u64>()).collect();
    assert_eq!((missed[0], missed[1], missed.iter().sum::<u64>()), (1, 1, 2));
    let payment = charts.grace.iter().find(|it| it.reason == "payment_failure").unwrap();
    assert_eq!((payment.started, payment.over, payment.closed, payment.running), (4, 2, 1, 2));
    assert_eq!(payment.longest_days, 7);
    let crisis_lane = &charts.lanes[0];
    assert_eq!((crisis_lane.recorded[0], crisis_lane.recorded[2]), (3, 1));
    assert_eq!((crisis_lane.done[0], crisis_lane.done[2]), (3, 0), "dead is not done");
    assert_eq!(json!(crisis_lane.states), json!({ "dead": 1, "done": 3 }));
}
