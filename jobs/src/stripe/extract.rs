//! The fields that the rules need, wherever a version of Stripe's API keeps them.
//!
//! Stripe moved several of them on 2025-03-31 ("basil"), and the shape of an event follows the version of the
//! endpoint or of the moment, so every reader here looks in both places. A field found nowhere is `None`, never a
//! failure.

use std::borrow::Cow;

use crate::json::Json;

/// Items, lines and discounts looked at in one object; Stripe's own pages in events hold at most 20.
const ITEMS_MAX: usize = 100;

/// What a subscription says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscriptionFields<'a> {
    /// The subscription's id.
    pub id: Option<Cow<'a, str>>,
    /// Whose it is.
    pub customer: Option<Cow<'a, str>>,
    /// Its status, in Stripe's words.
    pub status: Option<Cow<'a, str>>,
    /// The ids of what is bought.
    pub prices: Vec<Cow<'a, str>>,
    /// When the paid period began, in seconds; the earliest of its items.
    pub period_start_s: Option<i64>,
    /// When the paid period ends, in seconds; the latest of its items.
    pub period_end_s: Option<i64>,
    /// When it will end because somebody asked for that, in seconds.
    pub cancel_at_s: Option<i64>,
    /// How collecting payments is paused, if it is: `keep_as_draft`, `mark_uncollectible` or `void`.
    pub pause_behavior: Option<Cow<'a, str>>,
    /// The newest invoice.
    pub latest_invoice: Option<Cow<'a, str>>,
}

impl<'a> SubscriptionFields<'a> {
    /// Reads a subscription, or the part of one that `previous_attributes` holds.
    pub fn read(object: Json<'a>) -> Self {
        let [id, customer, status, items, price, plan, start, end, invoice, at_end, at, pause] = object
            .fields([
                "id",
                "customer",
                "status",
                "items",
                "price",
                "plan",
                "current_period_start",
                "current_period_end",
                "latest_invoice",
                "cancel_at_period_end",
                "cancel_at",
                "pause_collection",
            ]);
        let items: Vec<ItemFields<'a>> = items
            .map_or_else(Vec::new, |items| items.items(ITEMS_MAX))
            .into_iter()
            .map(ItemFields::read)
            .collect();
        let mut prices: Vec<_> = items.iter().filter_map(|item| item.price.clone()).collect();
        if prices.is_empty() {
            prices.extend(price.or(plan).and_then(Json::reference));
        }
        let of_items = |time: fn(&ItemFields<'a>) -> Option<i64>| items.iter().filter_map(time);
        let period_end_s = end.and_then(Json::integer).or_else(|| of_items(|item| item.end_s).max());
        let ends_with_period = at_end.and_then(Json::flag) == Some(true);
        Self {
            id: id.and_then(Json::id),
            customer: customer.and_then(Json::reference),
            status: status.and_then(Json::id),
            prices,
            period_start_s: start.and_then(Json::integer).or_else(|| of_items(|item| item.start_s).min()),
            period_end_s,
            cancel_at_s: at.and_then(Json::integer).or(period_end_s.filter(|_| ends_with_period)),
            pause_behavior: pause.and_then(|pause| pause.at(&["behavior"])).and_then(Json::id),
            latest_invoice: invoice.and_then(Json::reference),
        }
    }
}

struct ItemFields<'a> {
    price: Option<Cow<'a, str>>,
    start_s: Option<i64>,
    end_s: Option<i64>,
}

impl<'a> ItemFields<'a> {
    fn read(item: Json<'a>) -> Self {
        let [price, plan, start, end] =
            item.fields(["price", "plan", "current_period_start", "current_period_end"]);
        Self {
            price: price.and_then(Json::reference).or_else(|| plan.and_then(Json::reference)),
            start_s: start.and_then(Json::integer),
            end_s: end.and_then(Json::integer),
        }
    }
}

/// What an invoice says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvoiceFields<'a> {
    /// The invoice's id; an upcoming invoice has none.
    pub id: Option<Cow<'a, str>>,
    /// Who owes it.
    pub customer: Option<Cow<'a, str>>,
    /// What it is for.
    pub subscription: Option<Cow<'a, str>>,
    /// `draft`, `open`, `paid`, `uncollectible` or `void`.
    pub status: Option<Cow<'a, str>>,
    /// Whether it is paid.
    pub paid: Option<bool>,
    /// How often payment was attempted.
    pub attempt_count: Option<i64>,
    /// The newest payment intent.
    pub payment_intent: Option<Cow<'a, str>>,
    /// The newest charge.
    pub charge: Option<Cow<'a, str>>,
}

impl<'a> InvoiceFields<'a> {
    /// Reads an invoice.
    pub fn read(object: Json<'a>) -> Self {
        let [id, customer, subscription, parent, lines, status, paid, attempts, intent, charge, payments] =
            object.fields([
                "id",
                "customer",
                "subscription",
                "parent",
                "lines",
                "status",
                "paid",
                "attempt_count",
                "payment_intent",
                "charge",
                "payments",
            ]);
        let status = status.and_then(Json::id);
        let payment = payments.and_then(|payments| payments.items(ITEMS_MAX).pop());
        let paid_by = |name| payment.and_then(|payment| payment.at(&["payment", name])?.reference());
        Self {
            id: id.and_then(Json::id),
            customer: customer.and_then(Json::reference),
            subscription: subscription
                .and_then(Json::reference)
                .or_else(|| parent?.at(&["subscription_details", "subscription"])?.reference())
                .or_else(|| lines?.items(ITEMS_MAX).into_iter().find_map(line_subscription)),
            paid: paid.and_then(Json::flag).or_else(|| status.as_deref().map(|status| status == "paid")),
            status,
            attempt_count: attempts.and_then(Json::integer),
            payment_intent: intent.and_then(Json::reference).or_else(|| paid_by("payment_intent")),
            charge: charge.and_then(Json::reference).or_else(|| paid_by("charge")),
        }
    }
}

fn line_subscription(line: Json<'_>) -> Option<Cow<'_, str>> {
    let [subscription, parent] = line.fields(["subscription", "parent"]);
    subscription
        .and_then(Json::reference)
        .or_else(|| parent?.at(&["subscription_item_details", "subscription"])?.reference())
}

/// What a setup intent says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetupIntentFields<'a> {
    /// Whose payment method it saves.
    pub customer: Option<Cow<'a, str>>,
    /// The payment method it saves.
    pub payment_method: Option<Cow<'a, str>>,
}

impl<'a> SetupIntentFields<'a> {
    /// Reads a setup intent.
    pub fn read(object: Json<'a>) -> Self {
        let [customer, payment_method] = object.fields(["customer", "payment_method"]);
        Self {
            customer: customer.and_then(Json::reference),
            payment_method: payment_method.and_then(Json::reference),
        }
    }
}

/// The invoice that a charge or a payment intent pays; newer versions no longer say.
pub fn charge_invoice(object: Json<'_>) -> Option<Cow<'_, str>> {
    object.at(&["invoice"])?.reference()
}

/// The ids of an object's discounts: the list of newer versions, or the one of older ones.
pub fn discount_ids(object: Json<'_>) -> Vec<Cow<'_, str>> {
    let [discounts, discount] = object.fields(["discounts", "discount"]);
    let many = discounts.map_or_else(Vec::new, |discounts| discounts.items(ITEMS_MAX));
    let many: Vec<_> = many.into_iter().filter_map(Json::reference).collect();
    if many.is_empty() { discount.and_then(Json::reference).into_iter().collect() } else { many }
}

/// Whom an object concerns: its `customer`, or the object itself where it is one.
pub fn customer_of(object: Json<'_>) -> Option<Cow<'_, str>> {
    let [kind, id, customer] = object.fields(["object", "id", "customer"]);
    if kind.and_then(Json::text).as_deref() == Some("customer") {
        return id.and_then(Json::id);
    }
    customer.and_then(Json::reference)
}

/// Whether the object's metadata say that its customer is in a crisis (`crisisMode: "true"`).
pub fn crisis_mode(object: Json<'_>) -> bool {
    object.at(&["metadata", "crisisMode"]).is_some_and(Json::says_yes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn json(text: &str) -> Json<'_> {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_subscription_is_read_in_both_shapes() {
        let old = json(
            r#"{"id":"sub_1","customer":"cus_1","status":"active","current_period_start":10,"current_period_end":20,
                "plan":{"id":"price_1"},"items":{"object":"list","data":[{"price":{"id":"price_1"}}]},
                "latest_invoice":"in_1"}"#,
        );
        let new = json(
            r#"{"id":"sub_1","customer":{"id":"cus_1","object":"customer"},"status":"active",
                "items":{"object":"list","data":[
                    {"price":{"id":"price_1"},"current_period_start":10,"current_period_end":15},
                    {"current_period_start":12,"current_period_end":20}]},
                "latest_invoice":{"id":"in_1"}}"#,
        );
        let read = SubscriptionFields::read(old);
        assert_eq!(read, SubscriptionFields::read(new));
        assert_eq!((read.period_start_s, read.period_end_s), (Some(10), Some(20)));
        assert_eq!(read.prices, ["price_1"]);
    }

    #[test]
    fn the_oldest_subscriptions_name_a_plan_only() {
        assert_eq!(SubscriptionFields::read(json(r#"{"plan":{"id":"gold"}}"#)).prices, ["gold"]);
        let items = r#"{"items":{"data":[{"plan":{"id":"gold"}},{"price":"silver"}]}}"#;
        assert_eq!(SubscriptionFields::read(json(items)).prices, ["gold", "silver"]);
    }

    #[test]
    fn previous_periods_are_read_in_both_shapes() {
        for text in [r#"{"current_period_end":5}"#, r#"{"items":{"data":[{"current_period_end":5}]}}"#] {
            assert_eq!(SubscriptionFields::read(json(text)).period_end_s, Some(5));
        }
    }

    #[test]
    fn a_coming_end_and_a_pause_are_read() {
        let read = |text: &'static str| SubscriptionFields::read(json(text));
        assert_eq!(read(r#"{"cancel_at":5,"cancel_at_period_end":false}"#).cancel_at_s, Some(5));
        assert_eq!(read(r#"{"current_period_end":7,"cancel_at_period_end":true}"#).cancel_at_s, Some(7));
        assert_eq!(read(r#"{"current_period_end":7,"cancel_at_period_end":false}"#).cancel_at_s, None);
        let paused = read(r#"{"pause_collection":{"behavior":"void","resumes_at":9}}"#);
        assert_eq!(paused.pause_behavior.as_deref(), Some("void"));
        assert_eq!(read(r#"{"pause_collection":null}"#).pause_behavior, None);
    }

    #[test]
    fn an_invoice_is_read_in_both_shapes() {
        let old = json(
            r#"{"id":"in_1","customer":"cus_1","subscription":"sub_1","status":"paid","paid":true,
                "payment_intent":"pi_1","charge":"ch_1","attempt_count":2}"#,
        );
        let new = json(
            r#"{"id":"in_1","customer":"cus_1","status":"paid","attempt_count":2,
                "parent":{"type":"subscription_details","subscription_details":{"subscription":"sub_1"}},
                "payments":{"object":"list","data":[{"payment":{"payment_intent":"pi_1","charge":"ch_1"}}]}}"#,
        );
        assert_eq!(InvoiceFields::read(old), InvoiceFields::read(new));
    }

    #[test]
    fn an_invoice_whose_head_names_no_subscription_is_known_by_its_lines() {
        for line in [
            r#"{"subscription":"sub_1"}"#,
            r#"{"parent":{"subscription_item_details":{"subscription":"sub_1"}}}"#,
        ] {
            let text = format!(r#"{{"id":"in_1","lines":{{"data":[{{"subscription":null}},{line}]}}}}"#);
            assert_eq!(InvoiceFields::read(json(&text)).subscription.unwrap(), "sub_1");
        }
    }

    #[test]
    fn what_is_missing_is_none_and_never_a_failure() {
        for text in
            ["{}", "[]", "7", r#"{"items":7,"customer":[],"lines":{"data":{}},"payments":{"data":[7]}}"#]
        {
            assert_eq!(SubscriptionFields::read(json(text)), SubscriptionFields::default());
            assert_eq!(InvoiceFields::read(json(text)), InvoiceFields::default());
            assert_eq!(SetupIntentFields::read(json(text)), SetupIntentFields::default());
        }
    }

    #[test]
    fn discounts_are_one_or_many() {
        assert_eq!(discount_ids(json(r#"{"discount":{"id":"di_1"}}"#)), ["di_1"]);
        assert_eq!(
            discount_ids(json(r#"{"discounts":["di_1",{"id":"di_2"}],"discount":"di_0"}"#)),
            ["di_1", "di_2"]
        );
        assert_eq!(charge_invoice(json(r#"{"invoice":"in_1"}"#)).unwrap(), "in_1");
    }

    #[test]
    fn a_customer_is_named_by_its_id_by_itself_or_not_at_all() {
        assert_eq!(customer_of(json(r#"{"object":"customer","id":"cus_1"}"#)).unwrap(), "cus_1");
        assert_eq!(
            customer_of(json(r#"{"object":"charge","id":"ch_1","customer":{"id":"cus_2"}}"#)).unwrap(),
            "cus_2"
        );
        assert_eq!(customer_of(json(r#"{"object":"charge","id":"ch_1"}"#)), None);
    }

    #[test]
    fn only_a_clear_yes_is_crisis_mode() {
        for (metadata, expected) in [
            (r#""true""#, true),
            (r#""TRUE""#, true),
            ("true", true),
            (r#""false""#, false),
            (r#""1""#, false),
            ("null", false),
        ] {
            let text = format!(r#"{{"metadata":{{"crisisMode":{metadata}}}}}"#);
            assert_eq!(crisis_mode(json(&text)), expected, "{metadata}");
        }
    }
}
