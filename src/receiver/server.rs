//! The accept loop: it never ends by itself, never spins, and never lets connections pile up without bound.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use keepwell_workers::turns::Turns;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{Receiver, connection::Connections};

/// The first and the longest wait after an accept that failed for want of something (file descriptors, memory).
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

impl Receiver {
    /// Serves connections from `listener` until `shutdown` is cancelled; then no more are accepted, requests in flight
    /// are finished within the configured time, and what remains is closed.
    ///
    /// Streams that the fallback service keeps open do not end by themselves: it should watch `shutdown` too.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) {
        self.serve_from(listener, shutdown).await;
    }

    pub(super) async fn serve_from(self: Arc<Self>, listener: impl Accept, shutdown: CancellationToken) {
        let patience = Duration::from_millis(self.limits.shutdown_ms);
        let connections_max = self.limits.connections_max.clamp(1, Semaphore::MAX_PERMITS);
        let seats = Seats::new(connections_max);
        let connections = Connections::new(self.clone(), shutdown.clone(), seats.contended.subscribe());
        shutdown.run_until_cancelled(accept_all(&listener, &seats, &connections, &self.turns)).await;
        drop(listener);
        let until = Instant::now() + patience;
        connections.finish(patience).await;
        self.recordings.close();
        let _ = timeout_at(until, self.recordings.wait()).await;
    }
}

/// Where connections come from.
pub(super) trait Accept: Send + Sync + 'static {
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        TcpListener::accept(self).await
    }
}

async fn accept_all(listener: &impl Accept, seats: &Seats, connections: &Arc<Connections>, turns: &Turns) {
    let mut back_off = BACK_OFF.0;
    loop {
        turns.count();
        let next = async { (seats.take().await, listener.accept().await) };
        let (seat, accepted) = turns.during(Duration::MAX, next).await;
        match accepted {
            Ok((stream, peer)) => {
                back_off = BACK_OFF.0;
                connections.spawn(stream, peer, seat);
            }
            // The client has gone again already.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(
                    error = &error as &(dyn std::error::Error + 'static),
                    "accepting a connection failed"
                );
                // Idle connections hold what is missing.
                seats.contended.send_replace(true);
                sleep(back_off).await;
                back_off = (back_off * 2).min(BACK_OFF.1);
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, PermissionDenied,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | PermissionDenied
    )
}

/// Room for connections. When none is left, those that are idle are asked to go.
struct Seats {
    free: Arc<Semaphore>,
    /// So many must be free again before idle connections may stay.
    relaxed: usize,
    contended: watch::Sender<bool>,
}

impl Seats {
    fn new(connections_max: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(connections_max)),
            relaxed: connections_max / 8,
            contended: watch::Sender::new(false),
        }
    }

    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(seat) = self.free.clone().try_acquire_owned() {
            let relaxes = self.free.available_permits() >= self.relaxed;
            self.contended.send_if_modified(|contended| {
                let ends = *contended && relaxes;
                *contended &= !ends;
                ends
            });
            return Some(seat);
        }
        self.contended.send_replace(true);
        // The semaphore is never closed, so this is always a seat.
        self.free.clone().acquire_owned().await.ok()
    }
}
