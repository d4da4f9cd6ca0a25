//! What goes on while nothing can be recorded: who is escalated to, what a kill leaves, and what the database finds.

use keepwell_jobs::alerts::{rule::Rule, rules};

use super::{
    alone::{AWAY, BACK, id, incidents},
    escalations::{MINUTE_MS, watching},
    figures::figures,
    on_call::OnCall,
    watchman::Watchman,
};
use crate::support::{
    eventually,
    gateway::{ESCALATION_KEY, Gateway, Manner, ROUTING_KEY},
};

const PAUSED: [&Rule; 1] = [&rules::CRISIS_LANE_PAUSED];
const AUDITED: &str = "SELECT COUNT(*) FROM audit_entries WHERE action = 'alert.escalated' AND action <> $1";
const ESCALATED: &str = "SELECT COUNT(*) FROM alerts WHERE escalated AND rule <> $1";

impl Watchman {
    /// Looks once a minute for so many, while the crisis lane is paused.
    async fn sees_for(&mut self, minutes: i64) {
        for _ in 0..minutes {
            self.looks(MINUTE_MS, &figures(&PAUSED, true, 1.0), &[]).await;
        }
    }

    /// Looks on until `holds`: a receiver that has just heard something is given a moment.
    async fn sees_it_until(&mut self, holds: impl Fn() -> bool) {
        eventually("everybody has heard", async || {
            self.looks(10, &figures(&PAUSED, true, 1.0), &[]).await;
            holds().then_some(())
        })
        .await;
    }

    /// Looks until what is over is taken for over.
    async fn is_well(&mut self) {
        for _ in 0..3 {
            self.looks(MINUTE_MS, &figures(&PAUSED, false, 1.0), &[]).await;
        }
        self.has_told_all().await;
    }

    /// Begins a look, is killed while `held` has not answered and the others `have_heard`, and begins again.
    async fn is_killed_while_it_tells(
        &mut self,
        later_ms: i64,
        held: &[&Gateway],
        have_heard: impl Fn() -> bool,
    ) {
        for gateway in held {
            gateway.always(Manner::Hangs);
        }
        self.begins_to_look(later_ms, &figures(&PAUSED, true, 1.0)).await;
        eventually("they are being told", async || {
            (held.iter().all(|gateway| gateway.held() > 0) && have_heard()).then_some(())
        })
        .await;
        self.kill();
        for gateway in held {
            eventually("its callers are gone", async || (gateway.callers().await == 0).then_some(())).await;
            gateway.let_go();
        }
        self.begin_again(1_000).await;
    }
}

/// What the two services of PagerDuty were told, in order.
fn paged(on_call: &OnCall) -> [Vec<String>; 2] {
    [ROUTING_KEY, ESCALATION_KEY].map(|key| on_call.paged_by(key))
}

#[tokio::test]
async fn what_nobody_acknowledges_while_the_database_is_away_is_escalated_once_over_a_restart_and_its_return()
{
    let (on_call, mut watchman) = watching(&PAUSED, &[]).await;
    watchman.looks(1_000, "", &[]).await;
    watchman.has_told_all().await;
    let stranger = watchman.stranger().await;
    stranger.does(AWAY, watchman.now_ms).await;
    // It is told of with the second look.
    watchman.sees_for(2 + 14).await;
    assert_eq!(on_call.documents(), [1, 0, 0, 0]);
    watchman.kill();
    watchman.begin_again(1_000).await;
    watchman.sees_for(3).await;
    assert_eq!(paged(&on_call), [vec!["trigger"], vec!["trigger"]]);
    assert_eq!(on_call.words(), ["triggered", "not acknowledged by anybody"]);
    assert_eq!(on_call.documents(), [1, 1, 0, 0]);
    watchman.kill();
    watchman.begin_again(1_000).await;
    watchman.sees_for(20).await;
    stranger.does(BACK, watchman.now_ms).await;
    watchman.sees_for(20).await;
    watchman.has_told_all().await;
    assert_eq!((on_call.words().len(), on_call.documents()), (2, [1, 1, 0, 0]), "nobody heard it twice");
    for recorded in [ESCALATED, AUDITED] {
        assert_eq!(stranger.counts(recorded, "").await, 1);
    }
    assert_eq!(incidents(&on_call).len(), 1, "under one identity");

    watchman.is_well().await;
    assert_eq!(paged(&on_call), [["trigger", "resolve"], ["trigger", "resolve"]]);
    assert_eq!(on_call.documents(), [1, 1, 0, 1]);
}

#[tokio::test]
async fn what_was_recorded_before_the_outage_is_escalated_and_told_again_in_it_and_not_again_after_it() {
    let (on_call, mut watchman) = watching(&PAUSED, &[("KEEPWELL_ALERTS__REPEAT_MINUTES", "30")]).await;
    watchman.sees_for(1).await;
    watchman.has_told_all().await;
    let stranger = watchman.stranger().await;
    stranger.does(AWAY, watchman.now_ms).await;
    watchman.sees_for(14).await;
    assert_eq!(on_call.documents(), [1, 0, 0, 0]);
    watchman.sees_for(11).await;
    watchman.sees_it_until(|| on_call.words().len() == 2).await;
    assert_eq!(paged(&on_call), [vec!["trigger"], vec!["trigger"]]);
    assert_eq!(on_call.documents(), [1, 1, 0, 0]);
    // The webhook does not answer, and is told with the database.
    on_call.signed.always(Manner::Answers(503, vec![]));
    watchman.sees_for(10).await;
    watchman.sees_it_until(|| on_call.words().len() == 3 && paged(&on_call)[0].len() == 2).await;
    assert_eq!(paged(&on_call), [vec!["trigger", "trigger"], vec!["trigger"]]);
    on_call.signed.let_go();
    stranger.does(BACK, watchman.now_ms).await;
    watchman.sees_for(15).await;
    watchman.has_told_all().await;
    assert_eq!(on_call.documents(), [2, 1, 0, 0]);
    assert_eq!(on_call.words(), ["triggered", "not acknowledged by anybody", "triggered"]);
    assert_eq!(stranger.counts(ESCALATED, "").await, 1);

    watchman.is_well().await;
    assert_eq!(paged(&on_call), [vec!["trigger", "trigger", "resolve"], vec!["trigger", "resolve"]]);
    assert_eq!((incidents(&on_call).len(), on_call.documents()), (1, [2, 1, 0, 1]));
}

#[tokio::test]
async fn who_was_escalated_to_in_an_outage_hears_when_somebody_else_has_taken_it_on_before() {
    const TAKEN_ON: &str = "UPDATE alerts_away SET acknowledged_ms = 1, acknowledged_by = 'kim'";
    let (on_call, mut watchman) = watching(&PAUSED, &[]).await;
    watchman.sees_for(1).await;
    watchman.has_told_all().await;
    let stranger = watchman.stranger().await;
    stranger.does(AWAY, watchman.now_ms).await;
    stranger.does(TAKEN_ON, watchman.now_ms).await;
    watchman.sees_for(17).await;
    assert_eq!(paged(&on_call), [vec!["trigger"], vec!["trigger"]]);
    stranger.does(BACK, watchman.now_ms).await;
    watchman.sees_for(20).await;
    watchman.has_told_all().await;
    assert_eq!(paged(&on_call), [vec!["trigger"], vec!["trigger", "resolve"]]);
    assert_eq!(stranger.counts(ESCALATED, "").await, 0);
}

#[tokio::test]
async fn a_kill_between_noting_telling_and_noting_that_it_was_told_loses_nothing_and_tells_it_as_the_same() {
    let (on_call, mut watchman) = watching(&PAUSED, &[]).await;
    watchman.looks(1_000, "", &[]).await;
    watchman.has_told_all().await;
    let stranger = watchman.stranger().await;
    stranger.does(AWAY, watchman.now_ms).await;
    watchman.sees_for(1).await;
    let before = on_call.signed.asked().len();
    let asked = || on_call.signed.asked().split_off(before);

    // It is noted, and nobody has heard.
    watchman.is_killed_while_it_tells(MINUTE_MS, &on_call.all(), || true).await;
    assert_eq!((on_call.documents(), on_call.words().len(), asked().len()), ([0; 4], 0, 1));
    watchman.sees_for(2).await;
    assert_eq!((on_call.documents(), on_call.words()), ([1, 0, 0, 0], vec!["triggered".to_owned()]));
    assert_eq!(asked()[0], asked()[1], "as the same");
    let told = id(&on_call.posted("alert.triggered")[0]);
    assert_eq!(asked()[0], told, "the one that was noted");

    // It is escalated: PagerDuty has heard, and the webhook has not said so.
    let have_heard = || paged(&on_call)[1].len() == 1 && on_call.words().len() == 2;
    watchman.is_killed_while_it_tells(15 * MINUTE_MS, &[&on_call.signed], have_heard).await;
    watchman.sees_for(2).await;
    let asked = asked();
    assert!(asked.len() == 4 && asked[2] == asked[3] && asked[2] != told, "{asked:?}");
    assert_eq!(on_call.documents(), [1, 1, 0, 0]);

    stranger.does(BACK, watchman.now_ms).await;
    watchman.sees_for(20).await;
    watchman.is_well().await;
    let [first, second] = paged(&on_call);
    assert_eq!(first, ["trigger", "resolve"]);
    // Again, and known by its key.
    assert_eq!(second, ["trigger", "trigger", "resolve"]);
    assert_eq!((incidents(&on_call).len(), on_call.documents()), (1, [1, 1, 0, 1]));
}

#[tokio::test]
async fn what_flaps_is_one_incident_until_it_has_been_well_for_long_enough() {
    let (on_call, mut watchman) = watching(&PAUSED, &[]).await;
    let [wrong, well] = [true, false].map(|is_wrong| figures(&PAUSED, is_wrong, 1.0));
    watchman.looks(1_000, &wrong, &[]).await;
    // The machine stood still for two minutes, and it is well in the moment of the look after that.
    for later_ms in [2 * MINUTE_MS, 1] {
        watchman.looks(later_ms, &well, &[]).await;
    }
    for _ in 0..10 {
        watchman.looks(5_000, &wrong, &[]).await;
        watchman.looks(30_000, &well, &[]).await;
        watchman.looks(20_000, &well, &[]).await;
    }
    watchman.has_told_all().await;
    assert_eq!(on_call.documents(), [1, 0, 0, 0]);
    watchman.looks(40_000, &well, &[]).await;
    watchman.has_told_all().await;
    assert_eq!(on_call.documents(), [1, 0, 0, 1]);
    assert_eq!(paged(&on_call), [vec!["trigger", "resolve"], vec![]]);
}

#[tokio::test]
async fn a_database_that_misses_a_look_does_not_keep_open_what_is_over() {
    let (on_call, mut watchman) = watching(&PAUSED, &[]).await;
    let well = figures(&PAUSED, false, 1.0);
    watchman.looks(1_000, &figures(&PAUSED, true, 1.0), &[]).await;
    watchman.looks(30_000, &well, &[]).await;
    let stranger = watchman.stranger().await;
    stranger.does(AWAY, watchman.now_ms).await;
    watchman.looks(30_000, &well, &[]).await;
    stranger.does(BACK, watchman.now_ms).await;
    watchman.looks(30_000, &well, &[]).await;
    watchman.has_told_all().await;
    assert_eq!(on_call.documents(), [1, 0, 0, 1]);
}

#[tokio::test]
async fn two_looks_in_the_first_moments_after_an_outage_are_no_reason_to_escalate() {
    let (on_call, mut watchman) = watching(&PAUSED, &[]).await;
    watchman.looks(1_000, &figures(&PAUSED, true, 1.0), &[]).await;
    watchman.has_told_all().await;
    watchman.kill();
    watchman.begin_again(20 * MINUTE_MS).await;
    for later_ms in [1, 1, 1, 14_000] {
        watchman.looks(later_ms, &figures(&PAUSED, true, 1.0), &[]).await;
    }
    watchman.has_told_all().await;
    assert_eq!(on_call.documents(), [1, 0, 0, 0]);
    watchman.looks(1_000, &figures(&PAUSED, true, 1.0), &[]).await;
    watchman.has_told_all().await;
    assert_eq!(on_call.documents(), [1, 1, 0, 0], "it is wrong still");
}

#[tokio::test]
async fn what_was_escalated_under_an_identity_that_is_not_recorded_stays_escalated_as_the_other() {
    let (on_call, mut watchman) = watching(&PAUSED, &[]).await;
    watchman.sees_for(1).await;
    watchman.has_told_all().await;
    let recorded = id(&on_call.posted("alert.triggered")[0]);
    // Its next life has never read what was recorded, and tells and escalates it as another.
    let stranger = watchman.stranger().await;
    watchman.kill();
    stranger.does(AWAY, watchman.now_ms).await;
    watchman.begin_again(1_000).await;
    watchman.sees_for(2 + 16).await;
    watchman.sees_it_until(|| on_call.words().len() == 3).await;
    let double = id(&on_call.posted("alert.escalated")[0]);
    assert_ne!(double, recorded);
    stranger.does(BACK, watchman.now_ms).await;
    watchman.sees_for(20).await;
    watchman.has_told_all().await;
    assert_eq!(on_call.words().len(), 3, "the channel has heard it");
    assert_eq!(stranger.counts(ESCALATED, "").await, 1);
    let of = |id: &str| incidents(&on_call)[&format!("keepwell:{id}")].clone();
    let [escalated, ended] = [of(&recorded), of(&double)];
    assert_eq!(
        (escalated["trigger"], escalated.get("resolve")),
        (2, None),
        "both services have it: {escalated:?}"
    );
    assert_eq!((ended["trigger"], ended["resolve"]), (2, 2), "and neither the other: {ended:?}");
}

#[tokio::test]
async fn what_was_told_again_in_an_outage_is_escalated_after_it_as_soon_as_without_one() {
    let (on_call, mut watchman) = watching(&PAUSED, &[("KEEPWELL_ALERTS__REPEAT_MINUTES", "5")]).await;
    watchman.sees_for(1).await;
    watchman.has_told_all().await;
    let stranger = watchman.stranger().await;
    stranger.does(AWAY, watchman.now_ms).await;
    watchman.sees_for(11).await;
    watchman.sees_it_until(|| on_call.documents()[0] == 3).await;
    stranger.does(BACK, watchman.now_ms).await;
    watchman.sees_for(3).await;
    watchman.has_told_all().await;
    assert_eq!(on_call.documents()[1], 0, "its time has not come");
    watchman.sees_for(2).await;
    watchman.has_told_all().await;
    assert_eq!(on_call.documents()[1], 1);
}

#[tokio::test]
async fn a_receiver_that_hangs_while_the_database_is_away_keeps_nobody_else_from_hearing_of_all_that_is_wrong()
 {
    let rules: [&Rule; 3] =
        [&rules::CRISIS_LANE_PAUSED, &rules::CRISIS_WAITING, &rules::EMERGENCY_BYPASS_ACTIVE];
    let (on_call, mut watchman) = watching(&rules, &[("KEEPWELL_ALERTS__TIMEOUT_MS", "30000")]).await;
    watchman.looks(1_000, "", &[]).await;
    watchman.has_told_all().await;
    watchman.stranger().await.does(AWAY, watchman.now_ms).await;
    on_call.pagerduty.always(Manner::Hangs);
    let wrong = figures(&rules, true, 1.0);
    watchman.looks(MINUTE_MS, &wrong, &[]).await;
    watchman.begins_to_look(MINUTE_MS, &wrong).await;
    eventually("the others have heard of everything", async || {
        (on_call.words().len() == 3 && on_call.documents() == [3, 0, 0, 0]).then_some(())
    })
    .await;
    assert_eq!((on_call.pagerduty.held(), on_call.pages().len()), (1, 0), "it hangs still");
}

#[tokio::test]
async fn a_webhook_hears_under_one_identity_from_whoever_is_cut_off_and_from_whoever_is_not() {
    let (on_call, mut watchman) = watching(&PAUSED, &[("KEEPWELL_ALERTS__REPEAT_MINUTES", "30")]).await;
    watchman.sees_for(1).await;
    watchman.has_told_all().await;
    let before = on_call.signed.asked().len();
    let asked = || {
        let mut asked = on_call.signed.asked().split_off(before);
        asked.sort();
        asked
    };
    let stranger = watchman.stranger().await;
    stranger.does(AWAY, watchman.now_ms).await;
    watchman.sees_for(31).await;
    watchman.sees_it_until(|| on_call.documents() == [2, 1, 0, 0]).await;
    let alone = asked();
    assert_eq!(alone.len(), 2, "it was escalated and told again");

    // Another one has had the database all the time, and knows nothing of that.
    watchman.kill();
    watchman.forgets_what_it_told_alone();
    stranger.does(BACK, watchman.now_ms).await;
    watchman.begin_again(1_000).await;
    watchman.sees_for(4).await;
    watchman.has_told_all().await;
    let mut twice = [&alone[..], &alone].concat();
    twice.sort();
    assert_eq!((asked(), on_call.documents()), (twice, [2, 1, 0, 0]));
}
