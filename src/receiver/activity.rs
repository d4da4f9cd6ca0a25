//! Whether anything happens on a connection. One watch covers what hyper watches separately or not at all: a connection
//! that never says a word, headers that never end, silence between requests, an idle HTTP/2 connection.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::{sync::watch, time::sleep};

use super::options::ReceiverLimits;

/// What is going on.
#[derive(Debug, Clone, Copy)]
struct State {
    in_flight: usize,
    /// Bytes have come in that may be the start of a request.
    is_starting: bool,
}

/// What goes on on one connection.
#[derive(Debug)]
pub(super) struct Activity(watch::Sender<State>);

/// Why a connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quiet {
    /// No request came for too long.
    Idle,
    /// A request began and its headers do not end.
    Stuck,
}

/// How long a connection may be quiet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) start: Duration,
    pub(super) idle: Duration,
    pub(super) contended: Duration,
}

impl Patience {
    pub(super) fn new(limits: &ReceiverLimits) -> Self {
        Self {
            start: Duration::from_millis(limits.header_read_ms),
            idle: Duration::from_millis(limits.idle_ms),
            contended: Duration::from_millis(limits.idle_contended_ms),
        }
    }
}

impl Activity {
    /// A new connection: its first request is due.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(State { in_flight: 0, is_starting: true }))
    }

    /// Tells that bytes came in. Between requests they start the next one.
    pub(super) fn bytes_came(&self) {
        self.0.send_if_modified(|state| {
            let starts = state.in_flight == 0 && !state.is_starting;
            state.is_starting |= starts;
            starts
        });
    }

    /// Tells that a request is in flight until the returned value is dropped.
    pub(super) fn request_came(self: &Arc<Self>) -> InFlight {
        self.0.send_modify(|state| *state = State { in_flight: state.in_flight + 1, is_starting: false });
        InFlight(self.clone())
    }

    /// Returns when the connection has been quiet for longer than `patience`, which is short while `contended` is true.
    pub(super) async fn quiet(&self, patience: Patience, contended: &mut watch::Receiver<bool>) -> Quiet {
        let mut state = self.0.subscribe();
        loop {
            let State { in_flight, is_starting } = *state.borrow_and_update();
            let wait = if is_starting { patience.start } else { patience.idle };
            let wait = if *contended.borrow_and_update() { wait.min(patience.contended) } else { wait };
            tokio::select! {
                // Neither sender can be gone while `self` and the caller hold them.
                Ok(()) = state.changed() => {}
                Ok(()) = contended.changed() => {}
                () = sleep(wait), if in_flight == 0 => {
                    return if is_starting { Quiet::Stuck } else { Quiet::Idle };
                }
            }
        }
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.in_flight = state.in_flight.saturating_sub(1));
    }
}

/// An answer's body, which keeps its request in flight until it has been sent.
pub(super) struct AnswerBody {
    pub(super) body: axum::body::Body,
    pub(super) _in_flight: InFlight,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_mins(10);
    const SHORT: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_stuck_and_one_between_requests_is_idle() {
        let (_sender, mut contended) = watch::channel(false);
        let activity = Arc::new(Activity::new());
        let eager = Patience { start: SHORT, idle: LONG, contended: LONG };
        assert_eq!(activity.quiet(eager, &mut contended).await, Quiet::Stuck);
        drop(activity.request_came());
        let eager = Patience { start: LONG, idle: SHORT, contended: LONG };
        assert_eq!(activity.quiet(eager, &mut contended).await, Quiet::Idle);
        activity.bytes_came();
        let eager = Patience { start: SHORT, idle: LONG, contended: LONG };
        assert_eq!(activity.quiet(eager, &mut contended).await, Quiet::Stuck);
    }

    #[tokio::test]
    async fn a_connection_with_a_request_in_flight_is_never_quiet() {
        let (_sender, mut contended) = watch::channel(true);
        let activity = Arc::new(Activity::new());
        let eager = Patience { start: Duration::ZERO, idle: Duration::ZERO, contended: Duration::ZERO };
        let request = activity.request_came();
        assert!(timeout(SHORT, activity.quiet(eager, &mut contended)).await.is_err());
        let (quiet, ()) = tokio::join!(activity.quiet(eager, &mut contended), async { drop(request) });
        assert_eq!(quiet, Quiet::Idle);
    }

    #[tokio::test]
    async fn patience_is_short_while_connections_are_scarce() {
        let (sender, mut contended) = watch::channel(false);
        let activity = Arc::new(Activity::new());
        let patience = Patience { start: LONG, idle: LONG, contended: SHORT };
        let (quiet, ()) = tokio::join!(activity.quiet(patience, &mut contended), async {
            sender.send_replace(true);
        });
        assert_eq!(quiet, Quiet::Stuck);
    }
}
