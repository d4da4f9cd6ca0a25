//! The app: asks without pause what people may use and where to find help, and presses the crisis button for somebody
//! new now and then.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, StatusCode};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    history::{Answered, Canary, Probe},
    load::{Load, now_ms},
    templates::Happening,
};
use crate::support::{
    http::{Answer, Client},
    pass,
};

/// What nobody may ever be without.
const FLOOR: [&str; 8] = [
    "crisis_button",
    "hotline_988",
    "emergency_contacts",
    "safety_plan",
    "breathing_exercises",
    "phq9_assessment",
    "gad7_assessment",
    "basic_check_in",
];

/// How long a question may take before it counts as unanswered. Far more than any app would wait: the machine is busy.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two questions to one daemon, and between two presses of the button.
const ASK_EVERY: Duration = Duration::from_millis(15);
const PRESS_EVERY: Duration = Duration::from_millis(200);

/// How long the access document is watched for a crisis to appear, and how often it is looked at.
const WATCHED: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// Asks the daemon numbered `daemon` about some of `people` until `end`.
pub async fn ask(
    daemon: usize,
    reader: Client,
    people: usize,
    mut random: StdRng,
    probes: Arc<Mutex<Vec<Probe>>>,
    end: CancellationToken,
) {
    let mut beats = interval(ASK_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !end.is_cancelled() {
        beats.tick().await;
        let customer =
            (random.random_range(0..8) > 0).then(|| format!("cus_{}", random.random_range(0..people)));
        let path = match &customer {
            Some(customer) => format!("/v1/customers/{customer}/access"),
            None => "/v1/crisis-resources".to_owned(),
        };
        let asked_ms = now_ms();
        let call = reader.try_call(Method::GET, &path, &[], Bytes::new());
        let answered = match timeout(ANSWER_TIMEOUT, call).await {
            Ok(Ok(answer)) => judge(&answer, customer.is_some()),
            _ => Answered::Nothing,
        };
        let probe = Probe { daemon, customer, asked_ms, answered_ms: now_ms(), answered };
        probes.lock().expect("nobody panicked with it").push(probe);
    }
}

fn judge(answer: &Answer, about_somebody: bool) -> Answered {
    let wrong = || Answered::Wrong(format!("{}: {}", answer.status, answer.text()));
    if answer.status != StatusCode::OK {
        return wrong();
    }
    let Ok(document) = serde_json::from_slice::<Value>(&answer.body) else { return wrong() };
    if !about_somebody {
        return if document["hotline"] == "988" { Answered::Floor } else { wrong() };
    }
    let enabled = document["features"]["enabled"].as_array();
    let has = |feature: &&str| enabled.is_some_and(|enabled| enabled.iter().any(|one| one == feature));
    if !FLOOR.iter().all(has) || document["crisis_resources"]["hotline"] != "988" {
        return wrong();
    }
    match document["version"].as_i64() {
        _ if answer.header("keepwell-fallback") == "floor" => Answered::Floor,
        Some(version) => Answered::Person { version },
        None => wrong(),
    }
}

/// Presses the crisis button for one new person after another until `end`, and measures how long it takes until the
/// access document speaks of a crisis. Only a signal that was taken at the first attempt is measured; the others are
/// sent until they are taken.
pub async fn press(
    load: Arc<Load>,
    readers: Vec<Client>,
    mut random: StdRng,
    canaries: Arc<Mutex<Vec<Canary>>>,
    end: CancellationToken,
) {
    let mut beats = interval(PRESS_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stragglers = JoinSet::new();
    for number in 0_u64.. {
        beats.tick().await;
        if end.is_cancelled() {
            break;
        }
        let person = format!("canary{number}");
        let door = random.random_range(0..readers.len());
        let (made, place) = load.make(Happening::Crisis, &person);
        let (sent_ms, sent) = (now_ms(), Instant::now());
        if load.try_once(&made, place, door).await {
            if let Some(seen_after) = watch(&readers[door], &person, sent).await {
                let seen_after_ms = seen_after.as_secs_f64() * 1_000.0;
                canaries.lock().expect("nobody panicked with it").push(Canary { sent_ms, seen_after_ms });
            }
        } else {
            let (load, chance) = (Arc::clone(&load), StdRng::seed_from_u64(random.random()));
            stragglers.spawn(async move { load.insist(&made, place, chance).await });
        }
    }
    while stragglers.join_next().await.is_some() {}
}

async fn watch(reader: &Client, person: &str, sent: Instant) -> Option<Duration> {
    let path = format!("/v1/customers/cus_{person}/access");
    let watching = timeout(WATCHED, async {
        loop {
            let answer = reader.try_call(Method::GET, &path, &[], Bytes::new()).await.ok()?;
            let document: Value = serde_json::from_slice(&answer.body).ok()?;
            if document["crisis"]["active"] == true {
                return Some(sent.elapsed());
            }
            pass(LOOK_EVERY).await;
        }
    });
    // A crisis that did not show in all this time counts with that time.
    watching.await.unwrap_or(Some(WATCHED))
}
