//! Critical: somebody is woken (001: "Critical Alerts (Immediate Response)").

use super::{
    super::{
        figure::{Figure, Growth, Series},
        rule::{Bound, Rule, Severity, When},
    },
    RECENT_S,
};

/// 001: "Crisis response time violation (>200ms)"; a critical crisis has 100 ms, a moderate one 300 ms (003).
pub static CRISIS_ANSWERED_LATE: Rule = Rule {
    name: "CrisisAnsweredLate",
    severity: Severity::Critical,
    when: counted(&[Series::all("keepwell_crisis_response_violations_total")]),
    for_s: 0,
    tell_within_s: 0,
    summary: "a crisis was not answered within its time",
    runbook: "the basic set was granted from memory; `keepwell job list --lane crisis` shows what was late, \
              `/health` what is slow or away",
};

/// 004: `crisis_response_time_p95 > 200`: more than one in twenty took longer than 200 ms.
pub static CRISIS_RESPONSE_SLOW: Rule = Rule {
    name: "CrisisResponseSlow",
    severity: Severity::Critical,
    when: When::Figure(
        Figure::Share {
            part: Growth {
                plus: &[Series::all("keepwell_crisis_response_seconds_count")],
                minus: &[Series::with("keepwell_crisis_response_seconds_bucket", &[("le", "0.2")])],
                window_s: RECENT_S,
            },
            of: Growth::of(&[Series::all("keepwell_crisis_response_seconds_count")], RECENT_S),
            at_least: 1.0,
        },
        Bound::Above(0.05),
    ),
    for_s: 0,
    tell_within_s: 0,
    summary: "crises are answered slowly: the 95th percentile is above 200 ms",
    runbook: "look at the database's disk and at what else the machine does; \
              `POST /api/test/crisis-response` measures one crisis",
};

/// 001: "System failure affecting therapeutic access": a crisis that could not be recorded, or whose job is dead.
pub static CRISIS_GRANTED_FROM_MEMORY: Rule = Rule {
    name: "CrisisGrantedFromMemory",
    severity: Severity::Critical,
    when: counted(&[Series::all("keepwell_crisis_granted_from_memory_total")]),
    for_s: 0,
    tell_within_s: 0,
    summary: "a crisis could not be answered from the database; the basic set was granted from memory",
    runbook: "see whether the database takes writes (`/health`), then `keepwell job list --lane crisis --state dead` \
              and retry what is there",
};

/// A crisis that nobody takes: five times what the slowest may take (300 ms, 003) and more, counted from when its time
/// had come: one that is tried again waits since then. In a lane that an operator holds up it waits all the same, and
/// [`CRISIS_LANE_PAUSED`] says why.
pub static CRISIS_WAITING: Rule = Rule {
    name: "CrisisWaiting",
    severity: Severity::Critical,
    when: When::Figure(
        Figure::Highest {
            of: Series::with("keepwell_lane_oldest_waiting_seconds", &[("lane", "crisis")]),
            by: None,
        },
        Bound::Above(2.0),
    ),
    for_s: 0,
    tell_within_s: 0,
    summary: "a crisis waits and nobody takes it",
    runbook: "`keepwell queue list` shows whether the lane is paused, `GET /api/v1/workers` whether there are workers",
};

/// Nobody should hold up crises for longer than it takes to say so.
pub static CRISIS_LANE_PAUSED: Rule = Rule {
    name: "CrisisLanePaused",
    severity: Severity::Critical,
    when: When::Figure(
        Figure::Highest { of: Series::with("keepwell_lane_paused", &[("lane", "crisis")]), by: None },
        Bound::Above(0.0),
    ),
    for_s: 0,
    tell_within_s: 0,
    summary: "the crisis lane is held up",
    runbook: "`keepwell queue resume crisis`; the audit trail says who paused it and why",
};

/// A rehearsed crisis (`POST /api/test/crisis-response`) was not answered. Nothing counts those, so it is told.
pub static CRISIS_REHEARSAL_FAILED: Rule = Rule {
    name: "CrisisRehearsalFailed",
    severity: Severity::Critical,
    when: When::Told { quiet_ms: 60 * 60 * 1_000 },
    for_s: 0,
    tell_within_s: 0,
    summary: "a rehearsed crisis was not answered as it should be",
    runbook: "rehearse another one; if that fails too, see `/health` and the log",
};

/// The three in a row by which `/health` goes, however often they are sent.
pub static CANARY_NOT_ANSWERED: Rule = Rule {
    name: "CanaryNotAnswered",
    severity: Severity::Critical,
    when: When::Figure(
        Figure::Highest { of: Series::all("keepwell_canary_bad_in_a_row"), by: None },
        Bound::Above(2.0),
    ),
    for_s: 0,
    tell_within_s: 0,
    summary: "crises of nobody, which go the way of a real one, are late or not answered",
    runbook: "`monitors` in `/health` says why the last one was not; a real crisis would wait as long",
};

/// 001: "System failure affecting therapeutic access"; 003: `validateCrisisSystemHealth`. While something is wrong it
/// is looked every few seconds; a minute outlasts a restart, and what has an alert of its own tells of it before.
pub static CRISIS_SYSTEM_UNHEALTHY: Rule = Rule {
    name: "CrisisSystemUnhealthy",
    severity: Severity::Critical,
    when: found_wrong(&[("monitor", "health")]),
    for_s: 60,
    tell_within_s: 0,
    summary: "a crisis may not be answered as it should be",
    runbook: "the log names what is missing: `journalctl -u keepwell | grep crisis_system_health`",
};

/// 003: therapeutic access monitoring, 100 %.
pub static THERAPEUTIC_ACCESS_MISSING: Rule = Rule {
    name: "TherapeuticAccessMissing",
    severity: Severity::Critical,
    when: counted(&[Series::all("keepwell_access_missing_total")]),
    for_s: 0,
    tell_within_s: 0,
    summary: "somebody in a crisis lacked something that it calls for",
    runbook: "the basic set was granted at once; the log names what was missing (`therapeutic_access`)",
};

/// 003: communication failures with those who are to help: a contact who was to be told of a crisis, and nobody will;
/// or somebody whose word on their contacts nobody has read. What that takes back is obeyed all the same, for as long
/// as the dead job is kept. What died in a process that could not say so any more is counted by those that find it.
pub static CONTACT_NOT_TOLD: Rule = Rule {
    name: "ContactNotTold",
    severity: Severity::Critical,
    when: counted(&[
        Series::all("keepwell_contact_jobs_found_dead_total"),
        Series::with("keepwell_jobs_ended_total", &[("kind", "care.contacts_due"), ("outcome", "dead")]),
        Series::with("keepwell_jobs_ended_total", &[("kind", "care.contact_told"), ("outcome", "dead")]),
        Series::with(
            "keepwell_jobs_ended_total",
            &[("kind", "app.person_data_updated"), ("outcome", "dead")],
        ),
    ]),
    for_s: 0,
    tell_within_s: 0,
    summary: "an emergency contact could not be told of a crisis, or what somebody said of theirs could not be read",
    runbook: "`keepwell job list --state dead` of the kinds `care.contact_told`, `care.contacts_due` and \
              `app.person_data_updated` says why; mend that, such as `notify.*`, then retry the jobs",
};

/// 001: "System failure affecting therapeutic access". Five minutes is when a payment that was made does not show yet.
pub static THERAPEUTIC_WAITING: Rule = Rule {
    name: "TherapeuticWaiting",
    severity: Severity::Critical,
    when: When::Figure(
        Figure::Highest {
            of: Series::with("keepwell_lane_oldest_waiting_seconds", &[("lane", "therapeutic")]),
            by: None,
        },
        Bound::Above(300.0),
    ),
    for_s: 60,
    tell_within_s: 0,
    summary: "what decides on therapeutic access has waited for more than five minutes",
    runbook: "`keepwell queue list` and `GET /api/v1/workers`; if work is only slow, add a process with the role \
              `workers`",
};

/// 001: "System failure affecting therapeutic access". 15 s outlast a restart of the database's connections.
pub static DATABASE_AWAY: Rule = Rule {
    name: "DatabaseAway",
    severity: Severity::Critical,
    when: When::Figure(
        Figure::Lowest(Series::with("keepwell_dependency_up", &[("dependency", "database")])),
        Bound::Below(1.0),
    ),
    for_s: 15,
    tell_within_s: 0,
    summary: "the database does not answer or takes nothing; events are answered 503 and sent again",
    runbook: "`/health` says what it complains of; people have the crisis-safe floor meanwhile",
};

/// 001: "Network connectivity issues". Crises run from the ledger meanwhile; all other work waits, also what decides on
/// therapeutic access, and without Redis no figure says how much. A private Redis is back within a second and a
/// fail-over takes half a minute.
pub static REDIS_AWAY: Rule = Rule {
    name: "RedisAway",
    severity: Severity::Critical,
    when: When::Figure(
        Figure::Lowest(Series::with("keepwell_dependency_up", &[("dependency", "redis")])),
        Bound::Below(1.0),
    ),
    for_s: 60,
    tell_within_s: 0,
    summary: "Redis does not answer: crises run, everything else waits in the ledger",
    runbook: "a private Redis is started again by itself; look at a configured one. Nothing is lost",
};

/// 001: "HIPAA compliance violation"; 003: "Immediate alerts for crisis compliance violations", of an hour's report.
pub static COMPLIANCE_VIOLATION: Rule = Rule {
    name: "ComplianceViolation",
    severity: Severity::Critical,
    when: found_wrong(&[("monitor", "compliance")]),
    for_s: 0,
    tell_within_s: 0,
    summary: "an hour was not as the crisis safety protocols ask for",
    runbook: "`keepwell report crisis --from 2h` says what fell short and about which jobs; it is over with the next \
              hour that is as it should be",
};

/// 001: "System failure affecting therapeutic access". A lease is 10 s, so a minute without anybody is no restart.
pub static NO_WORKERS: Rule = Rule {
    name: "NoWorkers",
    severity: Severity::Critical,
    when: When::Figure(Figure::Highest { of: Series::all("keepwell_nodes"), by: None }, Bound::Below(1.0)),
    for_s: 60,
    tell_within_s: 0,
    summary: "no worker is there: everything is recorded and nothing is done",
    runbook: "start a process with the role `workers`; `GET /api/v1/workers` shows those there are",
};

/// 001: "Security intrusion detected". One bad signature is a slip in a configuration; more than ten in five minutes
/// are somebody at the door, or a secret that was rolled on one side only.
pub static SECURITY_INTRUSION: Rule = Rule {
    name: "SecurityIntrusion",
    severity: Severity::Critical,
    when: When::Figure(
        Figure::Growth(Growth::of(&[Series::all("keepwell_security_violations_total")], RECENT_S)),
        Bound::Above(10.0),
    ),
    for_s: 0,
    tell_within_s: 0,
    summary: "many webhook requests could not prove where they came from",
    runbook: "`keepwell audit list --action security.blocked` names the addresses; if they are the sender's own, \
              compare the webhook secrets",
};

/// 001: "HIPAA compliance violation": five minutes without an audit trail that can be verified (001: "Audit Controls
/// (100% Compliance)"). Earlier it is [`super::AUDIT_TRAIL_INCONSISTENT`].
pub static AUDIT_TRAIL_BROKEN: Rule = Rule {
    name: "AuditTrailBroken",
    severity: Severity::Critical,
    when: When::Figure(
        Figure::Highest { of: Series::all("keepwell_audit_broken"), by: None },
        Bound::Above(0.0),
    ),
    for_s: RECENT_S,
    tell_within_s: 0,
    summary: "for five minutes the audit trail could not be sealed, or something was wrong with it that nobody has \
              acknowledged",
    runbook: "`keepwell audit verify` says what is wrong with it; entries are kept and sealed later; what was looked \
              into, and cannot be put right, is acknowledged with `keepwell audit acknowledge FINGERPRINT --reason`",
};

/// 001: "Emergency access activation".
pub static EMERGENCY_ACCESS_ACTIVATED: Rule = Rule {
    name: "EmergencyAccessActivated",
    severity: Severity::Critical,
    when: counted(&[Series::all("keepwell_emergency_access_activations_total")]),
    for_s: 0,
    tell_within_s: 0,
    summary: "somebody's crisis has opened emergency access",
    runbook: "their contacts are told as they have agreed to; who is in a crisis is the app's to know",
};

/// 004: "Emergency Bypass Activated", `high`, to PagerDuty and Slack at once.
pub static EMERGENCY_BYPASS_ACTIVE: Rule = Rule {
    name: "EmergencyBypassActive",
    severity: Severity::Critical,
    when: When::Figure(
        Figure::Highest { of: Series::all("keepwell_emergency_switch_on"), by: Some("switch") },
        Bound::Above(0.0),
    ),
    for_s: 0,
    tell_within_s: 0,
    summary: "an emergency procedure is switched on",
    runbook: "the audit trail says who switched it on, why and until when; it ends by itself",
};

/// `keepwell alert test`.
pub static ALERT_TEST: Rule = Rule {
    name: "AlertTest",
    severity: Severity::Critical,
    when: When::Told { quiet_ms: 60 * 1_000 },
    for_s: 0,
    tell_within_s: 0,
    summary: "this is a test: nothing is wrong",
    runbook: "acknowledge it, or wait a minute until it is resolved",
};

/// Any of these was counted of late.
const fn counted(series: &'static [Series]) -> When {
    When::Figure(Figure::Growth(Growth::of(series, RECENT_S)), Bound::Above(0.0))
}

/// Something was wrong when this monitor looked last.
const fn found_wrong(monitor: &'static [(&'static str, &'static str)]) -> When {
    let of = Series::with("keepwell_monitor_wrong", monitor);
    When::Figure(Figure::Highest { of, by: None }, Bound::Above(0.0))
}
