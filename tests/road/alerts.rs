//! Alerts, as whoever is on call meets them: real receivers, real daemons, real databases.

use keepwell_jobs::alerts::rules::{self, RULES};
use serde_json::Value;
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use super::{on_both, on_call::OnCall, said::Said};
use crate::support::{
    daemon::{Daemon, EMERGENCY_TOKEN},
    eventually,
    gateway::Manner,
    postgres::{Postgres, Sync},
    redis::Redis,
};

/// Looks often, and takes for over what nobody has seen for a second.
const FAST: [(&str, &str); 2] =
    [("KEEPWELL_ALERTS__LOOK_EVERY_MS", "100"), ("KEEPWELL_ALERTS__RESOLVE_AFTER_MS", "1000")];

impl OnCall {
    /// A daemon that tells them, with these settings beside.
    pub(super) async fn daemon(&self, settings: &[(&str, &str)]) -> Daemon {
        let told = self.settings();
        let told = told.iter().map(|(name, value)| (*name, value.as_str()));
        let all: Vec<(&str, &str)> = told.chain(FAST).chain(settings.iter().copied()).collect();
        Daemon::start_with(&all).await
    }

    async fn paged(&self, action: &str, count: usize) {
        eventually(&format!("PagerDuty was told {count} times: {action}"), async || {
            let pages = self.pages();
            let told: usize =
                pages.iter().filter(|((known, _), _)| known == action).map(|(_, count)| count).sum();
            (told >= count).then_some(())
        })
        .await;
    }
}

pub(super) fn hold_up_crises(daemon: &Daemon) {
    daemon.says(&["queue", "pause", "crisis", "--override", "--reason", "a drill"]).done();
}

pub(super) fn let_crises_go(daemon: &Daemon) {
    daemon.says(&["queue", "resume", "crisis"]).done();
}

async fn open(daemon: &Daemon) -> Vec<Value> {
    daemon.operator().get("/api/v1/alerts").await.json()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_is_wrong_is_told_to_every_receiver_once_and_so_is_that_it_is_over() {
    let on_call = OnCall::start().await;
    let daemon = on_call.daemon(&[]).await;
    let checked = daemon.says(&["check"]).warned("care.crisis_response_ms");
    assert!(checked.contains("told to PagerDuty, a channel, a webhook"));
    hold_up_crises(&daemon);
    on_call.paged("trigger", 1).await;
    let alerts = open(&daemon).await;
    assert_eq!((&alerts[0]["rule"], &alerts[0]["state"]), (&"CrisisLanePaused".into(), &"firing".into()));
    let shown = daemon.says(&["alert", "list"]).done();
    assert!(shown.contains("CrisisLanePaused") && shown.contains("critical"), "{shown}");
    eventually("all have heard of it", async || {
        (on_call.said("triggered: CrisisLanePaused") == 1 && on_call.posted("alert.triggered").len() == 1)
            .then_some(())
    })
    .await;
    let firing = "keepwell_alerts_firing{rule=\"CrisisLanePaused\",severity=\"critical\"} 1";
    let metrics = eventually("it is measured", async || {
        Some(daemon.public().get("/metrics").await.text()).filter(|metrics| metrics.contains(firing))
    })
    .await;
    for line in [
        "keepwell_alerts_firing{rule=\"MemoryHigh\",severity=\"warning\"} ",
        "keepwell_dependency_up{dependency=\"database\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }

    let_crises_go(&daemon);
    on_call.paged("resolve", 1).await;
    eventually("all have heard that it is over", async || {
        (on_call.said("resolved: CrisisLanePaused") == 1 && on_call.posted("alert.resolved").len() == 1)
            .then_some(())
    })
    .await;
    let id = alerts[0]["id"].as_str().unwrap();
    assert_eq!(on_call.posted("alert.resolved")[0]["data"]["alerts"][0]["id"], id);
    assert_eq!(on_call.said("triggered: CrisisLanePaused"), 1);
    let pages = on_call.pages();
    let page = |action: &str| pages.get(&(action.to_owned(), format!("keepwell:{id}"))).copied();
    assert_eq!((page("trigger"), page("resolve"), pages.len()), (Some(1), Some(1), 2), "{pages:?}");
    let over = daemon.says(&["alert", "show", id]).done();
    assert!(over.contains("resolved") && over.contains("keepwell queue resume crisis"), "{over}");
    assert!(daemon.says(&["alert", "list"]).done().contains("no alerts"));
    assert!(daemon.says(&["alert", "list", "--all"]).done().contains(id));
}

#[tokio::test]
async fn of_two_daemons_that_see_the_same_nobody_is_told_twice() {
    let (on_call, redis, postgres) =
        tokio::join!(OnCall::start(), Redis::start(), Postgres::start(Sync::Off));
    let database = postgres.database("keepwell").await;
    let redis = redis.url();
    let keys = format!("[\"{}\"]", "5c".repeat(32));
    let others = RULES.iter().filter(|rule| **rule != &rules::CRISIS_LANE_PAUSED).map(|rule| rule.name);
    let disabled = others.collect::<Value>().to_string();
    let shared = [
        ("KEEPWELL_DATABASE__URL", database.as_str()),
        ("KEEPWELL_REDIS__URL", redis.as_str()),
        // Daemons that share a ledger have to open each other's payloads.
        ("KEEPWELL_ENCRYPTION__KEYS", keys.as_str()),
        ("KEEPWELL_ALERTS__DISABLED", disabled.as_str()),
    ];
    let (one, other) = (on_call.daemon(&shared).await, on_call.daemon(&shared).await);
    for round in 1..=3 {
        hold_up_crises(&one);
        on_call.paged("trigger", round).await;
        let_crises_go(&other);
        on_call.paged("resolve", round).await;
    }
    eventually("all is over and told", async || {
        let is_over = open(&one).await.is_empty();
        let owed = one.operator().get("/api/v1/jobs?kind=alert.told&state=owed").await.json();
        (is_over && owed["total"] == 0).then_some(())
    })
    .await;
    // One for each round; on a machine that stands still for a second, one is over sooner than that and opens again.
    let alerts =
        one.operator().get("/api/v1/alerts?all=true").await.json()["items"].as_array().unwrap().len();
    assert!(alerts >= 3, "{alerts}");
    // Whoever is told late is told as it is by then.
    let late = on_call.said("over by now, triggered before: CrisisLanePaused");
    let channel =
        (on_call.said("triggered: CrisisLanePaused") + late, on_call.said("resolved: CrisisLanePaused"));
    let webhook = (on_call.posted("alert.triggered").len(), on_call.posted("alert.resolved").len());
    assert_eq!((channel, webhook), ((alerts, alerts), (alerts, alerts)));
    let pages = on_call.pages();
    let told = |action: &str| pages.keys().filter(|(known, _)| known == action).count();
    // Nobody is woken for what is over.
    assert!((3..=alerts).contains(&told("trigger")), "{pages:?}");
    assert_eq!(told("resolve"), alerts, "{pages:?}");
    assert!(pages.values().all(|count| *count == 1), "{pages:?}");
    let digests = eventually("the digest was sent", async || {
        Some(on_call.said("keepwell: ")).filter(|count| *count > 0)
    })
    .await;
    assert_eq!(digests, 1, "one for both");
}

#[tokio::test]
async fn an_alert_that_is_open_when_the_daemon_is_killed_is_told_by_its_next_life_and_once() {
    let on_call = OnCall::start().await;
    on_call.pagerduty.always(Manner::Answers(503, vec![]));
    let mut daemon = on_call.daemon(&[]).await;
    hold_up_crises(&daemon);
    eventually("it was tried to tell", async || (!on_call.pagerduty.asked().is_empty()).then_some(())).await;
    daemon.kill();
    assert!(on_call.pages().is_empty());
    on_call.pagerduty.let_go();
    daemon.start_again().await;
    on_call.paged("trigger", 1).await;
    let alerts = open(&daemon).await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let_crises_go(&daemon);
    on_call.paged("resolve", 1).await;
    let pages = on_call.pages();
    assert!(pages.len() == 2 && pages.values().all(|count| *count == 1), "{pages:?}");
    eventually("the webhook has heard of it", async || {
        (on_call.posted("alert.resolved").len() == 1 && on_call.posted("alert.triggered").len() == 1)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_test_is_told_acknowledged_and_on_record_and_a_silence_holds_until_it_ends() {
    let on_call = OnCall::start().await;
    let told = on_call.settings();
    let told = told.iter().map(|(name, value)| (*name, value.as_str()));
    let settings: Vec<(&str, &str)> = told.chain(FAST).collect();
    on_both(&settings, async |daemon| {
        let before = (on_call.pages().len(), on_call.said("triggered: CrisisLanePaused"));
        daemon.says(&["alert", "test"]).done();
        let id =
            eventually("it is open", async || Some(open(daemon).await.first()?["id"].as_str()?.to_owned()))
                .await;
        let dedup_key = format!("keepwell:{id}");
        let page = |action: &str| on_call.pages().get(&(action.to_owned(), dedup_key.clone())).copied();
        eventually("PagerDuty was told", async || page("trigger")).await;
        daemon.says(&["alert", "acknowledge", &id]).done();
        eventually("PagerDuty was told that it is over", async || page("resolve")).await;
        assert!(daemon.says(&["alert", "acknowledge", &id]).done().contains("already"));
        daemon.says(&["alert", "acknowledge", "nobody"]).refused(1, &["No alert has this id"]);
        daemon.says(&["alert", "silence", "Nothing", "--for", "5m"]).refused(1, &["No rule", "alert rules"]);

        let too_long = ["alert", "silence", "CrisisLanePaused", "--for", "8d"];
        daemon.says(&too_long).refused(2, &["at most 7d"]);
        let silence = ["alert", "silence", "CrisisLanePaused", "--for", "1h", "--reason", "a drill"];
        assert!(daemon.says(&silence).done().contains("nobody is told of CrisisLanePaused until 20"));
        hold_up_crises(daemon);
        eventually("it is open", async || (open(daemon).await.first()?["times_told"] == 0).then_some(()))
            .await;
        let shown = daemon.says(&["alert", "list"]).done();
        assert!(shown.contains("CrisisLanePaused is silenced until") && shown.contains("a drill"), "{shown}");
        assert_eq!(on_call.pages().len(), before.0 + 2, "nobody was told");
        daemon.says(&["alert", "unsilence", "CrisisLanePaused"]).done();
        eventually("it is told now", async || {
            (on_call.said("triggered: CrisisLanePaused") == before.1 + 1).then_some(())
        })
        .await;
        let_crises_go(daemon);
        eventually("it is over", async || open(daemon).await.is_empty().then_some(())).await;

        for action in ["alert.tested", "alert.acknowledged", "alert.silenced", "alert.unsilenced"] {
            let page = daemon.operator().get(&format!("/api/v1/audit?action={action}")).await.json();
            assert_eq!(page["items"].as_array().unwrap().len(), 1, "{action}: {page:#}");
            assert_eq!(page["items"][0]["actor"]["kind"], "operator");
        }
    })
    .await;
}

#[tokio::test]
async fn a_crisis_that_is_late_is_told_of_at_once_though_figures_are_looked_at_seldom() {
    let on_call = OnCall::start().await;
    let seldom = [
        ("KEEPWELL_ALERTS__LOOK_EVERY_MS", "600000"),
        ("KEEPWELL_ALERTS__RESOLVE_AFTER_MS", "3600000"),
        ("KEEPWELL_CARE__CRISIS_RESPONSE_MS", "50"),
    ];
    let mut daemon = on_call.daemon(&seldom).await;
    hold_up_crises(&daemon);
    let signal = super::signal("crisis.signal", "cus_late", serde_json::json!({ "severity": "critical" }));
    super::taken(daemon.app("msg_late", &signal).await);
    eventually("the channel was told", async || (on_call.said("triggered:") > 0).then_some(())).await;
    assert!(open(&daemon).await.iter().any(|alert| alert["rule"] == "CrisisAnsweredLate"));
    assert!(on_call.channel.taken().iter().all(|notice| !notice.document.to_string().contains("cus_late")));
    daemon.stop().await;
}

#[tokio::test]
async fn an_emergency_procedure_is_told_of_at_once_though_figures_are_looked_at_seldom() {
    let on_call = OnCall::start().await;
    let seldom =
        [("KEEPWELL_ALERTS__LOOK_EVERY_MS", "600000"), ("KEEPWELL_ALERTS__RESOLVE_AFTER_MS", "3600000")];
    let mut daemon = on_call.daemon(&seldom).await;
    // The look at the start is over when this is told.
    daemon.says(&["alert", "test"]).done();
    eventually("the test was told", async || (on_call.said("triggered:") == 1).then_some(())).await;
    let operator = daemon.public().with_token(EMERGENCY_TOKEN);
    let wish = serde_json::json!({ "reason": "a drill", "duration": 600 });
    let answer = operator.post("/api/emergency/global-bypass", &wish).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    eventually("the channel was told", async || (on_call.said("triggered:") > 1).then_some(())).await;
    let open = open(&daemon).await;
    let alert = open.iter().find(|alert| alert["rule"] == "EmergencyBypassActive").expect("the alert");
    assert_eq!(alert["cause"], "global_bypass");
    daemon.stop().await;
}

#[tokio::test]
async fn without_a_receiver_nothing_is_watched_and_that_is_said() {
    let daemon = Daemon::start().await;
    daemon.says(&["alert", "list"]).refused(1, &["No receiver of alerts is configured"]);
    let checked = daemon.says(&["check"]).warned("care.crisis_response_ms");
    assert!(checked.contains("nobody is told when something is wrong"));
    assert!(daemon.log().contains("no receiver of alerts is configured"), "{}", daemon.log());
    let unknown = Said::of(&Daemon::start().await.keepwell(&["alert", "rules"]));
    assert!(unknown.code == 0 && unknown.data.contains("MemoryHigh"), "{unknown:?}");
}

#[tokio::test]
async fn without_redis_alerts_are_told_all_the_same_and_not_again_when_it_is_back() {
    let on_call = OnCall::start().await;
    let mut redis = Redis::start().await;
    let daemon = on_call.daemon(&[("KEEPWELL_REDIS__URL", &redis.url())]).await;
    redis.kill();
    eventually("the daemon knows that Redis is away", async || {
        let metrics = daemon.public().get("/metrics").await.text();
        metrics.contains("keepwell_dependency_up{dependency=\"redis\"} 0").then_some(())
    })
    .await;
    daemon.says(&["alert", "test"]).done();
    on_call.paged("trigger", 1).await;
    eventually("the channel has heard of it", async || {
        (on_call.said("triggered: AlertTest") == 1).then_some(())
    })
    .await;
    let cancelled = "/api/v1/jobs?kind=alert.told&state=cancelled";
    eventually("the jobs are cancelled", async || {
        (daemon.operator().get(cancelled).await.json()["total"].as_u64()? >= 3).then_some(())
    })
    .await;
    redis.start_again().await;
    let id = open(&daemon).await[0]["id"].as_str().unwrap().to_owned();
    daemon.says(&["alert", "acknowledge", &id]).done();
    on_call.paged("resolve", 1).await;
    let pages = on_call.pages();
    assert!(pages.len() == 2 && pages.values().all(|count| *count == 1), "{pages:?}");
    assert_eq!(on_call.said("triggered: AlertTest"), 1);
}

#[tokio::test]
async fn what_a_killed_process_has_left_to_be_told_at_once_is_told_by_its_next_life_without_redis() {
    let on_call = OnCall::start().await;
    on_call.pagerduty.always(Manner::Answers(503, vec![]));
    let mut redis = Redis::start().await;
    let mut daemon = on_call.daemon(&[("KEEPWELL_REDIS__URL", &redis.url())]).await;
    daemon.says(&["alert", "test"]).done();
    eventually("it was tried to tell", async || (!on_call.pagerduty.asked().is_empty()).then_some(())).await;
    redis.kill();
    daemon.kill();
    on_call.pagerduty.let_go();
    daemon.start_again().await;
    on_call.paged("trigger", 1).await;
    assert_eq!(open(&daemon).await.iter().filter(|alert| alert["rule"] == "AlertTest").count(), 1);
}

#[tokio::test]
async fn what_is_being_told_when_redis_goes_away_is_not_told_beside() {
    let on_call = OnCall::start().await;
    on_call.channel.always(Manner::Hangs);
    let mut redis = Redis::start().await;
    let patient = [
        ("KEEPWELL_REDIS__URL", redis.url()),
        ("KEEPWELL_ALERTS__RESOLVE_AFTER_MS", "3600000".to_owned()),
        ("KEEPWELL_ALERTS__TIMEOUT_MS", "30000".to_owned()),
    ];
    let daemon = on_call.daemon(&patient.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    eventually("the digest is being told", async || (on_call.channel.held() == 1).then_some(())).await;
    on_call.channel.let_go();
    eventually("it was told", async || (on_call.said("keepwell: ") == 1).then_some(())).await;
    on_call.channel.always(Manner::Hangs);
    daemon.says(&["alert", "test"]).done();
    eventually("the alert is being told", async || (on_call.channel.held() == 1).then_some(())).await;
    redis.kill();
    eventually("the daemon knows that Redis is away", async || {
        let metrics = daemon.public().get("/metrics").await.text();
        metrics.contains("keepwell_dependency_up{dependency=\"redis\"} 0").then_some(())
    })
    .await;
    // Whatever a look has told beside, it has told before the one after it opens another alert.
    for _ in 0..2 {
        let known = open(&daemon).await[0]["id"].as_str().unwrap().to_owned();
        daemon.says(&["alert", "acknowledge", &known]).done();
        daemon.says(&["alert", "test"]).done();
        eventually("another one is open", async || {
            open(&daemon).await.first().is_some_and(|alert| alert["id"] != known.as_str()).then_some(())
        })
        .await;
    }
    assert_eq!(
        (on_call.channel.asked().len(), on_call.channel.held()),
        (2, 1),
        "the digest and the first alert"
    );
    on_call.channel.let_go();
    eventually("it was told", async || (on_call.said("triggered: AlertTest") > 0).then_some(())).await;
}

#[tokio::test]
async fn without_the_database_what_is_critical_is_told_and_recorded_as_told_when_it_is_back() {
    let on_call = OnCall::start().await;
    let daemon = on_call.daemon(&[]).await;
    let file = format!("sqlite:{}", daemon.state_dir().join("keepwell.db").display());
    let mut stranger = SqliteConnection::connect(&file).await.unwrap();
    // The digest of the first start is written before.
    eventually("the digest was sent", async || (on_call.said("keepwell: ") == 1).then_some(())).await;
    stranger.execute("BEGIN IMMEDIATE").await.unwrap();
    let pressed = super::signal("crisis.signal", "cus_1", serde_json::json!({ "severity": "critical" }));
    let refused = daemon.app("msg_1", &pressed).await.unwrap();
    assert_eq!(refused.status, http::StatusCode::SERVICE_UNAVAILABLE);
    let told = "triggered: CrisisGrantedFromMemory";
    eventually("the channel has heard of it", async || (on_call.said(told) == 1).then_some(())).await;
    assert!(open(&daemon).await.is_empty(), "nothing is recorded yet");
    stranger.execute("ROLLBACK").await.unwrap();
    let alert = eventually("it is recorded", async || {
        open(&daemon).await.into_iter().find(|alert| alert["rule"] == "CrisisGrantedFromMemory")
    })
    .await;
    let id = alert["id"].as_str().unwrap();
    daemon.says(&["alert", "acknowledge", id]).done();
    let dedup_key = format!("keepwell:{id}");
    let page = |action: &str| on_call.pages().get(&(action.to_owned(), dedup_key.clone())).copied();
    eventually("PagerDuty was told who has taken it on", async || page("acknowledge")).await;
    assert_eq!((page("trigger"), on_call.said(told)), (Some(1), 1), "under the identity that it was told by");
}
