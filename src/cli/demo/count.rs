//! What arrived, as the daemon itself tells it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use http::Method;
use tokio::time::{Instant, sleep};

use super::{
    super::{client::Connection, daemon::Operators, failure::Failure, filters::encoded},
    plan::Plan,
    report::Report,
    storm::Storm,
};
use crate::api::instant::rfc3339;

/// How long nothing may get done before the demo gives up on the rest.
const STANDSTILL_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause between two looks at what is done.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// Waits until everything is done or dead, or nothing moves any more.
pub(super) async fn until_done(operators: &Operators, plan: &Plan, done: &AtomicU64) -> Result<(), Failure> {
    let (mut before, mut moved) = (0, Instant::now());
    loop {
        let finished = total(operators, plan, "done").await?;
        done.store(finished, Relaxed);
        let ended = finished + total(operators, plan, "dead").await?;
        if ended >= plan.distinct() as u64 || moved.elapsed() > STANDSTILL_TIMEOUT {
            return Ok(());
        }
        if ended > before {
            (before, moved) = (ended, Instant::now());
        }
        sleep(LOOK_PAUSE).await;
    }
}

/// How many of the demo's events and signals are in `state`, or in any.
async fn total(operators: &Operators, plan: &Plan, state: &str) -> Result<u64, Failure> {
    let since = encoded(&rfc3339(plan.began_ms));
    let path = format!("/api/v1/jobs?q={}&since={since}&state={state}&limit=1", plan.tag);
    Ok(operators.get(&path).await?["total"].as_u64().unwrap_or(0))
}

/// What was sent, and what the ledger has of it.
pub(super) async fn count(storm: &Storm, operators: &Operators) -> Result<Report, Failure> {
    let plan = &storm.plan;
    Ok(Report {
        sent: storm.tally.sent.load(Relaxed),
        answered_2xx: storm.tally.taken.load(Relaxed),
        distinct: plan.distinct(),
        recorded: total(operators, plan, "").await?,
        duplicates: storm.tally.duplicates.load(Relaxed),
        done: total(operators, plan, "done").await?,
        dead: total(operators, plan, "dead").await?,
        crises: plan.crises.len(),
        ..Report::default()
    })
}

/// People by the tier in their access documents.
pub(super) async fn tiers(storm: &Storm) -> Result<BTreeMap<String, usize>, Failure> {
    let mut connection = Connection::open(&storm.peer).await?;
    let token = [("authorization", format!("Bearer {}", storm.token))];
    let mut tiers = BTreeMap::new();
    for customer in &storm.plan.customers {
        let path = format!("/v1/customers/{}/access", encoded(customer));
        let document = connection.send(Method::GET, &path, &token, "").await?.json();
        *tiers.entry(document["tier"].as_str().unwrap_or("unknown").to_owned()).or_insert(0) += 1;
    }
    Ok(tiers)
}
