//! `keepwell trigger`: signed sample events, to the running daemon.

use clap::{Args, builder::PossibleValuesParser};
use http::StatusCode;
use keepwell_config::Config;
use keepwell_jobs::json::is_id;
use keepwell_workers::clock::{Clock as _, SystemClock};
use serde::Serialize;
use serde_json::Value;

use super::{
    Context,
    client::{Answer, Connection},
    daemon::{explain, public_peer},
    failure::Failure,
    samples::{self, PRICE, Setting, Wish, event_types, sample},
    sender::{Letter, Signer},
    table::{Align, Table},
};

/// Which events.
#[derive(Debug, Args)]
#[command(after_help = "keepwell trigger invoice.payment_failed --customer cus_1 --crisis\n\
                        keepwell trigger customer.subscription.updated --set status=past_due\n\
                        keepwell trigger crisis.signal --customer cus_1 --set severity=high")]
pub(super) struct TriggerArgs {
    /// The type of the event
    #[arg(value_name = "EVENT", value_parser = PossibleValuesParser::new(event_types()))]
    event: String,
    /// Whom it is about; somebody new unless given
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// Says in the event that the person is in a crisis
    #[arg(long)]
    crisis: bool,
    /// How many, each with an id of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// Changes the event's object (data.object of Stripe's, data of the app's own): items.data.0.quantity=2
    #[arg(long, value_name = "PATH=VALUE", value_parser = Setting::parse)]
    set: Vec<Setting>,
}

/// What became of one event.
#[derive(Debug, Clone, Serialize)]
struct Sent {
    id: String,
    #[serde(rename = "type")]
    event_type: &'static str,
    customer: String,
    status: u16,
    answer: Value,
}

impl Sent {
    fn succeeded(&self) -> bool {
        StatusCode::from_u16(self.status).is_ok_and(|status| status.is_success())
    }

    fn outcome(&self) -> String {
        match (self.succeeded(), self.answer["duplicate"].as_bool()) {
            (true, Some(true)) => "duplicate".to_owned(),
            (true, _) => "recorded".to_owned(),
            _ => self.answer["detail"].as_str().unwrap_or("refused").to_owned(),
        }
    }
}

pub(super) async fn run(context: &Context, args: &TriggerArgs) -> Result<(), Failure> {
    if args.customer.as_deref().is_some_and(|customer| !is_id(customer)) {
        return Err(Failure::Usage(
            "a customer's id has 1 to 255 bytes and no control characters".to_owned(),
        ));
    }
    let config = context.client_config()?.config;
    let sent = send_all(&config, args).await?;
    context.print(&sent, |sent| render(sent));
    if sent.iter().all(Sent::succeeded) { Ok(()) } else { Err(Failure::Said) }
}

async fn send_all(config: &Config, args: &TriggerArgs) -> Result<Vec<Sent>, Failure> {
    let signer = Signer::of(config, SystemClock.now_ms())?;
    let peer = public_peer(config)?;
    let mut connection = Connection::open(&peer).await.map_err(|error| explain(error, &peer))?;
    let mut sent = Vec::new();
    for _ in 0..args.count {
        let now_ms = SystemClock.now_ms();
        let customer = args.customer.clone().unwrap_or_else(samples::fresh_customer);
        let wish = Wish {
            customer: &customer,
            id: None,
            price: PRICE,
            crisis: args.crisis,
            settings: &args.set,
            now_ms,
        };
        let letter: Letter = sample(&args.event, &wish).map_err(Failure::Usage)?.into();
        let Answer { status, body, .. } = signer.sign(&letter, now_ms)?.send(&mut connection).await?;
        sent.push(Sent {
            id: letter.id,
            event_type: letter.event_type,
            customer,
            status: status.as_u16(),
            answer: serde_json::from_slice(&body).unwrap_or_default(),
        });
    }
    Ok(sent)
}

fn render(sent: &[Sent]) -> String {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("TYPE", Align::Left),
        ("CUSTOMER", Align::Left),
        ("ANSWER", Align::Right),
        ("OUTCOME", Align::Left),
    ]);
    for one in sent {
        let status = one.status.to_string();
        table.row([one.id.clone(), one.event_type.to_owned(), one.customer.clone(), status, one.outcome()]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_answer_is_told() {
        let sent = |id: &str, status, answer| Sent {
            id: id.to_owned(),
            event_type: "invoice.payment_failed",
            customer: "cus_1".to_owned(),
            status,
            answer,
        };
        let all = [
            sent("evt_1", 200, json!({ "received": true, "duplicate": false })),
            sent("evt_2", 503, json!({ "detail": "The event could not be recorded." })),
        ];
        assert_eq!(
            render(&all),
            "ID     TYPE                    CUSTOMER  ANSWER  OUTCOME\n\
             evt_1  invoice.payment_failed  cus_1        200  recorded\n\
             evt_2  invoice.payment_failed  cus_1        503  The event could not be recorded.\n"
        );
        assert!(all[0].succeeded() && !all[1].succeeded());
    }
}
