//! What this process is running, for its next life if it dies and Redis dies with it.
//!
//! The lanes count how many workers a job has seen die. A private Redis may end with the daemon, and forgets: then a
//! job that kills whoever runs it would do so for ever. So a life that follows an unclean end notes in a file which of
//! the jobs that it found there it runs. Where the life before ended well nothing is noted: it takes one death more to
//! find a poison pill, and nobody else pays for it. Nothing is synced: this has to outlive the process and not the
//! machine.
//!
//! A death says who ran and not who killed. Of those in the general lanes, whoever may see one death more runs alone
//! among its like, as with the lanes' own count (see `run.rs`), and waits for a lease and for every crisis that has
//! seen a death: if such a crisis kills, it kills before that. A crisis waits for nobody, and may begin beside one all
//! the same, so that a death which they share is only the crisis's: it may see nine, and one that is innocent has ended
//! by the next.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{clock::UnixMs, id::JobId, lane::Lane, lanes::CRASHES_MAX};

/// A tag, a number (of deaths; or 1 for what begins if it is a crisis), and a job's id.
const RECORD_BYTES: usize = 2 + 16;

/// Beyond this the file is written anew with what still counts, in bytes.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Jobs whose deaths are remembered; far more than run at once.
const DEATHS_REMEMBERED_MAX: usize = 10_000;

/// How long whoever waits for a crisis that has seen a death waits before it looks again.
const CRISIS_PATIENCE: Duration = Duration::from_secs(1);

const HAS_SEEN_DEATHS: u8 = b'd';
const BEGINS: u8 = b'b';
const ENDS: u8 = b'e';
const CLOSED: u8 = b'c';

/// The file and what is in it.
#[derive(Debug)]
pub(crate) struct Journal(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// `None` once it could not be written: jobs run all the same.
    file: Option<File>,
    bytes: usize,
    content: Content,
    /// Jobs from before this instant are noted. `None` after a life that ended well.
    found_before_ms: Option<UnixMs>,
    /// Until then whoever may see one death more waits.
    suspects_wait_until: Instant,
}

#[derive(Debug, Default)]
struct Content {
    deaths: HashMap<JobId, u8>,
    /// And whether they are crises.
    running: HashMap<JobId, bool>,
}

/// A job is running for as long as this lives.
#[derive(Debug)]
pub(crate) struct Noted {
    journal: Arc<Journal>,
    id: JobId,
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.journal.ends(self.id);
    }
}

impl Journal {
    /// The journal at `path`, begun anew with what the last life left in it. Whoever may see one death more waits for a
    /// `lease`.
    pub(crate) fn open(path: &Path, now_ms: UnixMs, lease: Duration) -> Arc<Self> {
        let left = match fs::read(path) {
            Ok(bytes) => Content::left_by(&bytes),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(error = %error, path = %path.display(), "what ran before cannot be read");
                }
                None
            }
        };
        let found_before_ms = left.as_ref().map(|_| now_ms);
        let content = left.unwrap_or_default();
        let suspects_wait_until = Instant::now() + lease;
        let path = path.to_owned();
        let mut inner = Inner { path, file: None, bytes: 0, content, found_before_ms, suspects_wait_until };
        inner.write_anew();
        Arc::new(Self(Mutex::new(inner)))
    }

    /// How many workers `id` has seen die while it ran, as far as is known here.
    pub(crate) fn deaths(&self, id: JobId) -> u32 {
        self.inner().content.deaths.get(&id).copied().unwrap_or(0).into()
    }

    /// How long a job of `lane` that has seen so many `deaths` has to wait, so that the next one is nobody else's;
    /// `None` if it may run now.
    pub(crate) fn has_to_wait(&self, lane: Lane, deaths: u32) -> Option<Duration> {
        if lane == Lane::Crisis || deaths + 1 < CRASHES_MAX {
            return None;
        }
        let inner = self.inner();
        let left = inner.suspects_wait_until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            inner.content.a_suspect_crisis_runs().then_some(CRISIS_PATIENCE)
        } else {
            Some(left)
        }
    }

    /// Notes that a job of `lane` begins to run, if that is to be noted.
    pub(crate) fn begins(self: &Arc<Self>, id: JobId, created_ms: UnixMs, lane: Lane) -> Option<Noted> {
        let mut inner = self.inner();
        let was_found = inner.found_before_ms.is_some_and(|before_ms| created_ms <= before_ms);
        if !was_found && !inner.content.deaths.contains_key(&id) {
            return None;
        }
        let is_crisis = lane == Lane::Crisis;
        inner.content.running.insert(id, is_crisis);
        inner.append(&record(BEGINS, is_crisis.into(), id));
        drop(inner);
        Some(Noted { journal: Arc::clone(self), id })
    }

    /// Everything has ended, and this process ends because it was told to.
    pub(crate) fn close(&self) {
        self.inner().append(&[CLOSED; RECORD_BYTES]);
    }

    /// The ledger owes `id` no more, whether it was done or given up on: what it has seen counts no longer. Not before
    /// that: whoever forgets what it cannot give up on yet has it kill again.
    pub(crate) fn is_settled(&self, id: JobId) {
        if self.deaths(id) > 0 {
            self.ends(id);
        }
    }

    /// Notes that a run of `id` has ended: what it has seen counts no longer.
    fn ends(&self, id: JobId) {
        let mut inner = self.inner();
        inner.content.running.remove(&id);
        inner.content.deaths.remove(&id);
        inner.append(&record(ENDS, 0, id));
        if inner.bytes > FILE_BYTES_MAX {
            inner.write_anew();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked with it has left at worst one job that counts as running.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn append(&mut self, record: &[u8; RECORD_BYTES]) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.write_all(record) {
            self.given_up(&error);
        }
        self.bytes += RECORD_BYTES;
    }

    /// Under another name until it is whole, so that a death in between leaves one or the other.
    fn write_anew(&mut self) {
        let content = self.content.to_bytes();
        let beside = self.path.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(&beside).and_then(|mut file| {
            file.write_all(&content)?;
            fs::rename(&beside, &self.path)?;
            Ok(file)
        });
        match written {
            Ok(file) => (self.file, self.bytes) = (Some(file), content.len()),
            Err(error) => self.given_up(&error),
        }
    }

    fn given_up(&mut self, error: &io::Error) {
        tracing::warn!(error = %error, path = %self.path.display(), "what is running cannot be noted");
        self.file = None;
    }
}

impl Content {
    /// What a life has left that wrote `bytes`: whatever was running has seen one more death. `None` if it ended well.
    /// A last record that is not whole was never written to its end.
    fn left_by(bytes: &[u8]) -> Option<Self> {
        let mut content = Self::default();
        let records = bytes.chunks_exact(RECORD_BYTES);
        if records.clone().last().is_some_and(|record| record[0] == CLOSED) {
            return None;
        }
        for record in records {
            let Some(id) = JobId::from_bytes(&record[2..]) else { continue };
            match record[0] {
                HAS_SEEN_DEATHS if content.deaths.len() < DEATHS_REMEMBERED_MAX => {
                    content.deaths.insert(id, record[1]);
                }
                BEGINS => {
                    content.running.insert(id, record[1] == 1);
                }
                ENDS => {
                    content.running.remove(&id);
                    content.deaths.remove(&id);
                }
                _ => {}
            }
        }
        let shares_a_crisis_death = content.a_suspect_crisis_runs();
        for (id, is_crisis) in content.running.drain() {
            let deaths = content.deaths.entry(id).or_default();
            let is_last = u32::from(*deaths) + 1 >= CRASHES_MAX;
            if is_crisis || !is_last || !shares_a_crisis_death {
                *deaths = deaths.saturating_add(1);
            }
        }
        Some(content)
    }

    /// Whether a crisis runs that has seen a death.
    fn a_suspect_crisis_runs(&self) -> bool {
        self.running.iter().any(|(id, is_crisis)| *is_crisis && self.deaths.contains_key(id))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let deaths = self.deaths.iter().map(|(id, deaths)| record(HAS_SEEN_DEATHS, *deaths, *id));
        let running = self.running.iter().map(|(id, is_crisis)| record(BEGINS, (*is_crisis).into(), *id));
        deaths.chain(running).flatten().collect()
    }
}

fn record(tag: u8, number: u8, id: JobId) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    (record[0], record[1]) = (tag, number);
    record[2..].copy_from_slice(id.as_bytes());
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    const BORN_MS: UnixMs = 1_000;

    /// Lives that come one after another at this path, each later than the job was born.
    struct Lives(tempfile::TempDir);

    impl Lives {
        fn new() -> Self {
            Self(tempfile::TempDir::new().unwrap())
        }

        fn next(&self) -> Arc<Journal> {
            Journal::open(&self.0.path().join("running"), BORN_MS + 1, Duration::ZERO)
        }
    }

    #[test]
    fn what_runs_at_every_death_is_known_and_what_ended_is_not_suspected() {
        let (lives, [pill, innocent]) = (Lives::new(), [1, 2].map(JobId::new));
        assert!(lives.next().begins(pill, BORN_MS, Lane::Standard).is_none(), "nothing has died yet");
        for deaths in 0..4 {
            let life = lives.next();
            assert_eq!((life.deaths(pill), life.deaths(innocent)), (deaths, 0));
            drop(life.begins(innocent, BORN_MS, Lane::Standard).unwrap());
            // Dropped like this it would end well, and a process that is killed drops nothing.
            std::mem::forget(life.begins(pill, BORN_MS, Lane::Standard).unwrap());
            assert!(
                life.begins(JobId::new(3), BORN_MS + 2, Lane::Standard).is_none(),
                "it came after the death"
            );
        }
    }

    #[test]
    fn whoever_runs_beside_a_crisis_that_kills_is_not_given_up_with_it() {
        let (lives, [killer, beside]) = (Lives::new(), [1, 2].map(JobId::new));
        lives.next();
        for deaths in 0..9 {
            let life = lives.next();
            assert_eq!((life.deaths(killer), life.deaths(beside)), (deaths, deaths.min(CRASHES_MAX - 1)));
            std::mem::forget(life.begins(killer, BORN_MS, Lane::Crisis).unwrap());
            std::mem::forget(life.begins(beside, BORN_MS, Lane::Standard).unwrap());
        }
        let life = lives.next();
        assert_eq!(life.deaths(killer), 9);
        life.is_settled(killer);
        std::mem::forget(life.begins(beside, BORN_MS, Lane::Standard).unwrap());
        assert_eq!(lives.next().deaths(beside), CRASHES_MAX, "nobody else ran");
    }

    #[test]
    fn who_may_see_one_death_more_waits_for_a_lease_and_for_crises_that_have_seen_one() {
        let (lives, [killer, fresh]) = (Lives::new(), [1, 2].map(JobId::new));
        lives.next();
        std::mem::forget(lives.next().begins(killer, BORN_MS, Lane::Crisis).unwrap());
        let life = lives.next();
        let _fresh = life.begins(fresh, BORN_MS, Lane::Crisis).unwrap();
        assert_eq!(life.has_to_wait(Lane::Standard, CRASHES_MAX - 1), None);
        let runs = life.begins(killer, BORN_MS, Lane::Crisis).unwrap();
        let waits = |deaths| life.has_to_wait(Lane::Standard, deaths).is_some();
        assert_eq!([0, 1, 2].map(waits), [false, false, true]);
        assert_eq!(life.has_to_wait(Lane::Crisis, 8), None);
        drop(runs);
        assert!(!waits(2));
        let lease = Duration::from_secs(60);
        let life = Journal::open(&lives.0.path().join("running"), BORN_MS + 1, lease);
        assert!(life.has_to_wait(Lane::Standard, 2).is_some_and(|wait| wait > lease / 2 && wait <= lease));
        assert_eq!(
            [(Lane::Standard, 1), (Lane::Crisis, 8)].map(|(lane, deaths)| life.has_to_wait(lane, deaths)),
            [None; 2]
        );
    }

    #[test]
    fn an_end_that_was_meant_and_a_run_that_ended_leave_no_suspects() {
        let (lives, [pill, other]) = (Lives::new(), [1, 2].map(JobId::new));
        lives.next();
        let life = lives.next();
        std::mem::forget(life.begins(pill, BORN_MS, Lane::Standard));
        std::mem::forget(life.begins(other, BORN_MS, Lane::Standard));
        let life = lives.next();
        life.is_settled(pill);
        assert_eq!((life.deaths(pill), life.deaths(other)), (0, 1));
        life.close();
        let life = lives.next();
        assert_eq!(life.deaths(other), 0);
        assert!(life.begins(other, BORN_MS, Lane::Standard).is_none());
    }

    #[test]
    fn the_file_stays_small_and_half_a_record_is_none() {
        let (lives, [pill, busy]) = (Lives::new(), [1, 2].map(JobId::new));
        lives.next();
        let life = lives.next();
        std::mem::forget(life.begins(pill, BORN_MS, Lane::Standard));
        for _ in 0..FILE_BYTES_MAX / RECORD_BYTES {
            life.begins(busy, BORN_MS, Lane::Standard);
        }
        let path = lives.0.path().join("running");
        let mut bytes = fs::read(&path).unwrap();
        assert!(bytes.len() < FILE_BYTES_MAX + RECORD_BYTES);
        bytes.extend_from_slice(&record(ENDS, 0, pill)[..RECORD_BYTES - 1]);
        fs::write(&path, bytes).unwrap();
        assert_eq!(lives.next().deaths(pill), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_keeps_no_job_from_running() {
        let journal = Journal::open(Path::new("/nowhere/at/all"), 0, Duration::ZERO);
        assert!(journal.begins(JobId::new(1), 0, Lane::Standard).is_none());
        journal.close();
    }
}
