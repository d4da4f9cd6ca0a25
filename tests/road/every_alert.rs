//! Every rule of the table, seen firing and over by real receivers that have their moods, while whoever keeps alerts is
//! killed where it hurts most. Nobody hears of anything twice, and nobody hears of nothing.

use std::collections::BTreeMap;

use chrono::DateTime;
use keepwell_jobs::alerts::{
    rule::{Rule, Severity, When},
    rules::RULES,
};
use keepwell_workers::database::Dialect;

use super::{figures::figures, on_call::OnCall, watchman::Watchman};
use crate::support::{
    eventually,
    gateway::{Gateway, Manner},
};

/// The table in so many parts, each beside the others: PagerDuty takes two events a second.
const PARTS: usize = 4;

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const STEP_MS: i64 = 5 * MINUTE_MS;

/// A night on call.
struct Night {
    on_call: OnCall,
    watchman: Watchman,
    rules: Vec<&'static Rule>,
    /// What has been counted since the process began.
    counted: f64,
}

impl Night {
    async fn begin(dialect: Dialect, part: usize) -> Self {
        let rules: Vec<&Rule> = RULES.into_iter().skip(part).step_by(PARTS).collect();
        let on_call = OnCall::start().await;
        let settings = [
            // Somebody is awake: nothing is escalated or repeated tonight.
            ("KEEPWELL_ALERTS__ESCALATE_AFTER_MINUTES", "1440"),
            ("KEEPWELL_ALERTS__REPEAT_MINUTES", "1440"),
            ("KEEPWELL_ALERTS__TIMEOUT_MS", "30000"),
        ];
        let begin_ms = at("2027-03-01T06:30:00Z");
        let watchman = Watchman::with(dialect, &on_call, &rules, &settings, begin_ms).await;
        Self { on_call, watchman, rules, counted: 0.0 }
    }

    /// It looks, `later_ms` later, and everything is wrong.
    async fn is_wrong(&mut self, later_ms: i64) {
        self.counted += 1_000.0;
        let told = self.rules.iter().filter(|rule| matches!(rule.when, When::Told { .. }));
        let told: Vec<&str> = told.map(|rule| rule.name).collect();
        self.watchman.looks(later_ms, &figures(&self.rules, true, self.counted), &told).await;
    }

    /// It looks, `later_ms` later, and all is well.
    async fn is_well(&mut self, later_ms: i64) {
        self.watchman.looks(later_ms, &figures(&self.rules, false, self.counted), &[]).await;
    }

    /// It is wrong, looked at again and again, until `time`.
    async fn is_wrong_until(&mut self, time: &str) {
        while self.watchman.now_ms < at(time) {
            self.is_wrong(STEP_MS.min(at(time) - self.watchman.now_ms)).await;
        }
    }

    async fn begin_again(&mut self, later_ms: i64) {
        self.counted = 0.0;
        self.watchman.begin_again(later_ms).await;
    }

    /// `kill -9` while receivers hold or refuse what they are told, so that none has heard it.
    async fn is_killed_before_anybody_has_heard(&mut self) {
        let before = self.on_call.heard();
        self.watchman.kill();
        for gateway in self.on_call.all() {
            eventually("its callers are gone", async || (gateway.callers().await == 0).then_some(())).await;
            gateway.let_go();
        }
        assert_eq!(self.on_call.heard(), before);
    }

    /// `kill -9` after the receiver called `name` has said that it took what it holds, and before that could be noted.
    async fn is_killed_before_it_is_noted(&mut self, name: &str, gateway: impl Fn(&OnCall) -> &Gateway) {
        const OTHERS: &str = "SELECT count(*) FROM jobs WHERE state = 'owed' AND dedupe_key NOT LIKE $1";
        let stranger = self.watchman.stranger().await;
        let its_own = format!("alert:%:{name}:%");
        let (on_call, watchman) = (&self.on_call, &mut self.watchman);
        let before = eventually("only that one has not been told", async || {
            let is_alone = stranger.counts(OTHERS, &its_own).await == 0;
            // Whatever the others have taken is among these.
            let (_, delivered) = watchman.waits().await;
            (is_alone && gateway(on_call).held() > 0).then_some(delivered)
        })
        .await;
        let hold_up = stranger.holds_writers_up(watchman.now_ms).await;
        gateway(on_call).let_go();
        eventually("it has heard that it was taken", async || {
            (watchman.waits().await.1 > before).then_some(())
        })
        .await;
        watchman.kill();
        hold_up.ends().await;
        self.begin_again(SECOND_MS).await;
    }

    /// What everybody has to hear, once each.
    fn expected(&self) -> BTreeMap<String, usize> {
        let words = |rule: &Rule| {
            let digested = ["channel open", "channel over", "webhook open", "webhook over"];
            let told = ["channel triggered", "channel resolved", "webhook triggered", "webhook resolved"];
            let paged = ["pagerduty trigger", "pagerduty resolve"];
            match rule.severity {
                Severity::Critical => [&digested[..], &told, &paged].concat(),
                Severity::Warning => [digested, told].concat(),
                Severity::Info => digested.to_vec(),
            }
        };
        // The digests are the one of the morning and the one of the next day.
        let all =
            self.rules.iter().flat_map(|rule| words(rule).into_iter().map(move |word| (word, rule.name)));
        all.map(|(word, name)| (format!("{word} {name}"), 1)).collect()
    }

    /// How long somebody waited to hear of what has just been told in time.
    fn is_told_in_time(&self) {
        for document in self.on_call.posted("alert.triggered") {
            for alert in document["data"]["alerts"].as_array().unwrap() {
                let rule = self.rules.iter().find(|rule| alert["rule"] == rule.name).unwrap();
                let waited_ms =
                    at(document["timestamp"].as_str().unwrap()) - at(alert["opened_at"].as_str().unwrap());
                let within_ms = i64::from(rule.tell_within_s) * SECOND_MS;
                // One look comes after the other.
                let late_ms = if rule.severity == Severity::Critical { 0 } else { STEP_MS };
                assert!(waited_ms <= within_ms + late_ms, "{}: {waited_ms} ms", rule.name);
            }
        }
    }
}

fn at(time: &str) -> i64 {
    DateTime::parse_from_rfc3339(time).unwrap().timestamp_millis()
}

async fn everybody_hears_of_all_of_it_once(dialect: Dialect, part: usize) {
    let mut night = Night::begin(dialect, part).await;
    night.is_well(SECOND_MS).await;
    night.watchman.has_told_all().await;

    // It begins, and the process is killed when that is decided and nobody has heard it.
    night.on_call.always(&Manner::Hangs);
    for later_ms in [MINUTE_MS, 65 * SECOND_MS, 305 * SECOND_MS] {
        night.is_wrong(later_ms).await;
    }
    eventually("everybody is about to hear", async || {
        night.on_call.all().iter().all(|gateway| gateway.held() > 0).then_some(())
    })
    .await;
    night.is_killed_before_anybody_has_heard().await;

    // Its next life finds everybody in a mood.
    let rest = || Manner::Answers(429, vec![("retry-after", "1".to_owned())]);
    let refuses = || Manner::Answers(500, vec![]);
    let moods = [refuses(), Manner::TakesAndHangsUp, Manner::HangsUp, rest(), Manner::Garbage];
    night.on_call.pagerduty.next(moods);
    night.on_call.channel.next([refuses(), rest(), Manner::Garbage]);
    night.on_call.signed.next([Manner::TakesAndHangsUp, refuses()]);
    night.begin_again(SECOND_MS).await;
    night.is_wrong(MINUTE_MS).await;
    night.watchman.has_told_all().await;
    for rule in night.rules.iter().filter(|rule| rule.severity == Severity::Critical) {
        for told in ["pagerduty trigger", "channel triggered", "webhook triggered"] {
            assert!(
                night.on_call.heard().contains_key(&format!("{told} {}", rule.name)),
                "{told} {}",
                rule.name
            );
        }
    }

    // Warnings are told within the hour; the process is killed when the webhook has them and nobody knows.
    night.on_call.signed.always(Manner::Hangs);
    night.is_wrong_until("2027-03-01T07:45:00Z").await;
    night.is_killed_before_it_is_noted("webhook", |on_call| &on_call.signed).await;
    let signed = &night.on_call.signed;
    let key = signed.taken().last().unwrap().key.clone();
    night.watchman.has_told_all().await;
    let asked = signed.asked().into_iter().filter(|asked| *asked == key).count();
    assert_eq!(asked, 2, "it was told again under the same key");
    night.is_told_in_time();

    // The morning's digest is decided on, and the process killed before anybody has it.
    for gateway in [&night.on_call.channel, &night.on_call.signed] {
        gateway.always(Manner::Answers(503, vec![]));
    }
    let asked = night.on_call.all().map(|gateway| gateway.asked().len());
    night.is_wrong_until("2027-03-01T08:00:10Z").await;
    eventually("both were asked", async || {
        let now = night.on_call.all().map(|gateway| gateway.asked().len());
        (now[1] > asked[1] && now[2] > asked[2]).then_some(())
    })
    .await;
    night.is_killed_before_anybody_has_heard().await;

    // All is well in its next life; killed when PagerDuty has heard that it is over.
    night.on_call.pagerduty.always(Manner::Hangs);
    night.begin_again(SECOND_MS).await;
    for later_ms in [SECOND_MS, MINUTE_MS, MINUTE_MS] {
        night.is_well(later_ms).await;
    }
    night.is_killed_before_it_is_noted("pagerduty", |on_call| &on_call.pagerduty).await;
    for _ in 0..70 {
        night.is_well(MINUTE_MS).await;
    }
    night.watchman.has_told_all().await;

    // Nobody was there when the next day's digest was due; the one after it has nothing to tell.
    night.watchman.kill();
    night.begin_again(at("2027-03-02T15:00:00Z") - night.watchman.now_ms).await;
    night.is_well(SECOND_MS).await;
    night.is_well(at("2027-03-03T08:00:00Z") - night.watchman.now_ms).await;
    night.watchman.has_told_all().await;

    assert_eq!(night.on_call.heard(), night.expected());
    assert_eq!(night.on_call.said("keepwell: nothing has gone wrong"), 2, "the first digest and the last");
    let pages = night.on_call.pages();
    let again = pages.iter().any(|((action, _), count)| action == "resolve" && *count == 2);
    assert!(again, "PagerDuty was told again, and knew it by its key: {pages:?}");
    let undone = "SELECT count(*) FROM jobs WHERE state <> 'done' AND kind <> $1";
    let undone = night.watchman.stranger().await.counts(undone, "").await;
    assert_eq!(undone, 0, "nothing was given up on or called off");
}

#[tokio::test]
async fn the_first_quarter_of_the_rules_is_heard_once_over_kills_and_moods() {
    everybody_hears_of_all_of_it_once(Dialect::Sqlite, 0).await;
}

#[tokio::test]
async fn the_second_quarter_of_the_rules_is_heard_once_over_kills_and_moods() {
    everybody_hears_of_all_of_it_once(Dialect::Sqlite, 1).await;
}

#[tokio::test]
async fn the_third_quarter_of_the_rules_is_heard_once_over_kills_and_moods() {
    everybody_hears_of_all_of_it_once(Dialect::Sqlite, 2).await;
}

#[tokio::test]
async fn the_last_quarter_of_the_rules_is_heard_once_over_kills_and_moods() {
    everybody_hears_of_all_of_it_once(Dialect::Sqlite, 3).await;
}

#[tokio::test]
async fn the_first_quarter_of_the_rules_is_heard_once_from_postgresql_too() {
    everybody_hears_of_all_of_it_once(Dialect::Postgres, 0).await;
}

#[tokio::test]
async fn a_channel_hears_again_what_nobody_could_note_that_it_has_taken_and_nothing_else() {
    let mut night = Night::begin(Dialect::Sqlite, 0).await;
    night.is_well(SECOND_MS).await;
    night.watchman.has_told_all().await;
    night.on_call.channel.always(Manner::Hangs);
    for later_ms in [MINUTE_MS, 65 * SECOND_MS, 305 * SECOND_MS] {
        night.is_wrong(later_ms).await;
    }
    night.is_killed_before_it_is_noted("slack", |on_call| &on_call.channel).await;
    night.watchman.has_told_all().await;
    let mut messages: BTreeMap<String, usize> = BTreeMap::new();
    for notice in night.on_call.channel.taken() {
        *messages.entry(notice.document.to_string()).or_insert(0) += 1;
    }
    let mut counts: Vec<usize> = messages.into_values().collect();
    counts.sort_unstable();
    assert_eq!((counts.pop(), counts.pop()), (Some(2), Some(1)), "one message, twice");
    let heard = night.on_call.heard();
    let others = heard.iter().filter(|(what, _)| !what.starts_with("channel "));
    assert!(others.clone().count() > 0 && others.into_iter().all(|(_, count)| *count == 1), "{heard:?}");
}
