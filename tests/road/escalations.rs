//! What becomes of an alert that nobody acknowledges, and of one that cannot be told at once.

use keepwell_jobs::alerts::{
    rule::Rule,
    rules::{self, RULES},
};

use super::{figures::figures, on_call::OnCall, watchman::Watchman};
use crate::support::{
    eventually,
    gateway::{ESCALATION_KEY, Manner, ROUTING_KEY},
};

/// A Monday morning, 2027-03-01T09:00:00Z.
const BEGIN_MS: i64 = 1_803_891_600_000;
pub(super) const MINUTE_MS: i64 = 60_000;

const PAUSED: [&Rule; 1] = [&rules::CRISIS_LANE_PAUSED];

/// Escalates after a quarter of an hour, and tells again after four hours, as it does by default.
pub(super) async fn watching(rules: &[&Rule], more: &[(&str, &str)]) -> (OnCall, Watchman) {
    let on_call = OnCall::start().await;
    let settings = [&[("KEEPWELL_ALERTS__ESCALATION_ROUTING_KEY", ESCALATION_KEY)], more].concat();
    let watchman = Watchman::of(&on_call, rules, &settings, BEGIN_MS).await;
    (on_call, watchman)
}

impl Watchman {
    /// Looks every five minutes at most until `minutes` after the beginning, and `rules` are broken.
    async fn sees_until(&mut self, minutes: i64, rules: &[&Rule]) {
        let until_ms = BEGIN_MS + minutes * MINUTE_MS;
        while self.now_ms < until_ms {
            let step_ms = (until_ms - self.now_ms).min(5 * MINUTE_MS);
            self.looks(step_ms, &figures(rules, true, 1.0), &[]).await;
        }
    }

    /// Looks until what is over is taken for over.
    async fn sees_that_all_is_well(&mut self, rules: &[&Rule]) {
        for _ in 0..2 {
            self.looks(MINUTE_MS, &figures(rules, false, 1.0), &[]).await;
        }
    }
}

impl OnCall {
    /// What the service of PagerDuty with this key was told, in order.
    pub(super) fn paged_by(&self, key: &str) -> Vec<String> {
        let taken = self.pagerduty.taken().into_iter().filter(|notice| notice.document["routing_key"] == key);
        taken.map(|notice| notice.document["event_action"].as_str().unwrap().to_owned()).collect()
    }

    /// What the channel was told beside digests, in order.
    pub(super) fn words(&self) -> Vec<String> {
        let taken = self.channel.taken().into_iter();
        let heads = taken.map(|notice| notice.document["text"].as_str().unwrap().to_owned());
        let heads = heads.filter(|head| !head.starts_with("keepwell: "));
        heads.map(|head| head.split(':').next().unwrap().to_owned()).collect()
    }

    /// How often the webhook was told that something is `triggered`, `escalated`, `acknowledged`, `resolved`.
    pub(super) fn documents(&self) -> [usize; 4] {
        ["triggered", "escalated", "acknowledged", "resolved"]
            .map(|action| self.posted(&format!("alert.{action}")).len())
    }
}

#[tokio::test]
async fn what_nobody_acknowledges_is_escalated_once_and_told_again_until_it_is_over() {
    let (on_call, mut watchman) = watching(&PAUSED, &[]).await;
    watchman.sees_until(1, &PAUSED).await;
    watchman.sees_until(15, &PAUSED).await;
    watchman.has_told_all().await;
    assert_eq!(on_call.paged_by(ROUTING_KEY), ["trigger"]);
    assert_eq!((on_call.paged_by(ESCALATION_KEY), on_call.documents()), (vec![], [1, 0, 0, 0]));

    watchman.sees_until(17, &PAUSED).await;
    watchman.has_told_all().await;
    assert_eq!(on_call.paged_by(ESCALATION_KEY), ["trigger"]);
    assert_eq!(on_call.words(), ["triggered", "not acknowledged by anybody"]);

    watchman.sees_until(238, &PAUSED).await;
    watchman.has_told_all().await;
    assert_eq!(on_call.documents(), [1, 1, 0, 0], "nothing more until it is to be told again");
    watchman.sees_until(243, &PAUSED).await;
    watchman.has_told_all().await;
    assert_eq!(on_call.paged_by(ROUTING_KEY), ["trigger", "trigger"]);
    assert_eq!((on_call.paged_by(ESCALATION_KEY).len(), on_call.documents()), (1, [2, 1, 0, 0]));
    let keys: Vec<_> = on_call.pages().into_keys().collect();
    assert_eq!(keys.len(), 1, "one incident: {keys:?}");

    watchman.sees_that_all_is_well(&PAUSED).await;
    watchman.has_told_all().await;
    assert_eq!(on_call.paged_by(ROUTING_KEY), ["trigger", "trigger", "resolve"]);
    assert_eq!(on_call.paged_by(ESCALATION_KEY), ["trigger", "resolve"]);
    assert_eq!(on_call.documents(), [2, 1, 0, 1]);
}

#[tokio::test]
async fn what_somebody_has_acknowledged_is_neither_escalated_nor_told_again() {
    let (on_call, mut watchman) = watching(&PAUSED, &[]).await;
    watchman.sees_until(10, &PAUSED).await;
    watchman.has_told_all().await;
    let id = on_call.posted("alert.triggered")[0]["data"]["alerts"][0]["id"].as_str().unwrap().to_owned();
    watchman.acknowledges(&id).await;
    watchman.sees_until(500, &PAUSED).await;
    watchman.sees_that_all_is_well(&PAUSED).await;
    watchman.has_told_all().await;
    assert_eq!(on_call.paged_by(ROUTING_KEY), ["trigger", "acknowledge", "resolve"]);
    assert_eq!(on_call.paged_by(ESCALATION_KEY), [""; 0]);
    assert_eq!(on_call.words(), ["triggered", "acknowledged", "resolved"]);
    assert_eq!(on_call.documents(), [1, 0, 1, 1]);
}

#[tokio::test]
async fn a_pagerduty_that_hangs_or_fails_keeps_nobody_else_from_hearing_and_hears_it_later() {
    // All are critical, and one of them is not measured.
    let rules = &RULES[..8];
    for manner in [Manner::Hangs, Manner::Answers(500, vec![])] {
        let (on_call, mut watchman) = watching(rules, &[("KEEPWELL_ALERTS__TIMEOUT_MS", "500")]).await;
        let heard = |begins: &str| on_call.heard().keys().filter(|text| text.starts_with(begins)).count();
        on_call.pagerduty.always(manner);
        watchman.sees_until(1, rules).await;
        eventually("the others have heard of everything", async || {
            watchman.waits().await;
            (heard("channel triggered") == 7 && heard("webhook triggered") == 7).then_some(())
        })
        .await;
        assert!(on_call.pagerduty.taken().is_empty());
        on_call.pagerduty.let_go();
        watchman.has_told_all().await;
        assert_eq!(heard("pagerduty trigger"), 7);
    }
}

#[tokio::test]
async fn what_is_taken_on_or_over_before_it_could_be_told_wakes_nobody_and_is_no_news() {
    let (on_call, mut watchman) = watching(&PAUSED, &[]).await;
    on_call.pagerduty.always(Manner::Answers(500, vec![]));
    watchman.sees_until(1, &PAUSED).await;
    eventually("the channel and the webhook have heard", async || {
        watchman.waits().await;
        (!on_call.words().is_empty() && on_call.documents()[0] == 1).then_some(())
    })
    .await;
    let id = on_call.posted("alert.triggered");
    let id = id[0]["data"]["alerts"][0]["id"].as_str().unwrap().to_owned();
    watchman.acknowledges(&id).await;
    on_call.pagerduty.let_go();
    watchman.has_told_all().await;
    assert_eq!(
        on_call.paged_by(ROUTING_KEY),
        ["acknowledge"],
        "nobody is woken for what somebody has taken on"
    );
    watchman.sees_that_all_is_well(&PAUSED).await;
    watchman.has_told_all().await;

    // The channel does not answer until it is over.
    let before = on_call.words().len();
    on_call.channel.always(Manner::Answers(500, vec![]));
    watchman.looks(MINUTE_MS, &figures(&PAUSED, true, 1.0), &[]).await;
    watchman.sees_that_all_is_well(&PAUSED).await;
    on_call.channel.let_go();
    watchman.has_told_all().await;
    let mut words = on_call.words().split_off(before);
    words.sort();
    assert_eq!(words, ["over by now, triggered before", "resolved"]);
}
