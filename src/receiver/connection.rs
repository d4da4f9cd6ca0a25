//! One connection: from the accepted socket to its end. It passes each request on, an event to `webhook.rs`.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{body::Body, extract::ConnectInfo, response::Response};
use http::Request;
use hyper::{body::Incoming, rt::Executor, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{net::TcpStream, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::{
    Receiver, Unverified,
    activity::{Activity, AnswerBody, Patience, Quiet},
    address::{ClientAddress, client_address},
    body::TimedBody,
    options::ReceiverLimits,
    socket::Socket,
};

/// How often the other end of an HTTP/2 connection is asked whether it is still there, and how long it may take to
/// say so.
const PING: Duration = Duration::from_secs(20);

/// What an HTTP/2 peer may send ahead of being read, in bytes, over a whole connection.
const HTTP2_WINDOW_BYTES: u32 = 256 << 10;

/// The number of headers for which hyper keeps room on the stack.
const HYPER_HEADERS_MAX: usize = 100;

/// What all connections of one listener share.
pub(super) struct Connections {
    receiver: Arc<Receiver>,
    builder: auto::Builder<Tracked>,
    tasks: TaskTracker,
    /// Finish what is in flight, then close.
    shutdown: CancellationToken,
    /// Close now.
    abort: CancellationToken,
    contended: watch::Receiver<bool>,
}

impl Connections {
    pub(super) fn new(
        receiver: Arc<Receiver>,
        shutdown: CancellationToken,
        contended: watch::Receiver<bool>,
    ) -> Arc<Self> {
        let (tasks, abort) = (TaskTracker::new(), CancellationToken::new());
        let builder = builder(&receiver.limits, Tracked { tasks: tasks.clone(), abort: abort.clone() });
        Arc::new(Self { receiver, builder, tasks, shutdown, abort, contended })
    }

    /// Serves `stream` in a task of its own; `seat` is held as long as it lives.
    pub(super) fn spawn<S: Send + 'static>(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, seat: S) {
        let connections = self.clone();
        self.tasks.spawn(async move {
            connections.receiver.stats.connections.up();
            connections.serve(stream, peer).await;
            connections.receiver.stats.connections.down();
            drop(seat);
        });
    }

    /// Waits until all connections have ended; closes those that have not within `patience`.
    pub(super) async fn finish(&self, patience: Duration) {
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }

    async fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        // Answers are small; none of them should wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(Activity::new());
        let linger = Duration::from_millis(self.receiver.limits.linger_ms);
        let socket = TokioIo::new(Socket::new(stream, activity.clone(), linger));
        let service = service_fn(|request| {
            let (receiver, in_flight) = (self.receiver.clone(), activity.request_came());
            async move {
                let response = receiver.answer(request, peer).await;
                Ok::<_, Infallible>(response.map(|body| AnswerBody { body, _in_flight: in_flight }))
            }
        });
        let mut connection = pin!(self.builder.serve_connection(socket, service));
        let mut contended = self.contended.clone();
        let mut patience = Patience::new(&self.receiver.limits);
        let mut is_closing = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error = &*error as &(dyn std::error::Error + 'static), "a connection broke");
                    }
                    return;
                }
                () = self.abort.cancelled() => return,
                quiet = activity.quiet(patience, &mut contended) => {
                    if is_closing || quiet == Quiet::Stuck {
                        return;
                    }
                }
                () = self.shutdown.cancelled(), if !is_closing => {}
            }
            is_closing = true;
            connection.as_mut().graceful_shutdown();
            // The peer has been told; it has until its next silence to go.
            patience = Patience { start: linger, idle: linger, contended: linger };
        }
    }
}

impl Receiver {
    /// Answers one request: an event if its path is that of a source, else whatever the fallback service says.
    async fn answer(self: Arc<Self>, mut request: Request<Incoming>, peer: SocketAddr) -> Response {
        let client = client_address(peer.ip(), request.headers(), &self.trusted_proxies);
        if let Some(source) = self.sources.get(request.uri().path()) {
            return self.webhook(source.clone(), request, client).await;
        }
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(ClientAddress(client));
        let read = Duration::from_millis(self.limits.body_read_ms);
        let request = request.map(|body| Body::new(TimedBody::new(body, read)));
        let response = match self.fallback.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let unverified = response.extensions().get::<Unverified>().copied();
        unverified.and_then(|asked| self.charge_unverified(asked, client)).unwrap_or(response)
    }
}

fn builder(limits: &ReceiverLimits, executor: Tracked) -> auto::Builder<Tracked> {
    let mut builder = auto::Builder::new(executor);
    let mut http1 = builder.http1();
    http1
        .timer(TokioTimer::new())
        // `Activity` watches this, between requests and before the first one too.
        .header_read_timeout(None)
        // A client that ends its side after its request still gets its answer.
        .half_close(true)
        // hyper panics below its minimum.
        .max_buf_size(limits.header_bytes_max.max(8192));
    if limits.headers_max != HYPER_HEADERS_MAX {
        // Any other number costs an allocation for each request.
        http1.max_headers(limits.headers_max);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(limits.streams_per_connection_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .initial_connection_window_size(HTTP2_WINDOW_BYTES)
        .initial_stream_window_size(HTTP2_WINDOW_BYTES);
    builder
}

/// Runs the streams of HTTP/2 connections as tasks that are waited for.
#[derive(Debug, Clone)]
struct Tracked {
    tasks: TaskTracker,
    abort: CancellationToken,
}

impl<F> Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let abort = self.abort.clone();
        self.tasks.spawn(async move { abort.run_until_cancelled(stream).await });
    }
}
