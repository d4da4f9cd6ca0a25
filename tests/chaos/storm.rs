//! One storm from the first event to the verdict.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    checker::check,
    history::{Answered, History, Span},
    house::House,
    load::Load,
    order::overtaken,
    plan::{Options, Scenario},
    probe::{ask, press},
    recovery::measure,
    report::{Backlog, Report},
};
use crate::support::{daemon::Daemon, http::Client, pass};

/// Load before the first fault and after the last one.
const CALM: Duration = Duration::from_millis(500);

/// How long what is owed may stay as it is once the faults are over. What is not done then is lost.
const STANDSTILL_MAX: Duration = Duration::from_secs(40);

/// How long the daemons may take in all, however slow the machine.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// Between two looks at what is owed; each of them reads the whole ledger.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Runs `scenario` and judges it.
pub async fn run(scenario: &Scenario, options: &Options) -> Report {
    let began = Instant::now();
    let mut random = options.random(scenario.name);
    let mut house = House::build(scenario).await;
    let load = Load::new(house.daemons.iter().map(Daemon::public).collect());
    let readers: Vec<Client> = house.daemons.iter().map(Daemon::reader).collect();
    let (probes, canaries) = (Arc::new(Mutex::default()), Arc::new(Mutex::default()));
    let (load_ends, asking_ends) = (CancellationToken::new(), CancellationToken::new());
    let mut chance = || StdRng::seed_from_u64(random.random());

    let mut left = Backlog::default();
    let (mut senders, mut askers) = (JoinSet::new(), JoinSet::new());
    senders.spawn(Arc::clone(&load).run(scenario.rate, scenario.people, chance(), load_ends.clone()));
    let pressing =
        press(Arc::clone(&load), readers.clone(), chance(), Arc::clone(&canaries), load_ends.clone());
    senders.spawn(pressing);
    for (daemon, reader) in readers.into_iter().enumerate() {
        askers.spawn(ask(
            daemon,
            reader,
            scenario.people,
            chance(),
            Arc::clone(&probes),
            asking_ends.clone(),
        ));
    }

    let mut faults = Vec::new();
    let mut pace = chance();
    pass(CALM).await;
    for (number, fault) in scenario.faults.iter().enumerate() {
        pass(Duration::from_millis(pace.random_range(scenario.pace_ms.0..=scenario.pace_ms.1))).await;
        if options.long {
            let (all, events) = (scenario.faults.len(), load.events().len());
            let owed = house.database.owed().await.map_or_else(|| "?".to_owned(), |owed| owed.to_string());
            let name = scenario.name;
            eprintln!("{name}: {}/{all} {}, {events} events, {owed} owed", number + 1, fault.name());
        }
        house.strike(*fault).await;
        faults.push(*fault);
    }
    pass(CALM).await;
    load_ends.cancel();
    all_end(&mut senders).await;
    drain(&house, &mut left).await;
    asking_ends.cancel();
    all_end(&mut askers).await;

    let rows = house.database.rows().await;
    let events = std::mem::take(&mut *load.events());
    let history = History {
        events,
        finishes: house.database.finishes().await,
        changes: house.database.changes().await,
        effects: house.database.effects(&rows).await,
        rows,
        probes: std::mem::take(&mut *probes.lock().expect("nobody panicked with it")),
        canaries: std::mem::take(&mut *canaries.lock().expect("nobody panicked with it")),
        troubles: house.troubles.clone(),
        cries: house.cries(),
    };
    let answered =
        |kind: fn(&Answered) -> bool| history.probes.iter().filter(|probe| kind(&probe.answered)).count();
    let overtaken = overtaken(&history);
    if options.long {
        overtaken.iter().take(OVERTAKEN_SHOWN).for_each(|overtaken| eprintln!("{overtaken}"));
    }
    let report = Report {
        scenario: scenario.name,
        seed: options.seed,
        faults,
        skipped: house.skipped.iter().cloned().collect(),
        seconds: began.elapsed().as_secs_f64(),
        sent: history.events.len(),
        taken: history.events.iter().filter(|event| event.taken_ms.is_some()).count(),
        done: history.rows.iter().filter(|row| row.state == "done").count(),
        came_again: came_again(&history),
        overtaken: overtaken.len(),
        asked: history.probes.len(),
        unanswered: answered(|answered| *answered == Answered::Nothing),
        fallbacks: history
            .probes
            .iter()
            .filter(|probe| probe.customer.is_some() && probe.answered == Answered::Floor)
            .count(),
        backlog: left,
        findings: check(&history),
        recoveries: measure(&history),
    };
    if options.long {
        tell_slow_canaries(&history);
    }
    if !report.findings.is_empty() {
        for daemon in &house.daemons {
            let log = daemon.log();
            let last: Vec<&str> = log.lines().rev().take(LINES_SHOWN).collect();
            eprintln!("---- the end of a daemon's log:");
            last.into_iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
    report
}

/// Says when the crises that took longest were signalled, and what was going on.
fn tell_slow_canaries(history: &History) {
    const SLOW_MS: f64 = 200.0;
    let troubles = &history.troubles;
    let down = troubles.down.iter().map(|(daemon, span)| (format!("daemon {daemon} down"), *span));
    let away = troubles.redis_away.iter().map(|span| ("redis away".to_owned(), *span));
    let spans: Vec<(String, Span)> = down.chain(away).collect();
    for canary in history.canaries.iter().filter(|canary| canary.seen_after_ms > SLOW_MS) {
        let before =
            spans.iter().filter(|(_, span)| span.from_ms <= canary.sent_ms + canary.seen_after_ms as i64);
        let last = before.max_by_key(|(_, span)| span.from_ms);
        let near = last.map_or_else(String::new, |(name, span)| {
            format!("{name} from {} to {} ms", span.from_ms - canary.sent_ms, span.until_ms - canary.sent_ms)
        });
        eprintln!(
            "a crisis was seen after {:.0} ms, sent at {}: {near}",
            canary.seen_after_ms, canary.sent_ms
        );
    }
}

/// Events that had to be sent again, and those of them that were sent while nothing but Redis was away.
fn came_again(history: &History) -> [usize; 2] {
    let troubles = &history.troubles;
    let again = || history.events.iter().filter(|event| event.came_again);
    let without_redis = again().filter(|event| {
        let sent = Span { from_ms: event.sent_ms, until_ms: event.sent_ms };
        let touches = |span: &Span| span.touches(&sent);
        troubles.redis_away.iter().any(touches) && !troubles.down.iter().any(|(_, down)| touches(down))
    });
    [again().count(), without_redis.count()]
}

/// Jobs that were overtaken of which the long form tells.
const OVERTAKEN_SHOWN: usize = 12;

/// Lines of each daemon's log that are shown with a finding.
const LINES_SHOWN: usize = 60;

async fn all_end(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        ended.expect("it never panics");
    }
}

/// Waits until nothing is owed, as long as that becomes less.
async fn drain(house: &House, backlog: &mut Backlog) {
    let began = Instant::now();
    let mut shrunk = Instant::now();
    let mut least = i64::MAX;
    while began.elapsed() < DRAIN_MAX && shrunk.elapsed() < STANDSTILL_MAX {
        if let Some(owed) = house.database.owed().await {
            backlog.at_first.get_or_insert(owed);
            backlog.left = owed;
            if owed < least {
                (least, shrunk) = (owed, Instant::now());
            }
            if owed == 0 {
                break;
            }
        }
        pass(LOOK_EVERY).await;
    }
    backlog.seconds = began.elapsed().as_secs_f64();
}
