//! The sources of webhooks: Stripe and the app.

use crate::values::{HttpUrl, NamedTexts, Network, Secret, WebhookSecret};

settings! {
    /// Stripe's webhooks, `POST /api/webhooks/stripe`, and Stripe's API.
    pub struct Stripe in "stripe" {
        /// The signing secrets (`whsec_…`) of the webhook endpoints, as Stripe's dashboard shows them. A
        /// signature by any of them counts, so a secret can be rolled: name the old and the new one until
        /// Stripe has switched.
        webhook_secrets: Vec<WebhookSecret> => [
            "whsec_new",
            { id = "old", secret = "whsec_old", valid_until = "2027-01-31T00:00:00Z" }
        ],
        /// The key for Stripe's API; a restricted one that may read subscriptions and events is enough, of the
        /// account and the mode of the webhooks. With it, nothing that was bought is taken away (cancelled, overdue,
        /// paused, moved to a lesser tier) before Stripe has confirmed that it is so; until then access stays as it
        /// was. And what webhooks miss is asked for, in the key's own account or in `stripe.account`: every hour the
        /// events that were not delivered (the schedule `stripe-backfill`), every night all events of thirty days
        /// that are not in the ledger, whoever has answered them (`stripe-backfill-all`), and all subscriptions
        /// (`stripe-reconcile`); a schedule of yours with such a name takes its place.
        /// Without it, of events that contradict each other the newer counts, and of the same second the one
        /// that grants more.
        api_key: Option<Secret> => "rk_live_from_the_dashboard",
        /// Where Stripe's API is.
        api_base: HttpUrl,
        /// Whether events must be live ones (`true`) or test ones (`false`). Unset, both are taken.
        livemode: Option<bool> => true,
        /// The connected account that events must come from. Unset, any is taken.
        account: Option<String> => "acct_1032D82eZvKYlo2C",
        /// Further types of events that change something, each with the type that it is handled as: one of
        /// `customer.subscription.created`, `customer.subscription.updated`, `invoice.payment_failed`,
        /// `invoice.payment_succeeded` and `setup_intent.succeeded`, about the same object: what is before the last dot
        /// has to be the same. At most 14, because Stripe's history is asked for at most 20 types at once. Every other
        /// type is recorded and changes nothing, also if it is named here later. Stripe sends only those types for
        /// which the webhook endpoint is set up: name them here first.
        event_types: NamedTexts => { "invoice.paid" = "invoice.payment_succeeded" },
        /// How old a signature may be, in seconds. Stripe signs every retry afresh and its libraries use 300.
        tolerance_seconds: u64 where 1..=86_400,
        /// The networks that may send events; an empty list lets anybody try. Signatures are checked either
        /// way.
        allowed_networks: Vec<Network>,
        /// Whether only the addresses that Stripe publishes may send events, and `stripe.allowed_networks` beside
        /// them. The list is fetched twice a day, without a key; the last good one is kept in the state directory, and
        /// before there is one anybody may try. Not for a daemon behind a proxy that hides addresses
        /// (`server.trusted_proxies` names those that do not).
        published_addresses: bool,
        /// Where that list is.
        addresses_url: HttpUrl,
    }
}

settings! {
    /// The app's own signals, `POST /api/webhooks/app` (Standard Webhooks).
    pub struct App in "app" {
        /// The signing secrets: 16 to 64 random bytes as base64 after `whsec_`. A signature by any of them
        /// counts.
        webhook_secrets: Vec<WebhookSecret> => ["whsec_KeepwellDevelopment0ZXhhbXBsZQ=="],
        /// How old a signature may be, in seconds.
        tolerance_seconds: u64 where 1..=86_400,
        /// The networks that may send signals; an empty list lets anybody try. Signatures are checked either
        /// way.
        allowed_networks: Vec<Network>,
    }
}
