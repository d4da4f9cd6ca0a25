//! What a report recommends, and what it asks somebody to do (003: `recommendations`, `actionItems`): each follows from
//! a figure, and there is none without one.

use serde::{Deserialize, Serialize};

use super::{
    crisis::CrisisReport,
    facts::{Answer, ReportFacts},
    share::Status,
};
use crate::care::{document::UtcTime, severity::Severity};

/// Action items in one report, at most; the gravest and oldest come first.
pub const ACTION_ITEMS_MAX: usize = 100;

/// The share of the strictest limit above which the 99th percentile is near it.
const NEAR_LIMIT: f64 = 0.8;

/// Something that would make it better.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recommendation {
    /// What it is about, for programs.
    pub code: String,
    /// `critical`, `high` or `moderate`.
    pub priority: String,
    /// What and why.
    pub text: String,
}

/// Something that has to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionItem {
    /// What has to be done, for programs.
    pub code: String,
    /// `critical`, `high` or `moderate`.
    pub priority: String,
    /// The job that it is about.
    pub job: Option<String>,
    /// When it happened, RFC 3339.
    pub since: Option<String>,
    /// What has to be done.
    pub text: String,
}

/// What `report`, made of `facts`, calls for.
pub fn recommendations(report: &CrisisReport, facts: &ReportFacts) -> Vec<Recommendation> {
    let mut found = Vec::new();
    let mut when = |is_so: bool, priority: Severity, code: &str, text: &str| {
        let priority = priority.name().to_owned();
        found.extend(is_so.then(|| Recommendation {
            code: code.to_owned(),
            priority,
            text: text.to_owned(),
        }));
    };
    let response = &report.response_time_compliance;
    let audit = &report.audit_compliance;
    when(
        report.emergency_access_compliance.failures > 0,
        Severity::Critical,
        "crises_unanswered",
        "Find out why crises were not answered at all, and run their jobs again: every one of them is an action item.",
    );
    when(
        report.therapeutic_access_compliance.interruptions > 0,
        Severity::Critical,
        "access_interrupted",
        "Find out what took from the crisis-safe floor or from a crisis; nothing may. \
         `keepwell audit list --action access.missing` says who was found without it.",
    );
    when(
        audit.finding.is_some(),
        Severity::Critical,
        "trail_not_whole",
        "Keep the database as it is and find out who changed the audit trail; `keepwell audit verify` names the place.",
    );
    when(
        response.status == Status::NonCompliant,
        Severity::High,
        "responses_late",
        "Answer more crises in time: look at what ran on the machine and the database when the late ones came.",
    );
    let near = response
        .by_severity
        .iter()
        .any(|of| of.latency.p99_ms.is_some_and(|p99_ms| p99_ms > of.limit_ms as f64 * NEAR_LIMIT));
    when(
        near && response.status != Status::NonCompliant,
        Severity::Moderate,
        "responses_near_limit",
        "Answers come close to their limit: the slowest of a hundred leave less than a fifth of it.",
    );
    when(
        facts.all_noticed() == Some(false),
        Severity::High,
        "violations_unnoticed",
        "There were late crises of which no violation was recorded: the watch was down, its violations could not be \
         kept, or `care.crisis_response_ms` lets it wait for longer than the protocols do.",
    );
    when(
        audit.share.kept < audit.share.of,
        Severity::High,
        "trail_incomplete",
        "Crises or violations are missing from the audit trail; compare it with the jobs named as action items.",
    );
    when(
        audit.encryption_compliant == Some(false),
        Severity::High,
        "sealed_by_unknown_key",
        "Data are sealed with a key that is not configured: add it to `encryption.keys` and run `keepwell key rotate`.",
    );
    when(
        !facts.retention.refuses_deletion,
        Severity::High,
        "retention_unguarded",
        "The database no longer refuses to delete the audit trail: its triggers are gone. Restore them from the migration.",
    );
    when(
        facts.retention.kept_days < facts.retention.required_days,
        Severity::High,
        "retention_short",
        "The audit trail is kept for less than seven years: raise `retention.audit_days`.",
    );
    when(
        audit.access_control_compliant == Some(false),
        Severity::High,
        "operators_unnamed",
        "Operators did things under no name; give each their own account.",
    );
    when(
        response.from_ledger > 0,
        Severity::Moderate,
        "times_from_ledger",
        "Some response times are known from the ledger only: a process died right after it had answered, or could not \
         compare its clock with Redis'.",
    );
    found
}

/// What `facts` ask somebody to do, and how many items there are beyond [`ACTION_ITEMS_MAX`].
pub fn action_items(facts: &ReportFacts) -> (Vec<ActionItem>, u64) {
    let mut items = Vec::new();
    let mut open: Vec<_> = facts
        .crises
        .iter()
        .filter(|crisis| crisis.took_us().is_none() && !crisis.is_pending(facts.as_of_ms))
        .collect();
    open.sort_by_key(|crisis| (std::cmp::Reverse(crisis.severity), crisis.came_ms));
    for crisis in open {
        let text = match crisis.answer {
            Answer::Owed => "A crisis is still not answered. See why with `keepwell job show`.",
            _ => "Nothing answers a crisis. See why with `keepwell job show`, then `keepwell job retry`.",
        };
        items.push(ActionItem {
            code: "answer_crisis".to_owned(),
            priority: crisis.severity.name().to_owned(),
            job: Some(crisis.job.clone()),
            since: Some(UtcTime(crisis.came_ms).to_rfc3339()),
            text: text.to_owned(),
        });
    }
    let audit = &facts.audit;
    if let Some(finding) = audit.chain.as_ref().and_then(|chain| chain.finding.clone()) {
        items.push(ActionItem {
            code: "examine_trail".to_owned(),
            priority: "critical".to_owned(),
            job: None,
            since: None,
            text: format!("The audit trail is not whole: {finding}."),
        });
    }
    let unaudited = facts.crises.iter().filter(|crisis| crisis.audited == Some(false));
    for crisis in unaudited {
        items.push(ActionItem {
            code: "explain_missing_entry".to_owned(),
            priority: "high".to_owned(),
            job: Some(crisis.job.clone()),
            since: Some(UtcTime(crisis.came_ms).to_rfc3339()),
            text: "An answered crisis has no entry in the audit trail.".to_owned(),
        });
    }
    let mut late: Vec<_> = facts.violations.iter().collect();
    late.sort_by_key(|violation| (std::cmp::Reverse(violation.severity), violation.at_ms));
    for violation in late {
        items.push(ActionItem {
            code: "review_violation".to_owned(),
            priority: violation.severity.name().to_owned(),
            job: Some(violation.job.clone()),
            since: Some(UtcTime(violation.at_ms).to_rfc3339()),
            text: format!(
                "A crisis had {} ms and took at least {} ms.",
                violation.limit_ms, violation.took_ms
            ),
        });
    }
    let left_out = items.len().saturating_sub(ACTION_ITEMS_MAX) as u64;
    items.truncate(ACTION_ITEMS_MAX);
    (items, left_out)
}
