//! The senders: as many connections as asked for, on one thread of their own, each sending its next event when the
//! last one was answered.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::{JoinSet, LocalSet},
    time::{Instant, sleep_until},
};

use super::{super::Failure, events::Delivery};
use crate::{receiver::scheme::stripe, serve::STRIPE_PATH};

/// How it went.
pub(super) struct Load {
    /// Answered with 2xx, and not with the floor for want of the database.
    pub(super) taken: usize,
    /// Answered with anything else.
    pub(super) refused: usize,
    /// From the request to its answer, in microseconds.
    pub(super) times: Histogram<u64>,
}

/// What can be asked of the daemon.
pub(super) trait Asked: Send + 'static {
    /// The request that asks it.
    fn request(&self) -> Result<Request<Full<Bytes>>, Failure>;
}

impl Asked for Delivery {
    fn request(&self) -> Result<Request<Full<Bytes>>, Failure> {
        Ok(Request::post(STRIPE_PATH)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .header(stripe::HEADER, &self.signature)
            .body(Full::new(self.body.clone()))?)
    }
}

/// A connection that is kept alive.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Drives it for as long as it is there.
    _driver: JoinSet<hyper::Result<()>>,
}

impl Connection {
    /// A new one to `address`.
    pub(super) async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Self { sender, _driver: driver })
    }

    /// Sends `request`, and waits for the whole answer.
    pub(super) async fn ask(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Failure> {
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

/// Whether `answer` is what was asked for. One from memory, because the database had none in time, is not.
pub(super) fn is_taken(answer: &Response<Bytes>) -> bool {
    answer.status().is_success() && !answer.headers().contains_key("keepwell-fallback")
}

/// What the connections share.
struct Shared<A> {
    asked: Vec<A>,
    per_second: Option<u32>,
    begun: Instant,
    next: Cell<usize>,
    load: RefCell<Load>,
}

impl<A> Shared<A> {
    /// When the request `number` is to be sent; `None` if as soon as a connection is free.
    fn due(&self, number: usize) -> Option<Instant> {
        let per_second = self.per_second?;
        Some(self.begun + Duration::from_secs_f64(number as f64 / f64::from(per_second)))
    }
}

/// Asks all of `asked` of `address` over `connections` connections, `per_second` if not as fast as they are answered.
pub(super) async fn send<A: Asked>(
    address: SocketAddr,
    asked: Vec<A>,
    connections: usize,
    per_second: Option<u32>,
) -> Result<Load, Failure> {
    let senders = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(LocalSet::new().run_until(send_all(address, asked, connections, per_second)))
    };
    tokio::task::spawn_blocking(senders).await?
}

async fn send_all<A: Asked>(
    address: SocketAddr,
    asked: Vec<A>,
    connections: usize,
    per_second: Option<u32>,
) -> Result<Load, Failure> {
    let load = RefCell::new(Load { taken: 0, refused: 0, times: Histogram::new(3)? });
    let shared = Rc::new(Shared { asked, per_second, begun: Instant::now(), next: Cell::new(0), load });
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        senders.spawn_local(send_one_after_another(address, Rc::clone(&shared)));
    }
    while let Some(ended) = senders.join_next().await {
        ended??;
    }
    let shared = Rc::into_inner(shared).ok_or("a sender is still there")?;
    Ok(shared.load.into_inner())
}

async fn send_one_after_another<A: Asked>(address: SocketAddr, shared: Rc<Shared<A>>) -> Result<(), Failure> {
    let mut connection = Connection::open(address).await?;
    loop {
        let number = shared.next.get();
        let Some(asked) = shared.asked.get(number) else { return Ok(()) };
        shared.next.set(number + 1);
        let request = asked.request()?;
        // What had to wait for a free connection has waited since it was due. What the timer is late is none of ours.
        let since = match shared.due(number) {
            Some(due) if due < Instant::now() => due,
            Some(due) => {
                sleep_until(due).await;
                Instant::now()
            }
            None => Instant::now(),
        };
        let answer = connection.ask(request).await?;
        let mut load = shared.load.borrow_mut();
        load.times.record(u64::try_from(since.elapsed().as_micros())?)?;
        if is_taken(&answer) {
            load.taken += 1;
        } else {
            load.refused += 1;
        }
    }
}
