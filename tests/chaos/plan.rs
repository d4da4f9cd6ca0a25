//! Which storms there are, and what the environment can change about them.

use rand::{SeedableRng, rngs::StdRng};

use super::fault::{DEATHS, Fault, storm};

/// Where the ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ledger {
    Sqlite,
    /// On a small file system of its own.
    SqliteOnSmallDisk,
    Postgres,
}

/// Where the lanes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// The daemon's private Redis.
    Private,
    /// A Redis with an append-only file.
    Own,
    /// The same behind a proxy over TCP; PostgreSQL too.
    Proxied,
}

/// One storm.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: &'static str,
    pub daemons: usize,
    pub ledger: Ledger,
    pub lanes: Lanes,
    pub lease_ms: u64,
    /// Events per second.
    pub rate: u64,
    /// People they are about.
    pub people: usize,
    pub faults: Vec<Fault>,
    /// Between the end of a fault and the next one, at least and at most, in milliseconds.
    pub pace_ms: (u64, u64),
}

/// The daemon's own default.
const LEASE_MS: u64 = 10_000;

/// A hundred events about each, so that there is something to keep in order.
fn people(rate: u64, faults: usize, pace_ms: u64) -> usize {
    (rate * faults as u64 * pace_ms / 100_000).clamp(30, 2_000) as usize
}

/// What the environment says, or what applies if it says nothing.
#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    /// Whether the long form was asked for, so that somebody reads what is printed.
    pub long: bool,
    names: Vec<String>,
    kills: usize,
    rate: u64,
    pace_ms: u64,
}

impl Default for Options {
    /// The short form.
    fn default() -> Self {
        Self { seed: 7, long: false, names: vec!["moments".into()], kills: 100, rate: 500, pace_ms: 2_500 }
    }
}

impl Options {
    /// The long form if `KEEPWELL_CHAOS_SCENARIOS` says so (names between commas, or `all`), changed by
    /// `KEEPWELL_CHAOS_SEED`, `_KILLS`, `_RATE` and `_PACE_MS`; else the short form.
    pub fn from_environment() -> Self {
        let short = Self::default();
        let Some(names) = variable("SCENARIOS") else { return short };
        let names = if names == "all" { LONG.join(",") } else { names };
        Self {
            seed: number("SEED").unwrap_or_else(|| rand::random::<u16>().into()),
            long: true,
            names: names.split(',').map(|name| name.trim().to_owned()).collect(),
            kills: number("KILLS").map_or(short.kills, |kills| kills as usize),
            rate: number("RATE").map_or(short.rate, |rate| rate.clamp(1, 5_000)),
            pace_ms: number("PACE_MS").map_or(short.pace_ms, |pace_ms| pace_ms.clamp(100, 60_000)),
        }
    }

    /// The storms that were asked for. Fails the test on a name that nobody knows.
    pub fn scenarios(&self) -> Vec<Scenario> {
        let known = |name: &String| {
            self.scenario(name)
                .unwrap_or_else(|| panic!("no scenario is called `{name}`; there are {LONG:?}"))
        };
        self.names.iter().map(known).collect()
    }

    /// The chance that `scenario` runs on.
    pub fn random(&self, scenario: &str) -> StdRng {
        let salt = scenario.bytes().fold(0_u64, |salt, byte| salt.wrapping_mul(31).wrapping_add(byte.into()));
        StdRng::seed_from_u64(self.seed.wrapping_add(salt))
    }

    fn scenario(&self, name: &str) -> Option<Scenario> {
        let random = &mut self.random(name);
        let third = self.kills.div_ceil(3);
        let tenth = self.kills.div_ceil(10);
        let last_words = [Fault::FlushAll, Fault::EmptyRedis];
        let deaths =
            |random: &mut StdRng, count| [storm(random, &DEATHS, count), last_words.to_vec()].concat();
        let single = |name, ledger, lanes, faults: Vec<Fault>| Scenario {
            name,
            daemons: 1,
            ledger,
            lanes,
            lease_ms: LEASE_MS,
            rate: self.rate,
            people: people(self.rate, faults.len(), self.pace_ms),
            faults,
            pace_ms: (self.pace_ms * 3 / 5, self.pace_ms * 7 / 5),
        };
        let double =
            |name, lanes, faults| Scenario { daemons: 2, ..single(name, Ledger::Postgres, lanes, faults) };
        Some(match name {
            "moments" => Scenario {
                rate: 100,
                people: 30,
                pace_ms: (300, 600),
                ..double("moments", Lanes::Proxied, vec![Fault::CutRedis(200), Fault::TerminateBackends])
            },
            "calm" => single("calm", Ledger::Sqlite, Lanes::Own, vec![Fault::Calm(10_000)]),
            "kills" => single("kills", Ledger::Sqlite, Lanes::Own, deaths(random, self.kills)),
            "kills-private" => single("kills-private", Ledger::Sqlite, Lanes::Private, deaths(random, third)),
            "kills-postgres" => single("kills-postgres", Ledger::Postgres, Lanes::Own, deaths(random, third)),
            "redis-stopped" => {
                single("redis-stopped", Ledger::Sqlite, Lanes::Own, vec![Fault::FreezeRedis(30_000)])
            }
            "storm" => single("storm", Ledger::Sqlite, Lanes::Private, storm(random, &ONE_DAEMON, third)),
            "network" => single("network", Ledger::Postgres, Lanes::Proxied, storm(random, &NETWORK, third)),
            "postgres" => {
                single("postgres", Ledger::Postgres, Lanes::Own, storm(random, &POSTGRES, tenth.max(4)))
            }
            "fencing" => double("fencing", Lanes::Own, storm(random, &FENCING, tenth.max(6))),
            "two-daemons" => double("two-daemons", Lanes::Own, storm(random, &TWO_DAEMONS, third)),
            "disk" => single("disk", Ledger::SqliteOnSmallDisk, Lanes::Own, vec![Fault::FillDisk(3_000); 3]),
            _ => return None,
        })
    }
}

/// The long form, in its order.
const LONG: [&str; 11] = [
    "calm",
    "kills",
    "redis-stopped",
    "kills-private",
    "kills-postgres",
    "storm",
    "network",
    "postgres",
    "fencing",
    "two-daemons",
    "disk",
];

const ONE_DAEMON: [Fault; 9] = [
    Fault::KillDaemon(0),
    Fault::KillRedis,
    Fault::KillBoth,
    Fault::FreezeDaemon(0, 1_500),
    Fault::FreezeDaemon(0, 14_000),
    Fault::FreezeRedis(1_000),
    Fault::FreezeRedis(5_000),
    Fault::FlushAll,
    Fault::FlushScripts,
];

const NETWORK: [Fault; 8] = [
    Fault::CutRedis(1_500),
    Fault::SlowRedis(3_000),
    Fault::SwallowRedis(4_000),
    Fault::CutPostgres(1_500),
    Fault::SlowPostgres(3_000),
    Fault::SwallowPostgres(3_000),
    Fault::TerminateBackends,
    Fault::KillDaemon(0),
];

const POSTGRES: [Fault; 3] = [Fault::CrashPostgres, Fault::TerminateBackends, Fault::KillDaemon(0)];

/// Longer than the lease: the other daemon takes over, and the first one wakes up with its hands full.
const FENCING: [Fault; 4] = [
    Fault::FreezeDaemon(0, 16_000),
    Fault::FreezeDaemon(1, 16_000),
    Fault::LoseDaemon(0, 16_000),
    Fault::FreezeDaemon(0, 5_000),
];

const TWO_DAEMONS: [Fault; 8] = [
    Fault::KillDaemon(0),
    Fault::KillDaemon(1),
    Fault::KillRedis,
    Fault::KillBoth,
    Fault::FreezeDaemon(1, 3_000),
    Fault::FlushAll,
    Fault::TerminateBackends,
    Fault::CrashPostgres,
];

impl Scenario {
    /// One daemon on nothing but its own: every fault that is over within moments.
    pub fn short_single() -> Self {
        let faults = [
            Fault::KillDaemon(0),
            Fault::KillRedis,
            Fault::FlushAll,
            Fault::FreezeRedis(300),
            Fault::KillBoth,
            Fault::FlushScripts,
            Fault::FreezeDaemon(0, 300),
        ];
        Self {
            name: "single",
            daemons: 1,
            ledger: Ledger::Sqlite,
            lanes: Lanes::Private,
            lease_ms: LEASE_MS,
            rate: 120,
            people: 30,
            faults: faults.to_vec(),
            pace_ms: (100, 400),
        }
    }

    /// Two daemons, one of which stands still for longer than its lease.
    pub fn short_double() -> Self {
        let faults = [Fault::KillDaemon(1), Fault::FreezeDaemon(0, 1_800), Fault::EmptyRedis];
        Self {
            name: "double",
            daemons: 2,
            ledger: Ledger::Postgres,
            lanes: Lanes::Own,
            lease_ms: 1_000,
            rate: 100,
            people: 30,
            faults: faults.to_vec(),
            pace_ms: (100, 400),
        }
    }
}

/// These variables are the suite's own; the daemons are started without any of them.
#[allow(clippy::disallowed_methods)]
fn variable(name: &str) -> Option<String> {
    std::env::var(format!("KEEPWELL_CHAOS_{name}")).ok().filter(|value| !value.is_empty())
}

fn number(name: &str) -> Option<u64> {
    let value = variable(name)?;
    Some(value.parse().unwrap_or_else(|_| panic!("KEEPWELL_CHAOS_{name} is no number: {value}")))
}

#[test]
fn every_scenario_of_the_long_form_is_there() {
    let options = Options { names: LONG.map(str::to_owned).to_vec(), ..Options::default() };
    let scenarios = options.scenarios();
    assert_eq!(scenarios.len(), LONG.len());
    assert_eq!(scenarios[1].faults.len(), 102);
}
