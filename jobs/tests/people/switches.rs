//! What operators say of switches is traceable, whether it changes anything or not.

use keepwell_jobs::{
    care::{
        emergency::{SwitchName, Switching},
        facts::Facts,
        grace::DAY_MS,
    },
    store::{
        FactsMemory, SwitchMemory,
        audit::{AuditFilter, list},
        audit_ended, switch, switch_late, switches, switches_and_facts,
    },
};
use keepwell_workers::{database::turn::Urgency, on_connection};
use serde_json::{Value, json};

use crate::support::{NOW_MS, Room, on_each_database, signal};

/// What is said of which switch, as the trail has it.
async fn said(room: &Room) -> Vec<(String, String)> {
    let sql = "SELECT action, subject FROM audit_entries ORDER BY id";
    let mut reader = room.database.reader(Urgency::General).await.unwrap();
    on_connection!(reader, |connection| sqlx::query_as(sql).fetch_all(connection).await).unwrap()
}

#[tokio::test]
async fn an_off_that_finds_the_switch_off_leaves_one_entry() {
    on_each_database(async |room| {
        let memory = SwitchMemory::default();
        let off = async |name, at_ms| {
            switch(&room.database, &memory, name, Switching::Off, at_ms).await.unwrap().is_some()
        };
        assert!(!off(SwitchName::Bypass, NOW_MS).await);
        let on = Switching::On("a test".into(), 3_600);
        switch(&room.database, &memory, SwitchName::Bypass, on, NOW_MS + 1).await.unwrap();
        assert!(off(SwitchName::Bypass, NOW_MS + 2).await);
        assert!(!off(SwitchName::Bypass, NOW_MS + 3).await);
        // The same of one that was said while the database took nothing.
        switch_late(&room.database, &memory, SwitchName::Maintenance, Switching::Off, NOW_MS + 4)
            .await
            .unwrap();
        let said = said(room).await;
        let said: Vec<(&str, &str)> = said.iter().map(|(action, name)| (&**action, &**name)).collect();
        let (on, off) = ("emergency.switched_on", "emergency.switched_off");
        let again = "emergency.switched_off_again";
        assert_eq!(
            said,
            [(again, "bypass"), (on, "bypass"), (off, "bypass"), (again, "bypass"), (again, "maintenance")]
        );
    })
    .await;
}

#[tokio::test]
async fn one_question_tells_of_every_switch_and_of_the_person_known_or_not() {
    on_each_database(async |room| {
        room.app(&signal("crisis.signal", "known", 1, r#","severity":"high""#)).await;
        let mut reader = room.database.reader(Urgency::General).await.unwrap();
        for (at_ms, name) in (NOW_MS..).zip([None, Some(SwitchName::Maintenance), Some(SwitchName::Bypass)]) {
            if let Some(name) = name {
                let on = Switching::On("a test".into(), 3_600);
                switch(&room.database, &SwitchMemory::default(), name, on, at_ms).await.unwrap();
            }
            let apart = switches(&mut reader, &SwitchMemory::default()).await.unwrap();
            for (customer, facts) in
                [("known", room.facts("known").await), ("nobody", Facts::about("nobody"))]
            {
                let (memory, facts_memory) = (SwitchMemory::default(), FactsMemory::default());
                let together =
                    switches_and_facts(&mut reader, customer, &memory, &facts_memory).await.unwrap();
                assert_eq!(together, (apart.clone(), facts), "{customer}, {name:?}");
                assert_eq!(memory.last(), apart);
            }
            assert_eq!(apart.changes(at_ms), at_ms - NOW_MS);
        }
        assert!(room.facts("known").await.version > 0);
    })
    .await;
}

#[tokio::test]
async fn what_the_database_took_though_its_answer_was_lost_is_recorded_once() {
    on_each_database(async |room| {
        // One memory hears what the database answers, the other does not.
        let (told, waiting) = (SwitchMemory::default(), SwitchMemory::default());
        let on = |reason: &str| Switching::On(reason.into(), 3_600);
        let switchings = [on("a"), on("b"), Switching::Off, Switching::Off];
        for (switching, at_ms) in switchings.into_iter().zip(NOW_MS..) {
            let name = SwitchName::Bypass;
            switch(&room.database, &told, name, switching.clone(), at_ms).await.unwrap();
            waiting.switch_unrecorded(name, switching, at_ms);
        }
        let before = said(room).await;
        while let Some((name, switching, at_ms)) = waiting.first_unrecorded() {
            switch_late(&room.database, &waiting, name, switching, at_ms).await.unwrap();
            waiting.recorded();
        }
        assert_eq!(said(room).await, before);
        assert_eq!((waiting.last(), waiting.last().changes(NOW_MS)), (told.last(), 3));
    })
    .await;
}

#[tokio::test]
async fn an_off_is_the_last_word_also_over_an_on_that_is_told_of_later() {
    on_each_database(async |room| {
        let memory = SwitchMemory::default();
        let name = SwitchName::Bypass;
        switch(&room.database, &memory, name, Switching::Off, NOW_MS + 5_000).await.unwrap();
        // Said first, where the database took nothing.
        let on = Switching::On("a test".into(), 3_600);
        switch_late(&room.database, &memory, name, on, NOW_MS).await.unwrap();
        let mut said: Vec<String> = said(room).await.into_iter().map(|(action, _)| action).collect();
        said.sort();
        assert_eq!(said, ["emergency.switched_off_again", "emergency.switched_on_too_late"]);
    })
    .await;
}

/// The instants and details of the entries that say that a switch has ended by itself.
async fn ended(room: &Room) -> Vec<(i64, Value)> {
    let filter = AuditFilter { action: Some("emergency.ended".to_owned()), ..AuditFilter::default() };
    let page = list(&room.database, &room.care.keys, &filter, None, 100).await.unwrap();
    page.items.into_iter().map(|entry| (entry.at_ms, entry.after.unwrap())).collect()
}

#[tokio::test]
async fn a_switch_that_ends_by_itself_is_audited_once_however_many_look_and_however_often() {
    on_each_database(async |room| {
        let (memory, name, until_ms) = (SwitchMemory::default(), SwitchName::GlobalBypass, NOW_MS + 60_000);
        let on = |seconds| Switching::On("a test".into(), seconds);
        switch(&room.database, &memory, name, on(60), NOW_MS).await.unwrap();
        assert_eq!(audit_ended(&room.database, until_ms - 1).await.unwrap(), []);
        assert_eq!(ended(room).await, []);
        let look = || audit_ended(&room.database, until_ms + 5_000);
        let (one, other) = tokio::join!(look(), look());
        assert_eq!((one.unwrap(), other.unwrap()), (vec![(name, until_ms)], vec![(name, until_ms)]));
        let state = json!({ "on": false, "since_ms": NOW_MS, "until_ms": until_ms });
        assert_eq!(ended(room).await, [(until_ms, state.clone())]);

        // What is switched on again before anybody looks had ended all the same; what was switched off, had not.
        switch(&room.database, &memory, name, on(60), until_ms + 6_000).await.unwrap();
        assert_eq!(ended(room).await.len(), 1);
        switch(&room.database, &memory, name, on(60), until_ms + 66_000).await.unwrap();
        switch(&room.database, &memory, name, Switching::Off, until_ms + 67_000).await.unwrap();
        switch(&room.database, &memory, name, on(60), until_ms + 68_000).await.unwrap();
        assert_eq!(ended(room).await.first().unwrap().0, until_ms + 66_000);
        look().await.unwrap();
        assert_eq!(ended(room).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_switch_that_ended_long_before_a_process_began_is_nothing_to_tell() {
    on_each_database(async |room| {
        let on = Switching::On("a test".into(), 60);
        switch(&room.database, &SwitchMemory::default(), SwitchName::Bypass, on, NOW_MS).await.unwrap();
        assert_eq!(audit_ended(&room.database, NOW_MS + 31 * DAY_MS).await.unwrap(), []);
        assert_eq!(ended(room).await, []);
    })
    .await;
}
