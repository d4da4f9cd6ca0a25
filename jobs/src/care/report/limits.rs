//! What one report cannot hold, and what comes close to its limits.

use serde_json::json;

use super::{
    access::AccessChecks,
    cases::{FROM_MS, TO_MS, codes, crisis, given, quiet, violation},
    crisis::CrisisReport,
    facts::{Answer, ChainFacts, GraceFact, ReportFacts, VIOLATIONS},
    share::Share,
};
use crate::care::{grace::GraceReason, severity::Severity};

#[test]
fn whatever_one_report_does_not_hold_is_said() {
    let mut facts = quiet();
    facts.cut = vec![VIOLATIONS];
    facts.crises_left_out = 3;
    facts.audit.actions.insert("grace.started".to_owned(), 5);
    facts.ledger_since_ms = FROM_MS + 1;
    facts.crises = (0..102).map(|number| crisis(number, Severity::High, Answer::Failed)).collect();
    let report = CrisisReport::of(&facts);
    let said = ["3 crises beyond", "violations beyond", "5 of 5 grace periods", "lanes before"];
    for words in said {
        assert!(report.not_measured.iter().any(|reason| reason.contains(words)), "{words}");
    }
    assert_eq!(report.not_measured.len(), CrisisReport::of(&quiet()).not_measured.len() + said.len());
    assert_eq!((report.action_items.len(), report.action_items_left_out), (100, 2));
    let mut facts = quiet();
    facts.audit.actions.insert("grace.started".to_owned(), 1);
    let (reason, started_ms, ends_ms) = (GraceReason::SystemError, FROM_MS, TO_MS);
    facts.graces = vec![GraceFact { reason, started_ms, ends_ms, closed: true }];
    let said = |facts: &ReportFacts| CrisisReport::of(facts).not_measured.len() - 3;
    assert_eq!(said(&facts), 0, "all that began is remembered");
    for (finding, complete, expected) in [(None, false, 1), (Some("gone"), false, 0), (Some("gone"), true, 0)]
    {
        let finding = finding.map(str::to_owned);
        facts.audit.chain = Some(ChainFacts { finding: finding.clone(), complete, ..ChainFacts::default() });
        assert_eq!(said(&facts), expected, "{finding:?} {complete}");
    }
}

#[test]
fn answers_of_which_nobody_knows_whether_they_have_to_be_in_the_trail_are_said_and_in_no_share() {
    let mut facts = quiet();
    facts.crises = (0..3).map(|number| crisis(number, Severity::High, given(1_000))).collect();
    for crisis in &mut facts.crises[1..] {
        (crisis.kind, crisis.audited) = ("app.assessment_completed".to_owned(), None);
    }
    let report = CrisisReport::of(&facts);
    assert_eq!(report.audit_compliance.share, Share { kept: 1, of: 1 });
    let is_said =
        report.not_measured.iter().any(|it| it.contains("an entry of 2 answers of the crisis lane"));
    assert!(is_said, "{:?}", report.not_measured);
}

#[test]
fn answers_are_counted_and_timed() {
    let mut facts = quiet();
    facts.crises =
        [100_000, 100_001].into_iter().zip(0..).map(|(us, n)| crisis(n, Severity::High, given(us))).collect();
    facts.crises[1].answer = Answer::Given { took_us: 100_001, measured: false };
    facts.violations = vec![violation(0)];
    facts.audit.access = AccessChecks {
        checked: 9,
        unchecked: 0,
        floor_lost: 1,
        emergency_lost: 2,
        ..AccessChecks::default()
    };
    facts.crises.push(crisis(2, Severity::High, given(300_000)));
    let report = CrisisReport::of(&facts);
    let response = &report.response_time_compliance;
    assert_eq!((response.latency.count, response.latency.fastest_ms), (3, Some(100.0)));
    assert_eq!((response.average_response_time, response.from_ledger), (Some(166.667), 1));
    assert!(report.not_measured.iter().any(|it| it.starts_with("how long 1 answers took")));
    let within = report.emergency_access_compliance.within_emergency_limit;
    assert_eq!(within, Share { kept: 1, of: 3 });
    let metrics = &report.safety_metrics;
    assert_eq!(json!(metrics.by_kind), json!({ "app.crisis_signalled": 3 }));
    assert_eq!((metrics.compliance_violations, metrics.violations_recorded), (4, 1));
    assert!(codes(&report).contains(&"times_from_ledger"));
}

#[test]
fn what_comes_close_to_its_limit_or_is_kept_too_briefly_is_said() {
    for (took_us, near) in [(80_000, false), (80_001, true), (100_000, true)] {
        let mut facts = quiet();
        facts.crises = vec![crisis(0, Severity::Critical, given(took_us))];
        assert_eq!(codes(&CrisisReport::of(&facts)).contains(&"responses_near_limit"), near, "{took_us}");
    }
    let mut facts = quiet();
    facts.retention.kept_days = facts.retention.required_days - 1;
    facts.audit.actions.insert("security.blocked".to_owned(), 7);
    let report = CrisisReport::of(&facts);
    assert_eq!(codes(&report), ["retention_short"]);
    let checks = report.safeguards.iter().find(|safeguard| safeguard.name == "integrityChecks").unwrap();
    assert!(checks.evidence.contains("7 entries tell of refused ones"), "{}", checks.evidence);
}

#[test]
fn the_evidence_of_the_watch_says_how_many_nobody_noticed() {
    let late = |number| crisis(number, Severity::High, given(900_000));
    let dead = |number| crisis(number, Severity::High, Answer::Failed);
    for (crises, violations, expected) in [
        (vec![late(0), dead(1)], vec![violation(0), violation(1)], "2 violations were recorded"),
        (vec![late(0), late(1)], vec![violation(0)], "1 violations were recorded; 1 late ones have none"),
        (
            vec![late(0), dead(1), dead(2)],
            vec![violation(2)],
            "1 violations were recorded; 1 late ones have none, nor have 1 that were given up on",
        ),
    ] {
        let expected = format!("{} crises were late or unanswered, {expected}", crises.len());
        let report = CrisisReport::of(&ReportFacts { crises, violations, ..quiet() });
        let watch = report.safeguards.iter().find(|it| it.name == "realTimeMonitoring").unwrap();
        assert_eq!(watch.evidence, expected);
    }
}
