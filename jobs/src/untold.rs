//! Contacts whom nobody will tell any more, because the job that was to do so is dead, or an operator has cancelled it:
//! recorded, so that the next sign of a crisis is told to them.

use keepwell_workers::{
    clock::UnixMs,
    database::{Database, turn::Urgency},
    job::Job,
    seal::KeyRing,
};

use crate::{
    contact_look::About,
    contact_told::begin,
    kinds,
    store::{NoticeKey, QueuedNotice, keep_untold, queued_notices},
    unread::all_unfinished,
};

/// Contacts who are about to be told, read at once.
const PAGE: u32 = 256;

/// Records that whoever `job` was to tell will not be told: it is dead, whatever it died of. Does nothing about jobs of
/// any other kind.
pub async fn settle_untold(database: &Database, job: &Job, now_ms: UnixMs) -> Result<(), sqlx::Error> {
    let about = About::of(&job.payload).filter(|_| &*job.kind == kinds::CONTACT_TOLD);
    let Some((about, contact)) = about.and_then(|about| about.contact.map(|contact| (about, contact))) else {
        return Ok(());
    };
    settle(database, about.notice(contact), now_ms).await
}

/// The same of all contacts who count as about to be told since `since_ms` though nobody is to: whatever has become of
/// the jobs, and of the process that was to say so. `keys` open what the jobs say.
pub async fn settle_all_untold(
    database: &Database,
    keys: &KeyRing,
    since_ms: UnixMs,
    now_ms: UnixMs,
) -> Result<(), sqlx::Error> {
    let mut after = QueuedNotice { at_ms: since_ms, ..QueuedNotice::default() };
    loop {
        // First, because a job that is recorded later is not of these, and one that was done has changed its row.
        let mut reader = database.reader(Urgency::General).await?;
        let page = queued_notices(&mut reader, &after, PAGE).await?;
        let mut owed = Owed::default();
        let mut untold = Vec::new();
        for notice in &page {
            if owed.customer != notice.customer {
                let jobs = all_unfinished(&mut reader, keys, kinds::CONTACT_TOLD, &notice.customer).await?;
                let jobs = jobs.map(|jobs| jobs.into_iter().filter(|job| job.owed).collect::<Vec<_>>());
                let tells =
                    |job: &keepwell_workers::ledger::Unfinished| About::of(job.payload.as_ref().ok()?);
                let about = jobs.and_then(|jobs| jobs.iter().map(tells).collect());
                owed = Owed { customer: notice.customer.clone(), about };
            }
            if !owed.tells(notice) {
                untold.push(notice);
            }
        }
        drop(reader);
        for QueuedNotice { customer, cause, contact, .. } in untold {
            settle(database, NoticeKey { customer, cause, contact: *contact }, now_ms).await?;
        }
        match page.into_iter().next_back() {
            Some(last) => after = last,
            None => return Ok(()),
        }
    }
}

/// What is owed to the contacts of one person.
#[derive(Default)]
struct Owed {
    customer: String,
    /// What the jobs say that tell them; `None` if that cannot be read: then it may be anybody.
    about: Option<Vec<About>>,
}

impl Owed {
    fn tells(&self, notice: &QueuedNotice) -> bool {
        self.about.as_ref().is_none_or(|jobs| {
            jobs.iter().any(|about| about.cause == notice.cause && about.contact == Some(notice.contact))
        })
    }
}

async fn settle(database: &Database, notice: NoticeKey<'_>, now_ms: UnixMs) -> Result<(), sqlx::Error> {
    let mut transaction = begin(database, now_ms).await?;
    keep_untold(&mut transaction, notice).await?;
    transaction.commit().await
}
