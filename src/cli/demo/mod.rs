//! `keepwell demo`: a daemon in this very process, a storm of events over real HTTP, and the count of what
//! arrived.

mod count;
mod plan;
mod report;
mod storm;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::{Args, value_parser};
use http::{Method, StatusCode};
use keepwell_config::{Config, Loaded, Origin, Purpose, values::Environment};
use keepwell_workers::clock::{Clock as _, SystemClock};
use rand::Rng as _;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Context,
    client::{self, Peer},
    daemon::{Operators, reachable},
    failure::Failure,
    progress, say,
    sender::Signer,
    serve::{announce, explain, runtime},
};
use crate::{
    api::BindError,
    serve::{APP_PATH, Daemon, STRIPE_PATH, ServeError, signals},
    telemetry::init_logs,
};
use count::{count, tiers, until_done};
use plan::Plan;
use report::Report;
use storm::Storm;

/// How long the daemon may take until it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause between two looks at what is done.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// How big the storm is.
#[derive(Debug, Args)]
#[command(
    after_help = "Uses SQLite and a Redis of its own unless the configuration names others. Everything goes over real \
                        HTTP; crises are measured from the signal to the access document that shows them."
)]
pub(super) struct DemoArgs {
    /// Different events from Stripe; a few of them are sent twice
    #[arg(long, default_value_t = 5_000, value_parser = value_parser!(u32).range(1..=200_000))]
    events: u32,
    /// People whom they are about
    #[arg(long, default_value_t = 500, value_parser = value_parser!(u32).range(1..=50_000))]
    customers: u32,
    /// Crisis signals in the middle of the storm
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u32).range(0..=10_000))]
    crises: u32,
    /// Connections that send at the same time
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Where the daemon keeps its state
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Ends when everything is done, with code 1 if anything is missing or was done twice
    #[arg(long)]
    exit: bool,
}

pub(super) fn run(context: &Context, args: &DemoArgs) -> Result<(), Failure> {
    if args.crises > args.customers {
        return Err(Failure::Usage(
            "there are more --crises than --customers; one person has one crisis".to_owned(),
        ));
    }
    let state_dir = args.state_dir.as_ref().map(|path| path.display().to_string());
    let sources = context.sources(Purpose::Serve).with_variable("KEEPWELL_STATE_DIR", state_dir);
    let mut loaded = Config::load(&sources)?;
    if loaded.config.environment == Environment::Production {
        return Err(Failure::Usage("this is a production environment; a demo has no place in it".to_owned()));
    }
    announce(&loaded);
    if loaded.origin("log.level") == Origin::Default {
        // The demo tells what happens; the daemon in it speaks only when something is wrong.
        "warn".clone_into(&mut loaded.config.log.level);
    }
    init_logs(&loaded.config.log)
        .map_err(|error| Failure::misconfigured("the log cannot be set up", error))?;
    runtime()?.block_on(async {
        let daemon = start(&mut loaded).await?;
        let ended = stay(args, &loaded, &daemon, show(context, args, &loaded, &daemon).await).await;
        daemon.stop().await;
        ended
    })
}

/// What the storm has shown.
struct Shown {
    /// What is not as it should be.
    complaints: Vec<String>,
    /// Somebody whose access document is worth a look.
    customer: String,
}

/// Tells where everything is, waits for Ctrl-C unless `--exit` was given, and says how it went.
async fn stay(
    args: &DemoArgs,
    loaded: &Loaded,
    daemon: &Daemon,
    shown: Result<Shown, Failure>,
) -> Result<(), Failure> {
    let Shown { complaints, customer } = shown?;
    for complaint in &complaints {
        say(&format!("not as it should be: {complaint}"));
    }
    if !args.exit {
        say(&addresses(loaded, daemon, &customer));
        signals::end_signal().map_err(|error| Failure::because("signals cannot be waited for", error))?.await;
    }
    if complaints.is_empty() { Ok(()) } else { Err(Failure::Said) }
}

/// Starts the daemon; on free ports if the configured ones are taken.
async fn start(loaded: &mut Loaded) -> Result<Daemon, Failure> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    loop {
        match Daemon::start(loaded).await {
            Ok(daemon) => return Ok(daemon),
            Err(ServeError::Listen(address, error)) if taken(&error) && address.port() != 0 => {
                say(&format!("{address} is taken, so another port is used"));
                loaded.config.server.listen = any_port;
            }
            Err(ServeError::Operators(BindError::Address { address, source }))
                if taken(&source) && address.port() != 0 =>
            {
                say(&format!("{address} is taken, so another port is used"));
                loaded.config.operators.listen = any_port;
            }
            Err(error) => return Err(explain(error)),
        }
    }
}

/// The storm, and the count afterwards.
async fn show(
    context: &Context,
    args: &DemoArgs,
    loaded: &Loaded,
    daemon: &Daemon,
) -> Result<Shown, Failure> {
    let peer = Peer::Tcp(reachable(daemon.public));
    timeout(READY_TIMEOUT, ready(&peer))
        .await
        .map_err(|_| Failure::Failed("the daemon did not become ready within 30 s".to_owned()))??;
    let token =
        loaded.config.access.tokens.first().map(|token| token.expose().to_owned()).unwrap_or_default();
    let now_ms = SystemClock.now_ms();
    let tag = format!("demo{:08x}", rand::rng().random::<u32>());
    let plan = Plan::new(tag, args.events as usize, args.customers as usize, args.crises as usize, now_ms)?;
    say(&format!(
        "{} events and {} crisis signals about {} people, over {} connections",
        plan.events.len(),
        plan.crises.len(),
        plan.customers.len(),
        args.connections
    ));
    let storm = Storm::new(plan, Signer::of(&loaded.config, now_ms)?, peer, token);
    let began = Instant::now();
    progress::during(storm.rage(args.connections as usize), || storm_line(&storm, began)).await?;
    let raged = began.elapsed();
    let operators = Operators::of(&loaded.config);
    let done = Arc::new(AtomicU64::new(0));
    let distinct = storm.plan.distinct();
    progress::during(until_done(&operators, &storm.plan, &done), || {
        format!("done {}/{distinct}", done.load(Relaxed))
    })
    .await?;
    let mut report = Report {
        seconds_until_done: began.elapsed().as_secs_f64(),
        requests_per_second: storm.plan.requests() as f64 / raged.as_secs_f64().max(0.001),
        ..count(&storm, &operators).await?
    };
    report.set_crisis_times(&storm.tally.crisis_times());
    report.tiers = tiers(&storm).await?;
    context.print(&report, Report::text);
    let mut people = storm.plan.crises.iter().map(|letter| &letter.customer).chain(&storm.plan.customers);
    let customer = people.next().cloned().unwrap_or_default();
    Ok(Shown { complaints: report.complaints(), customer })
}

async fn ready(peer: &Peer) -> Result<(), Failure> {
    while client::ask(peer, Method::GET, "/health/ready", &[], "").await?.status != StatusCode::OK {
        sleep(LOOK_PAUSE).await;
    }
    Ok(())
}

fn storm_line(storm: &Storm, began: Instant) -> String {
    let sent = storm.tally.sent.load(Relaxed);
    let seconds = began.elapsed().as_secs_f64().max(0.001);
    format!(
        "sent {sent}/{}  answered {}  crises seen {}/{}  {:.0}/s",
        storm.plan.requests(),
        storm.tally.taken.load(Relaxed),
        storm.tally.crisis_times().len(),
        storm.plan.crises.len(),
        sent as f64 / seconds,
    )
}

/// Where everything is, for whoever wants to look around.
fn addresses(loaded: &Loaded, daemon: &Daemon, customer: &str) -> String {
    let public = format!("http://{}", reachable(daemon.public));
    let operators =
        daemon.operators.map_or_else(String::new, |address| format!("http://{}/api/v1/", reachable(address)));
    let made_up =
        loaded.development_secrets.as_ref().is_some_and(|secrets| secrets.keys.contains(&"access.tokens"));
    let token = loaded.config.access.tokens.first().filter(|_| made_up);
    let token = token.map_or("a_token_of_access.tokens", |token| token.expose());
    format!(
        "\nwebhooks   {public}{STRIPE_PATH}\n           {public}{APP_PATH}\nhealth     {public}/health\nmetrics    \
         {public}/metrics\noperators  {operators}jobs\n           {operators}lanes\naccess     curl -H 'Authorization: \
         Bearer {token}' {public}/v1/customers/{customer}/access\n\nCtrl-C ends it."
    )
}
