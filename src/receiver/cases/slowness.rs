//! Clients that take their time.

use std::time::Duration;

use tokio::{io::AsyncWriteExt as _, time::interval};

use super::rig::{Line, Rig, STRIPE, event, post, signed, stripe_event, sum_up};

/// Sends byte after byte of `bytes` until the other side has had enough, and sums up what it says.
async fn drip(mut line: Line, bytes: &[u8]) -> String {
    let (mut reader, mut writer) = line.stream.split();
    let mut answer = Vec::new();
    let mut pace = interval(Duration::from_millis(2));
    let dripping = async {
        for byte in bytes.iter().cycle() {
            pace.tick().await;
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = dripping => {}
        _ = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut answer) => {}
    }
    sum_up(&answer)
}

#[tokio::test]
async fn a_connection_that_never_says_a_word_is_closed() {
    let rig = Rig::with_limits(|limits| limits.header_read_ms = 20).await;
    assert_eq!(sum_up(&rig.connect().await.read_to_end().await), "closed");
    rig.stop().await;
}

#[tokio::test]
async fn headers_that_never_end_are_cut_off_however_busily_they_come() {
    let rig = Rig::with_limits(|limits| limits.header_read_ms = 60).await;
    let mut stalled = rig.connect().await;
    stalled.write(b"POST /api/webhooks/stripe HTTP/1.1\r\nHost:").await;
    assert_eq!(sum_up(&stalled.read_to_end().await), "closed");
    let mut dripping = rig.connect().await;
    dripping.write(b"POST /api/webhooks/stripe HTTP/1.1\r\nX: ").await;
    assert_eq!(drip(dripping, b"y").await, "closed");
    let mut undecided = rig.connect().await;
    undecided.write(b"PRI * HTTP/2.0\r\n").await;
    assert_eq!(sum_up(&undecided.read_to_end().await), "closed");
    rig.stop().await;
}

#[tokio::test]
async fn the_second_request_of_a_connection_has_no_more_time_than_the_first() {
    let rig = Rig::with_limits(|limits| limits.header_read_ms = 60).await;
    let mut line = rig.connect().await;
    line.write(&stripe_event("evt_1")).await;
    assert_eq!(line.read_answer().await, "200 new");
    assert_eq!(drip(line, b"x").await, "closed");
    rig.stop().await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_answered_408_however_busily_it_comes() {
    let rig = Rig::with_limits(|limits| limits.body_read_ms = 60).await;
    let head = format!("POST {STRIPE} HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n");
    let mut stalled = rig.connect().await;
    stalled.write(head.as_bytes()).await;
    assert_eq!(stalled.read_answer().await, "408 body_too_slow");
    let mut dripping = rig.connect().await;
    dripping.write(head.as_bytes()).await;
    assert_eq!(drip(dripping, b" ").await, "408 body_too_slow");
    let mut chunks = rig.connect().await;
    chunks.write(head.replace("Content-Length: 500000", "Transfer-Encoding: chunked").as_bytes()).await;
    assert_eq!(drip(chunks, b"1\r\n \r\n").await, "408 body_too_slow");
    rig.stop().await;
}

#[tokio::test]
async fn a_body_for_the_fallback_service_has_no_more_time() {
    let rig = Rig::with_limits(|limits| limits.body_read_ms = 20).await;
    let mut line = rig.connect().await;
    line.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").await;
    assert_eq!(line.read_answer().await, "400");
    rig.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_the_next_request_and_closed_in_the_end() {
    let rig = Rig::with_limits(|limits| limits.idle_ms = 60).await;
    let mut line = rig.connect().await;
    for id in ["evt_1", "evt_2", "evt_3"] {
        line.write(&stripe_event(id)).await;
        assert_eq!(line.read_answer().await, "200 new");
    }
    assert_eq!(sum_up(&line.read_to_end().await), "closed");
    rig.stop().await;
}

#[tokio::test]
async fn a_client_that_never_reads_its_answers_is_closed() {
    let rig = Rig::with_limits(|limits| {
        (limits.header_read_ms, limits.idle_ms, limits.linger_ms) = (60, 60, 20);
    })
    .await;
    let mut line = rig.connect().await;
    let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    while line.stream.write_all(&request).await.is_ok() {}
    rig.stop().await;
}

#[tokio::test]
async fn an_event_that_comes_in_two_parts_is_one_event() {
    let rig = Rig::start().await;
    let body = event("evt_1");
    let bytes = post(STRIPE, &signed(body.as_bytes()), body.as_bytes());
    for split in [1, 5, 40, bytes.len() - body.len(), bytes.len() - 1] {
        let mut line = rig.connect().await;
        line.stream.set_nodelay(true).unwrap();
        line.write(&bytes[..split]).await;
        tokio::task::yield_now().await;
        line.write(&bytes[split..]).await;
        let answer = line.read_answer().await;
        assert!(["200 new", "200 again"].contains(&answer.as_str()), "split at {split}: {answer}");
    }
    assert_eq!(rig.stats.recorded.get(), 1);
    rig.stop().await;
}
