//! An envelope of every kind of event that Stripe sends about money and people, made up, with whatever it can say of
//! cards, banks, addresses and people, in the places where it says it.

use serde_json::{Value, json};

/// Stands in everything that must not be kept, and in nothing else.
pub const PERSONAL: &str = "PERSONAL";

/// The kinds of events and what their object is, named as in [`object`].
const KINDS: [(&str, &[&str]); 26] = [
    (
        "account",
        &[
            "account.updated",
            "account.application.authorized",
            "account.application.deauthorized",
            "v2.core.account.updated",
        ],
    ),
    (
        "bank_account",
        &[
            "account.external_account.created",
            "account.external_account.updated",
            "account.external_account.deleted",
        ],
    ),
    ("person", &["person.created", "person.updated", "person.deleted"]),
    ("balance", &["balance.available"]),
    (
        "charge",
        &[
            "charge.captured",
            "charge.expired",
            "charge.failed",
            "charge.pending",
            "charge.refunded",
            "charge.succeeded",
            "charge.updated",
        ],
    ),
    (
        "dispute",
        &[
            "charge.dispute.created",
            "charge.dispute.updated",
            "charge.dispute.closed",
            "charge.dispute.funds_reinstated",
            "charge.dispute.funds_withdrawn",
        ],
    ),
    ("refund", &["charge.refund.updated", "refund.created", "refund.updated", "refund.failed"]),
    (
        "session",
        &[
            "checkout.session.completed",
            "checkout.session.expired",
            "checkout.session.async_payment_succeeded",
            "checkout.session.async_payment_failed",
        ],
    ),
    (
        "catalogue",
        &[
            "coupon.created",
            "coupon.deleted",
            "promotion_code.created",
            "tax_rate.created",
            "tax_rate.updated",
        ],
    ),
    ("customer", &["customer.created", "customer.updated", "customer.deleted"]),
    ("discount", &["customer.discount.created", "customer.discount.updated", "customer.discount.deleted"]),
    (
        "card",
        &[
            "customer.source.created",
            "customer.source.updated",
            "customer.source.deleted",
            "customer.source.expiring",
        ],
    ),
    (
        "subscription",
        &[
            "customer.subscription.created",
            "customer.subscription.updated",
            "customer.subscription.deleted",
            "customer.subscription.paused",
            "customer.subscription.resumed",
            "customer.subscription.trial_will_end",
        ],
    ),
    ("tax_id", &["customer.tax_id.created", "customer.tax_id.updated", "customer.tax_id.deleted"]),
    (
        "invoice",
        &[
            "invoice.created",
            "invoice.finalized",
            "invoice.marked_uncollectible",
            "invoice.paid",
            "invoice.payment_action_required",
            "invoice.payment_failed",
            "invoice.payment_succeeded",
            "invoice.sent",
            "invoice.upcoming",
            "invoice.updated",
            "invoice.voided",
        ],
    ),
    ("item", &["invoiceitem.created", "invoiceitem.updated", "invoiceitem.deleted"]),
    ("mandate", &["mandate.updated"]),
    (
        "payment_intent",
        &[
            "payment_intent.amount_capturable_updated",
            "payment_intent.canceled",
            "payment_intent.created",
            "payment_intent.payment_failed",
            "payment_intent.processing",
            "payment_intent.requires_action",
            "payment_intent.succeeded",
        ],
    ),
    ("payment_link", &["payment_link.created", "payment_link.updated"]),
    (
        "payment_method",
        &[
            "payment_method.attached",
            "payment_method.automatically_updated",
            "payment_method.detached",
            "payment_method.updated",
        ],
    ),
    ("payout", &["payout.created", "payout.failed", "payout.paid", "payout.updated"]),
    (
        "catalogue",
        &[
            "plan.created",
            "plan.updated",
            "plan.deleted",
            "price.created",
            "price.updated",
            "price.deleted",
            "product.created",
            "product.updated",
            "product.deleted",
        ],
    ),
    ("quote", &["quote.accepted", "quote.canceled", "quote.created", "quote.finalized"]),
    (
        "setup_intent",
        &[
            "setup_intent.canceled",
            "setup_intent.created",
            "setup_intent.setup_failed",
            "setup_intent.succeeded",
        ],
    ),
    ("source", &["source.canceled", "source.chargeable", "source.failed", "source.transaction.created"]),
    (
        "schedule",
        &[
            "subscription_schedule.canceled",
            "subscription_schedule.created",
            "subscription_schedule.released",
            "subscription_schedule.updated",
            "transfer.created",
            "transfer.updated",
            "transfer.paid",
            "transfer.failed",
        ],
    ),
];

/// One event of every kind, each about a customer of its own.
pub fn events() -> Vec<Value> {
    let types =
        KINDS.iter().flat_map(|(object, types)| types.iter().map(move |event_type| (*object, *event_type)));
    types
        .enumerate()
        .map(|(number, (name, event_type))| {
            let mut object = object(name);
            object["id"] = format!("obj_{number}").into();
            object["object"] = event_type.split('.').next().into();
            object["customer"] = format!("cus_personal_{number}").into();
            object["metadata"] = json!({ "plan": "kept" });
            // What changed is said once more.
            let mut previous = object.clone();
            previous["id"] = Value::Null;
            json!({
                "id": format!("evt_personal_{number}"), "object": "event", "api_version": "2024-06-20",
                "created": 1_800_000_000 + number, "livemode": false, "pending_webhooks": 1, "type": event_type,
                "request": { "id": "req_1", "idempotency_key": null },
                "data": { "object": object, "previous_attributes": previous },
            })
        })
        .collect()
}

fn said(what: &str) -> Value {
    format!("{PERSONAL} {what}").into()
}

fn address() -> Value {
    let part = |name: &str| (name.to_owned(), said(name));
    Value::Object(["city", "line1", "line2", "postal_code"].map(part).into_iter().collect())
}

/// Who pays, and where.
fn billing() -> Value {
    json!({ "address": address(), "email": said("email"), "name": said("name"), "phone": said("phone") })
}

fn card() -> Value {
    json!({
        "brand": said("brand"), "last4": said("last4"), "exp_month": said("month"), "exp_year": said("year"),
        "fingerprint": said("fingerprint"), "funding": said("funding"), "dynamic_last4": said("dynamic"),
        "name": said("name"), "cardholder_name": said("name"), "address_city": said("city"),
        "address_line1": said("line1"), "address_zip": said("zip"), "address_country": said("country"),
        "checks": { "cvc_check": said("cvc") }, "cvc_check": said("cvc"), "address_zip_check": said("zip check"),
        "address_line2": said("line2"), "address_state": said("state"), "address_line1_check": said("line1 check"),
        "address_postal_code_check": said("postal code check"), "three_d_secure": said("3ds"),
        "wallet": { "type": "apple_pay", "apple_pay": { "payer_name": said("name") } },
    })
}

fn bank_account() -> Value {
    json!({
        "account_holder_name": said("holder"), "account_holder_type": said("holder type"),
        "bank_name": said("bank"),
        "last4": said("last4"), "routing_number": said("routing"), "fingerprint": said("fingerprint"),
        "account_number": said("account"), "iban": said("iban"), "bic": said("bic"), "sort_code": said("sort code"),
        "account_holder_email": said("email"), "account_holder_address": address(),
    })
}

/// Every way to pay, each with what it says of who pays.
fn methods() -> Value {
    let short =
        |name: &str| json!({ name: said(name), "last4": said("last4"), "verified_name": said("name") });
    json!({
        "type": "card", "card": card(), "card_present": card(), "us_bank_account": bank_account(),
        "sepa_debit": bank_account(), "bacs_debit": bank_account(), "au_becs_debit": bank_account(),
        "acss_debit": bank_account(), "nz_bank_account": bank_account(), "ideal": short("bic"),
        "sofort": short("iban_last4"),
        "bancontact": short("iban_last4"), "giropay": short("bic"), "eps": short("verified_name"),
        "paypal": { "payer_email": said("email"), "payer_id": said("payer"), "payer_name": said("name") },
        "cashapp": short("buyer_id"), "alipay": short("buyer_id"), "kakao_pay": short("buyer_id"),
        "naver_pay": short("buyer_id"), "payco": short("buyer_id"), "kr_card": { "buyer_id": said("buyer"),
        "last4": said("last4") },
        "swish": { "phone_last4": said("phone"), "fingerprint": said("fingerprint") },
        "upi": { "vpa": said("vpa") },
        "payto": { "pay_id": said("pay id"), "bsb_number": said("bsb"), "last4": said("last4") },
        "pix": { "pay_id": said("pay id") }, "wechat_pay": { "fingerprint": said("fingerprint") },
        "klarna": { "dob": { "day": said("day") } }, "boleto": { "tax_id": said("tax id") },
        "link": { "email": said("email") },
    })
}

/// A whole method of payment, as it stands in what refers to it when that was expanded.
fn payment_method() -> Value {
    let mut method = methods();
    (method["id"], method["object"], method["billing_details"]) =
        ("pm_1".into(), "payment_method".into(), billing());
    method
}

fn object(name: &str) -> Value {
    match name {
        "account" => json!({
            "business_name": said("business"), "individual_name": said("name"), "email": said("email"),
            "individual": person(), "company": { "name": said("name"), "address": address(),
            "phone": said("phone") },
            "external_accounts": { "data": [bank_account()] }, "business_profile": { "name": said("name") },
            "tos_acceptance": { "ip": said("ip"), "user_agent": said("agent") },
        }),
        "bank_account" => bank_account(),
        "person" => person(),
        "charge" => json!({
            "billing_details": billing(), "payment_method_details": methods(), "receipt_email": said("email"),
            "receipt_url": said("url"), "shipping": billing(), "source": card(), "payment_method": payment_method(),
            "refunds": { "data": [object("refund")] }, "customer_email": said("email"), "amount": 1_000,
        }),
        "dispute" => json!({
            "evidence": { "customer_name": said("name"), "customer_purchase_ip": said("ip"),
            "billing_address": said("street"), "shipping_address": said("street"),
            "customer_email_address": said("email"), "customer_signature": said("file") },
            "payment_method_details": methods(), "charge": object("charge"),
        }),
        "refund" => json!({
            "destination_details": { "us_bank_transfer": { "type": "x" }, "card": card(),
            "swish": { "phone_last4": said("phone") } },
            "next_action": { "display_details": { "email_sent": said("email") } },
            "instructions_email": said("email"),
        }),
        "session" => json!({
            "customer_details": billing(), "customer_email": said("email"), "shipping_details": billing(),
            "custom_fields": [{ "text": { "value": said("answer") } }], "payment_intent": object("payment_intent"),
            "collected_information": { "individual_name": said("name"), "business_name": said("business"),
            "shipping_details": billing() },
        }),
        "customer" => json!({
            "address": address(), "email": said("email"), "name": said("name"), "phone": said("phone"),
            "shipping": billing(),
            "individual_name": said("name"), "business_name": said("business"), "default_source": said("card"),
            "sources": { "data": [card(), bank_account()] }, "tax_ids": { "data": [object("tax_id")] },
            "invoice_settings": { "default_payment_method": payment_method(),
            "custom_fields": [{ "value": said("field") }] },
        }),
        "card" => card(),
        "subscription" => json!({
            "status": "active", "default_payment_method": payment_method(), "default_source": card(),
            "latest_invoice": object("invoice"), "pending_setup_intent": object("setup_intent"),
            "payment_settings": { "payment_method_options": { "card": card() } }, "items": { "data": [] },
        }),
        "tax_id" => {
            json!({ "verification": { "verified_name": said("name"), "verified_address": said("street") },
            "owner": billing() })
        }
        "invoice" => json!({
            "customer_address": address(), "customer_email": said("email"), "customer_name": said("name"),
            "customer_phone": said("phone"), "customer_shipping": billing(),
            "customer_tax_ids": [{ "value": said("tax") }],
            "custom_fields": [{ "value": said("field") }], "hosted_invoice_url": said("url"),
            "invoice_pdf": said("pdf"),
            "default_payment_method": payment_method(), "default_source": card(), "charge": object("charge"),
            "status": "open", "attempt_count": 1, "lines": { "data": [{ "id": "il_1" }] },
        }),
        "mandate" => json!({
            "customer_acceptance": { "online": { "ip_address": said("ip"), "user_agent": said("agent") } },
            "payment_method_details": methods(),
        }),
        "payment_intent" => json!({
            "client_secret": said("secret"), "receipt_email": said("email"), "shipping": billing(),
            "charges": { "data": [object("charge")] },
            "last_payment_error": { "payment_method": payment_method(), "source": card() },
            "next_action": { "display_bank_transfer_instructions": { "financial_addresses": [bank_account()] } },
            "payment_method": payment_method(),
        }),
        "payment_link" => {
            json!({ "custom_fields": [{ "value": said("field") }], "url": "https://buy.example" })
        }
        "payment_method" => payment_method(),
        "payout" => json!({ "destination": bank_account() }),
        "quote" => json!({ "customer_details": billing(), "invoice": object("invoice") }),
        "setup_intent" => json!({
            "client_secret": said("secret"), "payment_method": payment_method(),
            "last_setup_error": { "payment_method": payment_method() },
            "mandate_data": { "customer_acceptance": said("yes") },
        }),
        "source" => json!({
            "owner": { "verified_name": said("name"), "verified_email": said("email"), "address": address() },
            "receiver": bank_account(), "ach_debit": bank_account(), "card": card(),
            "next_source_action": said("where to go"),
            "client_secret": said("secret"),
        }),
        // Balances, catalogues, schedules and the like say nothing of people; what was expanded in them might.
        _ => json!({ "default_payment_method": payment_method(), "owner": billing(), "amount": 1_000 }),
    }
}

fn person() -> Value {
    json!({
        "first_name": said("first"), "last_name": said("last"), "maiden_name": said("maiden"),
        "dob": { "day": said("day") },
        "email": said("email"), "phone": said("phone"), "address": address(), "id_number": said("id"),
        "ssn_last_4": said("ssn"), "individual_name": said("name"),
    })
}
