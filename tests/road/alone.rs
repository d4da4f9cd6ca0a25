//! What is told while nothing can be recorded, and what becomes of it when the database is back.

use std::collections::BTreeMap;

use keepwell_jobs::alerts::{rule::Rule, rules};

use super::{figures::figures, on_call::OnCall, watchman::Watchman};
use crate::support::gateway::Manner;

/// A Monday morning, 2027-03-01T09:00:00Z.
const BEGIN_MS: i64 = 1_803_891_600_000;

/// Longer than a database is waited for, in milliseconds.
const TOO_LONG_MS: i64 = 16_000;

const PAUSED: [&Rule; 1] = [&rules::CRISIS_LANE_PAUSED];
pub(super) const AWAY: &str = "ALTER TABLE alerts RENAME TO alerts_away";
pub(super) const BACK: &str = "ALTER TABLE alerts_away RENAME TO alerts";

impl Watchman {
    /// Looks until it does not wait for the database any longer, while `rules` are broken.
    async fn looks_alone(&mut self, rules: &[&Rule]) {
        for _ in 0..2 {
            self.looks(TOO_LONG_MS, &figures(rules, true, 1.0), &[]).await;
        }
    }

    async fn looks_and_tells(&mut self, rules: &[&Rule]) {
        self.looks(1_000, &figures(rules, true, 1.0), &[]).await;
        self.has_told_all().await;
    }
}

/// What became of each incident of PagerDuty's, by its key, and how often it was told.
pub(super) fn incidents(on_call: &OnCall) -> BTreeMap<String, BTreeMap<String, usize>> {
    let mut incidents: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for ((action, key), count) in on_call.pages() {
        incidents.entry(key).or_default().insert(action, count);
    }
    incidents
}

pub(super) fn id(posted: &serde_json::Value) -> String {
    posted["data"]["alerts"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn of_two_processes_that_tell_the_same_the_one_whose_alert_is_not_recorded_ends_it_where_it_was_told() {
    let on_call = OnCall::start().await;
    let mut watchman = Watchman::of(&on_call, &PAUSED, &[], BEGIN_MS).await;
    watchman.looks_and_tells(&PAUSED).await;
    let recorded = id(&on_call.posted("alert.triggered")[0]);
    // The other one has never read what this one has recorded.
    watchman.kill();
    let stranger = watchman.stranger().await;
    stranger.does(AWAY, watchman.now_ms).await;
    watchman.begin_again(1_000).await;
    watchman.looks_alone(&PAUSED).await;
    let told = on_call.posted("alert.triggered");
    assert_eq!(told.len(), 2, "{told:?}");
    let double = id(&told[1]);
    assert_ne!(double, recorded);

    stranger.does(BACK, watchman.now_ms).await;
    watchman.looks_and_tells(&PAUSED).await;
    watchman.looks_and_tells(&PAUSED).await;
    let over = |id: &str| incidents(&on_call)[&format!("keepwell:{id}")].get("resolve").copied();
    assert_eq!((over(&double), over(&recorded)), (Some(1), None));
    let ended: Vec<String> = on_call.posted("alert.resolved").iter().map(id).collect();
    assert_eq!(ended, [double.as_str()]);
    assert_eq!(on_call.said("resolved"), 0, "it is not over");

    for _ in 0..2 {
        watchman.looks(60_000, &figures(&PAUSED, false, 1.0), &[]).await;
    }
    watchman.has_told_all().await;
    assert_eq!((over(&double), over(&recorded), on_call.said("resolved")), (Some(1), Some(1), 1));
}

#[tokio::test]
async fn what_was_told_without_the_database_is_the_same_incident_in_the_next_life_and_ends_as_it() {
    let on_call = OnCall::start().await;
    let mut watchman = Watchman::of(&on_call, &PAUSED, &[], BEGIN_MS).await;
    watchman.looks_and_tells(&[]).await;
    let stranger = watchman.stranger().await;
    stranger.does(AWAY, watchman.now_ms).await;
    watchman.looks_alone(&PAUSED).await;
    let told = id(&on_call.posted("alert.triggered")[0]);
    // It begins anew, and the database is still away.
    watchman.kill();
    watchman.begin_again(1_000).await;
    watchman.looks_alone(&PAUSED).await;
    let incident = |actions: &[&str]| {
        let actions = actions.iter().map(|action| ((*action).to_owned(), 1));
        BTreeMap::from([(format!("keepwell:{told}"), actions.collect::<BTreeMap<String, usize>>())])
    };
    assert_eq!(incidents(&on_call), incident(&["trigger"]));
    assert_eq!((on_call.posted("alert.triggered").len(), on_call.said("triggered")), (1, 1));
    // And once more, when the database is back and nothing is wrong any more.
    watchman.kill();
    stranger.does(BACK, watchman.now_ms).await;
    watchman.begin_again(1_000).await;
    for _ in 0..3 {
        watchman.looks(60_000, &figures(&PAUSED, false, 1.0), &[]).await;
    }
    watchman.has_told_all().await;
    assert_eq!(incidents(&on_call), incident(&["trigger", "resolve"]));
    let ended: Vec<String> = on_call.posted("alert.resolved").iter().map(id).collect();
    assert_eq!((ended, on_call.said("resolved")), (vec![told.clone()], 1));
}

#[tokio::test]
async fn a_webhook_that_has_not_said_that_it_took_it_is_told_again_as_the_same_when_the_database_is_back() {
    let on_call = OnCall::start().await;
    let mut watchman = Watchman::of(&on_call, &PAUSED, &[], BEGIN_MS).await;
    watchman.looks_and_tells(&[]).await;
    let stranger = watchman.stranger().await;
    stranger.does(AWAY, watchman.now_ms).await;
    // The morning's digest is something else.
    let before = on_call.signed.asked().len();
    on_call.signed.next([Manner::TakesAndHangsUp, Manner::TakesAndHangsUp]);
    watchman.looks_alone(&PAUSED).await;
    let alone = on_call.signed.asked().len();
    stranger.does(BACK, watchman.now_ms).await;
    watchman.looks_and_tells(&PAUSED).await;
    let asked = on_call.signed.asked().split_off(before);
    assert!(before < alone && asked.len() > alone - before, "{asked:?}");
    assert!(asked.iter().all(|id| *id == asked[0]), "{asked:?}");
}

#[tokio::test]
async fn what_was_told_in_an_outage_and_is_over_when_the_next_life_finds_it_is_ended_and_not_escalated() {
    const HOUR_MS: i64 = 3_600_000;
    let on_call = OnCall::start().await;
    let mut watchman = Watchman::of(&on_call, &PAUSED, &[], BEGIN_MS).await;
    watchman.looks_and_tells(&[]).await;
    let stranger = watchman.stranger().await;
    stranger.does(AWAY, watchman.now_ms).await;
    watchman.looks_alone(&PAUSED).await;
    watchman.kill();
    // Much later than it would be escalated, and told again.
    stranger.does(BACK, watchman.now_ms).await;
    watchman.begin_again(5 * HOUR_MS).await;
    // For a minute it cannot know whether that is over.
    for later_ms in [1_000, 5_000, 5_000, 60_000] {
        watchman.looks(later_ms, &figures(&PAUSED, false, 1.0), &[]).await;
    }
    watchman.has_told_all().await;
    let told = ["triggered", "escalated", "resolved"].map(|it| on_call.posted(&format!("alert.{it}")).len());
    assert_eq!(told, [1, 0, 1]);
}

#[tokio::test]
async fn what_was_open_or_silenced_when_the_database_went_is_not_told_again_without_it() {
    const SILENCED: &str = "INSERT INTO alert_silences (rule, until_ms, reason, made_by) \
         VALUES ('CrisisWaiting', 9000000000000, 'a drill', 'kim')";
    let on_call = OnCall::start().await;
    let all = [&rules::CRISIS_LANE_PAUSED, &rules::CRISIS_WAITING, &rules::EMERGENCY_BYPASS_ACTIVE];
    let mut watchman = Watchman::of(&on_call, &all, &[], BEGIN_MS).await;
    let stranger = watchman.stranger().await;
    stranger.does(SILENCED, BEGIN_MS).await;
    watchman.looks_and_tells(&PAUSED).await;
    let open = id(&on_call.posted("alert.triggered")[0]);
    watchman.acknowledges(&open).await;
    watchman.has_told_all().await;

    stranger.does(AWAY, watchman.now_ms).await;
    watchman.looks_alone(&all).await;
    stranger.does(BACK, watchman.now_ms).await;
    watchman.looks_and_tells(&all).await;
    // What the outage has told was recorded just now, and is known in the one that follows at once.
    stranger.does(AWAY, watchman.now_ms).await;
    watchman.looks_alone(&all).await;
    let told = on_call.posted("alert.triggered");
    let told: Vec<&str> =
        told.iter().map(|posted| posted["data"]["alerts"][0]["rule"].as_str().unwrap()).collect();
    assert_eq!(told, ["CrisisLanePaused", "EmergencyBypassActive"]);
    assert_eq!(incidents(&on_call).len(), 2);
}

#[tokio::test]
async fn the_database_is_waited_for_a_quarter_of_a_minute_however_long_alerts_stay_open() {
    let on_call = OnCall::start().await;
    let an_hour = [("KEEPWELL_ALERTS__RESOLVE_AFTER_MS", "3600000")];
    let mut watchman = Watchman::of(&on_call, &PAUSED, &an_hour, BEGIN_MS).await;
    watchman.looks_and_tells(&[]).await;
    watchman.stranger().await.does(AWAY, BEGIN_MS).await;
    watchman.looks(1_000, &figures(&PAUSED, true, 1.0), &[]).await;
    watchman.looks(14_000, &figures(&PAUSED, true, 1.0), &[]).await;
    assert_eq!(on_call.said("triggered"), 0);
    watchman.looks(1_000, &figures(&PAUSED, true, 1.0), &[]).await;
    assert_eq!(on_call.said("triggered"), 1);
}

#[tokio::test]
async fn what_was_said_is_kept_until_it_is_recorded_though_another_was_quicker_to_tell_of_the_rest() {
    const SILENCED: &str = "INSERT INTO alert_silences (rule, until_ms, reason, made_by) \
         VALUES ('AlertTest', 9000000000000, 'a drill', 'kim')";
    const LATE: &str = "UPDATE alerts SET times_told = 0, tell_at_ms = 0";
    const CAUGHT_UP: &str = "UPDATE alerts SET times_told = 1, tell_at_ms = 9000000000000";
    const OTHERS: &str = "SELECT COUNT(*) FROM alerts WHERE rule <> $1";
    let on_call = OnCall::start().await;
    let both = [&rules::CRISIS_LANE_PAUSED, &rules::ALERT_TEST];
    let mut watchman = Watchman::of(&on_call, &both, &[], BEGIN_MS).await;
    let stranger = watchman.stranger().await;
    stranger.does(SILENCED, BEGIN_MS).await;
    watchman.looks_and_tells(&PAUSED).await;
    watchman.looks(TOO_LONG_MS, &figures(&PAUSED, true, 1.0), &[]).await;
    // As it is read by a process that is late: the jobs are there already.
    stranger.does(LATE, watchman.now_ms).await;
    watchman.looks(1_000, &figures(&PAUSED, true, 1.0), &["AlertTest"]).await;
    assert_eq!(stranger.counts(OTHERS, "CrisisLanePaused").await, 0);
    stranger.does(CAUGHT_UP, watchman.now_ms).await;
    watchman.looks(1_000, &figures(&PAUSED, true, 1.0), &[]).await;
    assert_eq!(stranger.counts(OTHERS, "CrisisLanePaused").await, 1);
    assert_eq!(on_call.said("triggered"), 1);
}

#[tokio::test]
async fn what_was_recorded_after_all_and_is_over_keeps_nothing_else_from_being_told() {
    // As a commit leaves it whose answer was lost: under the identity that it was told by.
    const RECORDED: &str = "INSERT INTO alerts (id, rule, cause, severity, summary, runbook, source, opened_ms, \
         seen_ms, times_told, escalated, resolved_ms) \
         VALUES ($1, 'CrisisLanePaused', '', 'critical', '', '', '', 1, 1, 1, FALSE, 2)";
    let on_call = OnCall::start().await;
    let both = [&rules::CRISIS_LANE_PAUSED, &rules::EMERGENCY_BYPASS_ACTIVE];
    let mut watchman = Watchman::of(&on_call, &both, &[], BEGIN_MS).await;
    watchman.looks_and_tells(&[]).await;
    let stranger = watchman.stranger().await;
    stranger.does(AWAY, watchman.now_ms).await;
    watchman.looks_alone(&PAUSED).await;
    let told = id(&on_call.posted("alert.triggered")[0]);
    stranger.does(BACK, watchman.now_ms).await;
    stranger.does_to(RECORDED, &told, watchman.now_ms).await;

    watchman.looks_and_tells(&both[1..]).await;
    let told = on_call.posted("alert.triggered");
    let rules: Vec<&str> =
        told.iter().map(|posted| posted["data"]["alerts"][0]["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["CrisisLanePaused", "EmergencyBypassActive"]);
}

#[tokio::test]
async fn a_digest_that_another_has_told_a_part_of_is_sent_with_the_rest() {
    // Somebody who tells other receivers is quicker with what is over.
    const QUICKER: &str = "CREATE TRIGGER quicker BEFORE INSERT ON jobs WHEN NEW.dedupe_key LIKE 'alert:digest:%' \
         BEGIN UPDATE alerts SET tell_at_ms = NULL WHERE resolved_ms IS NOT NULL; END";
    const A_DAY_MS: i64 = 24 * 60 * 60_000;
    let on_call = OnCall::start().await;
    let mut watchman = Watchman::of(&on_call, &PAUSED, &[], BEGIN_MS).await;
    let stranger = watchman.stranger().await;
    watchman.looks_and_tells(&PAUSED).await;
    for _ in 0..3 {
        watchman.looks(60_000, "", &[]).await;
    }
    watchman.has_told_all().await;
    let digests = on_call.posted("alert.digest").len();
    stranger.does(QUICKER, watchman.now_ms).await;
    watchman.looks(A_DAY_MS, "", &[]).await;
    stranger.does("DROP TRIGGER quicker", watchman.now_ms).await;
    watchman.looks(1_000, "", &[]).await;
    watchman.has_told_all().await;
    assert_eq!(on_call.posted("alert.digest").len(), digests + 1);
}
