//! The engine's start: what it is made of, and the threads that it runs on.

use std::{sync::Arc, thread::JoinHandle};

use tokio::{sync::Mutex, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Engine, EngineOptions, EngineParts, Inner, Pulse, Running, StartError,
    threads::{Shared, keep_leases},
};
use crate::{
    caretaker::Caretaker,
    clock::UnixMs,
    database::turn::Urgency,
    lanes::{ClaimScope, Lanes, NodeInfo, listen, placer},
    ledger::{Ledger, Recording, committer},
    pool::Member,
    runtime::{self, Threads},
};

impl Engine {
    /// Starts the committers, and the pools if this process runs jobs. Redis may be away: it is connected to when it
    /// comes.
    pub fn start(parts: EngineParts, options: &EngineOptions) -> Result<Self, StartError> {
        let EngineParts { database, keys, clock, registry, redis_url, observer } = parts;
        let ledger = Ledger::new(database, keys, Arc::clone(&clock), registry);
        let lanes = Lanes::connect(&redis_url, options.lanes.clone(), Arc::clone(&clock))?;
        let info = node_info(options, clock.now_ms());
        let shared = Shared::new(&ledger, redis_url, Arc::clone(&observer), options);
        let Shared { behind, bells, drain, close, broken, journal, drain_time, .. } = shared.clone();
        let crisis_drain = CancellationToken::new();
        let (crisis_placements, crisis_placer) = placer(Arc::clone(&bells), Arc::clone(&behind));
        let (general_placements, general_placer) = placer(Arc::clone(&bells), Arc::clone(&behind));
        let recording = Recording::default();
        let (crisis_door, crisis_committer) =
            committer(ledger.clone(), Urgency::Crisis, crisis_placements.clone(), recording.clone());
        let (general_door, general_committer) =
            committer(ledger.clone(), Urgency::General, general_placements.clone(), recording.clone());
        // The general pool's takes back what both pools of earlier lives held.
        let [member, crisis_member] = [true, false]
            .map(|adopts| Arc::new(Member::new(&lanes, &ledger, info.clone(), Arc::clone(&behind), adopts)));
        let pulse = Arc::new(Pulse::default());

        let mut threads = Vec::new();
        let crisis_slots = options.runs_jobs.then_some(options.crisis_slots);
        let crisis = shared.for_crises(crisis_drain.clone());
        let turns = [crisis.turns.clone(), shared.turns.clone()];
        let ended = [crisis.ended.clone(), shared.ended.clone()];
        if options.runs_jobs {
            let members = [Arc::clone(&crisis_member), Arc::clone(&member)];
            threads.push(lease_thread(&shared, members, ended.clone())?);
        }
        threads.push(runtime::on_own_thread("keepwell-crisis", Threads::One, move || {
            crisis.run(
                "keepwell-crisis",
                ClaimScope::Crisis,
                crisis_slots,
                crisis_placements,
                Some((crisis_placer, crisis_committer)),
                crisis_member,
            )
        })?);
        let slots = options.runs_jobs.then_some(options.slots);
        let (general_queue, general_member) = (general_placements.clone(), Arc::clone(&member));
        let threads_max = options.threads.max(1);
        threads.push(runtime::on_own_thread("keepwell-pool", Threads::Many(threads_max), move || {
            shared.run("keepwell-pool", ClaimScope::General, slots, general_queue, None, general_member)
        })?);

        let mut tasks = JoinSet::new();
        runtime::start_loop(&mut tasks, &broken, general_committer.run(close.clone()));
        // Not on the pool's own threads: what handlers hog here may be done by another process.
        runtime::start_loop(&mut tasks, &broken, general_placer.run(lanes.clone(), close.clone()));
        let caretaker = Caretaker {
            ledger: ledger.clone(),
            lanes: lanes.clone(),
            member: Arc::clone(&member),
            bells: Arc::clone(&bells),
            behind: Arc::clone(&behind),
            pulse: Arc::clone(&pulse),
            retention: options.retention,
            observer: Arc::clone(&observer),
            works: options.runs_jobs,
            stop: crisis_drain.clone(),
        };
        runtime::start_loop(&mut tasks, &broken, caretaker.run());
        runtime::start_loop(&mut tasks, &broken, listen(lanes.clone(), bells, crisis_drain.clone()));
        Ok(Self(Arc::new(Inner {
            ledger,
            lanes,
            member,
            crisis_door,
            general_door,
            general_placements,
            behind,
            pulse,
            recording,
            observer,
            errands: TaskTracker::new(),
            drain: [crisis_drain, drain],
            drain_time,
            ended,
            broken,
            journal,
            turns,
            close,
            running: Mutex::new(Running { threads, tasks }),
        })))
    }
}

/// The thread that keeps the leases of both pools' `members`, each until its pool has `ended`.
fn lease_thread(
    shared: &Shared,
    members: [Arc<Member>; 2],
    ended: [CancellationToken; 2],
) -> std::io::Result<JoinHandle<()>> {
    let (url, options, clock) =
        (shared.redis_url.clone(), shared.lanes_options.clone(), Arc::clone(&shared.ledger.clock));
    let broken = shared.broken.clone();
    runtime::on_own_thread("keepwell-lease", Threads::One, move || {
        let ([crisis, general], [crisis_ended, general_ended]) = (members, ended);
        let members = [(crisis, crisis_ended), (general, general_ended)];
        keep_leases(url, options, clock, members, broken)
    })
}

fn node_info(options: &EngineOptions, started_ms: UnixMs) -> NodeInfo {
    let (instance, host) = (options.instance.clone(), options.host.clone());
    NodeInfo { instance, host, pid: std::process::id(), started_ms }
}
