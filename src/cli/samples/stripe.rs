//! Stripe's events, at the API version 2020-08-27.

use serde_json::{Value, json};

use super::Wish;

/// The types and a template of each.
pub(super) const TEMPLATES: [(&str, &str); 6] = [
    ("customer.subscription.created", include_str!("customer.subscription.created.json")),
    ("customer.subscription.updated", include_str!("customer.subscription.updated.json")),
    ("customer.subscription.deleted", include_str!("customer.subscription.deleted.json")),
    ("invoice.payment_succeeded", include_str!("invoice.payment_succeeded.json")),
    ("invoice.payment_failed", include_str!("invoice.payment_failed.json")),
    ("setup_intent.succeeded", include_str!("setup_intent.succeeded.json")),
];

/// A period, in seconds (30 days).
const PERIOD_S: i64 = 30 * 24 * 60 * 60;

/// What has the same id in every event about the same customer.
const LASTING: [&str; 4] = ["sub", "si", "pm", "seti"];

/// Instants that are "now" in a template that has 0 there.
const NOW: [&str; 9] = [
    "billing_cycle_anchor",
    "created",
    "current_period_start",
    "finalized_at",
    "paid_at",
    "period_start",
    "start",
    "start_date",
    "canceled_at",
];

/// Instants that are the end of the period in a template that has 0 there.
const PERIOD_END: [&str; 3] = ["current_period_end", "end", "period_end"];

/// The template of the type `event_type`.
pub(super) fn find(event_type: &str) -> Option<(&'static str, &'static str)> {
    TEMPLATES.into_iter().find(|(known, _)| *known == event_type)
}

/// The event that `template` becomes under the id `id`.
pub(super) fn event(template: &str, id: &str, wish: &Wish<'_>) -> Result<Value, String> {
    let mut event: Value = serde_json::from_str(template).map_err(|error| error.to_string())?;
    fill(&mut event, "", id, wish);
    let object = &mut event["data"]["object"];
    if object["status"] == "canceled" {
        object["canceled_at"] = json!(wish.now_ms / 1_000);
        object["ended_at"] = json!(wish.now_ms / 1_000);
    }
    if wish.crisis {
        object["metadata"]["crisisMode"] = json!("true");
    }
    Ok(event)
}

/// Fills in ids and instants, everywhere below `value`, which is called `name`.
fn fill(value: &mut Value, name: &str, id: &str, wish: &Wish<'_>) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| fill(value, name, id, wish)),
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, "", id, wish)),
        Value::String(text) if text == super::PRICE => wish.price.clone_into(text),
        Value::String(text) => {
            if let Some((before, after)) = text.split_once("_sample") {
                let (path, prefix) = before
                    .rsplit_once(['/', '='])
                    .map_or(("", before), |(path, prefix)| (&before[..=path.len()], prefix));
                *text = format!("{path}{}{after}", own_id(prefix, id, wish.customer));
            }
        }
        Value::Number(number) if number.as_i64() == Some(0) => {
            let now_s = wish.now_ms / 1_000;
            if NOW.contains(&name) {
                *value = now_s.into();
            } else if PERIOD_END.contains(&name) {
                *value = (now_s + PERIOD_S).into();
            }
        }
        _ => {}
    }
}

/// The id of the `prefix` object: the customer's own, or one that is as fresh as the event.
fn own_id(prefix: &str, event_id: &str, customer: &str) -> String {
    let of = |text: &str| text.split_once('_').map_or(text, |(_, rest)| rest).to_owned();
    match prefix {
        "evt" => event_id.to_owned(),
        "cus" => customer.to_owned(),
        _ if LASTING.contains(&prefix) => format!("{prefix}_{}", of(customer)),
        _ => format!("{prefix}_{}", of(event_id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(event_type: &str) -> Value {
        let wish = Wish {
            customer: "cus_abc",
            id: None,
            price: "price_basic_monthly",
            crisis: false,
            settings: &[],
            now_ms: 1_700_000_000_000,
        };
        event(find(event_type).unwrap().1, "evt_123", &wish).unwrap()
    }

    #[test]
    fn events_about_the_same_customer_are_about_the_same_subscription() {
        let created = made("customer.subscription.created");
        let invoice = made("invoice.payment_failed");
        assert_eq!(created["data"]["object"]["id"], "sub_abc");
        assert_eq!(invoice["data"]["object"]["subscription"], "sub_abc");
        assert_eq!(invoice["data"]["object"]["id"], "in_123");
        assert_eq!(invoice["data"]["object"]["lines"]["url"], "/v1/invoices/in_123/lines");
        let items = &created["data"]["object"]["items"];
        assert_eq!(items["url"], "/v1/subscription_items?subscription=sub_abc");
        assert_eq!(items["data"][0]["price"]["id"], "price_basic_monthly");
    }

    #[test]
    fn a_period_begins_now_and_ends_after_thirty_days() {
        let object = &made("customer.subscription.created")["data"]["object"];
        assert_eq!(object["current_period_start"], 1_700_000_000);
        assert_eq!(object["current_period_end"], 1_702_592_000);
        assert_eq!(object["canceled_at"], Value::Null);
        assert_eq!(made("customer.subscription.deleted")["data"]["object"]["canceled_at"], 1_700_000_000);
        assert_eq!(made("invoice.payment_failed")["data"]["object"]["starting_balance"], 0);
    }
}
