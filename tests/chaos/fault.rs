//! What can go wrong, and how a storm of it is drawn.

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

/// One fault. Times are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: what the rest is to be compared with.
    Calm(u64),
    /// `kill -9` of a daemon, which is started again at once.
    KillDaemon(usize),
    /// `kill -9` of a daemon, which is started again only after this long.
    LoseDaemon(usize, u64),
    /// A daemon stands still.
    FreezeDaemon(usize, u64),
    /// `kill -9` of Redis, which is started again at once.
    KillRedis,
    /// `kill -9` of the first daemon and of Redis.
    KillBoth,
    /// Redis stands still.
    FreezeRedis(u64),
    /// `FLUSHALL`.
    FlushAll,
    /// `SCRIPT FLUSH`.
    FlushScripts,
    /// `kill -9` of Redis, which is started again on an empty directory.
    EmptyRedis,
    /// Connections to Redis break, and new ones are refused.
    CutRedis(u64),
    /// Every piece of what goes to or comes from Redis takes 100 ms longer.
    SlowRedis(u64),
    /// What goes to or comes from Redis arrives only afterwards.
    SwallowRedis(u64),
    /// Connections to PostgreSQL break, and new ones are refused.
    CutPostgres(u64),
    /// Every piece of what goes to or comes from PostgreSQL takes 20 ms longer.
    SlowPostgres(u64),
    /// What goes to or comes from PostgreSQL arrives only afterwards.
    SwallowPostgres(u64),
    /// `pg_terminate_backend` for every connection of the daemons.
    TerminateBackends,
    /// PostgreSQL is stopped without a checkpoint and started again.
    CrashPostgres,
    /// The file system of the SQLite file has no room left.
    FillDisk(u64),
}

/// The deaths of the headline: the daemon's, Redis', and both.
pub const DEATHS: [Fault; 3] = [Fault::KillDaemon(0), Fault::KillRedis, Fault::KillBoth];

impl Fault {
    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Calm(_) => "none",
            Fault::KillDaemon(_) => "daemon killed",
            Fault::LoseDaemon(..) => "daemon lost",
            Fault::FreezeDaemon(..) => "daemon stopped",
            Fault::KillRedis => "redis killed",
            Fault::KillBoth => "both killed",
            Fault::FreezeRedis(_) => "redis stopped",
            Fault::FlushAll => "flushall",
            Fault::FlushScripts => "script flush",
            Fault::EmptyRedis => "redis emptied",
            Fault::CutRedis(_) => "redis cut off",
            Fault::SlowRedis(_) => "redis slow",
            Fault::SwallowRedis(_) => "redis silent",
            Fault::CutPostgres(_) => "postgres cut off",
            Fault::SlowPostgres(_) => "postgres slow",
            Fault::SwallowPostgres(_) => "postgres silent",
            Fault::TerminateBackends => "backends ended",
            Fault::CrashPostgres => "postgres crashed",
            Fault::FillDisk(_) => "disk full",
        }
    }
}

/// `count` of `kinds`, each at least once if there is room, in an order of chance.
pub fn storm(random: &mut StdRng, kinds: &[Fault], count: usize) -> Vec<Fault> {
    let mut drawn: Vec<Fault> = kinds.iter().copied().take(count).collect();
    while drawn.len() < count {
        drawn.extend(kinds.choose(random));
    }
    // Fisher and Yates.
    for last in (1..drawn.len()).rev() {
        drawn.swap(last, random.random_range(0..=last));
    }
    drawn
}

#[test]
fn a_storm_has_every_fault_and_is_the_same_for_the_same_seed() {
    use rand::SeedableRng;
    let drawn = |seed| storm(&mut StdRng::seed_from_u64(seed), &DEATHS, 20);
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
    assert!(DEATHS.iter().all(|fault| drawn(1).contains(fault)));
}
