//! The beginning and the end of serving: accepts that fail, and stopping without losing anything.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use tokio::net::{TcpListener, TcpStream};

use super::rig::{Rig, stripe_event};
use crate::receiver::server::Accept;

#[tokio::test]
async fn what_is_in_flight_at_shutdown_is_finished_and_nothing_new_begins() {
    let mut rig = Rig::start().await;
    rig.door.shut();
    let mut arrived = rig.door.arrived.subscribe();
    let mut idle = rig.connect().await;
    idle.write(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(idle.read_answer().await, "200");
    let mut line = rig.connect().await;
    line.write(&stripe_event("evt_1")).await;
    arrived.wait_for(|arrived| *arrived == 1).await.unwrap();

    rig.shutdown.cancel();
    assert!(idle.read_to_end().await.is_empty());
    match TcpStream::connect(rig.address).await {
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
        Ok(stream) => {
            let mut late = super::rig::Line { stream };
            late.write(&stripe_event("evt_2")).await;
            assert!(late.read_to_end().await.is_empty());
        }
    }
    rig.door.open.add_permits(1);
    assert_eq!(line.read_answer().await, "200 new");
    assert!(line.read_to_end().await.is_empty());
    rig.stopped().await;
    assert_eq!(rig.stats.connections.get(), 0);
}

#[tokio::test]
async fn what_never_finishes_is_closed_when_the_time_for_shutdown_is_over() {
    let mut rig = Rig::with_limits(|limits| limits.shutdown_ms = 30).await;
    rig.door.shut();
    let mut arrived = rig.door.arrived.subscribe();
    let (mut line, mut silent) = (rig.connect().await, rig.connect().await);
    line.write(&stripe_event("evt_1")).await;
    silent.write(b"POST /api/webhooks/stripe HTTP/1.1\r\nContent-Length: 9\r\n\r\n").await;
    arrived.wait_for(|arrived| *arrived == 1).await.unwrap();
    rig.shutdown.cancel();
    rig.stopped().await;
    assert!(line.read_to_end().await.is_empty());
    assert!(silent.read_to_end().await.is_empty());
}

/// A listener that lacks file descriptors every other time.
struct Scarce {
    listener: TcpListener,
    accepts: AtomicUsize,
}

impl Accept for Scarce {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        const EMFILE: i32 = 24;
        const ECONNABORTED: i32 = 103;
        match self.accepts.fetch_add(1, SeqCst) % 3 {
            0 => Err(io::Error::from_raw_os_error(EMFILE)),
            1 => Err(io::Error::from_raw_os_error(ECONNABORTED)),
            _ => self.listener.accept().await,
        }
    }
}

#[tokio::test]
async fn an_accept_that_fails_is_not_the_last_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let rig = Rig::listening(address, Scarce { listener, accepts: AtomicUsize::new(0) }, |_| {});
    for n in 0..10 {
        assert_eq!(rig.send(&stripe_event(&format!("evt_{n}"))).await, "200 new");
    }
    rig.stop().await;
}
