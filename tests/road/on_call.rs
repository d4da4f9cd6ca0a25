//! Everybody who is on call, as real receivers: PagerDuty, a channel and a signed webhook.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{
    gateway::{Gateway, Manner, ROUTING_KEY, Sort},
    sign::standard_webhooks,
};

/// What the webhook is signed with.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Everybody who is on call.
pub struct OnCall {
    pub pagerduty: Gateway,
    pub channel: Gateway,
    pub signed: Gateway,
}

impl OnCall {
    pub async fn start() -> Self {
        let (pagerduty, channel, signed) =
            tokio::join!(Gateway::of(Sort::Pagerduty), Gateway::of(Sort::Channel), Gateway::of(Sort::Signed));
        Self { pagerduty, channel, signed }
    }

    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("KEEPWELL_ALERTS__PAGERDUTY_URL", self.pagerduty.url()),
            ("KEEPWELL_ALERTS__PAGERDUTY_ROUTING_KEY", ROUTING_KEY.to_owned()),
            ("KEEPWELL_ALERTS__SLACK_URL", self.channel.url()),
            ("KEEPWELL_ALERTS__WEBHOOK_URL", self.signed.url()),
            ("KEEPWELL_ALERTS__WEBHOOK_SECRET", SECRET.to_owned()),
        ]
    }

    /// How often PagerDuty was told what of which alert: `event_action` and `dedup_key`.
    pub fn pages(&self) -> BTreeMap<(String, String), usize> {
        let mut pages = BTreeMap::new();
        for notice in self.pagerduty.taken() {
            let text = |name: &str| notice.document[name].as_str().unwrap().to_owned();
            *pages.entry((text("event_action"), text("dedup_key"))).or_insert(0) += 1;
        }
        pages
    }

    /// How often the channel was told something that begins like this.
    pub fn said(&self, beginning: &str) -> usize {
        let taken = self.channel.taken();
        taken.iter().filter(|notice| notice.document["text"].as_str().unwrap().starts_with(beginning)).count()
    }

    /// The documents of this type that the webhook has taken; every one is signed well.
    pub fn posted(&self, document_type: &str) -> Vec<Value> {
        let taken = self.signed.taken();
        let of_type = taken.iter().filter(|notice| notice.document["type"] == document_type);
        let signed = of_type.inspect(|notice| {
            let header = |name: &str| {
                notice
                    .headers
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, value)| value.as_str())
                    .unwrap()
            };
            let at_s = header("webhook-timestamp").parse().unwrap();
            let headers = standard_webhooks(SECRET, header("webhook-id"), at_s, &notice.body);
            for (name, value) in headers {
                assert_eq!(header(name), value, "{name}");
            }
        });
        signed.map(|notice| notice.document.clone()).collect()
    }

    /// All of them.
    pub fn all(&self) -> [&Gateway; 3] {
        [&self.pagerduty, &self.channel, &self.signed]
    }

    /// Has all of them treat every further request so.
    pub fn always(&self, manner: &Manner) {
        self.all().into_iter().for_each(|gateway| gateway.always(manner.clone()));
    }

    /// How often each receiver was told what of which rule, as in `channel triggered MemoryHigh`; PagerDuty by what it
    /// tells second deliveries apart by, the webhook too (see [`Gateway`]). A digest tells what is `open` and what is
    /// `over`.
    pub fn heard(&self) -> BTreeMap<String, usize> {
        let mut heard = BTreeMap::new();
        let mut hear = |text: String| *heard.entry(text).or_insert(0) += 1;
        let mut rules = BTreeMap::new();
        for notice in self.pagerduty.taken() {
            let event = notice.document;
            let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
            if let Some(rule) = text(&event["payload"]["class"]) {
                rules.insert(text(&event["dedup_key"]).unwrap(), rule);
            }
        }
        for (action, key) in self.pages().into_keys() {
            hear(format!("pagerduty {action} {}", rules[&key]));
        }
        for notice in self.channel.taken() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let headline = text(&notice.document["text"]);
            let is_digest = headline.starts_with("keepwell: ");
            for block in notice.document["blocks"].as_array().unwrap().iter().skip(1) {
                let block = text(&block["text"]["text"]);
                let rule = block.split(' ').nth(1).unwrap().trim_end_matches(':').to_owned();
                let digested = if block.contains(" until ") { "over" } else { "open" };
                let action = if is_digest { digested } else { headline.split(':').next().unwrap() };
                hear(format!("channel {action} {rule}"));
            }
        }
        for document in self.signed.taken().into_iter().map(|notice| notice.document) {
            for alert in document["data"]["alerts"].as_array().unwrap() {
                let digested = if alert["resolved_at"].is_null() { "open" } else { "over" };
                let action = document["type"].as_str().unwrap().trim_start_matches("alert.");
                let action = if action == "digest" { digested } else { action };
                hear(format!("webhook {action} {}", alert["rule"].as_str().unwrap()));
            }
        }
        heard
    }
}
