//! Envelopes as Stripe sent them to somebody else (`tests/fixtures/stripe/stripe-ruby-mock`), and the same with
//! something in every field that tells of cards, banks, addresses and people, also where Stripe had nothing to say.

use std::{fs, path::Path};

use serde_json::Value;

use super::personal::PERSONAL;

/// A field tells of somebody if its name has one of these words.
const WORDS: [&str; 31] = [
    "card",
    "bank",
    "address",
    "email",
    "phone",
    "last4",
    "postal",
    "zip",
    "city",
    "line1",
    "line2",
    "cvc",
    "fingerprint",
    "exp_month",
    "exp_year",
    "routing",
    "holder",
    "owner",
    "shipping",
    "billing",
    "receipt",
    "secret",
    "evidence",
    "wallet",
    "brand",
    "funding",
    "purchase_ip",
    "user_agent",
    "signature",
    "invoice_url",
    "invoice_pdf",
];

/// And does not if it is one of these: they tell of the shop, of what it asks for, and of how it reckons.
const OF_NOBODY: [&str; 15] = [
    "account_name",
    "amount_shipping",
    "billing_address_collection",
    "billing_cycle_anchor",
    "billing_reason",
    "billing_scheme",
    "billing_thresholds",
    "display_name",
    "evidence_details",
    "evidence_due_by",
    "has_evidence",
    "phone_number_collection",
    "receipt_number",
    "shipping_address_collection",
    "shipping_rate",
];

/// All of them, each under an id of its own and, if it names a customer, about somebody of its own.
pub fn envelopes() -> Vec<Value> {
    // Packages are tested in folders of their own.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|package| package.join("tests/fixtures/stripe/stripe-ruby-mock"))
        .find(|folder| folder.is_dir())
        .expect("the fixtures");
    let files = fs::read_dir(folder).expect("a readable folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect();
    files.sort();
    let read = |(number, path): (usize, &std::path::PathBuf)| {
        let text = fs::read_to_string(path).expect("a readable file");
        let mut event: Value = serde_json::from_str(&text).expect("a fixture is JSON");
        event["id"] = format!("evt_envelope_{number}").into();
        let customer = &mut event["data"]["object"]["customer"];
        if customer.is_string() {
            *customer = format!("cus_envelope_{number}").into();
        }
        event
    };
    files.iter().enumerate().map(read).collect()
}

/// `event` with [`PERSONAL`] words in every field of its object that tells of somebody, and in how many that is.
pub fn filled(mut event: Value) -> (Value, usize) {
    let count = fill(&mut event["data"], false);
    (event, count)
}

fn fill(value: &mut Value, tells: bool) -> usize {
    match value {
        Value::Object(fields) => {
            fields.iter_mut().map(|(name, value)| fill(value, tells_of_somebody(name, tells))).sum()
        }
        Value::Array(items) => items.iter_mut().map(|item| fill(item, tells)).sum(),
        _ if !tells => 0,
        leaf => {
            *leaf = format!("{PERSONAL} {leaf}").into();
            1
        }
    }
}

/// Whether the field `name` tells of somebody; what stands in one that does, does so `too`.
fn tells_of_somebody(name: &str, too: bool) -> bool {
    let is_name = name == "name" || name.ends_with("_name");
    !OF_NOBODY.contains(&name) && (too || is_name || WORDS.iter().any(|word| name.contains(word)))
}
