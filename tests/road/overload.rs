//! More at the door than it has room for: forgeries, garbage, senders that dawdle and crowds of honest ones, and in the
//! middle of it people in a crisis.

use std::{
    future::pending,
    io,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::{join_all, select_all};
use http::{Method, StatusCode};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    access,
    event::{Event, SHAPES, number},
    nothing_owed, signal, taken,
};
use crate::support::{daemon::Daemon, door::Door, eventually, http::Client};

/// What the daemon may have grown by once a flood is over, in bytes: allocators keep some of what they had.
const GROWTH_MAX: u64 = 64 << 20;

async fn memory_used(daemon: &Daemon) -> u64 {
    daemon.public().get("/health").await.json()["memory"]["used"].as_u64().expect("a number")
}

/// Somebody presses the button; answers with who it was once the signal is taken. It is taken at the first attempt.
async fn pressed(daemon: &Daemon) -> String {
    let customer = format!("cus_pressed_{}", number());
    let signal = signal("crisis.signal", &customer, json!({ "source": "button", "severity": "critical" }));
    taken(daemon.app(&format!("msg_{customer}"), &signal).await);
    customer
}

/// Sees that each of `customers` has what a crisis opens, and that the daemon is as it was before.
async fn all_is_well(daemon: &Daemon, customers: &[String], memory_before: u64) {
    nothing_owed(daemon).await;
    for customer in customers {
        let access = access(daemon, customer).await;
        assert_eq!(access["crisis"]["severity"], "critical", "{access:#}");
    }
    let event = Event::of(SHAPES[0], "invoice.payment_failed", "afterwards");
    taken(daemon.stripe(&event).await);
    let memory = memory_used(daemon).await;
    assert!(memory < memory_before + GROWTH_MAX, "{memory_before} bytes before, {memory} after");
}

/// Runs `attack` for as long as `people` takes.
async fn during<T>(attack: impl Future<Output = ()>, people: impl Future<Output = T>) -> T {
    tokio::select! {
        () = async { attack.await; pending().await } => unreachable!("nothing comes after the attack"),
        outcome = people => outcome,
    }
}

/// Keeps `count` connections busy: each writes `bytes`, waits until it is closed, and comes again. `arrived` counts how
/// many came.
async fn crowd(address: SocketAddr, count: usize, bytes: &[u8], arrived: &AtomicUsize) {
    let one = || async {
        loop {
            let dawdle = async {
                let mut stream = TcpStream::connect(address).await?;
                stream.write_all(bytes).await?;
                arrived.fetch_add(1, Ordering::SeqCst);
                stream.read_to_end(&mut Vec::new()).await
            };
            // Closed in whatever way: it comes again.
            let _: io::Result<usize> = dawdle.await;
            tokio::task::yield_now().await;
        }
    };
    let crowd: Vec<_> = (0..count).map(|_| Box::pin(one())).collect();
    let ((), _, _) = select_all(crowd).await;
}

/// Waits until `count` of the crowd are there.
async fn gathered(arrived: &AtomicUsize, count: usize) {
    let there = async || (arrived.load(Ordering::SeqCst) >= count).then_some(());
    eventually("the crowd is there", there).await;
}

/// What honest senders of ordinary events are told: taken, or to come again. They come again until they are taken.
async fn insist(door: &Door, event: &Event) {
    eventually("an honest event is taken", async || {
        let answer = door.stripe(event).await.expect("an answer");
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            assert!(!answer.header("retry-after").is_empty(), "{}", answer.text());
            return None;
        }
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        Some(())
    })
    .await;
}

/// So many forgeries, one after another; answers with how many were turned away for their number.
async fn forge(client: &Client, count: usize) -> usize {
    let mut turned_away = 0;
    for _ in 0..count {
        let headers = [("stripe-signature", "t=1,v1=00".to_owned())];
        let forged = client.try_call(Method::POST, "/api/webhooks/stripe", &headers, "{}".into()).await;
        let answer = forged.expect("an answer");
        match answer.status {
            StatusCode::BAD_REQUEST => {}
            StatusCode::TOO_MANY_REQUESTS => turned_away += 1,
            other => panic!("a forgery was answered {other}: {}", answer.text()),
        }
    }
    turned_away
}

#[tokio::test]
async fn in_a_flood_forgeries_are_turned_away_and_every_crisis_is_heard_at_once() {
    let settings = [
        ("KEEPWELL_LIMITS__REQUESTS_IN_FLIGHT_MAX", "6"),
        ("KEEPWELL_LIMITS__UNVERIFIED_REQUESTS_MAX", "50"),
    ];
    let daemon = Daemon::start_with(&settings).await;
    let mut customers = vec![pressed(&daemon).await];
    let memory_before = memory_used(&daemon).await;
    let (door, client) = (daemon.door(), daemon.public());

    let honest = join_all((0..40).map(async |person| {
        for _ in 0..5 {
            insist(&door, &Event::of(SHAPES[0], "invoice.payment_succeeded", &person.to_string())).await;
        }
    }));
    let forged = join_all((0..10).map(|_| forge(&client, 30)));
    let crises = async {
        let mut customers = Vec::new();
        for _ in 0..15 {
            customers.push(pressed(&daemon).await);
        }
        customers
    };
    let (_, turned_away, heard) = tokio::join!(honest, forged, crises);
    customers.extend(heard);

    assert!(turned_away.iter().sum::<usize>() >= 200, "{turned_away:?}");
    all_is_well(&daemon, &customers, memory_before).await;
    // Everything honest is there once, and nothing that was forged.
    let page = daemon.operator().get("/api/v1/jobs?limit=1").await.json();
    assert_eq!(page["total"], 40 * 5 + customers.len() + 1);
}

#[tokio::test]
async fn bodies_that_never_end_hold_no_place_that_a_crisis_needs() {
    let settings = [
        ("KEEPWELL_LIMITS__REQUESTS_IN_FLIGHT_MAX", "4"),
        ("KEEPWELL_LIMITS__BODY_READ_TIMEOUT_MS", "300000"),
    ];
    let daemon = Daemon::start_with(&settings).await;
    let memory_before = memory_used(&daemon).await;
    let (address, arrived) = (daemon.public_address(), AtomicUsize::new(0));
    let stalled = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{").into_bytes()
    };
    let (stripe, app) = (stalled("/api/webhooks/stripe"), stalled("/api/webhooks/app"));
    let attack = async {
        tokio::join!(crowd(address, 4, &stripe, &arrived), crowd(address, 4, &app, &arrived));
    };
    let customers = during(attack, async {
        gathered(&arrived, 8).await;
        let (one, other) = (pressed(&daemon).await, pressed(&daemon).await);
        insist(&daemon.door(), &Event::of(SHAPES[0], "invoice.payment_failed", "honest")).await;
        [one, other]
    })
    .await;
    all_is_well(&daemon, &customers, memory_before).await;
}

#[tokio::test]
async fn connections_that_never_say_enough_give_way_to_a_crisis() {
    let settings =
        [("KEEPWELL_LIMITS__CONNECTIONS_MAX", "48"), ("KEEPWELL_LIMITS__HEADER_READ_TIMEOUT_MS", "120000")];
    let daemon = Daemon::start_with(&settings).await;
    let memory_before = memory_used(&daemon).await;
    let (address, arrived) = (daemon.public_address(), AtomicUsize::new(0));
    let attack = async {
        tokio::join!(
            crowd(address, 40, b"", &arrived),
            crowd(address, 40, b"POST /api/webhooks/app HTTP/1.1\r\nHost: x\r\nX-Slow: ", &arrived),
        );
    };
    let customers = during(attack, async {
        gathered(&arrived, 80).await;
        join_all((0..3).map(|_| pressed(&daemon))).await
    })
    .await;
    all_is_well(&daemon, &customers, memory_before).await;
}

#[tokio::test]
async fn garbage_of_every_kind_is_nobodys_trouble_but_its_senders() {
    let daemon = Daemon::start().await;
    let memory_before = memory_used(&daemon).await;
    let (address, arrived) = (daemon.public_address(), AtomicUsize::new(0));
    let mut random = vec![0; 4_096];
    rand::Rng::fill(&mut rand::rng(), &mut random[..]);
    let pipelined = b"POST /api/webhooks/app HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}".repeat(300);
    let endless_head = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &vec![b'x'; 100_000]].concat();
    let smuggled = b"POST /api/webhooks/stripe HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\
                     Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET";
    let attack = async {
        tokio::join!(
            crowd(address, 4, &random, &arrived),
            crowd(address, 4, &pipelined, &arrived),
            crowd(address, 4, &endless_head, &arrived),
            crowd(address, 4, smuggled, &arrived),
            crowd(
                address,
                4,
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                &arrived
            ),
        );
    };
    let customers = during(attack, async {
        gathered(&arrived, 20).await;
        let mut customers = Vec::new();
        for _ in 0..20 {
            customers.push(pressed(&daemon).await);
        }
        customers
    })
    .await;
    all_is_well(&daemon, &customers, memory_before).await;
}
