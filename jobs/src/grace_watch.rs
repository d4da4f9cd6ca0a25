//! Which grace periods have to be seen to: those that have ended, and those about which somebody should hear soon. The
//! daemon asks every minute; who was down in between asks for what was missed. Asking twice, or by two daemons, is
//! harmless: each end is one job.

use keepwell_workers::{clock::UnixMs, database::Reader, job::NewJob, lane::Lane};
use serde_json::json;

use crate::{
    care::occasion::ENDING_SOON_MS,
    kinds,
    store::{DueGrace, graces_ending},
};

/// Ends of one kind that are seen to at a time; the others come with the next look.
pub const DUE_MAX: u32 = 500;

/// Looks for ends. Knows until where it has looked.
#[derive(Debug, Default)]
pub struct GraceWatch {
    /// Who hears about an end was asked up to this end.
    soon_until_ms: Option<UnixMs>,
}

impl GraceWatch {
    /// The jobs for the ends that have come and for those that are near at `now_ms`. To be recorded before
    /// [`GraceWatch::looked`] is called.
    pub async fn due(&self, reader: &mut Reader, now_ms: UnixMs) -> Result<Vec<NewJob>, sqlx::Error> {
        let ended = graces_ending(reader, UnixMs::MIN, now_ms, DUE_MAX).await?;
        let near_ms = now_ms.saturating_add(ENDING_SOON_MS);
        let from_ms = self.soon_until_ms.unwrap_or(now_ms).max(now_ms);
        let soon = graces_ending(reader, from_ms, near_ms, DUE_MAX).await?;
        Ok(ended
            .iter()
            .map(|grace| job(grace, false))
            .chain(soon.iter().map(|grace| job(grace, true)))
            .collect())
    }

    /// Notes that `jobs`, found at `now_ms`, were recorded.
    pub fn looked(&mut self, jobs: &[NewJob], now_ms: UnixMs) {
        // A full page means that there may be more behind it; duplicates are told from new ones by their key.
        if jobs.len() < DUE_MAX as usize {
            self.soon_until_ms = Some(now_ms.saturating_add(ENDING_SOON_MS));
        }
    }
}

fn job(grace: &DueGrace, soon: bool) -> NewJob {
    let DueGrace { customer, ends_ms } = grace;
    let payload = json!({ "customer": customer, "ends_ms": ends_ms, "soon": soon });
    let key = format!("grace:{}:{ends_ms}:{customer}", if soon { "soon" } else { "ended" });
    let job = NewJob::new(kinds::GRACE_DUE, Lane::Therapeutic, payload.to_string());
    job.subject(customer).turn(customer).dedupe_key(key)
}
