//! Time, and shares of processor time as the kernel counts them.

use std::fs;

use tokio::time::Instant;

use crate::telemetry::ProcessUsage;

/// Time and processor time since some instant.
pub(super) struct Stopwatch {
    started: Instant,
    own: Option<f64>,
    redis: Option<(u32, f64)>,
    beside: Option<(&'static str, u32, Option<f64>)>,
    stolen: Option<f64>,
}

impl Stopwatch {
    /// Starts now, and watches this process and that of Redis, if it is known.
    pub(super) fn start(redis_pid: Option<u32>) -> Self {
        Self {
            started: Instant::now(),
            own: processor_seconds(std::process::id()),
            redis: redis_pid.and_then(|pid| Some((pid, processor_seconds(pid)?))),
            beside: None,
            stolen: stolen_seconds(),
        }
    }

    /// Also watches the process `pid`, called `name`.
    pub(super) fn beside(mut self, name: &'static str, pid: Option<u32>) -> Self {
        self.beside = pid.map(|pid| (name, pid, processor_seconds(pid)));
        self
    }

    /// Seconds since.
    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// The shares of one processor that this process and the others have had, and what the host of a virtual machine
    /// kept from all of them.
    pub(super) fn shares(&self) -> String {
        let seconds = self.seconds();
        let share = |before: Option<f64>, now: Option<f64>| match (before, now) {
            (Some(before), Some(now)) => format!("{:.2}", (now - before) / seconds),
            _ => "?".to_owned(),
        };
        let own = share(self.own, processor_seconds(std::process::id()));
        let redis = share(
            self.redis.map(|(_, before)| before),
            self.redis.and_then(|(pid, _)| processor_seconds(pid)),
        );
        let stolen = share(self.stolen, stolen_seconds());
        let memory = ProcessUsage::read().resident_bytes.unwrap_or_default() >> 20;
        let beside = self.beside.map_or_else(String::new, |(name, pid, before)| {
            format!(" cpu_{name}={}", share(before, processor_seconds(pid)))
        });
        format!(
            "cpu_keepwell={own} cpu_redis={redis}{beside} cpu_stolen={stolen} memory_keepwell_mib={memory}"
        )
    }
}

/// Linux reports processor time in ticks of 1/100 s to every program.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time that process `pid` has used so far, in seconds; `None` where there is no `/proc`.
fn processor_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may hold anything, so count from its end.
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace();
    let user: f64 = fields.nth(11)?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// Processor time that somebody was ready to use and the host of this virtual machine gave to others, in seconds, of
/// all processors together; `None` where there is no `/proc`.
fn stolen_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    // `cpu` user nice system idle iowait irq softirq steal …
    let ticks: f64 = stat.lines().next()?.split_whitespace().nth(8)?.parse().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}
