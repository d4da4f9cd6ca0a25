//! HTTP/2 with prior knowledge.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet};

use super::rig::{NOW_S, Rig, STRIPE, event, stripe_event, stripe_secret};
use crate::receiver::scheme::stripe;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// A client whose connection is driven in `driving`.
async fn connect(rig: &Rig, driving: &mut JoinSet<hyper::Result<()>>) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    driving.spawn(connection);
    sender
}

fn request(rig: &Rig, id: &str) -> Request<Full<Bytes>> {
    let body = event(id);
    Request::post(format!("http://{}{STRIPE}", rig.address))
        .header("stripe-signature", stripe::sign(&stripe_secret(), NOW_S, body.as_bytes()))
        .body(Full::from(body))
        .unwrap()
}

async fn word(response: Response<Incoming>) -> (StatusCode, Value) {
    let status = response.status();
    (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
}

#[tokio::test]
async fn events_come_over_http2_too_and_many_at_a_time() {
    let rig = Rig::start().await;
    let mut driving = JoinSet::new();
    let mut client = connect(&rig, &mut driving).await;
    for round in 0..4 {
        let mut answers = JoinSet::new();
        for n in 0..50 {
            client.ready().await.unwrap();
            answers.spawn(client.send_request(request(&rig, &format!("evt_{round}_{n}"))));
        }
        while let Some(answer) = answers.join_next().await {
            let (status, body) = word(answer.unwrap().unwrap()).await;
            assert_eq!((status, body["duplicate"].as_bool()), (StatusCode::OK, Some(false)));
        }
    }
    assert_eq!(rig.stats.recorded.get(), 200);
    rig.stop().await;
}

#[tokio::test]
async fn refusals_over_http2_have_the_same_codes() {
    let rig =
        Rig::with_limits(|limits| (limits.body_bytes_max, limits.unverified_requests_max) = (1000, 3)).await;
    let mut driving = JoinSet::new();
    let mut client = connect(&rig, &mut driving).await;
    let url = format!("http://{}{STRIPE}", rig.address);
    let large = Request::post(&url).body(Full::from(vec![b' '; 1001])).unwrap();
    let unsigned = Request::post(&url).body(Full::from("{}")).unwrap();
    let empty = Request::post(&url).body(Full::default()).unwrap();
    let limited = Request::get(&url).body(Full::default()).unwrap();
    for (request, expected) in [
        (large, (413, "body_too_large")),
        (unsigned, (400, "signature_missing")),
        (empty, (400, "body_empty")),
        (limited, (429, "rate_limited")),
    ] {
        let (status, body) = word(client.send_request(request).await.unwrap()).await;
        assert_eq!((status.as_u16(), body["code"].as_str()), (expected.0, Some(expected.1)));
    }
    let (status, _) = word(client.send_request(request(&rig, "evt_1")).await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    rig.stop().await;
}

#[tokio::test]
async fn a_stream_in_flight_at_shutdown_is_answered() {
    let mut rig = Rig::start().await;
    rig.door.shut();
    let mut arrived = rig.door.arrived.subscribe();
    let mut driving = JoinSet::new();
    let mut client = connect(&rig, &mut driving).await;
    let mut answers = JoinSet::new();
    answers.spawn(client.send_request(request(&rig, "evt_1")));
    arrived.wait_for(|arrived| *arrived == 1).await.unwrap();
    rig.shutdown.cancel();
    rig.door.open.add_permits(1);
    let (status, _) = word(answers.join_next().await.unwrap().unwrap().unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    driving.join_next().await.unwrap().unwrap().unwrap();
    rig.stopped().await;
}

#[tokio::test]
async fn an_event_whose_stream_is_reset_is_recorded_all_the_same() {
    let rig = Rig::start().await;
    rig.door.shut();
    let (mut arrived, mut recorded) = (rig.door.arrived.subscribe(), rig.door.recorded.subscribe());
    let mut driving = JoinSet::new();
    let mut client = connect(&rig, &mut driving).await;
    let mut answers = JoinSet::new();
    answers.spawn(client.send_request(request(&rig, "evt_1")));
    arrived.wait_for(|arrived| *arrived == 1).await.unwrap();
    answers.shutdown().await;
    drop(client);
    rig.until(|stats| stats.in_flight.get() == 0).await;
    rig.door.open.add_permits(1);
    recorded.wait_for(|recorded| *recorded == 1).await.unwrap();
    assert!(rig.door.job("evt_1").is_some());
    rig.stop().await;
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed_although_its_client_pings() {
    let rig = Rig::with_limits(|limits| (limits.idle_ms, limits.linger_ms) = (40, 20)).await;
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(hyper_util::rt::TokioTimer::new())
        .keep_alive_interval(std::time::Duration::from_millis(5))
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let (status, _) = word(client.send_request(request(&rig, "evt_1")).await.unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    driving.join_next().await.unwrap().unwrap().unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn frames_that_make_no_sense_close_the_connection_and_nothing_else() {
    let rig = Rig::with_limits(|limits| (limits.header_read_ms, limits.linger_ms) = (60, 20)).await;
    let frames: [(&str, &[u8]); 9] = [
        ("garbage", b"\0\0\0\x07garbage and more garbage"),
        ("HTTP/1 after all", b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a frame larger than may be", b"\xff\xff\xff\0\0\0\0\0\x01"),
        ("data on no stream", b"\0\0\x01\0\0\0\0\0\0x"),
        ("headers that are no HPACK", b"\0\0\x04\x01\x05\0\0\0\x01\xff\xff\xff\xff"),
        ("an even stream", b"\0\0\x01\x01\x05\0\0\0\x02\x82"),
        ("a continuation of nothing", b"\0\0\x01\x09\x04\0\0\0\x01\x82"),
        ("a window that overflows", b"\0\0\x04\x08\0\0\0\0\0\x7f\xff\xff\xff"),
        ("silence", b""),
    ];
    for (name, bytes) in frames {
        let mut line = rig.connect().await;
        line.write(&[PREFACE, SETTINGS, bytes].concat()).await;
        line.read_to_end().await;
        assert_eq!(rig.send(&stripe_event("evt_1")).await.split(' ').next(), Some("200"), "after {name}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn streams_that_are_reset_as_soon_as_they_are_opened_end_the_connection() {
    let rig = Rig::start().await;
    let mut line = rig.connect().await;
    let mut bytes = [PREFACE, SETTINGS].concat();
    for stream in (1_u32..20_000).step_by(2) {
        // `:method POST`, `:scheme http`, `:path /`, and no end of the stream; then RST_STREAM (CANCEL).
        bytes.extend(b"\0\0\x03\x01\x04");
        bytes.extend(stream.to_be_bytes());
        bytes.extend(b"\x83\x86\x84\0\0\x04\x03\0");
        bytes.extend(stream.to_be_bytes());
        bytes.extend(b"\0\0\0\x08");
    }
    line.write(&bytes).await;
    line.read_to_end().await;
    assert_eq!(rig.send(&stripe_event("evt_1")).await, "200 new");
    rig.stop().await;
}
