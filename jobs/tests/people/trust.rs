//! What people entrust to the app is kept where only the key opens it.

use keepwell_workers::{database::Dialect, outcome::Outcome};

use crate::support::{NOW_MS, on_each_database, signal};

#[tokio::test]
async fn contacts_plans_and_push_tokens_are_not_readable_on_disk() {
    const SECRET: &str = "Marigold-555-0199";
    on_each_database(async |room| {
        for (signal_type, more) in [
            ("contacts.updated", r#","contacts":[{"name":"SECRET"}]"#),
            ("safety_plan.updated", r#","plan":"SECRET""#),
            ("consent.updated", r#","note":"SECRET""#),
            ("device.registered", r#","device":"phone","push":{"kind":"expo","token":"SECRET"}"#),
            ("device.removed", r#","device":"phone""#),
        ] {
            let body = signal(signal_type, "cus_1", 0, &more.replace("SECRET", SECRET));
            assert_eq!(room.app(&body).await, Outcome::Done, "{signal_type}");
        }
        assert!(room.access("cus_1", NOW_MS).await.version > 0);
        if room.database.dialect() == Dialect::Sqlite {
            let mut customer_seen = false;
            for file in room.directory.path().read_dir().unwrap().flatten() {
                let bytes = std::fs::read(file.path()).unwrap();
                let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
                assert!(!holds(SECRET), "{}", file.path().display());
                customer_seen |= holds("cus_1");
            }
            assert!(customer_seen, "the files that were searched are the database's");
        }
    })
    .await;
}
