//! The arithmetic of the crisis report.

use std::{collections::BTreeMap, time::Duration};

use super::{
    AUDIT_TARGET_PERCENT, EMERGENCY_TARGET_PERCENT, RESPONSE_TARGET_PERCENT, THERAPEUTIC_TARGET_PERCENT,
    crisis::{
        AuditCompliance, EmergencyAccess, ResponseTimes, SafetyMetrics, SeverityTimes, TherapeuticAccess,
    },
    facts::{Answer, CrisisFact, ReportFacts},
    latency::Latency,
    safeguards::NOT_SEALED,
    share::{Share, Status},
};
use crate::care::{
    document::UtcTime,
    severity::{CRITICAL_LIMIT_MS, Severity, is_late},
};

/// One that is wrong makes all of it wrong; what nobody can say leaves it open.
pub(super) fn overall(parts: &[Status]) -> Status {
    let worst = [Status::NonCompliant, Status::NotMeasured, Status::Compliant];
    worst.into_iter().find(|status| parts.contains(status)).unwrap_or(Status::NoEvents)
}

/// The crises that count: all whose time has passed, or who were answered.
pub(super) struct Figures<'f> {
    crises: Vec<&'f CrisisFact>,
    pending: u64,
}

impl<'f> Figures<'f> {
    pub(super) fn of(facts: &'f ReportFacts) -> Self {
        let (pending, crises): (Vec<_>, Vec<_>) =
            facts.crises.iter().partition(|crisis| crisis.is_pending(facts.as_of_ms));
        Self { crises, pending: pending.len() as u64 }
    }

    fn count(&self, which: impl Fn(&CrisisFact) -> bool) -> u64 {
        self.crises.iter().filter(|crisis| which(crisis)).count() as u64
    }

    fn in_time(&self, which: impl Fn(&CrisisFact) -> bool) -> Share {
        Share { kept: self.count(|crisis| which(crisis) && crisis.is_in_time()), of: self.count(which) }
    }

    fn latency(&self, which: impl Fn(&CrisisFact) -> bool) -> Latency {
        Latency::of(self.crises.iter().filter(|crisis| which(crisis)).filter_map(|crisis| crisis.took_us()))
    }

    pub(super) fn response_times(&self) -> ResponseTimes {
        let share = self.in_time(|_| true);
        let latency = self.latency(|_| true);
        let by_severity = |severity: Severity| {
            let of = move |crisis: &CrisisFact| crisis.severity == severity;
            let limits = self.crises.iter().filter(|crisis| of(crisis)).map(|crisis| crisis.allowed_ms());
            SeverityTimes {
                severity: severity.name().to_owned(),
                limit_ms: limits.min().unwrap_or(severity.response_limit_ms()) as i64,
                share: self.in_time(of),
                latency: self.latency(of),
            }
        };
        ResponseTimes {
            target: RESPONSE_TARGET_PERCENT,
            actual: share.percent(),
            status: share.status(RESPONSE_TARGET_PERCENT),
            share,
            violations: share.of - share.kept,
            average_response_time: latency.average_ms,
            latency,
            by_severity: Severity::ALL.into_iter().rev().map(by_severity).collect(),
            from_ledger: self.count(|crisis| matches!(crisis.answer, Answer::Given { measured: false, .. })),
            pending: self.pending,
        }
    }

    pub(super) fn therapeutic_access(&self, facts: &ReportFacts) -> TherapeuticAccess {
        let (access, interruptions) = (&facts.audit.access, facts.audit.interruptions());
        let of = access.checked + facts.audit.found_missing();
        let share = Share { kept: of.saturating_sub(interruptions), of };
        let status = match share.status(THERAPEUTIC_TARGET_PERCENT) {
            Status::NonCompliant => Status::NonCompliant,
            // What was not looked at may be wrong.
            _ if access.unchecked > 0 => Status::NotMeasured,
            status => status,
        };
        TherapeuticAccess {
            target: THERAPEUTIC_TARGET_PERCENT,
            actual: share.percent(),
            status,
            share,
            interruptions,
            total_crisis_events: self.crises.len() as u64,
        }
    }

    pub(super) fn emergency_access(&self, facts: &ReportFacts) -> EmergencyAccess {
        let answered = self.count(|crisis| crisis.took_us().is_some());
        let share = Share { kept: answered, of: self.crises.len() as u64 };
        let limit = Duration::from_millis(CRITICAL_LIMIT_MS);
        let fast = |crisis: &CrisisFact| {
            crisis.took_us().is_some_and(|took_us| !is_late(Duration::from_micros(took_us), limit))
        };
        EmergencyAccess {
            target: EMERGENCY_TARGET_PERCENT,
            actual: share.percent(),
            status: share.status(EMERGENCY_TARGET_PERCENT),
            activations: facts.audit.access.emergency_opened,
            failures: share.of - share.kept,
            within_emergency_limit: Share { kept: self.count(fast), of: answered },
        }
    }

    pub(super) fn audit(&self, facts: &ReportFacts) -> AuditCompliance {
        let audit = &facts.audit;
        let violations = facts.violations.len() as u64;
        let signals = self.count(|crisis| crisis.audited.is_some());
        let share = Share {
            kept: self.count(|crisis| crisis.audited == Some(true))
                + violations.saturating_sub(audit.violations_without_entry),
            of: signals + violations,
        };
        let is_all = share.status(AUDIT_TARGET_PERCENT) != Status::NonCompliant;
        let chain = audit.chain.as_ref();
        let is_whole = chain.map(|chain| chain.finding.is_none());
        let chain_known = is_whole.filter(|whole| !whole || chain.is_some_and(|chain| chain.complete));
        let complete = if is_all { chain_known } else { Some(false) };
        let sealed = facts.sealing.by_unknown_key == 0;
        let retention = facts.retention;
        AuditCompliance {
            target: AUDIT_TARGET_PERCENT,
            actual: share.percent(),
            share,
            audit_trail_complete: complete,
            // What is wrong with a chain may be that an entry does not open.
            encryption_compliant: if sealed { chain_known.filter(|whole| *whole) } else { Some(false) },
            not_sealed: NOT_SEALED.map(str::to_owned).to_vec(),
            retention_compliant: Some(
                retention.kept_days >= retention.required_days && retention.refuses_deletion,
            ),
            access_control_compliant: Some(audit.by_nobody == 0),
            blocks_verified: chain.map_or(0, |chain| chain.blocks),
            entries_verified: chain.map_or(0, |chain| chain.entries),
            finding: chain.and_then(|chain| chain.finding.clone()),
        }
    }

    pub(super) fn metrics(
        &self,
        facts: &ReportFacts,
        response: &ResponseTimes,
        therapeutic: &TherapeuticAccess,
    ) -> SafetyMetrics {
        let mut by_kind = BTreeMap::new();
        for crisis in &self.crises {
            *by_kind.entry(crisis.kind.clone()).or_insert(0) += 1;
        }
        SafetyMetrics {
            crisis_events_handled: response.latency.count,
            by_kind,
            emergency_access_activations: facts.audit.access.emergency_opened,
            therapeutic_continuity_maintained: therapeutic.share.kept,
            compliance_violations: response.violations + therapeutic.interruptions,
            violations_recorded: facts.violations.len() as u64,
            crises_resolved: facts.audit.count("crisis.resolved"),
            grace_period_activations: facts.audit.count("grace.started"),
            crisis_override_count: facts.audit.count("emergency.switched_on") + facts.audit.crisis_pauses,
            contacts: facts.contacts.clone(),
            hotline_integration_usage: None,
        }
    }
}

pub(super) fn not_measured(facts: &ReportFacts) -> Vec<String> {
    let mut reasons = vec![
        "hotline use: the app shows the hotline by itself and tells nobody (`hotlineIntegrationUsage`)"
            .to_owned(),
        "what people saw: keepwell knows what they may use, not whether a device showed it".to_owned(),
        "crises that could not be recorded: their sender was told to come again, the basic set was granted from \
         memory, and only `keepwell_crisis_granted_from_memory_total` and the log (`crisis_not_recorded`) know of them"
            .to_owned(),
    ];
    let mut add = |unknown: bool, reason: String| reasons.extend(unknown.then_some(reason));
    let left_out = facts.crises_left_out;
    add(left_out > 0, format!("{left_out} crises beyond what one report holds: report on a shorter period"));
    for what in &facts.cut {
        add(true, format!("{what} beyond what one report holds: report on a shorter period"));
    }
    let begun = facts.audit.count("grace.started");
    let remembered = facts.graces.len() as u64;
    add(
        begun > remembered,
        format!(
            "what became of {} of {begun} grace periods: those that are long over are let go with what is learned next",
            begun.saturating_sub(remembered)
        ),
    );
    let by_ledger =
        facts.crises.iter().filter(|it| matches!(it.answer, Answer::Given { measured: false, .. })).count();
    add(
        by_ledger > 0,
        format!(
            "how long {by_ledger} answers took, more exactly than the ledger says and the clocks of the machines agree"
        ),
    );
    let others = facts.crises.iter().filter(|it| it.took_us().is_some() && it.audited.is_none()).count();
    add(
        others > 0,
        format!(
            "whether the trail has to have, and has, an entry of {others} answers of the crisis lane to something else \
             than a signal: an assessment or event may have made a crisis known, or have come of somebody in one, and \
             changed nothing; they are in no share"
        ),
    );
    let unchecked = facts.audit.access.unchecked;
    add(unchecked > 0, format!("{unchecked} changes of access that could not be looked at"));
    let chain = facts.audit.chain.as_ref();
    add(chain.is_none(), "the chain of the audit trail could not be verified".to_owned());
    let partly = chain.is_some_and(|chain| !chain.complete && chain.finding.is_none());
    add(partly, "the audit trail beyond what one report verifies: see `keepwell audit verify`".to_owned());
    let since_ms = facts.ledger_since_ms;
    let since = UtcTime(since_ms).to_rfc3339();
    add(
        since_ms > facts.period.from_ms,
        format!("lanes before {since}: finished jobs are not kept for longer (`retention.done_days`)"),
    );
    reasons
}
