//! The watch over crises, judged from the outside and by how much it holds.

use sqlx::types::Uuid;

use keepwell_workers::{job::NewJob, lane::Lane};

use super::*;
use crate::{care::emergency::GRANTED_MS, care::severity::EmergencyLevel, kinds};

fn job(number: i64) -> JobId {
    JobId(Uuid::from_u128(number.unsigned_abs().into()))
}

/// All of those that were recorded after they were told of.
fn recorded_late(watch: &CrisisWatch) -> Vec<Missed> {
    std::iter::from_fn(|| watch.next_recorded_late()).collect()
}

#[test]
fn a_crisis_that_is_not_answered_in_time_is_granted_the_basic_set_until_it_is() {
    let watch = CrisisWatch::default();
    let ticket = watch.begin("cus_1", None, Severity::Critical, 1_000);
    let id = job(1);
    watch.recorded(ticket, id, false);
    assert_eq!((watch.next_deadline_ms(), watch.overdue(1_099)), (Some(1_100), vec![]));
    let missed = watch.overdue(1_100);
    assert_eq!((missed.len(), missed[0].job, &*missed[0].customer), (1, Some(id), "cus_1"));
    assert_eq!(missed[0].limit_ms(), 100);
    let granted = watch.granted("cus_1", 1_100).unwrap();
    assert_eq!((granted.level, granted.since_ms), (EmergencyLevel::CrisisOnly, 1_000));
    assert_eq!((watch.overdue(9_999), watch.next_deadline_ms()), (vec![], None), "each is told once");
    assert!(watch.grants_anything(1_100) && !watch.grants_anything(1_100 + GRANTED_MS));
    assert_eq!(watch.granted("cus_1", 1_100 + GRANTED_MS), None);
    watch.ended(id);
    assert_eq!(watch.granted("cus_1", 1_101), None, "the database says more from now on");
}

#[test]
fn every_severity_has_its_time() {
    for (severity, limit_ms) in [(Severity::Critical, 100), (Severity::High, 200), (Severity::Moderate, 300)]
    {
        let watch = CrisisWatch::default();
        watch.begin("cus_1", None, severity, 0);
        assert_eq!((watch.overdue(limit_ms - 1).len(), watch.overdue(limit_ms).len()), (0, 1));
        assert_eq!(CrisisWatch::new(2_000).limit_ms(severity), 10 * limit_ms);
        assert!(CrisisWatch::new(0).limit_ms(severity) > 0);
    }
}

#[test]
fn what_is_answered_in_time_or_was_told_before_is_granted_nothing() {
    let watch = CrisisWatch::default();
    let ticket = watch.begin("cus_1", None, Severity::Critical, 0);
    watch.recorded(ticket, job(1), true);
    // The end may be there before the recording is said to be.
    let ticket = watch.begin("cus_2", None, Severity::Critical, 0);
    let second = job(2);
    watch.ended(second);
    watch.recorded(ticket, second, false);
    let ticket = watch.begin("cus_3", None, Severity::Critical, 0);
    let third = job(3);
    watch.recorded(ticket, third, false);
    watch.ended(third);
    assert_eq!((watch.overdue(1_000), watch.next_deadline_ms()), (vec![], None));
    assert!(!watch.grants_anything(0));
}

#[test]
fn what_could_not_be_recorded_is_granted_and_the_next_attempt_takes_over() {
    let watch = CrisisWatch::default();
    let begin = |now_ms| watch.begin("cus_1", Some("app:1"), Severity::High, now_ms);
    let ticket = begin(0);
    assert_eq!(watch.refused(ticket, 5).unwrap().until_ms, 5 + GRANTED_MS);
    assert_eq!(watch.refused(ticket, 5), None);
    assert!(watch.granted("cus_1", 6).is_some() && watch.granted("cus_2", 6).is_none());
    assert_eq!(watch.overdue(1_000), [], "its sender was told");
    let again = begin(2_000);
    let id = job(1);
    watch.recorded(again, id, false);
    watch.ended(id);
    assert_eq!(watch.granted("cus_1", 2_001), None);
    // It had been recorded after all, and was answered: its sender only heard of it too late.
    let ticket = begin(3_000);
    watch.refused(ticket, 3_000);
    watch.ended(job(2));
    let again = begin(4_000);
    watch.recorded(again, job(2), true);
    assert_eq!(watch.granted("cus_1", 4_001), None);
}

#[test]
fn of_too_many_grants_the_oldest_are_let_go() {
    let watch = CrisisWatch::default();
    let count = || watch.lock().granted.len();
    let full = WATCHED_MAX as i64;
    for number in 0..full + 50 {
        let ticket = watch.begin(&format!("cus_{number}"), None, Severity::High, number);
        watch.refused(ticket, number);
    }
    assert_eq!(count(), WATCHED_MAX);
    let is_granted = |number: i64| watch.granted(&format!("cus_{number}"), full).is_some();
    assert!(!is_granted(0) && !is_granted(49) && is_granted(50) && is_granted(full + 49));
}

#[test]
fn what_is_answered_takes_away_nothing_that_was_granted_for_another_crisis() {
    let watch = CrisisWatch::default();
    let begin = |key| watch.begin("cus_1", Some(key), Severity::High, 0);
    let ticket = begin("app:1");
    watch.recorded(ticket, job(1), false);
    watch.failed(job(1), "cus_1", Severity::High, 7);
    let ticket = begin("app:2");
    watch.recorded(ticket, job(2), false);
    watch.ended(job(2));
    assert!(watch.granted("cus_1", 8).is_some(), "a later one is answered, and this one is not");
    // The same of one that is not on the watch any more because it could not be recorded, and of one that is late.
    let (refused, late) = (begin("app:3"), begin("app:4"));
    watch.refused(refused, 0);
    watch.recorded(late, job(4), false);
    assert_eq!(watch.overdue(1_000).len(), 1);
    watch.ended(job(1));
    assert!(watch.granted("cus_1", 1_000).is_some());
    watch.ended(job(4));
    assert!(watch.granted("cus_1", 1_000).is_some());
    let again = begin("app:3");
    watch.recorded(again, job(3), false);
    watch.ended(job(3));
    assert_eq!(watch.granted("cus_1", 1_000), None);
    assert_eq!(format!("{watch:?}"), "CrisisWatch { watched: 0, granted: 0, .. }", "nothing is left behind");
}

#[test]
fn what_is_refused_again_is_granted_from_the_first_time_until_a_day_after_the_last() {
    let watch = CrisisWatch::default();
    let refuse = |key, now_ms| {
        let ticket = watch.begin("cus_1", Some(key), Severity::High, now_ms);
        watch.refused(ticket, now_ms).unwrap()
    };
    refuse("app:1", 10);
    let again = refuse("app:1", 20);
    assert_eq!((again.since_ms, again.until_ms), (10, 20 + GRANTED_MS));
    assert_eq!(watch.lock().granted.len(), 1);
    // A clock that went back takes nothing away.
    refuse("app:2", 5);
    let granted = watch.granted("cus_1", 30).unwrap();
    assert_eq!((granted.since_ms, granted.until_ms), (5, 20 + GRANTED_MS));
    assert_eq!(watch.granted("cus_1", 10 + GRANTED_MS).unwrap().since_ms, 10);
}

#[test]
fn two_deliveries_of_one_crisis_end_what_either_was_granted() {
    let watch = CrisisWatch::default();
    let begin = |now_ms| watch.begin("cus_1", Some("app:1"), Severity::High, now_ms);
    let [first, second] = [begin(0), begin(0)];
    assert_ne!(first, second, "neither is taken off the watch by the other");
    watch.refused(second, 0);
    watch.recorded(first, job(1), false);
    let again = begin(10);
    assert_eq!(again, second);
    watch.recorded(again, job(1), true);
    assert!(watch.granted("cus_1", 11).is_some());
    watch.ended(job(1));
    assert_eq!(watch.granted("cus_1", 11), None);
}

#[test]
fn a_clock_that_is_set_back_keeps_nobody_waiting() {
    let watch = CrisisWatch::default();
    watch.begin("cus_1", None, Severity::High, 9_000_000);
    watch.begin("cus_2", None, Severity::Moderate, 1_000);
    let overdue: Vec<String> = watch.overdue(1_000).into_iter().map(|missed| missed.customer).collect();
    assert_eq!((overdue, watch.next_deadline_ms()), (vec!["cus_1".to_owned()], Some(1_300)));
    assert!(watch.granted("cus_1", 1_000).is_some());
}

#[test]
fn what_the_ledger_owes_after_its_time_is_overdue_once() {
    let watch = CrisisWatch::default();
    let found = || watch.found(job(1), "cus_1", Severity::High, 0);
    found();
    let watches = |job| watch.lock().by_job.contains_key(&job);
    assert!(watches(job(1)) && !watches(job(2)));
    let missed = watch.overdue(5_000);
    assert_eq!(
        (missed.len(), missed[0].job, missed[0].since_ms, missed[0].due_ms),
        (1, Some(job(1)), 0, 200)
    );
    found();
    assert_eq!((watch.overdue(9_000), recorded_late(&watch)), (vec![], vec![]));
    assert!(watch.granted("cus_1", 5_001).is_some());
    watch.ended(job(1));
    assert_eq!(watch.granted("cus_1", 5_001), None);
    // It was answered while somebody read that it was not.
    watch.ended(job(2));
    watch.found(job(2), "cus_2", Severity::High, 0);
    assert_eq!(watch.overdue(5_000), []);
}

#[test]
fn what_is_told_again_before_it_is_answered_takes_nothing_away() {
    let watch = CrisisWatch::default();
    let (ticket, id) = (watch.begin("cus_1", None, Severity::Critical, 0), job(1));
    watch.recorded(ticket, id, false);
    assert_eq!(watch.overdue(100).len(), 1);
    let again = watch.begin("cus_1", None, Severity::Critical, 150);
    watch.recorded(again, id, true);
    assert!(watch.granted("cus_1", 151).is_some(), "it is not answered yet");
    assert_eq!(watch.next_deadline_ms(), None);
    watch.ended(id);
    assert_eq!(watch.granted("cus_1", 151), None);
}

#[test]
fn a_flood_takes_bounded_memory_and_the_newest_are_watched() {
    let watch = CrisisWatch::default();
    for number in 0..WATCHED_MAX as i64 + 50 {
        watch.ended(job(number));
        watch.begin(&format!("cus_{number}"), None, Severity::High, number);
    }
    assert_eq!(format!("{watch:?}"), format!("CrisisWatch {{ watched: {WATCHED_MAX}, granted: 0, .. }}"));
    assert_eq!(watch.overdue(UnixMs::MAX / 2).len(), WATCHED_MAX);
    assert_eq!(watch.watch.lock().unwrap().ended.len(), ENDED_MAX);
}

#[test]
fn how_urgent_a_job_is_follows_from_what_it_tells() {
    let of = |kind: &'static str, lane, data: &str| {
        let body = format!(r#"{{"type":"x","data":{{"customer":"cus_1"{data}}}}}"#);
        let job = NewJob::new(kind, lane, body).subject("cus_1");
        urgency(&job).map(|(customer, severity)| (customer.to_owned(), severity))
    };
    let cus = |severity| Some(("cus_1".to_owned(), severity));
    let signalled = kinds::CRISIS_SIGNALLED;
    assert_eq!(of(signalled, Lane::Crisis, r#","severity":"moderate""#), cus(Severity::Moderate));
    assert_eq!(of(signalled, Lane::Crisis, ""), cus(Severity::Critical));
    let assessed = kinds::ASSESSMENT_COMPLETED;
    let thoughts = r#","suicidal_ideation":true"#;
    assert_eq!(of(assessed, Lane::Crisis, thoughts), cus(Severity::Critical));
    assert_eq!(of(assessed, Lane::Crisis, ""), cus(Severity::High), "of somebody who is marked");
    assert_eq!(of(assessed, Lane::Therapeutic, thoughts), None);
    assert_eq!(of(kinds::INVOICE_PAYMENT_FAILED, Lane::Crisis, ""), cus(Severity::High));
    assert_eq!(of(kinds::CRISIS_ANSWERED_LATE, Lane::Crisis, ""), None);
    assert_eq!(of(kinds::CRISIS_RESOLVED, Lane::Crisis, ""), None);
    assert_eq!(of(kinds::CONTACT_TOLD, Lane::Crisis, ""), None);
    assert_eq!(of(kinds::CONFIRM_SUBSCRIPTION, Lane::Crisis, ""), None);
    assert_eq!(urgency(&crate::crisis_rehearsed::rehearsal()), None);
    assert_eq!(urgency(&crate::crisis_rehearsed::canary()), None);
}

#[test]
fn a_crisis_whose_job_is_dead_has_the_basic_set_until_it_is_run_again() {
    let watch = CrisisWatch::default();
    let ticket = watch.begin("cus_1", None, Severity::High, 0);
    watch.recorded(ticket, job(1), false);
    assert_eq!(watch.failed(job(1), "cus_1", Severity::High, 7).unwrap().until_ms, 7 + GRANTED_MS);
    assert_eq!(watch.overdue(9_999), [], "that it is dead was told");
    assert!(watch.granted("cus_1", 8).is_some());
    watch.ended(job(1));
    assert_eq!(watch.granted("cus_1", 9), None);
    // Of one that another process recorded, or that is dead before its recording is said to be, the same is true.
    let ticket = watch.begin("cus_2", None, Severity::High, 0);
    assert!(watch.failed(job(2), "cus_2", Severity::High, 7).is_some());
    watch.recorded(ticket, job(2), false);
    assert_eq!((watch.overdue(9_999), watch.granted("cus_2", 8).is_some()), (vec![], true));
    watch.ended(job(2));
    assert_eq!(watch.granted("cus_2", 9), None);
}

#[test]
fn that_a_crisis_was_late_says_nothing_of_its_death_and_of_each_death_it_is_known_once() {
    let watch = CrisisWatch::default();
    watch.found(job(1), "cus_1", Severity::High, 0);
    assert_eq!(watch.overdue(200).len(), 1);
    assert!(!watch.knows_failed(job(1), 100));
    watch.failed(job(1), "cus_1", Severity::High, 300);
    assert!(watch.knows_failed(job(1), 300) && !watch.knows_failed(job(2), 300));
    // It was retried, and died again.
    assert!(!watch.knows_failed(job(1), 301));
    watch.ended(job(1));
    assert!(!watch.knows_failed(job(1), 300));
}

#[test]
fn what_is_recorded_only_after_its_time_is_told_again_with_its_job() {
    let watch = CrisisWatch::default();
    let ticket = watch.begin("cus_1", None, Severity::Critical, 0);
    assert_eq!(watch.overdue(100)[0].job, None);
    watch.recorded(ticket, job(1), false);
    let late = recorded_late(&watch);
    assert_eq!((late.len(), late[0].job, late[0].ticket), (1, Some(job(1)), ticket));
    assert_eq!(recorded_late(&watch), []);
    assert!(watch.granted("cus_1", 101).is_some());
    watch.ended(job(1));
    assert_eq!(watch.granted("cus_1", 101), None);
    // The same if its run has ended by then.
    let ticket = watch.begin("cus_2", None, Severity::Critical, 0);
    assert_eq!(watch.overdue(100).len(), 1);
    watch.ended(job(2));
    watch.recorded(ticket, job(2), false);
    assert_eq!((recorded_late(&watch).len(), watch.granted("cus_2", 101)), (1, None));
    let ticket = watch.begin("cus_3", None, Severity::Critical, 0);
    watch.recorded(ticket, job(3), false);
    assert_eq!((watch.overdue(100).len(), recorded_late(&watch)), (1, vec![]), "it was told with its job");
}

#[test]
fn what_was_refused_and_recorded_all_the_same_stays_granted_until_it_is_answered() {
    let watch = CrisisWatch::default();
    let ticket = watch.begin("cus_1", Some("app:1"), Severity::High, 0);
    watch.refused(ticket, 0);
    let again = watch.begin("cus_1", Some("app:1"), Severity::High, 1_000);
    watch.recorded(again, job(1), true);
    assert!(watch.granted("cus_1", 1_001).is_some(), "nobody has answered it yet");
    watch.ended(job(1));
    assert_eq!(watch.granted("cus_1", 1_001), None);
}

#[test]
fn what_is_granted_is_found_by_its_job_or_its_key_whatever_a_flood_has_pushed_off_the_watch() {
    let watch = CrisisWatch::default();
    let begin = |key| watch.begin("cus_1", Some(key), Severity::High, 0);
    let late = begin("app:1");
    assert_eq!(watch.overdue(200).len(), 1);
    watch.recorded(late, job(1), false);
    let refused = begin("app:2");
    watch.refused(refused, 200);
    for number in 0..WATCHED_MAX as i64 {
        watch.begin(&format!("cus_{number}"), None, Severity::High, number);
    }
    assert!(!watch.lock().by_job.contains_key(&job(1)), "it is off the watch");
    let crisis = |ticket, job, key: &str| GrantedCrisis { ticket, job, key: Some(key.to_owned()) };
    let all = [crisis(late, Some(job(1)), "app:1"), crisis(refused, None, "app:2")];
    assert_eq!(watch.granted_behind(None, 10), all);
    assert_eq!(watch.granted_behind(None, 1), all[..1]);
    assert_eq!(watch.granted_behind(Some(late), 10), all[1..]);
    watch.answered(late);
    assert!(watch.granted("cus_1", 201).is_some(), "the other one is not answered");
    watch.answered(refused);
    assert_eq!((watch.granted("cus_1", 201), watch.granted_behind(None, 10)), (None, vec![]));
}

#[test]
fn what_two_deliveries_were_granted_is_found_by_the_job_of_the_one_that_was_recorded() {
    let watch = CrisisWatch::default();
    let begin = || watch.begin("cus_1", Some("app:1"), Severity::High, 0);
    let [first, second] = [begin(), begin()];
    watch.recorded(first, job(1), false);
    watch.refused(second, 0);
    let again = begin();
    watch.recorded(again, job(1), true);
    let granted = watch.granted_behind(None, 10);
    assert_eq!(granted, [GrantedCrisis { ticket: first, job: Some(job(1)), key: Some("app:1".to_owned()) }]);
}
