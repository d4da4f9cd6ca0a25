//! Schedules as operators meet them: written into the configuration, seen, run, paused and resumed.

use serde_json::{Value, json};

use super::{on_both, said::Said};
use crate::support::{
    daemon::{Daemon, keepwell},
    eventually,
};

const SCHEDULES: &str = r#"[
    { name = "probe", every = "1s", kind = "app.signal_recorded", payload = { note = "a probe" } },
    { name = "nightly", cron = "0 30 2 * * *", time_zone = "Europe/Berlin", kind = "app.signal_recorded" },
    { name = "rehearsal", cron = "0 30 2 * * *", kind = "care.crisis_rehearsed", lane = "crisis" },
]"#;

async fn entries(daemon: &Daemon, action: &str) -> Vec<Value> {
    let page = daemon.operator().get(&format!("/api/v1/audit?action={action}")).await.json();
    page["items"].as_array().expect("a list").clone()
}

/// How the schedule called `name` stands.
async fn stands(daemon: &Daemon, name: &str) -> Value {
    daemon.operator().get(&format!("/api/v1/schedules/{name}")).await.json()
}

#[tokio::test]
async fn a_schedule_fires_by_itself_and_goes_on_after_a_kill() {
    let mut daemon = Daemon::start_with(&[("KEEPWELL_SCHEDULES", SCHEDULES)]).await;
    eventually("it has fired twice", async || {
        (stands(&daemon, "probe").await["fired"].as_u64()? >= 2).then_some(())
    })
    .await;
    let jobs = daemon.operator().get("/api/v1/jobs?subject=schedule%3Aprobe&state=done").await.json();
    assert_eq!(jobs["items"][0]["kind"], "app.signal_recorded");
    assert!(jobs["items"][0]["dedupe_key"].as_str().unwrap().starts_with("schedule:probe:"));
    let metrics = daemon.public().get("/metrics").await.text();
    for line in [
        "keepwell_schedule_overdue_seconds{schedule=\"nightly\"} 0",
        "keepwell_schedule_fired_total{schedule=\"probe\"} ",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }

    daemon.kill();
    daemon.start_again().await;
    let fired = stands(&daemon, "probe").await["fired"].as_u64().unwrap();
    eventually("it goes on", async || {
        (stands(&daemon, "probe").await["fired"].as_u64()? > fired).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_schedule_is_seen_run_paused_and_resumed_and_the_trail_says_by_whom() {
    on_both(&[("KEEPWELL_SCHEDULES", SCHEDULES)], async |daemon| {
        let listed = daemon.says(&["schedule", "list"]).done();
        assert!(
            listed.contains("every day at 02:30, Europe/Berlin") && listed.contains("every second"),
            "{listed}"
        );
        let next = daemon.says(&["schedule", "next", "nightly", "--count", "2"]).done();
        assert_eq!(
            next.matches(" 02:30:00 +0").count() + next.matches(" 03:00:00 +02:00").count(),
            2,
            "{next}"
        );

        let run = daemon.says(&["schedule", "run", "nightly", "--json"]).json();
        let job = run["job"].as_str().unwrap();
        eventually("it is done", async || {
            let job = daemon.operator().get(&format!("/api/v1/jobs/{job}")).await.json();
            (job["state"] == "done").then_some(())
        })
        .await;
        let range = ["schedule", "run", "nightly", "--since", "250d", "--json"];
        let would = daemon.says(&[&range[..], &["--dry-run"]].concat()).json();
        daemon.says(&range).refused(2, &["run 250 ticks of nightly", "nothing was run", "--yes"]);
        let range = [&range[..], &["--yes"]].concat();
        let made_up_for = Said::of(&daemon.keepwell(&range));
        assert_eq!(made_up_for.code, 0, "{made_up_for:?}");
        let made_up_for: Value = serde_json::from_str(&made_up_for.data).unwrap();
        assert_eq!(
            (&would["ticks"], &made_up_for["ticks"], &made_up_for["recorded"]),
            (&250.into(), &250.into(), &250.into())
        );
        let again = Said::of(&daemon.keepwell(&range)).data;
        assert_eq!(
            serde_json::from_str::<Value>(&again).unwrap()["recorded"],
            0,
            "what was run is not run again"
        );
        daemon.says(&["schedule", "run", "probe", "--since", "3h", "-y"]).refused(2, &["more than 10000"]);
        daemon
            .says(&["schedule", "run", "rehearsal", "--since", "3d", "-y"])
            .refused(2, &["a crisis does not wait"]);
        let rehearsed = daemon.says(&["schedule", "run", "rehearsal", "--json"]).json();
        let rehearsed = format!("/api/v1/jobs/{}", rehearsed["job"].as_str().unwrap());
        eventually("a crisis was rehearsed", async || {
            let job = daemon.operator().get(&rehearsed).await.json();
            (job["state"] == "done" && job["lane"] == "crisis").then_some(())
        })
        .await;

        let paused = daemon.says(&["schedule", "pause", "probe", "--reason", "a drill", "--json"]).json();
        assert_eq!(paused, json!({ "name": "probe", "paused": true, "changed": true }));
        let before = stands(daemon, "probe").await;
        assert_eq!((&before["paused_because"], &before["next_at"]), (&"a drill".into(), &Value::Null));
        assert!(daemon.says(&["schedule", "list"]).done().contains("paused: a drill"));
        let resumed = daemon.says(&["schedule", "resume", "probe"]).done();
        assert!(resumed.starts_with("probe goes on; next at "), "{resumed}");
        eventually("it fires again", async || {
            (stands(daemon, "probe").await["fired"].as_u64() > before["fired"].as_u64()).then_some(())
        })
        .await;
        daemon.says(&["schedule", "pause", "daily"]).refused(1, &["No schedule", "keepwell schedule list"]);
        daemon.says(&["schedule", "run", "nightly", "--since", "soon"]).refused(2, &["`since`", "15m"]);

        for (action, subject, reason, count) in [
            ("schedule.backfilled", "nightly", "", 2),
            ("schedule.paused", "probe", "a drill", 1),
            ("schedule.resumed", "probe", "", 1),
        ] {
            let entries = entries(daemon, action).await;
            let told: Vec<_> = entries.iter().map(|entry| (&entry["subject"], &entry["reason"])).collect();
            assert_eq!(told, vec![(&subject.into(), &reason.into()); count], "{action}");
            assert_eq!(entries[0]["actor"]["kind"], "operator");
        }
        let run = entries(daemon, "schedule.run").await;
        let subjects: Vec<_> = run.iter().map(|entry| entry["subject"].as_str().unwrap()).collect();
        assert_eq!((subjects.len(), subjects.contains(&"nightly")), (2, true), "{subjects:?}");
    })
    .await;
}

#[tokio::test]
async fn a_schedule_that_no_process_is_told_to_tick_is_seen_to_be_late() {
    let roles = ("KEEPWELL_ROLES", r#"["receiver", "workers", "console"]"#);
    let daemon = Daemon::start_with(&[("KEEPWELL_SCHEDULES", SCHEDULES), roles]).await;
    eventually("its next tick is overdue", async || {
        let metrics = daemon.public().get("/metrics").await.text();
        let overdue = metrics
            .lines()
            .find_map(|line| line.strip_prefix("keepwell_schedule_overdue_seconds{schedule=\"probe\"} "))?;
        (overdue.parse::<u32>().unwrap() > 1).then_some(())
    })
    .await;
    assert_eq!(stands(&daemon, "probe").await["fired"], 0);
}

#[tokio::test]
async fn a_schedule_is_read_out_before_it_is_used_and_one_that_makes_no_sense_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("state").display().to_string();
    let check = |schedules: &str| {
        let environment = [("KEEPWELL_STATE_DIR", directory.as_str()), ("KEEPWELL_SCHEDULES", schedules)];
        Said::of(&keepwell(&environment, state.path(), &["check"]))
    };
    let read = check(SCHEDULES);
    let words = "nightly: app.signal_recorded every day at 02:30, Europe/Berlin";
    assert!(read.code == 0 && read.data.contains(words), "{read:?}");
    let entry = |rest: &str| format!("[{{ name = \"a\", {rest} }}]");
    for (schedules, hint) in [
        (entry("every = \"1h\", kind = \"fly\""), "no job is of the kind `fly`"),
        (entry("cron = \"0 3 * * *\", kind = \"app.signal_recorded\""), "six fields"),
        (
            format!(
                "[{0}, {0}]",
                entry("every = \"1h\", kind = \"app.signal_recorded\"").trim_matches(['[', ']'])
            ),
            "two schedules are called `a`",
        ),
    ] {
        let refused = check(&schedules);
        assert!(refused.code == 1 && refused.data.contains(hint), "{schedules}: {refused:?}");
    }
    let refused = check(&entry("every = \"1h\", kind = \"x\", missed = \"twice\""));
    assert!(
        refused.code == 2 && refused.talk.contains("`twice` is not one of skip, once, all"),
        "{refused:?}"
    );
}
