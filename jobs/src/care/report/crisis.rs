//! The crisis safety compliance report (003: `CrisisSafetyComplianceReport`), in the words of the protocols.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    charts::Charts,
    facts::ReportFacts,
    figures::{Figures, not_measured, overall},
    latency::Latency,
    recommend::{ActionItem, Recommendation, action_items, recommendations},
    safeguards::{Safeguard, safeguards},
    share::{Share, Status},
};
use crate::care::document::UtcTime;

/// The report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CrisisReport {
    /// The time it is about.
    pub report_period: ReportPeriod,
    /// When it was made.
    pub generated_at: String,
    /// The lowest of the four shares below, in percent; `None` if nothing happened.
    pub overall_compliance: Option<f64>,
    /// Whether everything that could be measured is as it has to be.
    pub overall_status: Status,
    /// How fast crises were answered.
    pub response_time_compliance: ResponseTimes,
    /// Whether care went on.
    pub therapeutic_access_compliance: TherapeuticAccess,
    /// Whether crises opened emergency access.
    pub emergency_access_compliance: EmergencyAccess,
    /// Whether everything is on record.
    pub audit_compliance: AuditCompliance,
    /// What was counted beside.
    pub safety_metrics: SafetyMetrics,
    /// The technical safeguards (001), each with what is known about it.
    pub safeguards: Vec<Safeguard>,
    /// What would make it better.
    pub recommendations: Vec<Recommendation>,
    /// What has to be done, and about which job.
    pub action_items: Vec<ActionItem>,
    /// Further ones, which are less grave or younger.
    pub action_items_left_out: u64,
    /// What nobody can say, and why.
    pub not_measured: Vec<String>,
    /// What the charts show.
    pub charts: Charts,
}

/// From an instant up to another one, which is not included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportPeriod {
    /// The first instant, RFC 3339.
    pub start_date: String,
    /// The first instant after it, RFC 3339.
    pub end_date: String,
}

/// How fast crises were answered (003: `responseTimeCompliance`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseTimes {
    /// In percent.
    pub target: u64,
    /// The share of crises that were answered within their own limit, in percent.
    pub actual: Option<f64>,
    /// Whether that is enough.
    pub status: Status,
    /// How many they were.
    pub share: Share,
    /// Crises that were answered late or not at all.
    pub violations: u64,
    /// The mean of those that were answered, in milliseconds.
    pub average_response_time: Option<f64>,
    /// And everything else about how long they took.
    pub latency: Latency,
    /// By severity, the gravest first.
    pub by_severity: Vec<SeverityTimes>,
    /// Answers whose time is known from the ledger only, to the millisecond: the process that gave them died before it
    /// could note it, or knew nothing of the clock by which they had come.
    pub from_ledger: u64,
    /// Crises whose time had not passed when the report was made; they count nowhere.
    pub pending: u64,
}

/// How fast crises of one severity were answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeverityTimes {
    /// Which.
    pub severity: String,
    /// How long an answer may take, in milliseconds; the strictest that applied in the period, and never more than the
    /// protocols allow.
    pub limit_ms: i64,
    /// Those answered in time, of all.
    pub share: Share,
    /// How long they took.
    pub latency: Latency,
}

/// Whether care went on (003: `therapeuticAccessCompliance`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TherapeuticAccess {
    /// In percent.
    pub target: u64,
    /// The share of changes of access that left everybody what nothing may take away, in percent. A look that found
    /// somebody in need without it is one more, which did not.
    pub actual: Option<f64>,
    /// Whether that is enough.
    pub status: Status,
    /// How many they were.
    pub share: Share,
    /// Changes that took something of the floor, or emergency access in a crisis; and looks that found somebody in need
    /// without what that calls for, as the trail tells.
    pub interruptions: u64,
    /// Crises that came.
    pub total_crisis_events: u64,
}

/// Whether crises opened emergency access (003: `emergencyAccessCompliance`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmergencyAccess {
    /// In percent.
    pub target: u64,
    /// The share of crises that were answered at all, however late, in percent.
    pub actual: Option<f64>,
    /// Whether that is enough.
    pub status: Status,
    /// Crises that opened emergency access, as the trail tells. Whoever is in one already opens nothing anew, nor does
    /// what else goes through the crisis lane for them.
    pub activations: u64,
    /// Crises that nothing has answered.
    pub failures: u64,
    /// Answers within the limit of emergency access (100 ms), of all.
    pub within_emergency_limit: Share,
}

impl EmergencyAccess {
    /// What the share is made of: the crises that were answered, of all. [`EmergencyAccess::activations`] are counted
    /// elsewhere: who is in a crisis already opens nothing.
    pub const fn share(&self) -> Share {
        let answered = self.within_emergency_limit.of;
        Share { kept: answered, of: answered + self.failures }
    }
}

/// Whether everything is on record (003: `auditCompliance`). `null` is what nobody can say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditCompliance {
    /// In percent.
    pub target: u64,
    /// The share of what has to be in the trail that is there, in percent.
    pub actual: Option<f64>,
    /// Answered crisis signals and violations with an entry, of all. Answers to assessments and events are not among
    /// them ([`CrisisReport::not_measured`]).
    pub share: Share,
    /// Whether that is all of them, and the chain is whole.
    pub audit_trail_complete: Option<bool>,
    /// Whether everything that keepwell seals is sealed with a key of the ring, and the trail opens. It says nothing of
    /// what is in [`AuditCompliance::not_sealed`].
    pub encryption_compliant: Option<bool>,
    /// The tables that say something about people in columns that are not sealed
    /// ([`NOT_SEALED`](super::safeguards::NOT_SEALED)). Reports that were made before this was told name none.
    #[serde(default)]
    pub not_sealed: Vec<String>,
    /// Whether the trail is kept for seven years, and the database refuses to delete anything younger.
    pub retention_compliant: Option<bool>,
    /// Whether every entry about what an operator did says who it was.
    pub access_control_compliant: Option<bool>,
    /// Blocks of the trail that were verified.
    pub blocks_verified: u64,
    /// Entries of the trail that were verified.
    pub entries_verified: u64,
    /// What is wrong with the chain.
    pub finding: Option<String>,
}

/// What was counted beside (003: `CrisisSafetyCompliance`, `CrisisMonitoringSystem`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SafetyMetrics {
    /// Crises that were answered.
    pub crisis_events_handled: u64,
    /// Crises by what told of them, as jobs are called.
    pub by_kind: BTreeMap<String, u64>,
    /// Crises that opened emergency access.
    pub emergency_access_activations: u64,
    /// Changes of access that left everybody what nothing may take away.
    pub therapeutic_continuity_maintained: u64,
    /// Crises that were answered late or not at all, and interruptions.
    pub compliance_violations: u64,
    /// Late crises that the watch noticed and recorded.
    pub violations_recorded: u64,
    /// Crises that somebody said are over.
    pub crises_resolved: u64,
    /// Grace periods that began, as the trail tells.
    pub grace_period_activations: u64,
    /// Emergency switches that were switched on, and times that operators held the crisis lane up, as the trail tells.
    pub crisis_override_count: u64,
    /// What became of emergency contacts.
    pub contacts: BTreeMap<String, u64>,
    /// Times that the app showed somebody the hotline: it does so by itself, and tells nobody.
    pub hotline_integration_usage: Option<u64>,
}

impl CrisisReport {
    /// What `facts` amount to.
    pub fn of(facts: &ReportFacts) -> Self {
        let period = facts.period;
        let figures = Figures::of(facts);
        let response = figures.response_times();
        let therapeutic = figures.therapeutic_access(facts);
        let emergency = figures.emergency_access(facts);
        let audit = figures.audit(facts);
        let shares = [response.actual, therapeutic.actual, emergency.actual, audit.actual];
        let overall_compliance = shares.into_iter().flatten().reduce(f64::min);
        let parts = [
            response.status,
            therapeutic.status,
            emergency.status,
            Status::of(audit.audit_trail_complete),
            Status::of(audit.encryption_compliant),
            Status::of(audit.retention_compliant),
            Status::of(audit.access_control_compliant),
        ];
        let metrics = figures.metrics(facts, &response, &therapeutic);
        let (action_items, action_items_left_out) = action_items(facts);
        let mut report = Self {
            report_period: ReportPeriod {
                start_date: UtcTime(period.from_ms).to_rfc3339(),
                end_date: UtcTime(period.to_ms).to_rfc3339(),
            },
            generated_at: UtcTime(facts.as_of_ms).to_rfc3339(),
            overall_compliance,
            overall_status: overall(&parts),
            response_time_compliance: response,
            therapeutic_access_compliance: therapeutic,
            emergency_access_compliance: emergency,
            audit_compliance: audit,
            safety_metrics: metrics,
            safeguards: Vec::new(),
            recommendations: Vec::new(),
            action_items,
            action_items_left_out,
            not_measured: not_measured(facts),
            charts: Charts::of(facts),
        };
        report.safeguards = safeguards(&report, facts);
        report.recommendations = recommendations(&report, facts);
        report
    }
}
