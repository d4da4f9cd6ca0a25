//! The technical safeguards (001: HIPAA technical safeguards), each with what the facts say about it. None of them is
//! taken for granted: what keepwell cannot see is not measured, and says so.

use serde::{Deserialize, Serialize};

use super::{crisis::CrisisReport, facts::ReportFacts, share::Status};
use crate::care::document::UtcTime;

/// The tables that say something about people in columns that are not sealed, because it is looked up or counted there:
/// who it is about, kinds, states, severities, reasons and instants, never anything in words. Whoever has to encrypt
/// these as well encrypts the disk (003: "Store grace period with encryption").
pub const NOT_SEALED: [&str; 9] = [
    "contact_notices",
    "crisis_responses",
    "crisis_signals",
    "crisis_violations",
    "customers",
    "grace_periods",
    "invoices",
    "jobs",
    "subscriptions",
];

/// The entry of a backup that `keepwell backup` made and looked through.
pub const BACKUP_CHECKED: &str = "database.backup_checked";

/// The entry of a copy that somebody told of.
pub const BACKUP_TOLD: &str = "database.backed_up";

/// A safeguard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Safeguard {
    /// The group: `accessControl`, `auditControls`, `integrityControls`, `transmissionSecurity`.
    pub control: String,
    /// Its name in the architecture.
    pub name: String,
    /// How it stands.
    pub status: Status,
    /// What that is known from, or why it is not known.
    pub evidence: String,
}

/// Every safeguard, as `report` and the `facts` it was made of know it.
pub fn safeguards(report: &CrisisReport, facts: &ReportFacts) -> Vec<Safeguard> {
    let audit = &report.audit_compliance;
    let emergency = &report.emergency_access_compliance;
    let (access, trail) = ("accessControl", "auditControls");
    let (integrity, transmission) = ("integrityControls", "transmissionSecurity");
    let operators = facts.audit.by_operators;
    let chain = format!("{} entries in {} blocks verified", audit.entries_verified, audit.blocks_verified);
    let chain = audit.finding.clone().unwrap_or(chain);
    let whole = facts.audit.chain.as_ref().and_then(|it| match &it.finding {
        Some(_) => Some(false),
        None => it.complete.then_some(true),
    });
    let retention = facts.retention;
    let refuses = if retention.refuses_deletion { "refuses" } else { "does not refuse" };
    let kept = format!(
        "kept for {} days, and the database {refuses} to delete anything younger than {}",
        retention.kept_days, retention.required_days
    );
    let sealed = format!(
        "{} rows sealed, {} by unknown keys; of an entry its details are, and not who did what to whom. Not sealed, \
         because they are looked up, are the states, severities, reasons and instants in {}: keepwell does not see \
         whether the disk is encrypted",
        facts.sealing.sealed,
        facts.sealing.by_unknown_key,
        NOT_SEALED.join(", ")
    );
    let open = |control, name, reason: &str| safeguard(control, name, Status::NotMeasured, reason);
    let known =
        |control, name, is_so, evidence: String| safeguard(control, name, Status::of(is_so), &evidence);
    vec![
        open(access, "userAuthentication", "people sign in to the app, and keepwell never sees it"),
        open(access, "roleBasedAccess", "who may reach the operators' interface is a matter of the machine"),
        safeguard(
            access,
            "auditLogging",
            if operators == 0 { Status::NoEvents } else { Status::of(audit.access_control_compliant) },
            &format!("{operators} entries about operators, {} without a name", facts.audit.by_nobody),
        ),
        open(access, "sessionManagement", "keepwell has no sessions"),
        safeguard(
            access,
            "emergencyAccess",
            emergency.status,
            &format!(
                "{} of {} crises answered; {} times emergency access was opened",
                emergency.share().kept,
                emergency.share().of,
                emergency.activations
            ),
        ),
        known(
            trail,
            "completeAuditTrail",
            audit.audit_trail_complete,
            format!("{} of {} that have to be in the trail are there", audit.share.kept, audit.share.of),
        ),
        known(trail, "encryptedLogging", audit.encryption_compliant, sealed),
        known(trail, "tamperResistant", whole, chain.clone()),
        known(trail, "retentionPeriod", audit.retention_compliant, kept),
        safeguard(trail, "realTimeMonitoring", monitoring(report, facts), &noticed(report, facts)),
        open(
            integrity,
            "dataValidation",
            "what is refused at the door is counted, what passes is not counted anew",
        ),
        known(integrity, "checksumVerification", whole, chain),
        open(integrity, "versionControl", "a matter of how keepwell is installed"),
        backup(integrity, facts),
        open(integrity, "recoveryTesting", "a matter of drills; `make chaos` is one of them"),
        known(
            transmission,
            "endToEndEncryption",
            None,
            "what is on the way is encrypted outside of keepwell".to_owned(),
        ),
        open(transmission, "networkSecurity", "TLS ends in front of keepwell"),
        safeguard(
            transmission,
            "dataMinimization",
            if facts.dropped_paths > 0 { Status::NotMeasured } else { Status::NonCompliant },
            &format!(
                "{} names are dropped from events before they are kept; nobody counts how many events had one of them",
                facts.dropped_paths
            ),
        ),
        open(transmission, "secureProtocols", "TLS ends in front of keepwell"),
        known(transmission, "integrityChecks", None, refused(facts)),
    ]
}

fn monitoring(report: &CrisisReport, facts: &ReportFacts) -> Status {
    if report.response_time_compliance.share.of == 0 {
        return Status::NoEvents;
    }
    Status::of(facts.all_noticed())
}

fn noticed(report: &CrisisReport, facts: &ReportFacts) -> String {
    let (unnoticed, recorded) = (facts.unnoticed(), report.safety_metrics.violations_recorded);
    let missed = report.response_time_compliance.violations;
    let evidence = format!("{missed} crises were late or unanswered, {recorded} violations were recorded");
    match (unnoticed.late, unnoticed.given_up) {
        (0, 0) => evidence,
        (late, 0) => format!("{evidence}; {late} late ones have none"),
        (late, given_up) => {
            format!("{evidence}; {late} late ones have none, nor have {given_up} that were given up on")
        }
    }
}

/// Whatever else copies the database, somebody only says so. And keepwell does not know how often there has to be a
/// backup: one on every day is enough, and anything less is for whoever reads the numbers to judge.
fn backup(control: &str, facts: &ReportFacts) -> Safeguard {
    let name = "backupValidation";
    let told = facts.audit.count(BACKUP_TOLD);
    let elsewhere = format!(
        "{told} copies that somebody told of are not counted: keepwell does not see what other tools make"
    );
    let Some(last_ms) = facts.audit.backups.last_ms else {
        let reason = format!("`keepwell backup` told of none in this time; {elsewhere}");
        return safeguard(control, name, Status::NotMeasured, &reason);
    };
    let hours = facts.period.to_ms.saturating_sub(last_ms).max(0) / (60 * 60 * 1_000);
    let (days, of) = (facts.audit.backups.days, u64::try_from(facts.period.days()).unwrap_or(0));
    let evidence = format!(
        "{} on {days} of {of} days, which `keepwell backup` told of as made and looked through; each ends with a block \
         of this audit trail, and the copies themselves are not looked at again; the last one at {}, {hours} h before \
         the end of this time; {elsewhere}",
        facts.audit.count(BACKUP_CHECKED),
        UtcTime(last_ms).to_rfc3339()
    );
    safeguard(control, name, if days >= of { Status::Compliant } else { Status::NotMeasured }, &evidence)
}

fn refused(facts: &ReportFacts) -> String {
    let blocked = facts.audit.count("security.blocked");
    format!(
        "every event is verified before it is kept; {blocked} entries tell of refused ones, none of taken ones"
    )
}

fn safeguard(control: &str, name: &str, status: Status, evidence: &str) -> Safeguard {
    Safeguard { control: control.to_owned(), name: name.to_owned(), status, evidence: evidence.to_owned() }
}
