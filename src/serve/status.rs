//! The line that `systemctl status` shows: the first thing an operator sees.

use std::time::Duration;

use keepwell_workers::{
    engine::{Engine, EngineHealth},
    lane::Lane,
    lanes::LaneStats,
};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use super::service_manager::Notifier;

/// What the line says at the moment of being ready.
pub(super) const READY: &str = "taking requests";

/// What it says then if the database is not open yet.
pub(super) const WAITING: &str =
    "waiting for the database; nothing can be recorded, the crisis-safe floor is answered";

/// How often it is made anew.
const EVERY: Duration = Duration::from_secs(2);

/// How long the lanes may take to say how they stand.
const LANES_TIMEOUT: Duration = Duration::from_secs(2);

/// Tells `notifier` how things stand whenever that has changed from what was `told`, which then says so.
pub(super) async fn tell_status(
    notifier: Notifier,
    told: watch::Sender<String>,
    engine: Engine,
    stop: CancellationToken,
) {
    if !notifier.is_heard() {
        return;
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let lanes = timeout(LANES_TIMEOUT, engine.lanes().stats()).await;
        let lanes = lanes.ok().and_then(Result::ok).map(|(lanes, _)| lanes);
        let now = status(engine.health(), lanes.as_deref());
        if now != *told.borrow() {
            notifier.status(&now);
            told.send_replace(now);
        }
    }
}

fn status(health: EngineHealth, lanes: Option<&[LaneStats]>) -> String {
    if !health.ledger_ok {
        return "the database is away; nothing can be recorded, the crisis-safe floor is answered".to_owned();
    }
    let Some(lanes) = lanes.filter(|_| health.lanes_ok) else {
        return "redis is away; requests are taken, crisis jobs run from the ledger".to_owned();
    };
    let sum = |count: fn(&LaneStats) -> u64| lanes.iter().map(count).sum::<u64>();
    let (waiting, running, later) =
        (sum(|lane| lane.waiting), sum(|lane| lane.running), sum(|lane| lane.later));
    let mut text = format!("{READY}; waiting {waiting}, running {running}, later {later}");
    let paused = |lane: &&LaneStats| lane.paused.is_some();
    let names: Vec<&str> = lanes.iter().filter(paused).map(|lane| lane.lane.name()).collect();
    if !names.is_empty() {
        text = format!("{text}; paused: {}", names.join(", "));
    }
    if lanes.iter().filter(paused).any(|lane| lane.lane == Lane::Crisis) {
        text = format!("CRISIS WORK IS HELD UP by an operator; {text}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: EngineHealth =
        EngineHealth { ledger_ok: true, trouble: None, lanes_ok: true, lanes_behind: false, draining: false };

    fn lanes(paused: &[Lane]) -> Vec<LaneStats> {
        let lane = |lane| LaneStats {
            lane,
            paused: paused.contains(&lane).then(String::new),
            waiting: 2,
            running: 1,
            later: 0,
            oldest: None,
            oldest_waiting_ms: None,
        };
        Lane::ALL.into_iter().map(lane).collect()
    }

    #[test]
    fn the_line_says_what_waits_and_what_is_held_up() {
        let counts = "taking requests; waiting 10, running 5, later 0";
        assert_eq!(status(WELL, Some(&lanes(&[]))), counts);
        assert_eq!(
            status(WELL, Some(&lanes(&[Lane::Standard, Lane::Background]))),
            format!("{counts}; paused: standard, background")
        );
        let crisis = status(WELL, Some(&lanes(&[Lane::Crisis])));
        assert_eq!(crisis, format!("CRISIS WORK IS HELD UP by an operator; {counts}; paused: crisis"));
    }

    #[test]
    fn the_line_names_what_is_away() {
        assert!(status(EngineHealth { ledger_ok: false, ..WELL }, None).starts_with("the database is away"));
        let away = EngineHealth { lanes_ok: false, ..WELL };
        for lanes in [None, Some(&lanes(&[])[..])] {
            assert!(status(away, lanes).starts_with("redis is away"));
        }
    }
}
