//! Sample events: complete, realistic and different every time. What `keepwell trigger` and `keepwell demo`
//! send.

mod app;
mod set;
mod stripe;

use keepwell_workers::clock::UnixMs;
use rand::distr::{Alphanumeric, SampleString as _};
use serde_json::Value;

pub(super) use set::Setting;

/// Who sends an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    /// Stripe.
    Stripe,
    /// The app's own backend.
    App,
}

/// A sample, ready to be signed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// Who sends it.
    pub(super) sender: Sender,
    /// Its type.
    pub(super) event_type: &'static str,
    /// Its own id.
    pub(super) id: String,
    /// Whom it is about.
    pub(super) customer: String,
    /// What is sent.
    pub(super) body: Value,
}

/// What a sample should be like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'w> {
    /// Whom it is about.
    pub(super) customer: &'w str,
    /// Its own id; a fresh one if `None`.
    pub(super) id: Option<&'w str>,
    /// The price of the subscription, where there is one.
    pub(super) price: &'w str,
    /// Whether it is about somebody in a crisis.
    pub(super) crisis: bool,
    /// What is different from the sample.
    pub(super) settings: &'w [Setting],
    /// When it happens.
    pub(super) now_ms: UnixMs,
}

/// The price that samples are about unless another is asked for.
pub(super) const PRICE: &str = "price_premium_monthly";

/// The types of which there is a sample, Stripe's first.
pub(super) fn event_types() -> impl Iterator<Item = &'static str> {
    stripe::TEMPLATES.iter().map(|(event_type, _)| *event_type).chain(app::EVENT_TYPES)
}

/// A sample of the type `event_type`; the error says what cannot be done.
pub(super) fn sample(event_type: &str, wish: &Wish<'_>) -> Result<Sample, String> {
    let own_id = |prefix| wish.id.map_or_else(|| format!("{prefix}_{}", random(24)), str::to_owned);
    let (sender, event_type, id, mut body) = if let Some((event_type, template)) = stripe::find(event_type) {
        let id = own_id("evt");
        (Sender::Stripe, event_type, id.clone(), stripe::event(template, &id, wish)?)
    } else {
        let event_type = app::find(event_type).ok_or_else(|| {
            format!("there is no sample of `{event_type}`; `keepwell trigger --help` lists them")
        })?;
        (Sender::App, event_type, own_id("msg"), app::signal(event_type, wish)?)
    };
    let place = if sender == Sender::Stripe { "/data/object" } else { "/data" };
    // Every sample has it.
    if let Some(object) = body.pointer_mut(place) {
        wish.settings.iter().try_for_each(|setting| setting.apply(object))?;
    }
    Ok(Sample { sender, event_type, id, customer: wish.customer.to_owned(), body })
}

/// A customer whom nobody has met before.
pub(super) fn fresh_customer() -> String {
    format!("cus_{}", random(14))
}

fn random(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}

#[cfg(test)]
mod tests {
    use keepwell_jobs::stripe::envelope::Envelope;

    use super::*;

    const NOW_MS: UnixMs = 1_700_000_000_000;

    fn wish(settings: &[Setting]) -> Wish<'_> {
        Wish { customer: "cus_1", id: None, price: PRICE, crisis: false, settings, now_ms: NOW_MS }
    }

    #[test]
    fn every_sample_of_stripe_is_an_event_that_the_rules_can_read() {
        for (event_type, _) in stripe::TEMPLATES {
            let sample = sample(event_type, &wish(&[])).unwrap();
            let body = serde_json::to_vec_pretty(&sample.body).unwrap();
            assert!((1_000..4_000).contains(&body.len()), "{event_type}: {} bytes", body.len());
            let envelope = Envelope::parse(&body).unwrap();
            assert_eq!((&*envelope.id, &*envelope.event_type), (&*sample.id, event_type));
            assert_eq!(envelope.created_s, Some(NOW_MS / 1_000));
            assert_eq!(sample.body["data"]["object"]["customer"], "cus_1");
            assert!(!sample.body.to_string().contains("_sample"), "{}", sample.body);
        }
    }

    #[test]
    fn every_signal_of_the_app_names_its_customer() {
        for event_type in app::EVENT_TYPES {
            let sample = sample(event_type, &wish(&[])).unwrap();
            assert_eq!(sample.body["type"], event_type);
            assert_eq!(sample.body["data"]["customer"], "cus_1");
            assert_eq!(sample.body["timestamp"], "2023-11-14T22:13:20.000Z");
        }
    }

    #[test]
    fn no_two_samples_have_the_same_id() {
        let ids: std::collections::HashSet<String> =
            (0..100).map(|_| sample("setup_intent.succeeded", &wish(&[])).unwrap().id).collect();
        assert_eq!(ids.len(), 100);
    }

    #[test]
    fn what_is_set_lands_in_the_object_of_the_event() {
        let settings = [Setting::parse("status=past_due").unwrap()];
        let updated = sample("customer.subscription.updated", &wish(&settings)).unwrap();
        assert_eq!(updated.body["data"]["object"]["status"], "past_due");
        let settings = [Setting::parse("severity=moderate").unwrap()];
        let signal = sample("crisis.signal", &wish(&settings)).unwrap();
        assert_eq!(signal.body["data"]["severity"], "moderate");
    }

    #[test]
    fn a_crisis_is_marked_where_the_rules_look_for_it() {
        let crisis = Wish { crisis: true, ..wish(&[]) };
        let failed = sample("invoice.payment_failed", &crisis).unwrap();
        assert_eq!(failed.body["data"]["object"]["metadata"]["crisisMode"], "true");
        let assessed = sample("assessment.completed", &crisis).unwrap();
        assert_eq!(assessed.body["data"]["suicidal_ideation"], true);
        assert!(sample("consent.updated", &crisis).unwrap_err().contains("consent.updated"));
        assert!(sample("invoice.paid", &crisis).is_err());
    }
}
