//! What operators say of switches is traceable, whether it changes anything or not.

use keepwell_jobs::{
    care::{
        emergency::{SwitchName, Switching},
        facts::Facts,
    },
    store::{FactsMemory, SwitchMemory, switch, switch_late, switches, switches_and_facts},
};
use keepwell_workers::{database::turn::Urgency, on_connection};

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
