//! Which grace periods have to be seen to: those that have ended, and those about which somebody should hear soon. The
//! daemon asks every minute; who was down in between asks for what was missed. Asking twice, or by two daemons, is
//! harmless: each end is one job.

use keepwell_workers::{clock::UnixMs, database::Reader, job::NewJob, lane::Lane};
use serde_json::json;

use crate::{
    care::{
        grace::{DAY_MS, SYSTEM_ERROR_DAYS},
        occasion::ENDING_SOON_MS,
    },
    kinds,
    store::{DueGrace, graces_ending},
};

/// Ends of one kind that are seen to at a time; the others come with the next look, which begins behind them. About as
/// many jobs as the ledger records in one transaction, so that a crisis waits no longer for these than for others.
pub const DUE_MAX: u32 = 48;

/// Where ends wait to be seen to.
pub const GRACE_LANE: Lane = Lane::Therapeutic;

// No grace that begins now, not even the shortest, ends within what was looked at before.
const _: () = assert!(ENDING_SOON_MS < SYSTEM_ERROR_DAYS * DAY_MS);

/// Looks for ends. Knows how far it has looked.
#[derive(Debug, Default)]
pub struct GraceWatch {
    /// The last end that has come and was seen to since it was begun again; `None` if none was.
    ended: Option<DueGrace>,
    /// The last end that was announced.
    soon: Option<DueGrace>,
}

/// What a look has found.
#[derive(Debug)]
pub struct Looked {
    /// What is to be done about it. To be recorded before [`GraceWatch::looked`] is called.
    pub jobs: Vec<NewJob>,
    ended: Option<DueGrace>,
    soon: Option<DueGrace>,
    full: bool,
}

impl Looked {
    /// Whether there may be more that is due now.
    pub fn is_full(&self) -> bool {
        self.full
    }
}

impl GraceWatch {
    /// The jobs for the ends that have come and for those that are near at `now_ms`.
    pub async fn due(&self, reader: &mut Reader, now_ms: UnixMs) -> Result<Looked, sqlx::Error> {
        let from = self.ended.clone().unwrap_or_else(|| behind(UnixMs::MIN));
        let ended = graces_ending(reader, &from, now_ms, DUE_MAX).await?;
        // What has ended since the last announcement is announced no more.
        let from = self.soon.clone().filter(|soon| soon.ends_ms > now_ms).unwrap_or_else(|| behind(now_ms));
        let soon = graces_ending(reader, &from, now_ms.saturating_add(ENDING_SOON_MS), DUE_MAX).await?;
        let jobs =
            ended.iter().map(|grace| job(grace, false)).chain(soon.iter().map(|grace| job(grace, true)));
        let is_full = |page: &[DueGrace]| page.len() >= DUE_MAX as usize;
        Ok(Looked {
            jobs: jobs.collect(),
            full: is_full(&ended) || is_full(&soon),
            ended: ended.last().cloned().or_else(|| self.ended.clone()),
            soon: soon.last().cloned().or_else(|| self.soon.clone()),
        })
    }

    /// Begins again with the earliest end that has come: what was seen to is closed or has another end by now, and what
    /// is found a second time is told from new ends by its key.
    pub fn begin_again(&mut self) {
        self.ended = None;
    }

    /// Notes that the jobs of `looked` were recorded.
    pub fn looked(&mut self, looked: Looked) {
        (self.ended, self.soon) = (looked.ended, looked.soon);
    }
}

/// A place behind every end at `ends_ms` that a page can begin at: no id of a customer goes before it.
fn behind(ends_ms: UnixMs) -> DueGrace {
    DueGrace { customer: String::new(), ends_ms: ends_ms.saturating_add(1) }
}

fn job(grace: &DueGrace, soon: bool) -> NewJob {
    let DueGrace { customer, ends_ms } = grace;
    let payload = json!({ "customer": customer, "ends_ms": ends_ms, "soon": soon });
    let key = format!("grace:{}:{ends_ms}:{customer}", if soon { "soon" } else { "ended" });
    let job = NewJob::new(kinds::GRACE_DUE, GRACE_LANE, payload.to_string());
    job.subject(customer).turn(customer).dedupe_key(key)
}
