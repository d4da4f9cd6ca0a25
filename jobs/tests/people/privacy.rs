//! What is not kept of Stripe's events, with the list that the daemon has by default.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use keepwell_jobs::{
    care::{definitions::Definitions, facts::Facts},
    intake::{event_types::EventTypes, privacy::DropPaths, read_app, read_stripe},
    marks::Marks,
};
use serde_json::{Value, json};

use crate::support::{
    NOW_MS, Room,
    envelopes::{envelopes, filled},
    on_each_database,
    personal::{PERSONAL, events},
    signal,
};

/// The names in `config/default.toml`.
fn default_names() -> Vec<String> {
    let defaults: toml::Table = include_str!("../../../config/default.toml").parse().unwrap();
    let names = defaults["privacy"]["drop_paths"].as_array().unwrap();
    names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn default_paths() -> DropPaths {
    DropPaths::new(default_names().iter().map(String::as_str)).unwrap()
}

/// The events that the project's tests bring along: their own, and those that Stripe sent to others.
fn fixtures() -> Vec<Value> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/stripe");
    let mut found = envelopes();
    assert_eq!(found.len(), 88);
    for version in ["2020-08-27", "2025-03-31.basil", "other"] {
        for file in fs::read_dir(folder.join(version)).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            found.push(serde_json::from_str(&text).unwrap());
        }
    }
    assert_eq!(found.len(), 88 + 14);
    found
}

fn kept(event: &Value) -> String {
    let body = Bytes::from(event.to_string());
    let intake =
        read_stripe(&body, &Marks::default(), &EventTypes::default()).unwrap().without(&default_paths());
    String::from_utf8(intake.job.payload.to_vec()).unwrap()
}

/// What Stripe's objects say about cards, banks, addresses and people.
fn personal() -> Value {
    let address = json!({ "city": "Gouda", "country": "NL", "line1": "Kade 71", "line2": null, "postal_code": "2801 XY" });
    let card = json!({
        "brand": "mastercard", "last4": "8431", "exp_month": 11, "exp_year": 2031, "fingerprint": "Xt5EWLLDS7FJjR1c",
        "checks": { "address_line1_check": "pass", "cvc_check": "unavailable" }, "network": "visa_electron",
        "wallet": { "type": "apple_pay", "dynamic_last4": "9917" }, "iin": "555544", "description": "Maestro gold",
    });
    json!({
        "payment_method_details": { "card": card, "type": "card", "sepa_debit": { "iban": "NL91ABNA0417164300" } },
        "billing_details": { "address": address, "email": "mina@example.org", "name": "Mina Achterberg", "phone": "+31201" },
        "customer_address": address, "customer_email": "mina@example.org", "customer_name": "Mina Achterberg",
        "customer_shipping": { "address": address, "name": "Mina Achterberg" }, "shipping": { "address": address },
        "customer_tax_ids": [{ "type": "eu_vat", "value": "NL001234567B01" }],
        "payment_method_expanded": {
            "us_bank_account": { "routing_number": "110000000", "last4": "6789", "bank_name": "STRIPE TEST BANK" },
        },
        "sources": { "data": [{ "object": "card", "name": "Mina Achterberg", "address_zip": "2801 XY", "last4": "8431" }] },
        "source": { "object": "source", "owner": { "verified_name": "Mina Achterberg", "address": address } },
        "default_source": "card_1KVIlZ", "receipt_email": "mina@example.org",
        "hosted_invoice_url": "https://invoice.example/i/acct_1/secret_path", "client_secret": "seti_1_secret_LBQ",
        "mandate_data": { "customer_acceptance": { "online": { "ip_address": "203.0.113.77", "user_agent": "Netscape 4" } } },
        "last_payment_error": { "payment_method": { "card": card, "billing_details": { "name": "Mina Achterberg" } } },
    })
}

/// Values that stand in [`personal`] and nowhere else.
const VALUES: [&str; 26] = [
    "Gouda",
    "Kade 71",
    "2801 XY",
    "mastercard",
    "8431",
    "2031",
    "Xt5EWLLDS7FJjR1c",
    "unavailable",
    "visa_electron",
    "apple_pay",
    "9917",
    "555544",
    "Maestro gold",
    "NL91ABNA0417164300",
    "mina@example.org",
    "Achterberg",
    "+31201",
    "NL001234567B01",
    "110000000",
    "6789",
    "STRIPE TEST BANK",
    "card_1KVIlZ",
    "secret_path",
    "seti_1_secret_LBQ",
    "203.0.113.77",
    "Netscape",
];

#[test]
fn nothing_of_cards_banks_addresses_and_names_is_kept_wherever_it_stands() {
    for mut event in fixtures() {
        let mut deep = personal();
        for _ in 0..40 {
            deep = json!([{ "of": [deep] }]);
        }
        if event["data"]["object"].is_object() {
            event["data"]["object"]["expanded"] = personal();
            event["data"]["object"]["lists"] = json!([[personal()], { "charges": { "data": [personal()] } }]);
            event["data"]["object"]["deep"] = deep;
        }
        event["data"]["previous_attributes"] = personal();
        let kept = kept(&event);
        for value in VALUES {
            assert!(event.to_string().contains(value), "{value} is in the event");
            assert!(!kept.contains(value), "{value} of {} in {kept}", event["type"]);
        }
    }
}

#[test]
fn nothing_personal_is_kept_of_any_kind_of_event() {
    let events = events();
    assert!(events.len() > 100);
    for event in events {
        assert!(event.to_string().contains(PERSONAL));
        let kept = kept(&event);
        assert!(!kept.contains(PERSONAL), "{}: {kept}", event["type"]);
        assert!(kept.contains("\"plan\":\"kept\""), "{}: {kept}", event["type"]);
    }
}

#[test]
fn nothing_personal_is_kept_of_any_envelope_that_stripe_has_sent() {
    let mut filled_in = 0;
    for event in envelopes() {
        let (filled, count) = filled(event);
        assert_eq!(filled.to_string().matches(PERSONAL).count(), count);
        let kept = kept(&filled);
        assert!(!kept.contains(PERSONAL), "{}: {kept}", filled["type"]);
        filled_in += count;
    }
    assert!(filled_in > 700, "{filled_in}");
}

#[test]
fn of_a_signal_is_kept_what_it_is_made_of_and_nothing_personal_beside() {
    let paths = default_paths().of_signals();
    let kept = |signal_type: &str, more: &str| {
        let body = Bytes::from(signal(signal_type, "cus_1", 5, more));
        let intake = read_app("msg_1", &body, &Marks::default(), &Definitions::default())
            .unwrap()
            .signal_without(&paths);
        String::from_utf8(intake.job.payload.to_vec()).unwrap()
    };
    let beside = r#","name":"PERSONAL","email":"PERSONAL","ip":"PERSONAL","address":{"city":"PERSONAL"}"#;
    for (signal_type, made_of) in [
        ("crisis.signal", r#","source":"button","severity":"high","device":"dev_1""#),
        ("crisis.resolved", r#","by":"clinician""#),
        (
            "assessment.completed",
            r#","instrument":"phq9","score":21,"suicidal_ideation":true,"emergency":false"#,
        ),
        (
            "device.registered",
            r#","device":"d","platform":"ios","push":{"kind":"http","url":"https://push.example"},"locale":"nl""#,
        ),
        ("security.threat", r#","detail":"signed in from elsewhere""#),
        ("diary.written", r#","source":"keyboard""#),
    ] {
        let kept = kept(signal_type, &format!("{made_of}{beside}"));
        assert!(kept.contains(made_of) && !kept.contains(PERSONAL), "{signal_type}: {kept}");
    }
    // What the app wants kept is kept.
    for signal_type in ["contacts.updated", "safety_plan.updated", "consent.updated"] {
        assert!(kept(signal_type, beside).contains(beside), "{signal_type}");
    }
}

#[test]
fn every_name_of_the_default_list_is_dropped_from_objects_and_lists_alike() {
    for name in default_names() {
        let object = json!({
            "id": "x", &name: "SECRET", "a": [{ &name: ["SECRET"] }, [{ &name: { "id": "SECRET" } }]],
            "b": { "c": { &name: { &name: "SECRET" } } },
        });
        let event = json!({
            "id": "evt_1", "object": "event", "type": "charge.succeeded",
            "data": { "object": object, "previous_attributes": { &name: "SECRET" } },
        });
        let kept: Value = serde_json::from_str(&kept(&event)).unwrap();
        let object = json!({ "id": "x", "a": [{}, [{}]], "b": { "c": {} } });
        assert_eq!(kept["data"], json!({ "object": object, "previous_attributes": {} }), "{name}");
    }
}

/// What the rules learn of `body`.
async fn learned(room: &Room, body: String, drop: Option<&DropPaths>, customer: &str) -> Facts {
    let intake = read_stripe(&Bytes::from(body), &Marks::default(), &EventTypes::default()).unwrap();
    let intake = match drop {
        Some(paths) => intake.without(paths),
        None => intake,
    };
    room.run(intake.job, NOW_MS).await;
    let mut facts = room.facts(customer).await;
    facts.customer.clear();
    // Named after the job, which differs.
    facts.signals.clear();
    facts
}

#[tokio::test]
async fn the_rules_learn_the_same_from_what_is_kept_as_from_the_whole() {
    on_each_database(async |room| {
        let paths = default_paths();
        let mut taught = 0;
        for (number, mut event) in fixtures().into_iter().enumerate() {
            let mut facts = Vec::new();
            for (drop, kind) in [(None, "whole"), (Some(&paths), "kept")] {
                let customer = format!("cus_{kind}_{number}");
                if event["data"]["object"]["customer"].is_string() {
                    event["data"]["object"]["customer"] = customer.clone().into();
                }
                facts.push(learned(room, event.to_string(), drop, &customer).await);
            }
            assert_eq!(facts[0], facts[1], "{}", event["type"]);
            taught += usize::from(facts[0].version > 0);
        }
        assert!(taught >= 12);
    })
    .await;
}
