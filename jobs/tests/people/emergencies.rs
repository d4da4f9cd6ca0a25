//! What operators switch on, what is rehearsed, and what was answered late.

use std::{future::Future, task::Poll};

use bytes::Bytes;
use keepwell_jobs::{
    Care,
    access_query::{self, access_without_database},
    canary,
    care::{
        crisis::Severity,
        emergency::{SwitchName, Switching},
        facts::Facts,
        grace::GraceReason,
        tiers::FLOOR_TIER,
    },
    intake::{event_types::EventTypes, read_stripe},
    marks::Marks,
    rehearsal,
    store::{SwitchMemory, switch, switch_late, switches},
    violation,
    watch::{CrisisWatch, Missed},
};
use keepwell_workers::{
    clock::{ManualClock, UnixMs},
    database::turn::Urgency,
    id::JobId,
    lane::Lane,
    on_connection,
    outcome::Outcome,
};

use crate::support::{DAY_MS, NOW_MS, Room, event, invoice, on_each_database, signal, subscription};

async fn turn_on(room: &Room, name: SwitchName, seconds: u64, now_ms: UnixMs) {
    let on = Switching::On("a test".into(), seconds);
    // A memory of its own, as another node has one.
    let switched = switch(&room.database, &SwitchMemory::default(), name, on, now_ms).await.unwrap();
    assert!(switched.unwrap().is_on_at(now_ms));
}

async fn turn_off(room: &Room, name: SwitchName, now_ms: UnixMs) -> bool {
    let off = switch(&room.database, &SwitchMemory::default(), name, Switching::Off, now_ms).await;
    off.unwrap().is_some()
}

#[tokio::test]
async fn a_bypass_opens_what_was_bought_although_its_payment_is_in_trouble() {
    on_each_database(async |room| {
        for (customer, status) in [("late", "past_due"), ("over", "canceled"), ("paid", "active")] {
            room.stripe(&event("evt_1", "customer.subscription.updated", 5, &subscription(customer, status)))
                .await;
        }
        let tier = async |customer, now_ms| room.access(customer, now_ms).await.tier;
        assert_eq!(tier("late", NOW_MS).await, "grace_period");
        let before = room.access("late", NOW_MS).await;

        turn_on(room, SwitchName::Bypass, 3_600, NOW_MS).await;
        let during = room.access("late", NOW_MS).await;
        assert_eq!((&*during.tier, during.version), ("premium", before.version + 1));
        let emergency = during.emergency;
        assert_eq!((emergency.level, emergency.reason), (Some("essential"), Some("payment_failure")));
        assert_eq!(emergency.until.unwrap().0, NOW_MS + 3_600_000);
        // What is over is over, and who has paid or is unknown needs nothing.
        assert_eq!(tier("over", NOW_MS).await, "grace_period");
        for customer in ["over", "paid", "nobody"] {
            assert!(!room.access(customer, NOW_MS).await.emergency.active, "{customer}");
        }
        assert_eq!(tier("nobody", NOW_MS).await, FLOOR_TIER);

        let after = room.access("late", NOW_MS + 3_600_000).await;
        assert_eq!((&*after.tier, after.version), ("grace_period", before.version + 2));
        assert!(!after.emergency.active);
    })
    .await;
}

#[tokio::test]
async fn a_global_bypass_opens_the_essential_set_for_everybody_on_every_node() {
    on_each_database(async |room| {
        turn_on(room, SwitchName::GlobalBypass, 7_200, NOW_MS).await;
        let document = room.access("nobody", NOW_MS).await;
        assert_eq!(
            (document.emergency.level, document.emergency.reason),
            (Some("essential"), Some("system_error"))
        );
        for feature in ["crisis_assessment", "mood_tracking", "crisis_button"] {
            assert!(document.features.enabled.iter().any(|enabled| enabled == feature), "{feature}");
        }
        assert_eq!((&*document.tier, document.version, document.message), (FLOOR_TIER, 1, None));

        // Of a crisis that opens less the level is raised; of one that opens more it stays.
        for (severity, level) in [("moderate", "essential"), ("critical", "full")] {
            room.app(&signal("crisis.signal", severity, 1, &format!(r#","severity":"{severity}""#))).await;
            let emergency = room.access(severity, NOW_MS).await.emergency;
            assert_eq!((emergency.level, emergency.reason), (Some(level), Some("crisis_detected")));
        }

        assert!(turn_off(room, SwitchName::GlobalBypass, NOW_MS).await);
        assert!(!turn_off(room, SwitchName::GlobalBypass, NOW_MS).await, "it is off");
        let document = room.access("nobody", NOW_MS).await;
        assert_eq!((document.emergency.active, document.version), (false, 2));
    })
    .await;
}

#[tokio::test]
async fn maintenance_keeps_therapeutic_access() {
    on_each_database(async |room| {
        let ended = subscription("late", "unpaid");
        room.stripe(&event("evt_1", "customer.subscription.updated", 5, &ended)).await;
        turn_on(room, SwitchName::Maintenance, 60, NOW_MS).await;
        assert_eq!(room.access("late", NOW_MS).await.tier, "premium");
        assert_eq!(room.access("late", NOW_MS + 60_000).await.tier, "grace_period");
    })
    .await;
}

#[tokio::test]
async fn versions_only_grow_whatever_is_learned_and_switched() {
    on_each_database(async |room| {
        let mut now_ms = NOW_MS;
        let mut last = room.access("cus_1", now_ms).await.version;
        for step in 0..12 {
            now_ms += 40_000;
            match step % 4 {
                0 => turn_on(room, SwitchName::Bypass, 60, now_ms).await,
                1 => _ = room.app(&signal("crisis.signal", "cus_1", step, r#","severity":"high""#)).await,
                2 => turn_on(room, SwitchName::GlobalBypass, 30, now_ms).await,
                _ => _ = turn_off(room, SwitchName::Bypass, now_ms).await,
            }
            let version = room.access("cus_1", now_ms).await.version;
            assert!(version >= last, "step {step}: {version} after {last}");
            last = version;
        }
        assert!(last > 9, "{last}");
    })
    .await;
}

#[tokio::test]
async fn two_nodes_that_switch_at_once_both_count() {
    on_each_database(async |room| {
        let one = turn_on(room, SwitchName::Bypass, 60, NOW_MS);
        let other = turn_on(room, SwitchName::Bypass, 60, NOW_MS);
        let more = turn_on(room, SwitchName::Maintenance, 60, NOW_MS);
        tokio::join!(one, other, more);
        let mut reader = room.database.reader(Urgency::General).await.unwrap();
        let switches = switches(&mut reader, &SwitchMemory::default()).await.unwrap();
        assert_eq!(switches.changes(NOW_MS), 3);
    })
    .await;
}

#[tokio::test]
async fn what_was_granted_from_memory_is_in_the_document_until_the_crisis_is_answered() {
    on_each_database(async |room| {
        let watch = &room.care.watch;
        let ticket = watch.begin("cus_1", None, Severity::Critical, NOW_MS);
        watch.overdue(NOW_MS + 100);
        let document = room.access("cus_1", NOW_MS + 100).await;
        assert_eq!((document.emergency.level, document.crisis.active), (Some("crisis_only"), false));
        assert!(document.features.enabled.iter().any(|feature| feature == "crisis_assessment"));
        assert!(document.message.unwrap().body.contains("988"));
        let id = JobId::new(NOW_MS);
        watch.recorded(ticket, id, false);
        watch.ended(id);
        assert!(!room.access("cus_1", NOW_MS + 100).await.emergency.active);
    })
    .await;
}

#[tokio::test]
async fn a_crisis_that_was_answered_late_is_kept_and_opens_therapeutic_access() {
    on_each_database(async |room| {
        room.app(&signal("crisis.signal", "cus_1", 5, r#","severity":"moderate""#)).await;
        assert_eq!(room.access("cus_1", NOW_MS).await.emergency.level, Some("crisis_only"));
        let ticket = CrisisWatch::default().begin("cus_1", None, Severity::Moderate, NOW_MS);
        let missed = Missed {
            ticket,
            key: None,
            job: Some(JobId::new(NOW_MS)),
            customer: "cus_1".into(),
            severity: Severity::Moderate,
            since_ms: NOW_MS,
            due_ms: NOW_MS + 300,
        };
        assert!(violation(&Missed { job: None, ..missed.clone() }, 400).is_none(), "nothing was recorded");
        let job = violation(&missed, 400).unwrap();
        assert_eq!((job.lane, job.subject.as_deref()), (Lane::Crisis, Some("cus_1")));
        for _ in 0..2 {
            assert_eq!(room.run(job.clone(), NOW_MS).await, Outcome::Done);
        }
        let document = room.access("cus_1", NOW_MS).await;
        assert_eq!((document.emergency.level, document.crisis.kind), (Some("essential"), Some("combined")));
        let mut reader = room.database.reader(Urgency::General).await.unwrap();
        let kept: Vec<(String, String, i64, i64)> = on_connection!(reader, |connection| {
            sqlx::query_as("SELECT customer, severity, limit_ms, took_ms FROM crisis_violations")
                .fetch_all(connection)
                .await
        })
        .unwrap();
        assert_eq!(kept, [("cus_1".into(), "moderate".into(), 300, 400)]);
    })
    .await;
}

#[tokio::test]
async fn a_rehearsal_goes_the_whole_way_and_leaves_nothing_behind() {
    on_each_database(async |room| {
        for job in [rehearsal(), canary()] {
            assert_eq!(room.run(job, NOW_MS).await, Outcome::Done);
        }
        let mut reader = room.database.reader(Urgency::General).await.unwrap();
        for table in ["customers", "crisis_signals", "grace_periods", "assessment_scores"] {
            let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
            let (count,): (i64,) =
                on_connection!(reader, |connection| sqlx::query_as(sql).fetch_one(connection).await).unwrap();
            assert_eq!(count, 0, "{table}");
        }
        assert!(!room.care.marks.is_anybody());
        assert_eq!(room.care.tallies.emergencies(), 0);
    })
    .await;
}

#[tokio::test]
async fn every_crisis_that_opens_is_counted_once() {
    on_each_database(async |room| {
        for (customer, severity) in [("cus_1", "high"), ("cus_1", "critical"), ("cus_2", "moderate")] {
            room.app(&signal("crisis.signal", customer, 1, &format!(r#","severity":"{severity}""#))).await;
        }
        assert_eq!(room.care.tallies.emergencies(), 2);
        assert_ne!(room.facts("cus_1").await, Facts::about("cus_1"));
    })
    .await;
}

#[tokio::test]
async fn what_is_switched_while_the_database_takes_nothing_counts_although_it_can_be_read() {
    on_each_database(async |room| {
        let (name, on) = (SwitchName::GlobalBypass, Switching::On("a full disk".into(), 60));
        let memory = &room.care.switches;
        assert!(memory.switch_unrecorded(name, on.clone(), NOW_MS).is_some());
        let document = room.access("nobody", NOW_MS).await;
        assert_eq!((document.emergency.level, document.version), (Some("essential"), 1));
        switch(&room.database, memory, name, on, NOW_MS).await.unwrap();
        memory.recorded();
        assert_eq!(room.access("nobody", NOW_MS).await, document);
    })
    .await;
}

#[tokio::test]
async fn without_the_database_whoever_is_in_a_crisis_keeps_what_it_opened() {
    on_each_database(async |room| {
        room.app(&signal("device.registered", "cus_1", 60, r#","device":"dev_1","locale":"en-US""#)).await;
        let asked_before = room.beside();
        assert!(!asked_before.access("cus_1", NOW_MS).await.emergency.active);
        room.app(&signal("crisis.signal", "cus_1", 5, r#","severity":"critical""#)).await;
        let with = room.access("cus_1", NOW_MS).await;
        assert_eq!(access_without_database(&room.care, "cus_1", NOW_MS), with);
        // Another process knows at least that there is something.
        let beside = room.beside();
        beside.care.marks.refresh(&room.database).await.unwrap();
        let document = access_without_database(&beside.care, "cus_1", NOW_MS);
        assert_eq!((document.emergency.level, &*document.tier), (Some("crisis_only"), FLOOR_TIER));
        assert!(!access_without_database(&beside.care, "cus_2", NOW_MS).emergency.active);
        // One that has asked before the crisis, and remembers that there was none, too.
        asked_before.care.marks.refresh(&room.database).await.unwrap();
        assert_eq!(
            access_without_database(&asked_before.care, "cus_1", NOW_MS).emergency.level,
            Some("crisis_only")
        );
    })
    .await;
}

#[tokio::test]
async fn without_the_database_a_version_is_the_last_one_that_is_known() {
    on_each_database(async |room| {
        room.stripe(&event("evt_1", "customer.subscription.updated", 5, &subscription("cus_1", "active")))
            .await;
        let with = room.access("cus_1", NOW_MS).await;
        let without = access_without_database(&room.care, "cus_1", NOW_MS);
        assert_eq!((&*without.tier, without.version), (FLOOR_TIER, with.version));
        assert_eq!(access_without_database(&room.beside().care, "cus_1", NOW_MS).version, 0);
    })
    .await;
}

#[tokio::test]
async fn a_process_learns_whom_another_one_has_marked() {
    on_each_database(async |room| {
        let beside = room.beside();
        room.app(&signal("crisis.signal", "cus_1", 5, r#","severity":"high""#)).await;
        assert!(!beside.care.marks.contains("cus_1"));
        beside.care.marks.set("cus_2", 1, Some(NOW_MS + 1));
        beside.care.marks.refresh(&room.database).await.unwrap();
        assert_eq!(beside.care.marks.until_ms("cus_1"), room.care.marks.until_ms("cus_1"));
        assert!(beside.care.marks.contains("cus_1") && beside.care.marks.contains("cus_2"));
        // A mark that lasts longer here is not cut short.
        beside.care.marks.set("cus_1", 1, Some(UnixMs::MAX));
        beside.care.marks.refresh(&room.database).await.unwrap();
        assert_eq!(beside.care.marks.until_ms("cus_1"), Some(UnixMs::MAX));
    })
    .await;
}

#[tokio::test]
async fn what_was_switched_before_and_is_recorded_later_undoes_nothing() {
    on_each_database(async |room| {
        let (name, memory) = (SwitchName::GlobalBypass, SwitchMemory::default());
        let late = async |switching, at_ms| {
            switch_late(&room.database, &memory, name, switching, at_ms).await.unwrap();
        };
        let is_on = async || room.access("nobody", NOW_MS).await.emergency.active;
        turn_on(room, name, 3_600, NOW_MS - 2_000).await;
        late(Switching::Off, NOW_MS - 3_000).await;
        assert!(is_on().await, "it was switched on after that");
        late(Switching::Off, NOW_MS - 1_000).await;
        assert!(!is_on().await);
        late(Switching::On("a test".into(), 3_600), NOW_MS - 1_500).await;
        assert!(!is_on().await, "it was switched off after that");
        // Who speaks now is heard, also if their clock is behind.
        turn_on(room, name, 3_600, NOW_MS - 60_000).await;
        assert!(is_on().await);

        let mut reader = room.database.reader(Urgency::General).await.unwrap();
        let sql = "SELECT action FROM audit_entries WHERE action LIKE 'emergency.%' ORDER BY id";
        let audited: Vec<(String,)> =
            on_connection!(reader, |connection| sqlx::query_as(sql).fetch_all(connection).await).unwrap();
        let audited: Vec<&str> =
            audited.iter().map(|(action,)| &action["emergency.switched_".len()..]).collect();
        assert_eq!(audited, ["on", "off_too_late", "on", "on_too_late", "off"], "as it was said");
    })
    .await;
}

#[tokio::test]
async fn whoever_closes_grace_knows_of_a_bypass_that_nobody_has_told_them_of() {
    on_each_database(async |room| {
        room.stripe(&event("evt_1", "invoice.payment_failed", 5, &invoice("cus_1"))).await;
        let ends_ms = NOW_MS + 7 * DAY_MS;
        turn_on(room, SwitchName::Bypass, 3_600, ends_ms - 60_000).await;
        let beside = room.beside();
        let beside = beside.caring(Care { switches: SwitchMemory::default(), ..beside.care.clone() });
        // Something that has nothing to do with money.
        beside.app_at(&signal("tool.failed", "cus_1", 0, ""), ends_ms + 1).await;
        let graces = room.facts("cus_1").await.graces;
        let (_, grace) = graces.iter().find(|(key, _)| key.reason == GraceReason::PaymentFailure).unwrap();
        assert!(!grace.closed && grace.ends_ms > ends_ms + 1, "{grace:?}");
    })
    .await;
}

#[tokio::test]
async fn what_is_answered_while_somebody_asks_is_in_the_answer_one_way_or_the_other() {
    on_each_database(async |room| {
        let watch = &room.care.watch;
        let ticket = watch.begin("cus_1", None, Severity::High, NOW_MS);
        let id = JobId::new(NOW_MS);
        watch.recorded(ticket, id, false);
        assert_eq!(watch.overdue(NOW_MS + 200).len(), 1);
        let mut reader = room.database.reader(Urgency::General).await.unwrap();
        let mut asked = Box::pin(access_query::access(&mut reader, &room.care, "cus_1", NOW_MS + 200));
        // It waits for the database now, unless that is very quick.
        let begun = std::future::poll_fn(|context| Poll::Ready(asked.as_mut().poll(context))).await;
        watch.ended(id);
        let answer = if let Poll::Ready(answer) = begun { answer } else { asked.await };
        assert!(answer.unwrap().emergency.active);
    })
    .await;
}

#[tokio::test]
async fn every_process_learns_who_is_in_a_high_risk_period_and_it_ends_by_itself() {
    on_each_database(async |room| {
        let (here, later) = (Marks::new(ManualClock::at(NOW_MS)), ManualClock::at(NOW_MS));
        let room = room.caring(Care { marks: here.clone(), ..room.care.clone() });
        let failed = Bytes::from(event("evt_1", "invoice.payment_failed", 0, &invoice("cus_1")));
        let paid = Bytes::from(event("evt_2", "invoice.payment_succeeded", 0, &invoice("cus_1")));
        let lane = |body, marks| read_stripe(body, marks, &EventTypes::default()).unwrap().job.lane;
        assert_eq!(lane(&failed, &here), Lane::Therapeutic);
        let elevated = r#","instrument":"phq9","score":15"#;
        room.app(&signal("assessment.completed", "cus_1", 0, elevated)).await;
        assert_eq!((lane(&failed, &here), lane(&paid, &here)), (Lane::Crisis, Lane::Realtime));
        assert!(!here.is_anybody(), "nobody is in a crisis");
        let beside = Marks::new(later.clone());
        beside.refresh_at_risk(&room.database, &room.care.definitions).await.unwrap();
        later.advance_ms(14 * DAY_MS - 1);
        assert_eq!((lane(&failed, &beside), beside.is_at_risk("cus_2")), (Lane::Crisis, false));
        later.advance_ms(1);
        assert_eq!(lane(&failed, &beside), Lane::Therapeutic);
        let beside = Marks::new(later);
        beside.refresh_at_risk(&room.database, &room.care.definitions).await.unwrap();
        assert!(!beside.is_at_risk("cus_1"));
    })
    .await;
}
