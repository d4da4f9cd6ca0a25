//! What becomes of a verified event, and what its sender is told.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use serde_json::{Value, json};

use super::rig::{NOW_S, Rig, STRIPE, crisis_signal, post, signed, stripe_event};
use crate::receiver::{refusal::Refusal, source::Source};

fn stripe(event: &Value, headers: &str) -> Vec<u8> {
    let body = event.to_string();
    post(STRIPE, &format!("{}{headers}", signed(body.as_bytes())), body.as_bytes())
}

fn body_of(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn the_answer_names_the_event_and_its_job() {
    let rig = Rig::start().await;
    let first = rig.send_for_text(&stripe_event("evt_1")).await;
    assert!(first.contains("\r\ncontent-type: application/json\r\n"), "{first}");
    let first = body_of(&first);
    let job = first["job"].as_str().unwrap().to_owned();
    assert_eq!(first, json!({"received": true, "id": "evt_1", "duplicate": false, "job": job}));
    let again = body_of(&rig.send_for_text(&stripe_event("evt_1")).await);
    assert_eq!(again, json!({"received": true, "id": "evt_1", "duplicate": true, "job": job}));
    assert_eq!(body_of(&rig.send_for_text(&crisis_signal("msg_1")).await)["id"], "msg_1");
    rig.stop().await;
}

#[tokio::test]
async fn a_refusal_is_a_problem_document() {
    let rig = Rig::start().await;
    let answer = rig.send_for_text(format!("GET {STRIPE} HTTP/1.1\r\n\r\n").as_bytes()).await;
    assert!(answer.contains("\r\ncontent-type: application/problem+json\r\n"), "{answer}");
    assert!(answer.contains("\r\nallow: post\r\n"), "{answer}");
    let problem = body_of(&answer);
    assert_eq!(
        (problem["status"].as_u64(), problem["code"].as_str()),
        (Some(405), Some("method_not_allowed"))
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_sender_is_asked_to_come_again_only_when_nothing_was_recorded() {
    let rig = Rig::with_limits(|limits| limits.record_ms = 30).await;
    rig.door.fails.store(true, SeqCst);
    let answer = rig.send_for_text(&stripe_event("evt_1")).await;
    assert!(answer.starts_with("http/1.1 503") && answer.contains("\r\nretry-after: 7\r\n"), "{answer}");
    assert_eq!(body_of(&answer)["code"], "not_recorded");
    assert!(!answer.contains("disk"), "the outside is not told what is wrong inside");
    rig.door.fails.store(false, SeqCst);

    rig.door.shut();
    let answer = rig.send_for_text(&stripe_event("evt_1")).await;
    assert!(answer.starts_with("http/1.1 503") && answer.contains("\r\nretry-after: 5\r\n"), "{answer}");
    rig.door.open.add_permits(10);

    let panics = stripe(&json!({"id": "evt_2", "type": "panic"}), "");
    assert_eq!(rig.send(&panics).await, "503 not_recorded");
    assert_eq!(rig.send(&stripe_event("evt_1")).await, "200 new");
    assert_eq!(rig.stats.blocked(Refusal::NotRecorded), 3);
    assert_eq!(rig.stats.in_flight.get(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn an_event_whose_sender_hangs_up_is_recorded_all_the_same() {
    let rig = Rig::start().await;
    rig.door.shut();
    let (mut arrived, mut recorded) = (rig.door.arrived.subscribe(), rig.door.recorded.subscribe());
    let mut line = rig.connect().await;
    line.write(&crisis_signal("msg_1")).await;
    arrived.wait_for(|arrived| *arrived == 1).await.unwrap();
    line.stream.set_zero_linger().unwrap();
    drop(line);
    rig.door.open.add_permits(1);
    recorded.wait_for(|recorded| *recorded == 1).await.unwrap();
    assert!(rig.door.job("msg_1").is_some());
    rig.stop().await;
}

#[tokio::test]
async fn an_event_of_another_mode_or_account_is_recorded_and_set_aside() {
    let rig = Rig::with(|options| {
        let secrets = (*options.sources[0].secrets()).clone();
        let mut source = Source::stripe(STRIPE, secrets);
        (source.livemode, source.account) = (Some(true), Some("acct_1".into()));
        options.sources = vec![Arc::new(source)];
    })
    .await;
    let event = |id: &str, more: Value| {
        let mut event = json!({"id": id, "type": "x"});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stripe(&event, "")
    };
    for (id, more, kind) in [
        ("evt_ours", json!({"livemode": true, "account": "acct_1"}), "event"),
        ("evt_test", json!({"livemode": false, "account": "acct_1"}), "set_aside"),
        ("evt_other", json!({"livemode": true, "account": "acct_2"}), "set_aside"),
        ("evt_none", json!({"livemode": true}), "set_aside"),
        ("evt_silent", json!({"account": "acct_1"}), "event"),
    ] {
        assert_eq!(rig.send(&event(id, more)).await, "200 new", "{id}");
        assert_eq!(&*rig.door.job(id).unwrap().kind, kind, "{id}");
    }
    assert_eq!((rig.stats.recorded.get(), rig.stats.set_aside.get()), (5, 3));
    rig.stop().await;
}

#[tokio::test]
async fn the_trace_context_of_the_request_travels_with_the_job() {
    let rig = Rig::start().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (id, header, expected) in [
        ("evt_1", format!("traceparent: {trace}\r\n"), Some(trace)),
        ("evt_2", "traceparent: nonsense\r\n".into(), None),
        ("evt_3", String::new(), None),
    ] {
        assert_eq!(rig.send(&stripe(&json!({"id": id, "type": "x"}), &header)).await, "200 new");
        assert_eq!(rig.door.job(id).unwrap().trace.as_deref(), expected, "{id}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn everything_that_happens_is_counted() {
    let rig = Rig::start().await;
    rig.send(&stripe_event("evt_1")).await;
    rig.send(&stripe_event("evt_1")).await;
    rig.send(&stripe(&json!({"id": "evt_2", "type": "nobody.cares"}), "")).await;
    rig.send(&post(STRIPE, &signed(b"[]"), b"[]")).await;
    rig.clock.advance_ms(1);
    rig.send(&post(STRIPE, "", b"{}")).await;
    let stats = &rig.stats;
    assert_eq!((stats.requests.get(), stats.valid.get()), (5, 4));
    assert_eq!((stats.recorded.get(), stats.duplicates.get(), stats.unhandled.get()), (2, 1, 1));
    assert_eq!((stats.blocked(Refusal::BadEvent), stats.blocked(Refusal::SignatureMissing)), (1, 1));
    assert_eq!(stats.blocked_total(), 2);
    assert_eq!(stats.last_blocked(), Some((Refusal::SignatureMissing, NOW_S as i64 * 1000 + 1)));
    assert_eq!((stats.validation.count(), stats.answers.count()), (5, 3));
    rig.stop().await;
}
