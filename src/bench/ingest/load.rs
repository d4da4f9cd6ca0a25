//! The senders: as many connections as asked for, on one thread of their own, each sending its next event when the
//! last one was answered.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::{JoinSet, LocalSet},
    time::Instant,
};

use super::{super::Failure, events::Delivery};
use crate::{receiver::scheme::stripe, serve::STRIPE_PATH};

/// How it went.
pub(super) struct Load {
    /// Answered with 2xx.
    pub(super) taken: usize,
    /// Answered with anything else.
    pub(super) refused: usize,
    /// From the request to its answer, in microseconds.
    pub(super) times: Histogram<u64>,
}

/// What the connections share.
struct Shared {
    deliveries: Vec<Delivery>,
    next: Cell<usize>,
    load: RefCell<Load>,
}

/// Sends all `deliveries` to `address` over `connections` connections.
pub(super) async fn send(
    address: SocketAddr,
    deliveries: Vec<Delivery>,
    connections: usize,
) -> Result<Load, Failure> {
    let senders = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(LocalSet::new().run_until(send_all(address, deliveries, connections)))
    };
    tokio::task::spawn_blocking(senders).await?
}

async fn send_all(
    address: SocketAddr,
    deliveries: Vec<Delivery>,
    connections: usize,
) -> Result<Load, Failure> {
    let load = Load { taken: 0, refused: 0, times: Histogram::new(3)? };
    let shared = Rc::new(Shared { deliveries, next: Cell::new(0), load: RefCell::new(load) });
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

async fn send_one_after_another(address: SocketAddr, shared: Rc<Shared>) -> Result<(), Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn_local(connection);
    loop {
        let number = shared.next.get();
        let Some(delivery) = shared.deliveries.get(number) else { return Ok(()) };
        shared.next.set(number + 1);
        let request = Request::post(STRIPE_PATH)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .header(stripe::HEADER, &delivery.signature)
            .body(Full::new(delivery.body.clone()))?;
        let asked = Instant::now();
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        let taken = answer.status().is_success();
        answer.into_body().collect().await?;
        let mut load = shared.load.borrow_mut();
        load.times.record(u64::try_from(asked.elapsed().as_micros())?)?;
        if taken {
            load.taken += 1;
        } else {
            load.refused += 1;
        }
    }
}
