//! Crises into a flood: so many events wait in the standard lane of a real daemon and keep its general slots busy, and
//! an app sends one crisis after the other over HTTP, each until the access document says so.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{Request, header};
use http_body_util::Full;
use keepwell_workers::{
    clock::{Clock as _, SystemClock},
    engine::Engine,
    lane::Lane,
    lanes::LaneStats,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{
    super::{
        BenchLine, Failure, Workload,
        line::Times,
        rig::{Rig, RigOptions},
    },
    CONNECTIONS,
    answered::Answered,
    daemon::{APP_SECRET, ChildDaemon, TOKEN},
    events::{self, CUSTOMERS, EVENT_BYTES},
    load::{self, Connection, is_taken},
};
use crate::{
    receiver::scheme::{secret::Secret, standard_webhooks},
    serve::APP_PATH,
};

/// Crises in one run, if nobody says otherwise.
pub(in crate::bench) const CRISES: usize = 1_000;

/// General slots that the daemon has by default.
const SLOTS: usize = 51;

/// How long one crisis may take before the run has failed.
const CRISIS_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two looks at an access document.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// Before a crisis that was not taken is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

pub(in crate::bench) async fn run(
    events: usize,
    crises: usize,
    options: &RigOptions,
) -> Result<BenchLine, Failure> {
    let rig = Rig::new(&RigOptions { slots: Some(SLOTS), waiting: Some(events), ..options.clone() }).await?;
    let began_ms = SystemClock.now_ms();
    let engine = rig.engine(false)?;
    engine.pause(Lane::Standard, "held until the first crisis is sent", false).await?;
    let mut daemon = ChildDaemon::start(&rig, true).await?;
    let flood = events::signed_standard(events, run_of(&rig))?;
    let flood = load::send(daemon.address, flood, CONNECTIONS, None).await?;
    let at_first = standard_lane(&engine, |lane| lane.waiting >= flood.taken as u64).await?;
    let mut app = App::new(&rig, daemon.address).await?;

    let stopwatch = rig.stopwatch().beside("daemon", daemon.pid());
    engine.resume(Lane::Standard).await?;
    standard_lane(&engine, |lane| lane.running > 0 || lane.waiting == 0).await?;
    for number in 0..crises {
        timeout(CRISIS_TIMEOUT, app.crisis(number)).await??;
    }
    let (seconds, shares) = (stopwatch.seconds(), stopwatch.shares());
    let at_last = standard_lane(&engine, |_| true).await?;
    // Whoever ends notes first how the last crises were answered.
    daemon.stop().await?;
    let answered = Answered::read(&rig.database, &engine, began_ms).await?;

    let mut line = BenchLine::new(Workload::Flood, crises);
    line.seconds = Some(seconds);
    line.set_times(&app.seen);
    line.notes = format!(
        "{} {shares} event_bytes={EVENT_BYTES} people={CUSTOMERS} events_2xx={} events_other={} waiting_at_first={} \
         waiting_at_last={} running_at_last={} p99.9={:.3} {} not_taken_at_once={} {answered} ms are from the first \
         sending of a crisis until the access document says so (cpu_keepwell is that of the senders)",
        rig.setting(),
        flood.taken,
        flood.refused,
        at_first.waiting,
        at_last.waiting,
        at_last.running,
        p99_9_ms(&app.seen),
        words("answered", &app.answered),
        app.refused,
    );
    engine.shutdown().await;
    rig.clear().await?;
    Ok(line)
}

/// What tells this run's events and people from those of others in the same database.
fn run_of(rig: &Rig) -> &str {
    let prefix = rig.prefix();
    prefix.get(prefix.len().saturating_sub(12)..).unwrap_or(prefix)
}

/// The standard lane, once it `is_so`.
async fn standard_lane(engine: &Engine, is_so: impl Fn(&LaneStats) -> bool) -> Result<LaneStats, Failure> {
    loop {
        let (lanes, _) = engine.lanes().stats().await?;
        if let Some(lane) = lanes.into_iter().find(|lane| lane.lane == Lane::Standard && is_so(lane)) {
            return Ok(lane);
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Percentiles of `times`, which are in microseconds, as notes about `what`.
pub(super) fn words(what: &str, times: &Histogram<u64>) -> String {
    let Times { p50_ms, p99_ms, max_ms } = Times::of(times);
    format!("{what}_p50_ms={p50_ms:.3} {what}_p99_ms={p99_ms:.3} {what}_max_ms={max_ms:.3}")
}

/// What one in a thousand of `times` was slower than, in milliseconds.
pub(super) fn p99_9_ms(times: &Histogram<u64>) -> f64 {
    times.value_at_quantile(0.999) as f64 / 1_000.0
}

/// The app: it sends one crisis after the other and asks what the person may use, over one connection.
struct App {
    connection: Connection,
    secret: Secret,
    run: String,
    /// Until a crisis was answered 2xx, in microseconds.
    answered: Histogram<u64>,
    /// Until the access document said so, in microseconds.
    seen: Histogram<u64>,
    /// Answers that were not 2xx.
    refused: usize,
}

impl App {
    async fn new(rig: &Rig, address: SocketAddr) -> Result<Self, Failure> {
        Ok(Self {
            connection: Connection::open(address).await?,
            secret: Secret::standard_webhooks("bench", APP_SECRET)?,
            run: run_of(rig).to_owned(),
            answered: Histogram::new(3)?,
            seen: Histogram::new(3)?,
            refused: 0,
        })
    }

    /// Sends a crisis of somebody of whom nobody has heard yet, again if it is not taken, until it can be seen.
    async fn crisis(&mut self, number: usize) -> Result<(), Failure> {
        let (id, customer) = (format!("msg_{}_{number}", self.run), format!("cus_{}_{number}", self.run));
        let sent = Instant::now();
        while !is_taken(&self.connection.ask(self.signal(&id, &customer)?).await?) {
            self.refused += 1;
            sleep(AGAIN_AFTER).await;
        }
        let answered = sent.elapsed();
        while !self.is_seen(&customer).await? {
            sleep(LOOK_PAUSE).await;
        }
        self.answered.record(u64::try_from(answered.as_micros())?)?;
        self.seen.record(u64::try_from(sent.elapsed().as_micros())?)?;
        Ok(())
    }

    fn signal(&self, id: &str, customer: &str) -> Result<Request<Full<Bytes>>, Failure> {
        let data = json!({ "customer": customer, "source": "button", "severity": "critical" });
        let body = json!({ "type": "crisis.signal", "data": data }).to_string();
        let now_s = u64::try_from(SystemClock.now_ms() / 1_000)?;
        let signature = standard_webhooks::sign(&self.secret, id, now_s, body.as_bytes());
        Ok(Request::post(APP_PATH)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .header(standard_webhooks::ID_HEADER, id)
            .header(standard_webhooks::TIMESTAMP_HEADER, now_s)
            .header(standard_webhooks::SIGNATURE_HEADER, signature)
            .body(Full::new(body.into()))?)
    }

    /// Whether the access document knows of the crisis. That is what was committed: what is granted from memory,
    /// because a crisis is late, is an emergency and no crisis.
    async fn is_seen(&mut self, customer: &str) -> Result<bool, Failure> {
        let request = Request::get(format!("/v1/customers/{customer}/access"))
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .body(Full::default())?;
        let answer = self.connection.ask(request).await?;
        if !is_taken(&answer) {
            return Ok(false);
        }
        let document: Value = serde_json::from_slice(answer.body())?;
        Ok(document["crisis"]["active"] == true)
    }
}
