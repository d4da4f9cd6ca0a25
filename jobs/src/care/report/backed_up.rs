//! What a report says of backups.

use super::{
    cases::{TO_MS, quiet},
    crisis::CrisisReport,
    facts::{BackupFacts, ReportFacts},
    safeguards::{BACKUP_CHECKED, BACKUP_TOLD, Safeguard},
    share::Status,
};
use crate::care::grace::DAY_MS;

fn backup(facts: &ReportFacts) -> Safeguard {
    let safeguards = CrisisReport::of(facts).safeguards;
    safeguards.into_iter().find(|it| it.name == "backupValidation").unwrap()
}

#[test]
fn a_copy_that_somebody_told_of_is_not_called_validated() {
    let mut facts = quiet();
    facts.audit.actions.insert(BACKUP_TOLD.to_owned(), 31);
    let told = backup(&facts);
    assert_eq!(told.status, Status::NotMeasured);
    for words in ["`keepwell backup` told of none", "31 copies that somebody told of are not counted"] {
        assert!(told.evidence.contains(words), "{words}: {}", told.evidence);
    }
}

#[test]
fn one_backup_does_not_make_a_month_compliant_and_the_report_says_how_many_days_had_one() {
    let mut facts = quiet();
    facts.period.from_ms = TO_MS - 30 * DAY_MS;
    facts.audit.actions.insert(BACKUP_CHECKED.to_owned(), 33);
    for (days, expected) in [(1, Status::NotMeasured), (29, Status::NotMeasured), (30, Status::Compliant)] {
        facts.audit.backups = BackupFacts { days, last_ms: Some(TO_MS - 3 * 3_600_000) };
        let found = backup(&facts);
        assert_eq!(found.status, expected, "{days} days");
        assert!(found.evidence.starts_with(&format!("33 on {days} of 30 days")), "{}", found.evidence);
        assert!(found.evidence.contains(", 3 h before the end"), "{}", found.evidence);
    }
}
