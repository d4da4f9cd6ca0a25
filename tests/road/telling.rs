//! Words reach people and their emergency contacts through a gateway, whatever the gateway and the daemon go through.

use std::{collections::HashSet, fs};

use keepwell_jobs::store::contact_number;
use serde_json::{Value, json};

use super::{access, app, event, on_both, signal, stripe, taken};
use crate::support::{
    daemon::{Daemon, keepwell},
    eventually,
    gateway::{GATEWAY_TOKEN, Gateway, Manner},
};

fn settings(gateway: &Gateway) -> Vec<(&'static str, String)> {
    vec![
        ("KEEPWELL_NOTIFY__URL", gateway.url()),
        ("KEEPWELL_NOTIFY__TOKEN", GATEWAY_TOKEN.to_owned()),
        ("KEEPWELL_NOTIFY__TIMEOUT_MS", "20000".to_owned()),
    ]
}

/// Has `customer` agree to two contacts being told of any crisis.
async fn agree(daemon: &Daemon, customer: &str) {
    let contact = |id: &str| json!({ "id": id, "phone": format!("+1 {id}"), "consent_to_contact": true });
    let contacts = json!({
        "automatic_notification": true,
        "crisis_level_triggers": ["moderate"],
        "contacts": [contact("555-0001"), contact("555-0002")],
    });
    app(daemon, &signal("contacts.updated", customer, contacts)).await;
    app(daemon, &signal("consent.updated", customer, json!({ "crisis_contact_consent": true }))).await;
}

fn pressed(customer: &str) -> Value {
    signal("crisis.signal", customer, json!({ "source": "button", "severity": "high" }))
}

fn documents(gateway: &Gateway, kind: &str) -> Vec<Value> {
    let taken = gateway.taken().into_iter().map(|notice| notice.document);
    taken.filter(|document| document["kind"] == kind).collect()
}

#[tokio::test]
async fn a_crisis_reaches_its_contacts_and_a_failed_payment_the_person_once_each() {
    let gateway = Gateway::start().await;
    let settings = settings(&gateway);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    on_both(&settings, async |daemon| {
        let before = gateway.taken().len();
        agree(daemon, "cus_told").await;
        // The first attempts fail in ways that pass.
        gateway.next([Manner::HangsUp, Manner::Answers(503, vec![("retry-after", "0".to_owned())])]);
        app(daemon, &pressed("cus_told")).await;
        let failed = event::Event::of(event::SHAPES[1], "invoice.payment_failed", "owing");
        stripe(daemon, &failed).await;
        eventually("four are told", async || (gateway.taken().len() == before + 4).then_some(())).await;
        super::nothing_owed(daemon).await;
        let keys: HashSet<_> = gateway.taken().into_iter().map(|notice| notice.key).collect();
        assert_eq!(keys.len(), before + 4);
        let page = daemon.operator().get("/api/v1/jobs?kind=care.contact_told").await.json();
        assert_eq!(page["total"], 2, "{page:#}");
        // What operators see names neither a contact nor what was said.
        assert!(!page.to_string().contains("555-000") && !daemon.log().contains("555-000"));
        // What was done in the person's name is said, and not who was in a crisis.
        let said: Vec<String> = daemon
            .log()
            .lines()
            .filter(|line| line.contains("contact.notified"))
            .map(str::to_owned)
            .collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said.iter().all(|line| line.contains("keepwell::audit") && !line.contains("cus_told")),
            "{said:?}"
        );
        // Nor is there a number that anybody can compute who knows the customer's id.
        let number = format!("{:016x}", contact_number("cus_told", "555-0001"));
        assert!(!daemon.log().contains(&number), "{said:?}");
        let counts = daemon.operator().get("/api/v1/contacts").await.json();
        let expected = json!({ "later": 0, "queued": 0, "notified": 2, "perhaps_told": 0, "skipped": {} });
        assert_eq!(counts, expected);
    })
    .await;
    let about: Vec<Value> =
        documents(&gateway, "message").iter().map(|document| document["about"].clone()).collect();
    assert_eq!(about.iter().filter(|about| *about == "crisis_active").count(), 2, "{about:?}");
    assert_eq!(about.iter().filter(|about| *about == "payment_failure").count(), 2, "{about:?}");
}

#[tokio::test]
async fn a_contact_whose_job_is_dead_counts_as_not_told_at_once() {
    let gateway = Gateway::start().await;
    gateway.always(Manner::Answers(422, Vec::new()));
    let settings = settings(&gateway);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let daemon = Daemon::start_with(&settings).await;
    agree(&daemon, "cus_refused").await;
    app(&daemon, &pressed("cus_refused")).await;
    let expected = json!({
        "later": 0, "queued": 0, "notified": 0, "perhaps_told": 0, "skipped": { "not_delivered": 2 },
    });
    eventually("both count as not told", async || {
        (daemon.operator().get("/api/v1/contacts").await.json() == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_contact_whose_job_is_cancelled_counts_as_not_told_at_once() {
    let gateway = Gateway::start().await;
    gateway.always(Manner::Answers(503, vec![("retry-after", "60".to_owned())]));
    let settings = settings(&gateway);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let daemon = Daemon::start_with(&settings).await;
    agree(&daemon, "cus_cancelled").await;
    app(&daemon, &pressed("cus_cancelled")).await;
    let contacts = async || daemon.operator().get("/api/v1/contacts").await.json();
    eventually("both are about to be told, and wait", async || {
        let asked: HashSet<_> = gateway.asked().into_iter().collect();
        (asked.len() >= 2 && contacts().await["queued"] == 2).then_some(())
    })
    .await;
    let cancel = ["job", "cancel", "--all-matching", "--kind", "care.contact_told", "--yes", "--override"];
    eventually("both are cancelled", async || {
        daemon.says(&cancel).done();
        let cancelled = "/api/v1/jobs?kind=care.contact_told&state=cancelled";
        (daemon.operator().get(cancelled).await.json()["total"] == 2).then_some(())
    })
    .await;
    let expected = json!({ "not_delivered": 2 });
    eventually("both count as not told", async || {
        let counts = contacts().await;
        (counts["queued"] == 0 && counts["skipped"] == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_hangs_holds_up_no_crisis() {
    let gateway = Gateway::start().await;
    gateway.always(Manner::Hangs);
    let mut settings = settings(&gateway);
    settings
        .extend([("KEEPWELL_POOL__SLOTS", "6".to_owned()), ("KEEPWELL_POOL__CRISIS_SLOTS", "2".to_owned())]);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let daemon = Daemon::start_with(&settings).await;
    for number in 0..3 {
        let customer = format!("cus_{number}");
        agree(&daemon, &customer).await;
        app(&daemon, &pressed(&customer)).await;
    }
    eventually("the gateway hangs", async || (gateway.held() > 0).then_some(())).await;
    app(&daemon, &pressed("cus_late")).await;
    assert_eq!(access(&daemon, "cus_late").await["crisis"]["active"], true);
    // It still hangs, and no more hang than there are places: one for contacts, one for messages.
    assert!(gateway.taken().is_empty() && (1..=2).contains(&gateway.held()), "{}", gateway.held());
    gateway.let_go();
    eventually("all contacts are told", async || {
        (documents(&gateway, "emergency_contact").len() == 6).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_contact_is_told_once_although_the_daemon_was_killed_meanwhile() {
    let gateway = Gateway::start().await;
    let settings = settings(&gateway);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut daemon = Daemon::start_with(&settings).await;
    agree(&daemon, "cus_killed").await;
    gateway.always(Manner::Hangs);
    taken(daemon.app("msg_killed", &pressed("cus_killed")).await);
    eventually("a contact is about to be told", async || (gateway.held() > 0).then_some(())).await;
    daemon.kill();
    gateway.let_go();
    daemon.start_again().await;
    eventually("all contacts are told", async || {
        (documents(&gateway, "emergency_contact").len() == 2).then_some(())
    })
    .await;
    super::nothing_owed(&daemon).await;
    // Asked more than once, told once: two contacts and the person.
    let asked: HashSet<_> = gateway.asked().into_iter().collect();
    assert_eq!((asked.len(), gateway.taken().len()), (3, 3));
}

#[tokio::test]
async fn a_daemon_without_a_gateway_says_so_and_tells_nobody() {
    let daemon = Daemon::start().await;
    assert!(daemon.log().contains("no notification gateway is configured"), "{}", daemon.log());
    agree(&daemon, "cus_silent").await;
    app(&daemon, &pressed("cus_silent")).await;
    super::nothing_owed(&daemon).await;
    let page = daemon.operator().get("/api/v1/jobs?q=care").await.json().to_string();
    assert!(page.contains("care.contacts_due") && !page.contains("care.contact_told"), "{page}");
    let half =
        keepwell(&[("KEEPWELL_NOTIFY__URL", "https://gateway.example")], daemon.state_dir(), &["check"]);
    let said = String::from_utf8_lossy(&half.stderr);
    assert!(!half.status.success() && said.contains("notify.token"), "{said}");
}

#[tokio::test]
async fn texts_and_lines_of_ones_own_are_told_and_bad_ones_are_refused() {
    let own = tempfile::tempdir().expect("a directory");
    let write = |file: &str, text: &str| {
        let path = own.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    write(
        "texts/fr/messages.toml",
        "[messages.crisis_active]\ntitle = \"Courage\"\nbody = \"{reach}, {chat}.\"",
    );
    write("texts/notes/readme.txt", "no language");
    write("lines.toml", "[FR]\nhotline = \"15\"\nchat_url = \"https://fr.example\"\nlanguages = [\"fr\"]");
    let path = |file: &str| own.path().join(file).display().to_string();
    let (texts, lines) = (path("texts"), path("lines.toml"));
    let settings =
        [("KEEPWELL_CARE__MESSAGES_DIR", &*texts), ("KEEPWELL_CRISIS_RESOURCES__LINES_FILE", &*lines)];
    let daemon = Daemon::start_with(&settings).await;
    let device = json!({ "device": "dev_1", "platform": "web", "locale": "fr-FR" });
    app(&daemon, &signal("device.registered", "cus_fr", device)).await;
    app(&daemon, &pressed("cus_fr")).await;
    let message = &access(&daemon, "cus_fr").await["message"];
    assert_eq!((&message["title"], &message["body"]), (&"Courage".into(), &"Call 15, fr.example.".into()));
    let told = daemon.public().get("/v1/crisis-resources?country=FR").await.json();
    assert_eq!((&told["hotline"], &told["text"]), (&"15".into(), &"".into()));

    let check = || {
        let output = keepwell(&settings, daemon.state_dir(), &["check"]);
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (good, said) = check();
    assert!(good && said.contains("in de, en, fr; crisis lines of 1 countries"), "{said}");
    let pressing = "[messages.contact_minimal]\ntitle = \"Call now\"\nbody = \"You must call. {reach}.\"";
    write("texts/en/messages.toml", pressing);
    let talk = keepwell(&settings, daemon.state_dir(), &["check"]).stderr;
    let talk = String::from_utf8_lossy(&talk);
    assert!(
        talk.contains("warning: the messages of `en`: contact_minimal presses somebody: it says `must`"),
        "{talk}"
    );
    write("texts/en/messages.toml", "");
    write("texts/fr/messages.toml", "[messages.crisis_active]\ntitle = \"Courage\"\nbody = \"Tenez bon.\"");
    let (good, said) = check();
    assert!(!good && said.contains("crisis_active does not name the crisis line"), "{said}");
    write("texts/fr/messages.toml", "");
    write("lines.toml", "[FR]\nhotline = \"\"\nchat_url = \"https://fr.example\"");
    let (good, said) = check();
    assert!(!good && said.contains("empty hotline"), "{said}");
}
