//! Alerts on real databases, and what real receivers are told.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use keepwell_jobs::{
    alerts::{
        plan::{Habits, Move, OpenAlert, Silence, View, acknowledge, plan},
        rules,
        telling::{Action, Receiver, Telling},
        unseen::Unseen,
        watch::Seen,
    },
    outbound::alerts::{AlertDelivery, ReceiverError, ReceiverOptions},
    store::{
        alerts::{AlertChanges, Which, alerts, forget_alerts, silences},
        audit::{Actor, AuditEntry},
    },
};
use keepwell_workers::{clock::ManualClock, id::JobId, outcome::Outcome};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::support::{
    DAY_MS, NOW_MS, Room,
    gateway::{Gateway, Manner, Notice, ROUTING_KEY, Sort},
    on_each_database,
};

fn habits() -> Habits {
    Habits {
        receivers: vec![Receiver::Pagerduty, Receiver::Slack],
        repeat_ms: 60_000,
        escalate_ms: 60_000,
        quiet_ms: 1_000,
        source: "a test".to_owned(),
    }
}

fn seen() -> Vec<Seen> {
    vec![Seen { rule: &rules::CRISIS_LANE_PAUSED, cause: String::new(), value: Some(1.0), is_ripe: true }]
}

/// What follows from seeing `seen` at `now_ms`, by what `room` holds.
async fn decided(room: &Room, seen: &[Seen], now_ms: i64) -> AlertChanges {
    AlertChanges::new(moves(room, seen, now_ms).await)
}

async fn moves(room: &Room, seen: &[Seen], now_ms: i64) -> Vec<Move> {
    let open = alerts(&room.database, &Which::Open).await.unwrap();
    let silences = silences(&room.database, now_ms).await.unwrap();
    // What it does not see now it has not seen for long enough.
    let mut unseen = Unseen::new(habits().quiet_ms);
    unseen.look(seen, &open, now_ms - habits().quiet_ms);
    let (open, silences, unseen) = (&open[..], &silences[..], &unseen);
    let view = View { seen, open, silences, unseen, may_resolve: true, is_settled: true, now_ms };
    plan(&view, &habits()).moves
}

async fn only_one(room: &Room) -> OpenAlert {
    let mut open = alerts(&room.database, &Which::Open).await.unwrap();
    assert_eq!(open.len(), 1, "{open:?}");
    open.remove(0)
}

#[tokio::test]
async fn of_two_nodes_that_decide_the_same_one_does_it_and_nothing_of_the_other_is_kept() {
    on_each_database(async |room| {
        let (one, other) = (decided(room, &seen(), NOW_MS).await, decided(room, &seen(), NOW_MS).await);
        one.write_alone(&room.database, NOW_MS).await.unwrap();
        assert!(other.write_alone(&room.database, NOW_MS).await.is_err() && other.raced() && !one.raced());
        let open = only_one(room).await;
        assert_eq!((open.times_told, open.told.rule.as_str()), (1, "CrisisLanePaused"));

        // Told again, escalated and resolved: each by one of the two.
        for (now_ms, sees) in [(NOW_MS + 60_000, seen()), (NOW_MS + 90_000, vec![])] {
            let (one, other) = (decided(room, &sees, now_ms).await, decided(room, &sees, now_ms).await);
            assert!(!one.is_empty());
            one.write_alone(&room.database, now_ms).await.unwrap();
            assert!(other.write_alone(&room.database, now_ms).await.is_err() && other.raced(), "{now_ms}");
        }
        assert_eq!(alerts(&room.database, &Which::Open).await.unwrap(), []);
        let over = alerts(&room.database, &Which::Since(NOW_MS)).await.unwrap();
        assert_eq!((over[0].times_told, over[0].escalated), (2, true));
        assert_eq!(over[0].told.resolved_ms, Some(NOW_MS + 90_000));
        // The same may open again.
        decided(room, &seen(), NOW_MS + 91_000).await.write_alone(&room.database, NOW_MS).await.unwrap();
        assert_ne!(only_one(room).await.told.id, over[0].told.id);
        forget_alerts(&room.database, NOW_MS + 200 * DAY_MS).await.unwrap();
        assert_eq!(alerts(&room.database, &Which::Since(0)).await.unwrap().len(), 1, "what is open is kept");
    })
    .await;
}

#[tokio::test]
async fn an_acknowledgement_and_a_silence_hold_for_every_node() {
    on_each_database(async |room| {
        decided(room, &seen(), NOW_MS).await.write_alone(&room.database, NOW_MS).await.unwrap();
        let open = only_one(room).await;
        let entry = AuditEntry {
            at_ms: NOW_MS,
            actor: Actor::Operator { name: "kim".to_owned() },
            action: "alert.acknowledged",
            subject: None,
            reason: String::new(),
            before: None,
            after: None,
        };
        let steps = acknowledge(&open, "kim", &habits(), NOW_MS + 1).moves;
        let acknowledged = AlertChanges::new(steps.clone()).noting(vec![entry]);
        acknowledged.write_alone(&room.database, NOW_MS + 1).await.unwrap();
        let again = AlertChanges::new(steps);
        assert!(again.write_alone(&room.database, NOW_MS + 2).await.is_err() && again.raced());
        let open = only_one(room).await;
        assert_eq!(
            (open.acknowledged_ms, open.told.acknowledged_by.as_deref()),
            (Some(NOW_MS + 1), Some("kim"))
        );
        let later = moves(room, &seen(), NOW_MS + 120_000).await;
        assert!(later.iter().all(|step| matches!(step, Move::Seen { .. })), "{later:?}");

        let silence = |until_ms| Silence {
            rule: "CrisisLanePaused".to_owned(),
            until_ms,
            reason: "an upgrade".to_owned(),
            by: "kim".to_owned(),
        };
        for until_ms in [NOW_MS + 10, NOW_MS + 20] {
            let changes = AlertChanges::default().silencing(silence(until_ms));
            changes.write_alone(&room.database, NOW_MS).await.unwrap();
            assert_eq!(silences(&room.database, NOW_MS).await.unwrap(), [silence(until_ms)]);
        }
        assert_eq!(silences(&room.database, NOW_MS + 20).await.unwrap(), []);
    })
    .await;
}

/// What reaches these receivers, each slow after `timeout_ms`.
fn delivery(
    room: &Room,
    pagerduty: &Gateway,
    channel: &Gateway,
    signed: &Gateway,
    timeout_ms: u64,
) -> AlertDelivery {
    let options = ReceiverOptions {
        pagerduty_url: &pagerduty.url(),
        routing_key: Some(ROUTING_KEY),
        escalation_key: None,
        slack_url: Some(&channel.url()),
        webhook: Some((&signed.url(), Zeroizing::new(vec![7; 24]))),
        timeout_ms,
        authorities: None,
    };
    AlertDelivery::new(&options, room.database.clone(), ManualClock::at(NOW_MS)).unwrap()
}

#[tokio::test]
async fn each_receiver_is_told_in_its_own_words_and_its_moods_are_borne() {
    on_each_database(async |room| {
        let (pagerduty, channel, signed) =
            tokio::join!(Gateway::of(Sort::Pagerduty), Gateway::of(Sort::Channel), Gateway::of(Sort::Signed));
        decided(room, &seen(), NOW_MS).await.write_alone(&room.database, NOW_MS).await.unwrap();
        let alert = only_one(room).await.told;
        let telling = |receiver, action| Telling {
            receiver,
            action,
            alerts: vec![alert.clone()],
            at_ms: NOW_MS,
            known_as: None,
        };
        let triggered = telling(Receiver::Pagerduty, Action::Triggered);
        // A rest that a receiver asks for holds for everything after it, so each mood meets a new life.
        let tell = async |telling: &Telling, timeout_ms| {
            let delivery = delivery(room, &pagerduty, &channel, &signed, timeout_ms);
            delivery.deliver(JobId::new(NOW_MS), telling).await
        };

        assert_eq!(tell(&triggered, 5_000).await, Ok(()));
        let event = pagerduty.taken().remove(0).document;
        assert_eq!(event["dedup_key"], format!("keepwell:{}", alert.id));
        assert_eq!(
            (&event["event_action"], &event["payload"]["severity"]),
            (&"trigger".into(), &"critical".into())
        );
        assert_eq!(tell(&telling(Receiver::Pagerduty, Action::Acknowledged), 5_000).await, Ok(()));
        assert_eq!(pagerduty.taken()[1].document["event_action"], "acknowledge");

        assert_eq!(tell(&telling(Receiver::Slack, Action::Triggered), 5_000).await, Ok(()));
        let message = channel.taken().remove(0).document;
        assert!(message["text"].as_str().unwrap().contains("CrisisLanePaused"), "{message}");
        assert!(message["blocks"].to_string().contains(&format!("keepwell alert acknowledge {}", alert.id)));
        assert_eq!(tell(&telling(Receiver::Webhook, Action::Resolved), 5_000).await, Ok(()));
        let Notice { key, document, headers, body } = signed.taken().remove(0);
        assert_eq!(document["type"], "alert.resolved");
        assert_eq!(document["data"]["alerts"][0]["id"], alert.id);
        let header = |name: &str| headers.iter().find(|(known, _)| known == name).unwrap().1.clone();
        let mut mac = Hmac::<Sha256>::new_from_slice(&[7; 24]).unwrap();
        mac.update(format!("{key}.{}.", header("webhook-timestamp")).as_bytes());
        mac.update(&body);
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        assert_eq!(header("webhook-signature"), format!("v1,{signature}"));
        assert_eq!(header("webhook-timestamp"), (NOW_MS / 1_000).to_string());

        let retry_after = |seconds: &str| vec![("retry-after", seconds.to_owned())];
        for (manner, waits) in [
            (Manner::Answers(429, retry_after("7")), Some(7)),
            (Manner::Answers(429, retry_after("86400")), Some(300)),
            (Manner::Answers(500, vec![]), None),
            (Manner::Garbage, None),
            (Manner::HangsUp, None),
            (Manner::Floods, None),
        ] {
            pagerduty.next([manner.clone()]);
            let outcome = tell(&triggered, 5_000).await;
            let Err(Outcome::Retry { error, after }) = outcome else { panic!("{manner:?}: {outcome:?}") };
            assert_eq!(after.map(|after| after.as_secs()), waits, "{manner:?}");
            assert!(error.contains("pagerduty") && !error.contains(ROUTING_KEY), "{error}");
        }
        pagerduty.next([Manner::Hangs]);
        let slow = tell(&triggered, 100).await;
        assert!(matches!(&slow, Err(Outcome::Retry { error, .. }) if error.contains("in time")), "{slow:?}");
        for (gateway, receiver, status) in [
            (&pagerduty, Receiver::Pagerduty, 400),
            (&channel, Receiver::Slack, 404),
            (&signed, Receiver::Webhook, 302),
        ] {
            gateway.next([Manner::Answers(status, vec![])]);
            let outcome = tell(&telling(receiver, Action::Acknowledged), 5_000).await;
            let Err(Outcome::Dead { error }) = outcome else { panic!("{status}: {outcome:?}") };
            assert!(error.contains(&status.to_string()) && error.contains("`alerts`"), "{error}");
            assert!(!error.contains("secret") && !error.contains("127.0.0.1"), "{error}");
        }

        let asked = pagerduty.asked().len();
        let over = decided(room, &[], NOW_MS + 5_000).await;
        over.write_alone(&room.database, NOW_MS + 5_000).await.unwrap();
        assert!(
            matches!(tell(&triggered, 5_000).await, Err(Outcome::Cancel { .. })),
            "nobody would close it"
        );
        assert_eq!(pagerduty.asked().len(), asked);
        assert_eq!(tell(&telling(Receiver::Pagerduty, Action::Resolved), 5_000).await, Ok(()));
        assert_eq!(
            tell(&telling(Receiver::Slack, Action::Triggered), 5_000).await,
            Ok(()),
            "a channel is a log"
        );
    })
    .await;
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_rest_has_it_from_everybody() {
    on_each_database(async |room| {
        let (pagerduty, channel, signed) =
            tokio::join!(Gateway::of(Sort::Pagerduty), Gateway::of(Sort::Channel), Gateway::of(Sort::Signed));
        let delivery = delivery(room, &pagerduty, &channel, &signed, 5_000);
        let (action, at_ms) = (Action::Digest, NOW_MS);
        let telling = |receiver| Telling { receiver, action, alerts: vec![], at_ms, known_as: None };
        channel.next([Manner::Answers(429, vec![("retry-after", "60".to_owned())])]);
        let first = delivery.deliver(JobId::new(NOW_MS), &telling(Receiver::Slack)).await;
        assert!(matches!(first, Err(Outcome::Retry { .. })), "{first:?}");
        let next = delivery.deliver(JobId::new(NOW_MS), &telling(Receiver::Slack)).await;
        let Err(Outcome::Snooze { after }) = next else { panic!("{next:?}") };
        assert!(after > Duration::from_secs(50), "{after:?}");
        assert_eq!(channel.asked().len(), 1);
        assert_eq!(delivery.deliver(JobId::new(NOW_MS), &telling(Receiver::Webhook)).await, Ok(()));
    })
    .await;
}

#[tokio::test]
async fn an_address_that_cannot_be_called_is_refused_without_being_shown() {
    on_each_database(async |room| {
        let options = ReceiverOptions {
            pagerduty_url: "https://events.pagerduty.com/v2/enqueue",
            routing_key: None,
            escalation_key: None,
            slack_url: Some("hooks.slack.com/services/secret"),
            webhook: None,
            timeout_ms: 1_000,
            authorities: None,
        };
        let refused = AlertDelivery::new(&options, room.database.clone(), ManualClock::at(NOW_MS));
        let error = refused.unwrap_err();
        assert!(matches!(error, ReceiverError::Address(Receiver::Slack)), "{error:?}");
        assert!(!error.to_string().contains("secret"));
    })
    .await;
}
