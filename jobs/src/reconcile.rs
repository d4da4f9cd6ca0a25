//! `stripe.reconcile`: Stripe's list of all subscriptions is compared with what is known, because Stripe can fail even
//! to make an event. Its list and not ours is gone through: it shows a hundred at once, and what nobody has told of.
//!
//! A run takes one page. Where the page differs, the job that confirms claims asks Stripe for that one subscription
//! ([`crate::confirm_subscription`]), so whatever changes, changes by the one way on which something can be taken away.
//! The next page's job is recorded with those of this one, and waits the longer the more there are to be asked:
//! confirmations that somebody waits for go on meanwhile.

use async_trait::async_trait;
use bytes::Bytes;
use keepwell_workers::{
    clock::UnixMs,
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::{Job, NewJob},
    lane::Lane,
    outcome::Outcome,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use crate::care::reconciliation::Reconciled;
use crate::{
    Care,
    backfill::POLICY,
    care::subscription::SubscriptionSnapshot,
    confirm_subscription::ToConfirm,
    json::Json,
    kinds,
    store::{
        audit::{self, Actor, AuditEntry},
        known_subscriptions,
    },
    stripe::extract::SubscriptionFields,
    subscription_changed::snapshot,
};

/// Pages of one comparison, at most: a million subscriptions.
const PAGES_MAX: u32 = 10_000;

/// How long the next page waits for each subscription that is to be asked for, in milliseconds: half of the questions
/// that may be asked are left to others.
const ASKED_MS: i64 = 100;

/// The turn of pages: one at a time.
const TURN: &str = "stripe reconcile";

/// What is asked for, and how far it has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Asked {
    scheduled_for: Option<String>,
    so_far: SoFar,
}

/// How far a comparison has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct SoFar {
    /// The id of its first job.
    first_job: Option<String>,
    /// The last subscription of the last page.
    after: Option<String>,
    pages: u32,
    subscriptions: u64,
    asked: u64,
}

/// See the module.
pub(crate) struct Reconcile(pub(crate) Care);

/// A page of Stripe's list.
struct PageShown {
    asked: Asked,
    shown: Vec<ShownSubscription>,
    /// What could not be read.
    failed: u64,
    next: Option<String>,
}

struct ShownSubscription {
    customer: String,
    livemode: Option<bool>,
    snapshot: SubscriptionSnapshot,
}

impl ShownSubscription {
    fn read(item: &Bytes) -> Option<Self> {
        let json = Json::parse(item).ok()?;
        let livemode = json.at(&["livemode"]).and_then(Json::flag);
        let fields = SubscriptionFields::read(json);
        let customer = fields.customer.clone()?.into_owned();
        Some(Self { customer, livemode, snapshot: snapshot(fields, 0, String::new())? })
    }
}

#[async_trait]
impl Handler for Reconcile {
    fn kind(&self) -> &'static str {
        kinds::STRIPE_RECONCILE
    }

    fn policy(&self) -> keepwell_workers::policy::Policy {
        POLICY
    }

    async fn prepare(&self, job: &Job) -> Result<Prepared, Outcome> {
        let asked: Asked = serde_json::from_slice(&job.payload)
            .map_err(|_| Outcome::dead("the payload of a comparison is empty, `{}`"))?;
        let Some(stripe) = &self.0.stripe else {
            return Err(Outcome::Cancel {
                reason: "without `stripe.api_key` nobody can be asked".to_owned(),
            });
        };
        if asked.so_far.pages >= PAGES_MAX {
            return Err(Outcome::dead("there are more than a million subscriptions"));
        }
        let page = stripe.subscriptions(asked.so_far.after.as_deref(), job.id).await?;
        let read: Vec<_> = page.items.iter().map(ShownSubscription::read).collect();
        let failed = read.iter().filter(|shown| shown.is_none()).count() as u64;
        let shown = read.into_iter().flatten().collect();
        Ok(Box::new(PageShown { asked, shown, failed, next: page.next }))
    }

    async fn apply(
        &self,
        job: &Job,
        prepared: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError> {
        let Some(page) = prepared.downcast_ref::<PageShown>() else {
            return Ok(Outcome::retry("the page is gone"));
        };
        let wanted: Vec<(&str, &str)> =
            page.shown.iter().map(|shown| (shown.customer.as_str(), shown.snapshot.id.as_str())).collect();
        let known = known_subscriptions(transaction, &wanted).await?;
        let account = self.0.stripe.as_ref().and_then(|stripe| stripe.account());
        let now_ms = transaction.now_ms();
        let (mut counts, mut to_ask) = ([0; Reconciled::ALL.len()], 0);
        counts[Reconciled::Failed as usize] = page.failed;
        for shown in &page.shown {
            let its_own = known
                .iter()
                .find(|known| (&known.customer, &known.snapshot.id) == (&shown.customer, &shown.snapshot.id));
            let claimed = its_own.is_some_and(|known| known.claimed);
            let found = Reconciled::compare(its_own.map(|known| &known.snapshot), claimed, &shown.snapshot);
            counts[found as usize] += 1;
            if found.is_to_be_asked(&shown.snapshot) {
                to_ask += 1;
                let about = ToConfirm::shown(&shown.customer, &shown.snapshot.id, account, shown.livemode);
                transaction.enqueue(NewJob { lane: Lane::Background, ..about.job(now_ms) });
            }
        }
        let so_far = page.asked.so_far.behind(page, job, to_ask);
        if so_far.after.is_some() {
            let wait_ms = ASKED_MS.saturating_mul(to_ask as i64);
            transaction.enqueue(next_page(&page.asked, &so_far, job, now_ms.saturating_add(wait_ms)));
        } else {
            audit::append(transaction, &entry(&so_far, now_ms)).await?;
        }
        let tallies = self.0.tallies.clone();
        transaction.after_commit(move || {
            for found in Reconciled::ALL {
                tallies.reconciled(found, counts[found as usize]);
            }
        });
        Ok(Outcome::Done)
    }
}

impl SoFar {
    /// How far it has come with `page`, the page of `job`, of which `asked` are to be asked for.
    fn behind(&self, page: &PageShown, job: &Job, asked: u64) -> Self {
        Self {
            first_job: Some(self.first_job.clone().unwrap_or_else(|| job.id.to_string())),
            after: page.next.clone(),
            pages: self.pages + 1,
            subscriptions: self.subscriptions + page.shown.len() as u64 + page.failed,
            asked: self.asked + asked,
        }
    }

    fn first_job(&self) -> &str {
        self.first_job.as_deref().unwrap_or_default()
    }
}

/// The job of the page behind `so_far`.
fn next_page(asked: &Asked, so_far: &SoFar, job: &Job, run_at_ms: UnixMs) -> NewJob {
    let asked = Asked { so_far: so_far.clone(), ..asked.clone() };
    // Numbers and texts are always written.
    let payload = serde_json::to_vec(&asked).unwrap_or_default();
    NewJob::new(kinds::STRIPE_RECONCILE, Lane::Background, payload)
        .subject(job.subject.as_deref().unwrap_or(TURN))
        .turn(TURN)
        .dedupe_key(format!("stripe reconcile:{}:{}", so_far.first_job(), so_far.pages))
        .run_at_ms(run_at_ms)
}

/// What a comparison found, for the trail. What comes of each question is an entry of its own.
fn entry(so_far: &SoFar, at_ms: UnixMs) -> AuditEntry {
    let SoFar { pages, subscriptions, asked, .. } = so_far;
    AuditEntry {
        at_ms,
        actor: Actor::System { job: format!("{} {}", kinds::STRIPE_RECONCILE, so_far.first_job()) },
        action: "stripe.reconciled",
        subject: Some(so_far.first_job().to_owned()),
        reason: "what is known of subscriptions was compared with Stripe's list".to_owned(),
        before: None,
        after: Some(json!({ "pages": pages, "subscriptions": subscriptions, "asked": asked })),
    }
}
