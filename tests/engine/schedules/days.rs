//! More than half a year of two nodes whose clocks disagree, on one Redis and one database: what each tick comes to,
//! told apart by going through the absences. Both are in this process. What is killed is a look at the schedules,
//! dropped wherever it is; an engine ends in order, and another one begins.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use keepwell_schedules::{policy::Missed, schedule::Schedule};
use keepwell_workers::{
    clock::{Clock as _, ManualClock},
    database::{Database, Dialect, Durability, turn::Urgency},
    on_connection,
};

use super::{BEGIN_MS, Bench, DAY_MS, HOUR_MS, MINUTE_MS, Node, schedule};
use crate::support::{eventually, pass};

/// How far the second node's clock is ahead.
const AHEAD_MS: i64 = 3_000;

impl Node {
    /// Begins to look, and is killed after `after`, wherever it is then.
    async fn killed_while_looking(&mut self, after: Duration) {
        tokio::select! {
            _ = self.ticker.look() => {}
            () = pass(after) => {}
        }
        self.restart();
    }
}

/// A node that runs jobs too, on connections of its own.
struct Process {
    node: Node,
    database: Database,
}

impl Process {
    async fn begin(bench: &Bench, schedules: &[Schedule], clock: Arc<ManualClock>) -> Self {
        let started = bench.process_on_clock(Arc::clone(&clock) as _, |options| {
            // Nothing is forgotten while half a year goes by.
            options.retention.done_ms = 400 * DAY_MS;
        });
        let (engine, database) = started.await;
        Self { node: Node::on(engine, schedules, clock), database }
    }

    async fn end(&self) {
        self.node.engine.shutdown().await;
        self.database.close().await;
    }

    /// Ends, and another one begins.
    async fn restart(&mut self, bench: &Bench) {
        self.end().await;
        *self = Self::begin(bench, &self.node.schedules, Arc::clone(&self.node.clock)).await;
    }
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// The ticks that have a job, by schedule; fails the test if one has two.
async fn fired(database: &Database) -> BTreeMap<String, BTreeSet<i64>> {
    const SQL: &str = "SELECT subject, dedupe_key FROM jobs ORDER BY id";
    let mut reader = database.reader(Urgency::General).await.unwrap();
    let rows: Vec<(String, String)> =
        on_connection!(reader, |connection| sqlx::query_as(SQL).fetch_all(connection).await).unwrap();
    let mut ticks: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for (subject, key) in rows {
        let (name, tick_ms) = key.strip_prefix("schedule:").unwrap().rsplit_once(':').unwrap();
        assert_eq!(subject, format!("schedule:{name}"));
        assert!(
            ticks.entry(name.to_owned()).or_default().insert(tick_ms.parse().unwrap()),
            "{key} came twice"
        );
    }
    ticks
}

/// Sets how far a schedule has come back by a day, as a database does that was taken back to an earlier state.
async fn set_back(database: &Database, name: &str, now_ms: i64) {
    const SQL: &str = "UPDATE schedules SET through_ms = through_ms - 86400000 WHERE name = $1";
    let mut transaction = database.begin(Urgency::General, Durability::Durable, now_ms).await.unwrap();
    on_connection!(transaction, |connection| {
        sqlx::query(SQL).bind(name).execute(connection).await.map(|_| ())
    })
    .unwrap();
    transaction.commit().await.unwrap();
}

/// What each policy asks for, told apart from how it is done: by going through the absences.
#[derive(Default)]
struct Expected(BTreeMap<String, BTreeSet<i64>>);

impl Expected {
    /// Somebody looked at `now_ms`, and nobody since `since_ms`; `away` is whether that was an absence.
    fn looked(&mut self, schedules: &[Schedule], since_ms: i64, now_ms: i64, away: bool) {
        for schedule in schedules {
            let due: Vec<i64> = schedule.rules.timing.between(since_ms, now_ms).collect();
            let from = match schedule.rules.missed {
                Missed::Skip if away => due.len(),
                Missed::Once if away => due.len().saturating_sub(1),
                _ => 0,
            };
            self.0.entry(schedule.name.clone()).or_default().extend(&due[from..]);
        }
    }
}

async fn days(dialect: Dialect, days: i64) {
    let schedules = [
        schedule("berlin", "0 30 2 * * *", "Europe/Berlin", Missed::All, "7d"),
        schedule("new_york", "0 30 1,2 * * *", "America/New_York", Missed::Once, "7d"),
        schedule("lord_howe", "0 45 1 * * *", "Australia/Lord_Howe", Missed::All, "7d"),
        schedule("left_out", "0 0 */12 * * *", "Europe/Berlin", Missed::Skip, "7d"),
        schedule("once", "0 30 12 * * *", "UTC", Missed::Once, "7d"),
    ];
    let bench = Bench::new(dialect).await;
    let mut first = Process::begin(&bench, &schedules, ManualClock::at(BEGIN_MS)).await;
    let mut second = Process::begin(&bench, &schedules, ManualClock::at(BEGIN_MS + AHEAD_MS)).await;
    first.node.looks().await;
    let (mut dice, mut expected, mut now_ms) = (Dice(7), Expected::default(), BEGIN_MS);
    while now_ms < BEGIN_MS + days * DAY_MS {
        let since_ms = now_ms;
        let away = dice.roll(20) == 0;
        now_ms = if away {
            // Nobody looks for up to three days, nor again while a tick is near.
            (now_ms / HOUR_MS + 1 + dice.roll(72) as i64) * HOUR_MS + 7 * MINUTE_MS
        } else {
            let next = schedules.iter().filter_map(|schedule| schedule.rules.timing.next_after(now_ms));
            next.min().unwrap() + dice.roll(4) as i64 * 1_000
        };
        match dice.roll(150) {
            0 => first.restart(&bench).await,
            1 => second.restart(&bench).await,
            _ => {}
        }
        let (one, other) = (&mut first.node, &mut second.node);
        one.clock.advance_ms(now_ms - one.clock.now_ms());
        other.clock.advance_ms(now_ms + AHEAD_MS - other.clock.now_ms());
        if dice.roll(40) == 0 && now_ms > BEGIN_MS + 10 * DAY_MS {
            set_back(&bench.database, "berlin", now_ms).await;
            set_back(&bench.database, "lord_howe", now_ms).await;
            one.restart();
            other.restart();
        }
        // Of two at once, whoever is named first gets there first, and dies first.
        let (one, other) = if dice.roll(2) == 0 { (one, other) } else { (other, one) };
        let moment = Duration::from_micros(dice.roll(3_000));
        match dice.roll(6) {
            0 => one.killed_while_looking(moment).await,
            1 => other.killed_while_looking(moment).await,
            2 => {
                tokio::join!(one.killed_while_looking(moment), other.killed_while_looking(moment));
            }
            _ => {}
        }
        match dice.roll(4) {
            0 => {
                one.looks().await;
            }
            1 => {
                other.looks().await;
            }
            _ => {
                tokio::join!(one.looks(), other.looks());
            }
        }
        expected.looked(&schedules, since_ms, now_ms, away);
    }
    // Whatever the last look was ahead of.
    first.node.looks().await;
    let fired = fired(&bench.database).await;
    // A comparison of the lanes leaves out what was recorded in its own millisecond, and on a clock that stands still
    // what was killed in its last commit is never older.
    for process in [&first, &second] {
        process.node.clock.advance_ms(1_000);
    }
    eventually("nothing is owed", async || {
        first.node.engine.rebuild().await.ok()?;
        (first.node.engine.ledger().totals().await.ok()?.owed == 0).then_some(())
    })
    .await;
    let effects = bench.effects().await;
    let once: BTreeSet<&String> = effects.iter().collect();
    let recorded: usize = fired.values().map(BTreeSet::len).sum();
    assert_eq!((effects.len(), once.len()), (recorded, recorded), "every job has run once");
    for schedule in &schedules {
        let (name, timing) = (&schedule.name, &schedule.rules.timing);
        let (expected, all) = (&expected.0[name], fired[name].len());
        // The second node is ahead.
        let fired: BTreeSet<i64> = fired[name].iter().copied().filter(|tick_ms| *tick_ms <= now_ms).collect();
        let missing: Vec<_> = expected.difference(&fired).map(|tick_ms| timing.wall(*tick_ms)).collect();
        let surplus: Vec<_> = fired.difference(expected).map(|tick_ms| timing.wall(*tick_ms)).collect();
        assert!(missing.is_empty() && surplus.is_empty(), "{name}: not {missing:?}, but {surplus:?}");
        assert!(fired.len() as i64 > days / 4, "{name}: {}", fired.len());
        let row = first.node.row(name).await;
        assert_eq!(usize::try_from(row.fired).unwrap(), all, "{name}");
    }
    let mut processes = [first, second];
    if dice.roll(2) == 0 {
        processes.reverse();
    }
    for process in processes {
        process.end().await;
    }
}

#[tokio::test]
async fn two_nodes_that_are_killed_over_200_days_fire_every_tick_once_or_leave_it_out_as_its_policy_says() {
    days(Dialect::Postgres, 200).await;
}

#[tokio::test]
async fn two_processes_on_sqlite_fire_every_tick_of_a_spring_once_too() {
    // Until 30 April: clocks are set in all three zones.
    days(Dialect::Sqlite, 100).await;
}
