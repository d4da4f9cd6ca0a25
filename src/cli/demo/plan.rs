//! What the demo sends: many people, each with a subscription that lives, pays, fails to pay and ends; some
//! of it twice.

use keepwell_workers::clock::UnixMs;
use rand::{Rng as _, seq::IndexedRandom as _, seq::SliceRandom as _};

use super::super::{
    failure::Failure,
    samples::{Wish, sample},
    sender::Letter,
};

/// What is sent again, in percent of the events. Stripe delivers at least once, not exactly once.
const TWICE_PERCENT: usize = 3;

/// Types and how many of a hundred events are of each, beside the one that begins a subscription.
const MIX: [(&str, u32); 6] = [
    ("customer.subscription.created", 5),
    ("customer.subscription.updated", 30),
    ("customer.subscription.deleted", 5),
    ("invoice.payment_succeeded", 35),
    ("invoice.payment_failed", 15),
    ("setup_intent.succeeded", 10),
];

/// What people pay for.
const PRICES: [&str; 4] =
    ["price_trial", "price_basic_monthly", "price_premium_monthly", "price_premium_yearly"];

/// Everything that is to be sent.
#[derive(Debug)]
pub(super) struct Plan {
    /// Stripe's events, in the order in which they are sent, repeated ones included.
    pub(super) events: Vec<Letter>,
    /// The app's crisis signals.
    pub(super) crises: Vec<Letter>,
    /// Everybody whom they are about.
    pub(super) customers: Vec<String>,
    /// What the ids of this demo's events have in common, and nothing else has.
    pub(super) tag: String,
    /// When it was made: nothing of it was recorded before.
    pub(super) began_ms: UnixMs,
}

impl Plan {
    /// A plan with `events` different events about `customers` people, and `crises` crisis signals about some
    /// of them.
    pub(super) fn new(
        tag: String,
        events: usize,
        customers: usize,
        crises: usize,
        now_ms: UnixMs,
    ) -> Result<Self, Failure> {
        let mut rng = rand::rng();
        // Not the tag: what is searched for are the events, not everything about these people.
        let people: String = tag.chars().rev().collect();
        let customers: Vec<String> =
            (0..customers).map(|number| format!("cus_of_{people}_{number:05}")).collect();
        let prices: Vec<&str> =
            customers.iter().map(|_| *PRICES.choose(&mut rng).unwrap_or(&PRICES[0])).collect();
        let make = |event_type: &str, number: usize, person: usize, id: String| {
            let wish = Wish {
                customer: &customers[person],
                id: Some(&id),
                price: prices[person],
                crisis: false,
                settings: &[],
                // Events happen one after the other.
                now_ms: now_ms + number as i64,
            };
            sample(event_type, &wish).map(Letter::from).map_err(Failure::Failed)
        };
        let mut planned = Vec::with_capacity(events);
        for number in 0..events {
            // Everybody begins with a subscription, then life takes its course.
            let (event_type, person) = if number < customers.len() {
                (MIX[0].0, number)
            } else {
                let (event_type, _) = MIX.choose_weighted(&mut rng, |(_, weight)| *weight).unwrap_or(&MIX[0]);
                (*event_type, rng.random_range(0..customers.len()))
            };
            planned.push(make(event_type, number, person, format!("evt_{tag}e{number:06}"))?);
        }
        // A second delivery comes some time after the first.
        for _ in 0..events * TWICE_PERCENT / 100 {
            let first = rng.random_range(0..planned.len());
            let again = planned[first].clone();
            planned.insert(rng.random_range(first + 1..=planned.len()), again);
        }
        let mut people: Vec<usize> = (0..customers.len()).collect();
        people.shuffle(&mut rng);
        let crises = people.iter().cycle().take(crises).enumerate();
        let crises = crises
            .map(|(number, person)| make("crisis.signal", number, *person, format!("msg_{tag}s{number:05}")))
            .collect::<Result<_, _>>()?;
        Ok(Self { events: planned, crises, customers, tag, began_ms: now_ms })
    }

    /// How many different things are sent.
    pub(super) fn distinct(&self) -> usize {
        let mut ids: Vec<&str> =
            self.events.iter().chain(&self.crises).map(|letter| letter.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.len()
    }

    /// How many requests that takes.
    pub(super) fn requests(&self) -> usize {
        self.events.len() + self.crises.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn everybody_has_a_subscription_and_some_events_come_twice() {
        let plan = Plan::new("demo1".to_owned(), 1_000, 100, 10, 1_700_000_000_000).unwrap();
        assert_eq!((plan.events.len(), plan.crises.len(), plan.customers.len()), (1_030, 10, 100));
        assert_eq!((plan.distinct(), plan.requests()), (1_010, 1_040));
        let created =
            plan.events.iter().filter(|sample| sample.event_type == "customer.subscription.created");
        assert_eq!(created.map(|sample| &sample.customer).collect::<HashSet<_>>().len(), 100);
        let types: HashSet<_> = plan.events.iter().map(|sample| sample.event_type).collect();
        assert_eq!(types.len(), 6);
        let crises: HashSet<_> = plan.crises.iter().map(|sample| &sample.customer).collect();
        assert_eq!(crises.len(), 10, "a different person each");
    }

    #[test]
    fn everything_of_one_demo_can_be_found_again() {
        let plan = Plan::new("demo1".to_owned(), 10, 3, 5, 0).unwrap();
        assert!(plan.events.iter().chain(&plan.crises).all(|sample| sample.id.contains("_demo1")));
    }
}
