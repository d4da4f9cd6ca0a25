//! Crises whose job is dead: whoever's they are has the basic set for a day from then on, however often a process
//! begins anew. Each is told of and counted once, also one that died while nobody was there to say so. What was told is
//! known by the alert: what died while that was still being seen is a part of it, and whoever looks into it finds them
//! all. Without a receiver of alerts it is [noted](super::told).
//!
//! Dead jobs about emergency contacts are told of in the same way.

use std::path::Path;

use keepwell_jobs::{care::emergency::GRANTED_MS, kinds};
use keepwell_workers::{
    clock::UnixMs,
    database::Database,
    engine::Engine,
    id::JobId,
    job::Job,
    lane::Lane,
    ledger::{DeadOf, DeadPage},
};

use super::{
    PAGE, PAGES_MAX, Unread, Watchers,
    told::{Note, ToldUntil},
};

/// Rounds from the end of one walk through the dead to the beginning of the next: a minute.
const ROUNDS_BETWEEN_WALKS: u64 = 12;

/// Crises, of which we make none ourselves, and what is about contacts.
const WALKED: DeadOf<'static> =
    DeadOf { lane: Lane::Crisis, but_prefix: kinds::OUR_OWN, kinds: &kinds::ABOUT_CONTACTS };

/// Walks through the dead.
pub(super) struct Dead {
    walk: Walk,
    database: Database,
    engine: Engine,
    rounds_until_walk: u64,
    /// Behind which the walk goes on.
    after: Option<JobId>,
    /// Until when deaths were told of before this process began; asked once.
    told_until: Option<ToldUntil>,
    /// Where that is noted if no alert says so.
    note: Option<Note>,
    /// What is to be noted with the next walk: by then whoever reads the metrics has seen what this one has counted.
    to_note: Option<ToldUntil>,
}

/// What a walk comes to.
struct Walk {
    watchers: Watchers,
    /// When those died that it came upon, the last of them.
    newest: ToldUntil,
    /// Crises in this walk that were told of before.
    told_before: usize,
}

impl Dead {
    pub(super) fn new(watchers: Watchers, engine: Engine, database: Database, state_dir: &Path) -> Self {
        let note = watchers.care.alerts.is_none().then(|| Note::in_directory(state_dir));
        let walk = Walk { watchers, newest: ToldUntil::NEVER, told_before: 0 };
        let (after, told_until, to_note) = (None, None, None);
        Self { walk, database, engine, rounds_until_walk: 0, after, told_until, note, to_note }
    }

    /// Walks on, if it is time. However many of our own are dead, they hide none.
    pub(super) async fn look(&mut self) -> Result<(), Unread> {
        self.rounds_until_walk = self.rounds_until_walk.saturating_sub(1);
        if self.rounds_until_walk > 0 {
            return Ok(());
        }
        let told_until = self.told_until().await?;
        if let (Some(note), Some(until)) = (&mut self.note, self.to_note.take()) {
            note.write(until).await;
        }
        let since_ms = self.walk.watchers.clock.now_ms().saturating_sub(GRANTED_MS);
        for _ in 0..PAGES_MAX {
            let page = self.engine.ledger().dead_since(WALKED, since_ms, self.after, PAGE).await?;
            self.walk.comes_upon(&page, told_until);
            self.after = page.next;
            if self.after.is_none() {
                self.rounds_until_walk = ROUNDS_BETWEEN_WALKS;
                self.to_note = Some(self.walk.newest);
                self.walk.end();
                break;
            }
        }
        Ok(())
    }

    async fn told_until(&mut self) -> Result<ToldUntil, Unread> {
        if let Some(known) = self.told_until {
            return Ok(known);
        }
        let told_until = match &mut self.note {
            Some(note) => note.read(),
            None => ToldUntil::of_alerts(&self.database).await?,
        };
        self.walk.newest = told_until;
        Ok(*self.told_until.insert(told_until))
    }
}

impl Walk {
    fn comes_upon(&mut self, page: &DeadPage, told_until: ToldUntil) {
        let (mut crises, mut contacts) = (false, false);
        for (job, died_ms) in &page.jobs {
            if kinds::ABOUT_CONTACTS.contains(&&*job.kind) {
                self.newest.contacts_ms = self.newest.contacts_ms.max(*died_ms);
                contacts |= self.comes_upon_contact(job, *died_ms, told_until.contacts_ms);
            } else {
                self.newest.crises_ms = self.newest.crises_ms.max(*died_ms);
                crises |= self.comes_upon_crisis(job, *died_ms, told_until.crises_ms);
            }
        }
        if crises {
            self.watchers.alert_failed();
        }
        if contacts {
            self.watchers.alert_contact_not_told();
        }
    }

    /// Says whether somebody is to be alerted.
    fn comes_upon_crisis(&mut self, job: &Job, died_ms: UnixMs, told_until_ms: UnixMs) -> bool {
        if self.watchers.care.watch.knows_failed(job.id, died_ms) {
            return false;
        }
        if died_ms > told_until_ms {
            return self.watchers.failed(job, died_ms);
        }
        self.told_before += usize::from(self.watchers.failed_before(job, died_ms));
        false
    }

    /// Says whether somebody is to be alerted.
    fn comes_upon_contact(&self, job: &Job, died_ms: UnixMs, told_until_ms: UnixMs) -> bool {
        died_ms > told_until_ms && self.watchers.contact_job_died(job, died_ms)
    }

    fn end(&mut self) {
        let crises = std::mem::take(&mut self.told_before);
        if crises > 0 {
            tracing::warn!(
                crises,
                "the basic set is granted from memory again for crises that died before and were told of then; \
                 `keepwell job list --lane crisis --state dead` says which"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keepwell_config::TIERS_TOML;
    use keepwell_jobs::{Care, alerts::sink::AlertSink, care::tiers::Tiers, marks::Marks};
    use keepwell_workers::{
        clock::ManualClock,
        observer::{Observer as _, RunEnded, Unobserved},
        seal::{KeyRing, SealingKey},
    };
    use zeroize::Zeroizing;

    use super::*;

    fn walk(now_ms: UnixMs) -> Walk {
        let keys = KeyRing::new(SealingKey::new("test", &Zeroizing::new([7; 32])), []);
        let care = Care::new(Tiers::from_toml(TIERS_TOML).unwrap(), Marks::default(), keys);
        let watchers = Watchers::new(&care, ManualClock::at(now_ms), Arc::new(Unobserved));
        Walk { watchers, newest: ToldUntil::NEVER, told_before: 0 }
    }

    fn job(kind: &str) -> Job {
        Job {
            id: JobId::new(1),
            kind: kind.into(),
            lane: Lane::Crisis,
            dedupe_key: None,
            subject: Some("cus_1".to_owned()),
            payload: "{}".into(),
            attempts: 0,
            created_ms: 0,
            trace: None,
        }
    }

    #[test]
    fn a_crisis_that_was_late_here_and_died_elsewhere_is_told_of_as_dead_and_once() {
        let mut walk = walk(10_000);
        let job = job(kinds::CRISIS_SIGNALLED);
        walk.watchers.found(&job, job.created_ms);
        assert_eq!(walk.watchers.care.watch.overdue(10_000).len(), 1);
        assert!(walk.comes_upon_crisis(&job, 20_000, 0));
        assert!(!walk.comes_upon_crisis(&job, 20_000, 0));
        assert_eq!(walk.watchers.care.tallies.granted(), 1);
        // It was retried, and died again.
        assert!(walk.comes_upon_crisis(&job, 30_000, 0));
    }

    #[test]
    fn what_died_here_is_no_news_and_what_was_told_before_the_start_is_none_either() {
        for kind in kinds::ABOUT_CONTACTS {
            let (walk, job) = (walk(10_000), job(kind));
            assert!(!walk.comes_upon_contact(&job, 5_000, 5_000));
            assert!(
                walk.comes_upon_contact(&job, 5_001, 5_000) && !walk.comes_upon_contact(&job, 5_001, 5_000)
            );
            let ran = std::time::Duration::ZERO;
            walk.watchers.run_ended(&RunEnded { job: &job, outcome: "dead", waited: Some(ran), ran });
            assert!(!walk.comes_upon_contact(&job, 9_999, 5_000));
            assert_eq!(walk.watchers.care.tallies.contact_jobs_found_dead(), 1);
        }
    }

    #[test]
    fn what_one_life_has_come_upon_is_counted_by_no_other() {
        let dead = |died_ms: UnixMs| (JobId::new(died_ms), died_ms);
        let page = |deaths: &[(JobId, UnixMs)]| {
            let about = |(id, died_ms): &(JobId, UnixMs)| {
                (Arc::new(Job { id: *id, ..job(kinds::CONTACT_TOLD) }), *died_ms)
            };
            DeadPage { jobs: deaths.iter().map(about).collect(), next: None }
        };
        let (first, second, third) = (dead(5_000), dead(7_000), dead(9_000));
        let mut walk = self::walk(10_000);
        walk.comes_upon(&page(&[second, first]), ToldUntil::NEVER);
        assert_eq!(walk.watchers.care.tallies.contact_jobs_found_dead(), 2);
        let mut next_life = self::walk(20_000);
        next_life.comes_upon(&page(&[first, second, third]), walk.newest);
        assert_eq!(next_life.watchers.care.tallies.contact_jobs_found_dead(), 1);
    }

    #[test]
    fn whoever_is_on_call_is_told_of_a_death_about_contacts_the_moment_it_is_seen() {
        let keys = KeyRing::new(SealingKey::new("test", &Zeroizing::new([7; 32])), []);
        let (sink, mut heard) = AlertSink::channel();
        let mut care = Care::new(Tiers::from_toml(TIERS_TOML).unwrap(), Marks::default(), keys);
        care.alert_sink = sink;
        let watchers = Watchers::new(&care, ManualClock::at(0), Arc::new(Unobserved));
        let ran = std::time::Duration::ZERO;
        for (kind, outcome, rule) in [
            (kinds::CONTACT_TOLD, "retry", None),
            (kinds::CONTACT_TOLD, "dead", Some("ContactNotTold")),
            (kinds::MESSAGE, "dead", None),
        ] {
            watchers.run_ended(&RunEnded { job: &job(kind), outcome, waited: Some(ran), ran });
            assert_eq!(heard.try_recv().ok().map(|rule| rule.name), rule, "{kind} {outcome}");
        }
    }
}
