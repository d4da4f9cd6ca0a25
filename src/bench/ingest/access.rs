//! What people may use, read over HTTP while events come in: as many reads a second as asked for, over connections that
//! are kept alive, of people about whom the events are. The daemon receives, runs the jobs and answers all at once.

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;

use super::{
    super::{
        BenchLine, Failure, Workload,
        line::Times,
        rig::{Rig, RigOptions},
    },
    CONNECTIONS,
    daemon::{ChildDaemon, TOKEN},
    events::{self, CUSTOMERS, EVENT_BYTES},
    load::{self, Asked},
};

/// Reads a second.
const READS_PER_SECOND: u32 = 1_000;

/// Events a second that come in meanwhile.
const EVENTS_PER_SECOND: u32 = 300;

/// Connections that read.
const READERS: usize = 32;

/// Reads before any event comes in.
const READS_ALONE: usize = 5_000;

/// The question what somebody may use.
struct Read(String);

impl Asked for Read {
    fn request(&self) -> Result<Request<Full<Bytes>>, Failure> {
        Ok(Request::get(&self.0)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .body(Full::default())?)
    }
}

/// `count` of them, of one person after another: no two neighbours are of the same.
fn reads(count: usize) -> Vec<Read> {
    let path = |number: usize| Read(format!("/v1/customers/{}/access", events::customer(number * 7)));
    (0..count).map(path).collect()
}

pub(in crate::bench) async fn run(count: usize, options: &RigOptions) -> Result<BenchLine, Failure> {
    let rig = Rig::new(options).await?;
    let mut daemon = ChildDaemon::start(&rig, true).await?;
    let meanwhile = count * EVENTS_PER_SECOND as usize / READS_PER_SECOND as usize;
    // Everybody is known before anything is read, and something is said of everybody who is read.
    let mut known = events::signed(CUSTOMERS + meanwhile)?;
    let coming = known.split_off(CUSTOMERS);
    load::send(daemon.address, known, CONNECTIONS, None).await?;
    let engine = rig.engine(false)?;
    rig.nothing_owed(&engine).await?;
    let alone = load::send(daemon.address, reads(READS_ALONE), READERS, Some(READS_PER_SECOND)).await?;

    let stopwatch = rig.stopwatch().beside("daemon", daemon.pid());
    let (read, taken) = tokio::try_join!(
        load::send(daemon.address, reads(count), READERS, Some(READS_PER_SECOND)),
        load::send(daemon.address, coming, CONNECTIONS, Some(EVENTS_PER_SECOND)),
    )?;
    let mut line = BenchLine::new(Workload::Access, read.taken);
    line.seconds = Some(stopwatch.seconds());
    line.set_times(&read.times);
    line.alone = Some(Times::of(&alone.times));
    line.notes = format!(
        "{} reads_per_second={READS_PER_SECOND} readers={READERS} other={} people={CUSTOMERS} \
         events_per_second={EVENTS_PER_SECOND} event_bytes={EVENT_BYTES} events_2xx={} events_other={} \
         events_p99_ms={:.2} {} (cpu_keepwell is that of the senders)",
        rig.setting(),
        read.refused + alone.refused,
        taken.taken,
        taken.refused,
        Times::of(&taken.times).p99_ms,
        stopwatch.shares(),
    );
    engine.shutdown().await;
    daemon.stop().await?;
    rig.clear().await?;
    Ok(line)
}
