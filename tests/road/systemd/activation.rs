//! Socket activation: the listener belongs to systemd and outlives the daemon.

use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    road::{
        event::{Event, SHAPES},
        taken,
    },
    support::{
        PATIENCE,
        door::{Door, STRIPE_SECRET, now_s},
        eventually,
        service_manager::ServiceManager,
        sign,
    },
};

/// Connections that are made while nobody is there.
const CALLERS: usize = 50;

/// A connection over which the request has been sent, and nothing has been read.
async fn called(manager: &ServiceManager, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(manager.address()).await.expect("nobody is refused");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the request is taken");
    stream
}

/// Everything that comes until the other side closes.
async fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("an answer in time").expect("an answer");
    text
}

#[tokio::test]
async fn whoever_calls_while_the_daemon_is_down_is_answered_by_the_next_one() {
    let manager = ServiceManager::new().await;
    for farewell in [Signal::TERM, Signal::KILL] {
        let mut daemon = manager.start_ready().await;
        daemon.stop(farewell).await;
        let mut callers = Vec::new();
        for _ in 0..CALLERS {
            callers.push(called(&manager, "/health/live").await);
        }
        let door = Door::of(manager.public());
        let event = Event::of(SHAPES[0], "invoice.payment_failed", "down");
        let (delivered, daemon) = tokio::join!(door.stripe(&event), manager.start_ready());
        taken(delivered);
        for caller in callers {
            let answer = answer(caller).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        drop(daemon);
    }
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_daemon_ends_and_later_ones_by_the_next() {
    let manager = ServiceManager::new().await;
    let mut daemon = manager.start_ready().await;
    let body = Event::of(SHAPES[0], "invoice.payment_failed", "flight").to_string();
    let mut slow = TcpStream::connect(manager.address()).await.unwrap();
    let head = format!(
        "POST /api/webhooks/stripe HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nstripe-signature: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len(),
        sign::stripe(STRIPE_SECRET, now_s(), body.as_bytes()),
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    timeout(PATIENCE, slow.read_exact(&mut go_on))
        .await
        .expect("in time")
        .expect("the daemon reads the body");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    daemon.signal(Signal::TERM);
    manager.hears(&mut daemon, "STOPPING=1").await;
    let later = called(&manager, "/health/live").await;
    assert_eq!(daemon.ended(), None, "it waits for the request");
    slow.write_all(body.as_bytes()).await.unwrap();
    let answered = answer(slow).await;
    assert!(answered.starts_with("HTTP/1.1 200 ") && answered.contains("\"received\":true"), "{answered}");
    let ended = eventually("it ends", async || daemon.ended()).await;
    assert_eq!(ended.code(), Some(0), "{}", daemon.log());

    let _next = manager.start_ready().await;
    let answered = answer(later).await;
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    let accepted = taken(Door::of(manager.public()).stripe(&serde_json::from_str(&body).unwrap()).await);
    assert_eq!(accepted["duplicate"], true, "what was answered was recorded");
}
