//! What is in the trail, and when.

use bytes::Bytes;
use keepwell_jobs::{
    care::{
        crisis::LATE_MS,
        report::{crisis::CrisisReport, period::Period},
        severity::Severity,
    },
    intake::read_app,
    kinds,
    store::{
        audit::{AuditFilter, append},
        reports::read_facts,
    },
};
use keepwell_workers::{
    database::{Dialect, Durability, turn::Urgency},
    job::NewJob,
    lane::Lane,
    outcome::Outcome,
};
use serde_json::{Value, json};

use crate::{
    reports::{said, settings},
    support::{DAY_MS, NOW_MS, event, invoice, on_each_database, signal, subscription},
    trail::{all, begin, entry, report, seal, sealer, write},
};

#[tokio::test]
async fn every_change_of_access_grace_and_crisis_is_in_the_trail() {
    on_each_database(async |room| {
        let told = [
            event("evt_1", "customer.subscription.created", 50, &subscription("cus_1", "active")),
            event("evt_2", "invoice.payment_failed", 40, &invoice("cus_1")),
            // Changes nothing, so it says nothing.
            event("evt_2", "invoice.payment_failed", 40, &invoice("cus_1")),
        ];
        for body in told {
            assert_eq!(room.stripe(&body).await, Outcome::Done);
        }
        for (signal_type, ago_s, more) in [
            ("crisis.signal", 9, r#","source":"button","severity":"critical""#),
            ("crisis.resolved", 0, r#","by":"clinician 7""#),
        ] {
            assert_eq!(room.app(&signal(signal_type, "cus_1", ago_s, more)).await, Outcome::Done);
        }
        let contacts = signal("contacts.updated", "cus_1", 0, r#","contacts":[{"name":"Mina"}]"#);
        assert_eq!(room.app(&contacts).await, Outcome::Done);
        let entries =
            all(room, &AuditFilter { subject: Some("cus_1".to_owned()), ..AuditFilter::default() }).await;
        let mut actions: Vec<&str> = entries.iter().map(|entry| entry.action.as_str()).collect();
        actions.sort_unstable();
        assert_eq!(
            actions,
            [
                "access.changed",
                "access.changed",
                "access.changed",
                "access.changed",
                "crisis.noted",
                "crisis.resolved",
                "crisis.signalled",
                "grace.started",
                "grace.started",
                "person.data_changed",
            ]
        );
        let of = |action: &str, job: &str| {
            let found = entries.iter().find(|entry| entry.action == action && entry.actor.starts_with(job));
            found.unwrap_or_else(|| panic!("{action} of {job}"))
        };
        let bought = of("access.changed", kinds::SUBSCRIPTION_CHANGED);
        assert_eq!((bought.at_ms, bought.actor_kind.as_str(), bought.readable), (NOW_MS, "system", true));
        assert_eq!(bought.before.as_ref().unwrap()["tier"], "floor");
        assert_eq!(bought.after.as_ref().unwrap()["tier"], "premium");
        assert_eq!(bought.reason, "stripe:-:evt_1:customer.subscription.created");
        let grace = of("grace.started", kinds::INVOICE_PAYMENT_FAILED);
        assert_eq!(grace.before, Some(json!({ "payment_failure in_1": null })));
        let opened = of("access.changed", kinds::CRISIS_SIGNALLED);
        assert_eq!(opened.after.as_ref().unwrap()["emergency"]["level"], "full");
        let resolved = of("crisis.resolved", kinds::CRISIS_RESOLVED);
        assert_eq!(resolved.after.as_ref().unwrap()["by"], "clinician 7");
        let data = entries.iter().find(|entry| entry.action == "person.data_changed").unwrap();
        assert_eq!(data.after.as_ref().unwrap()["kind"], "contacts");
        assert!(!format!("{entries:?}").contains("Mina"));
    })
    .await;
}

#[tokio::test]
async fn a_crisis_that_changes_is_told_with_what_it_opens_though_that_stays_as_it_was() {
    on_each_database(async |room| {
        for (signal_type, at_ms, more) in [
            ("crisis.signal", NOW_MS, r#","source":"button","severity":"critical""#),
            // A crisis of another kind from then on, which opens no more.
            ("security.threat", NOW_MS + 1_000, r#","detail":"signed in from elsewhere""#),
        ] {
            let told = signal(signal_type, "cus_1", 0, more);
            assert_eq!(room.app_at(&told, at_ms).await, Outcome::Done);
        }
        let filter = AuditFilter { action: Some("access.changed".to_owned()), ..AuditFilter::default() };
        let changes = all(room, &filter).await;
        assert_eq!(changes.len(), 2, "{changes:#?}");
        let [before, after] = [&changes[1].before, &changes[1].after].map(|side| side.as_ref().unwrap());
        assert_ne!(before["crisis"], after["crisis"]);
        assert_eq!(
            (&before["emergency"], &after["emergency"]["active"]),
            (&after["emergency"], &true.into())
        );
    })
    .await;
}

#[tokio::test]
async fn a_crisis_after_one_that_ended_by_its_time_is_an_activation_in_metrics_and_report_alike() {
    on_each_database(async |room| {
        let first_ms = NOW_MS - 20 * DAY_MS;
        // The first counts for two weeks; the sign after it is one more of the same crisis, and nobody has seen to its
        // end when the next one comes.
        for at_ms in [first_ms, first_ms + 1_000, NOW_MS - 1_000] {
            assert_eq!(room.app_at(&said("cus_1", at_ms, Severity::Moderate), at_ms).await, Outcome::Done);
        }
        let filter = AuditFilter { action: Some("access.changed".to_owned()), ..AuditFilter::default() };
        let changes = all(room, &filter).await;
        let [before, after] = [&changes[changes.len() - 1].before, &changes[changes.len() - 1].after]
            .map(|side| side.as_ref().unwrap()["crisis"].clone());
        assert_eq!((&before["active"], &after["opened"]), (&true.into(), &true.into()), "{changes:#?}");
        let period = Period { from_ms: first_ms, to_ms: NOW_MS };
        let facts = read_facts(&room.database, &room.care.keys, &settings(room), period, None, NOW_MS).await;
        let report = CrisisReport::of(&facts.unwrap());
        let counted = [report.emergency_access_compliance.activations, room.care.tallies.emergencies()];
        assert_eq!(counted, [2, 2]);
    })
    .await;
}

#[tokio::test]
async fn what_ends_by_time_alone_is_in_the_trail_with_what_it_was_before() {
    on_each_database(async |room| {
        assert_eq!(
            room.stripe(&event("evt_1", "invoice.payment_failed", 40, &invoice("cus_1"))).await,
            Outcome::Done
        );
        let over_ms = NOW_MS + 8 * DAY_MS;
        let due = json!({ "customer": "cus_1", "ends_ms": NOW_MS + 7 * DAY_MS, "soon": false }).to_string();
        let job = NewJob::new(kinds::GRACE_DUE, Lane::Background, due);
        assert_eq!(room.run(job, over_ms).await, Outcome::Done);
        let filter = AuditFilter { action: Some("access.changed".to_owned()), ..AuditFilter::default() };
        let changes = all(room, &filter).await;
        let ended = changes.last().unwrap();
        assert!(changes.len() == 2 && ended.actor.starts_with(kinds::GRACE_DUE), "{changes:#?}");
        let active = |side: &Option<serde_json::Value>| side.as_ref().unwrap()["grace"]["active"].clone();
        assert_eq!((active(&ended.before), active(&ended.after)), (true.into(), false.into()));
    })
    .await;
}

#[tokio::test]
async fn an_effect_and_its_entries_commit_together_or_not_at_all() {
    on_each_database(async |room| {
        let body = signal("crisis.signal", "cus_1", 0, r#","source":"button","severity":"high""#);
        let job = || NewJob::new(kinds::CRISIS_SIGNALLED, Lane::Crisis, body.clone());
        let (_, transaction) = room.apply(job(), NOW_MS).await;
        transaction.rollback().await.unwrap();
        assert_eq!(all(room, &AuditFilter::default()).await, []);
        room.run(job(), NOW_MS).await;
        assert_eq!(all(room, &AuditFilter::default()).await.len(), 3);
        assert!(room.facts("cus_1").await.crisis(NOW_MS).is_some());
    })
    .await;
}

#[tokio::test]
async fn a_crisis_does_not_wait_for_somebody_elses_entry() {
    on_each_database(async |room| {
        // SQLite has one writer, whatever it writes.
        if room.database.dialect() == Dialect::Sqlite {
            return;
        }
        let mut slow = begin(room).await;
        append(&mut slow, &entry("lane.paused", "standard", NOW_MS - 5)).await.unwrap();
        let mut crisis = room.database.begin(Urgency::Crisis, Durability::Relaxed, NOW_MS).await.unwrap();
        append(&mut crisis, &entry("crisis.signalled", "cus_1", NOW_MS)).await.unwrap();
        crisis.commit().await.unwrap();
        assert_eq!(seal(room).await.block, 1);
        // Written before and committed after: it gets the next position, and nothing is missing.
        slow.commit().await.unwrap();
        assert_eq!(seal(room).await.block, 2);
        let report = report(room, None).await;
        assert_eq!((report.findings.first, report.entries, report.unsealed), (None, 2, 0));
    })
    .await;
}

#[tokio::test]
async fn entries_are_found_by_time_subject_and_action() {
    on_each_database(async |room| {
        let mut transaction = begin(room).await;
        for (action, subject, at_ms) in [
            ("lane.paused", "standard", NOW_MS - DAY_MS),
            ("lane.resumed", "standard", NOW_MS),
            ("laneway.opened", "standard", NOW_MS),
            ("key.rotation_started", "2027", NOW_MS),
        ] {
            append(&mut transaction, &entry(action, subject, at_ms)).await.unwrap();
        }
        transaction.commit().await.unwrap();
        let none = AuditFilter::default;
        let text = |text: &str| Some(text.to_owned());
        for (filter, count) in [
            (none(), 4),
            (AuditFilter { action: text("lane"), ..none() }, 2),
            (AuditFilter { action: text("lane.paused"), ..none() }, 1),
            (AuditFilter { subject: text("standard"), ..none() }, 3),
            (AuditFilter { text: text("ROTATION"), ..none() }, 1),
            (AuditFilter { text: text("uid 7"), ..none() }, 4),
            (AuditFilter { text: text("stand%d"), ..none() }, 0),
            (AuditFilter { since_ms: Some(NOW_MS), ..none() }, 3),
            (AuditFilter { until_ms: Some(NOW_MS), ..none() }, 1),
        ] {
            assert_eq!(all(room, &filter).await.len(), count, "{filter:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn two_sealers_do_not_get_in_each_others_way() {
    on_each_database(async |room| {
        write(room, 40).await;
        let (mut one, mut other) = (sealer(room, 3), sealer(room, 3));
        // The first key is made once; whoever comes second finds it.
        let (first, second) = tokio::join!(one.round(), other.round());
        assert!(first.is_ok() || second.is_ok());
        while one.round().await.unwrap().entries > 0 {}
        assert_eq!(other.round().await.unwrap().entries, 0);
        let report = report(room, None).await;
        assert_eq!((report.findings.first, report.entries, report.unsealed), (None, 40, 0));
    })
    .await;
}

#[tokio::test]
async fn a_trail_that_grows_while_it_is_verified_is_whole() {
    on_each_database(async |room| {
        let mut sealer = sealer(room, 2);
        let growing = async {
            for _ in 0..40 {
                write(room, 5).await;
                while sealer.round().await.unwrap().entries > 0 {}
            }
        };
        let watching = async {
            loop {
                let report = report(room, None).await;
                assert_eq!(report.findings.first, None);
                if report.entries == 200 && report.unsealed == 0 {
                    return;
                }
            }
        };
        tokio::join!(growing, watching);
    })
    .await;
}

#[tokio::test]
async fn what_is_written_late_is_sealed_next_however_much_waits_behind_it() {
    on_each_database(async |room| {
        // With one entry in a block a round takes 64 of them, so that there is never an end to come to.
        let mut sealer = sealer(room, 1);
        write(room, 80).await;
        assert_eq!(sealer.round().await.unwrap().entries, 64);
        for late in 1..=2 {
            let subject = format!("late_{late}");
            let mut transaction = begin(room).await;
            append(&mut transaction, &entry("lane.resumed", &subject, NOW_MS - late * 1_000)).await.unwrap();
            transaction.commit().await.unwrap();
            write(room, 64).await;
            assert_eq!(sealer.round().await.unwrap().entries, 64);
            let of_it = AuditFilter { subject: Some(subject), ..AuditFilter::default() };
            assert!(all(room, &of_it).await[0].position.is_some(), "it was passed over");
        }
        assert_eq!(report(room, None).await.findings.first, None);
    })
    .await;
}

#[tokio::test]
async fn a_button_that_is_told_after_a_resolved_opens_nothing_for_fifteen_minutes_and_is_in_the_trail() {
    on_each_database(async |room| {
        for (customer, late_ms, waited_ms, opens) in [
            ("cus_in_time", LATE_MS, 0, false),
            // It was heard of in time, and its job ran long afterwards.
            ("cus_waiting", LATE_MS, DAY_MS, false),
            ("cus_late", LATE_MS + 1, 0, true),
        ] {
            // Pressed a minute ago, and resolved half a minute later by somebody who may have known of it.
            let resolved = signal("crisis.resolved", customer, 30, r#","by":"clinician""#);
            assert_eq!(room.app(&resolved).await, Outcome::Done);
            let pressed = signal("crisis.signal", customer, 60, r#","source":"button","severity":"high""#);
            let (marks, definitions) = (&room.care.marks, &room.care.definitions);
            let intake = read_app("msg_1", &Bytes::from(pressed), marks, definitions).expect("a signal");
            let (told_ms, now_ms) = (NOW_MS - 60_000 + late_ms, NOW_MS - 60_000 + late_ms + waited_ms);
            assert_eq!(room.run_late(intake.job, told_ms, now_ms).await, Outcome::Done);
            assert_eq!(room.access(customer, now_ms).await.crisis.active, opens, "{customer}");

            let of_button = AuditFilter {
                action: Some("crisis.signalled".to_owned()),
                subject: Some(customer.to_owned()),
                ..AuditFilter::default()
            };
            let told = all(room, &of_button).await;
            let [told] = &told[..] else { panic!("that it was told is one entry: {told:?}") };
            let after = told.after.as_ref().expect("what came of it");
            let signs: Vec<_> = after["signals"].as_object().expect("the signs").values().collect();
            let [sign] = signs[..] else { panic!("one sign: {after}") };
            assert_eq!((&after["active"], &sign["source"]), (&opens.into(), &"button".into()));
        }
    })
    .await;
}

#[tokio::test]
async fn an_assessment_whose_job_ran_after_a_resolved_opens_nothing_and_each_of_its_signs_is_in_the_trail() {
    on_each_database(async |room| {
        let rise = r#""instrument":"phq9","score":4"#;
        let grave = r#""instrument":"phq9","score":21,"suicidal_ideation":true"#;
        let told = |customer: &str, ago_s, data: &str| {
            let signal = signal("assessment.completed", customer, ago_s, &format!(",{data}"));
            let (marks, definitions) = (&room.care.marks, &room.care.definitions);
            read_app(&format!("msg_{ago_s}"), &Bytes::from(signal), marks, definitions).expect("a signal").job
        };
        let customer = "cus_assessed";
        assert_eq!(room.run_late(told(customer, 7_200, rise), NOW_MS, NOW_MS).await, Outcome::Done);
        let resolved = signal("crisis.resolved", customer, 30, r#","by":"clinician""#);
        assert_eq!(room.app(&resolved).await, Outcome::Done);
        // Heard of before the "resolved", and run a day later: its job was dead until somebody retried it.
        let now_ms = NOW_MS + DAY_MS;
        let late = told(customer, 60, grave);
        assert_eq!(room.run_late(late, NOW_MS - 60_000, now_ms).await, Outcome::Done);
        assert!(!room.access(customer, now_ms).await.crisis.active);

        let of_signs = AuditFilter {
            action: Some("crisis.signalled".to_owned()),
            subject: Some(customer.to_owned()),
            ..AuditFilter::default()
        };
        let entries = all(room, &of_signs).await;
        let mut signs = Vec::new();
        for entry in &entries {
            let after = entry.after.as_ref().expect("what came of it");
            assert_eq!(after["active"], false, "{after}");
            for sign in after["signals"].as_object().expect("the signs").values() {
                signs.push((sign["source"].clone(), sign["severity"].clone()));
            }
        }
        let expected = [("assessment", "critical"), ("deterioration", "moderate")];
        let expected = expected.map(|(source, severity)| (source.into(), severity.into()));
        signs.sort_by_key(|(source, _): &(Value, Value)| source.to_string());
        assert_eq!(signs, expected);
    })
    .await;
}
