//! More than there is room for: floods of forgeries, of events, of connections.

use ipnet::IpNet;

use super::rig::{Rig, STRIPE, crisis_signal, event, post, signed, stripe_event};

#[tokio::test]
async fn an_address_that_keeps_failing_is_turned_away_but_never_its_verified_events() {
    let rig = Rig::with_limits(|limits| limits.unverified_requests_max = 3).await;
    let forged = post(STRIPE, "Stripe-Signature: t=1,v1=0\r\n", b"{}");
    for _ in 0..3 {
        assert_eq!(rig.send(&forged).await, "400 signature_invalid");
    }
    let turned_away = rig.send_for_text(&forged).await;
    assert!(turned_away.starts_with("http/1.1 429"), "{turned_away}");
    assert!(turned_away.contains("\r\nretry-after: 21\r\n"), "{turned_away}");
    assert!(turned_away.contains("\r\nconnection: close\r\n"), "{turned_away}");
    for garbage in [
        post(STRIPE, "Content-Type: text/plain\r\n", b"x"),
        b"GET /api/webhooks/app HTTP/1.1\r\n\r\n".to_vec(),
    ] {
        assert_eq!(rig.send(&garbage).await, "429 rate_limited");
    }
    assert_eq!(rig.send(&stripe_event("evt_1")).await, "200 new");
    assert_eq!(rig.send(&crisis_signal("msg_1")).await, "200 new");
    assert_eq!(rig.send(&post(STRIPE, &signed(b"[]"), b"[]")).await, "400 not_an_event");
    rig.clock.advance_ms(20_000);
    assert_eq!(rig.send(&forged).await, "400 signature_invalid");
    assert_eq!(rig.send(&forged).await, "429 rate_limited");
    rig.stop().await;
}

#[tokio::test]
async fn one_client_behind_a_proxy_does_not_use_up_the_budget_of_another() {
    let rig = Rig::with(|options| {
        options.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        options.limits.unverified_requests_max = 1;
    })
    .await;
    let forged = |client: &str| post(STRIPE, &format!("X-Forwarded-For: {client}\r\n"), b"{}");
    assert_eq!(rig.send(&forged("203.0.113.1")).await, "400 signature_missing");
    assert_eq!(rig.send(&forged("203.0.113.1")).await, "429 rate_limited");
    assert_eq!(rig.send(&forged("6.6.6.6, 203.0.113.1")).await, "429 rate_limited");
    assert_eq!(rig.send(&forged("203.0.113.2")).await, "400 signature_missing");
    rig.stop().await;
}

#[tokio::test]
async fn a_source_with_networks_takes_events_from_nowhere_else() {
    let rig = Rig::with(|options| options.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()]).await;
    let networks: Vec<IpNet> = vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    rig.sources[0].replace_allowed_networks(networks);
    let body = event("evt_1");
    let from = |forwarding: &str| {
        post(STRIPE, &format!("{}{forwarding}\r\n", signed(body.as_bytes())), body.as_bytes())
    };
    assert_eq!(rig.send(&from("X-Forwarded-For: 203.0.113.7")).await, "200 new");
    assert_eq!(rig.send(&from("Forwarded: for=\"[2001:db8::7]:1\"")).await, "200 again");
    for stranger in [
        "X: y",
        "X-Forwarded-For: 198.51.100.1",
        "X-Forwarded-For: 203.0.113.7, 198.51.100.1",
        "X-Forwarded-For: nonsense",
        "X-Forwarded-For: 198.51.100.1\r\nForwarded: for=203.0.113.7",
    ] {
        assert_eq!(rig.send(&from(stranger)).await, "403 address_not_allowed", "{stranger}");
    }
    assert_eq!(rig.send(&crisis_signal("msg_1")).await, "200 new", "the other source has no networks");
    rig.sources[0].replace_allowed_networks(Vec::new());
    assert_eq!(rig.send(&from("X: y")).await, "200 again");
    rig.stop().await;
}

#[tokio::test]
async fn a_crisis_signal_finds_a_place_when_all_others_are_taken() {
    let rig = Rig::with_limits(|limits| {
        (limits.requests_in_flight_max, limits.requests_in_flight_reserved) = (3, 1);
        limits.place_wait_ms = 20;
    })
    .await;
    rig.door.shut();
    let mut arrived = rig.door.arrived.subscribe();
    let (mut one, mut two, mut crisis) = (rig.connect().await, rig.connect().await, rig.connect().await);
    one.write(&stripe_event("evt_1")).await;
    two.write(&stripe_event("evt_2")).await;
    arrived.wait_for(|arrived| *arrived == 2).await.unwrap();

    let busy = rig.send_for_text(&stripe_event("evt_3")).await;
    assert!(busy.starts_with("http/1.1 503") && busy.contains("\r\nretry-after: 2\r\n"), "{busy}");
    crisis.write(&crisis_signal("msg_1")).await;
    arrived.wait_for(|arrived| *arrived == 3).await.unwrap();
    assert_eq!(rig.stats.crisis_exemptions.get(), 1);

    rig.door.open.add_permits(10);
    for line in [&mut one, &mut two, &mut crisis] {
        assert_eq!(line.read_answer().await, "200 new");
    }
    assert_eq!(rig.send(&stripe_event("evt_3")).await, "200 new");
    rig.stop().await;
}

#[tokio::test]
async fn a_request_that_waits_is_served_as_soon_as_there_is_a_place() {
    let rig = Rig::with_limits(|limits| limits.requests_in_flight_max = 1).await;
    rig.door.shut();
    let mut arrived = rig.door.arrived.subscribe();
    let mut lines = Vec::new();
    for n in 0..5 {
        let mut line = rig.connect().await;
        line.write(&if n == 4 { crisis_signal("msg_1") } else { stripe_event(&format!("evt_{n}")) }).await;
        lines.push(line);
    }
    arrived.wait_for(|arrived| *arrived == 1).await.unwrap();
    assert_eq!(rig.stats.recorded.get(), 0);
    rig.door.open.add_permits(5);
    for line in &mut lines {
        assert_eq!(line.read_answer().await, "200 new");
    }
    rig.stop().await;
}

#[tokio::test]
async fn slow_bodies_give_way_to_whole_ones() {
    let rig = Rig::with_limits(|limits| {
        (limits.requests_in_flight_max, limits.requests_in_flight_reserved) = (4, 1);
        limits.body_read_contended_ms = 5;
    })
    .await;
    let mut attackers = Vec::new();
    for path in [STRIPE, STRIPE, STRIPE, "/api/webhooks/app", "/api/webhooks/app", STRIPE] {
        let mut attacker = rig.connect().await;
        attacker
            .write(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{").as_bytes())
            .await;
        attackers.push(attacker);
    }
    for n in 0..10 {
        assert_eq!(rig.send(&stripe_event(&format!("evt_{n}"))).await, "200 new");
        assert_eq!(rig.send(&crisis_signal(&format!("msg_{n}"))).await, "200 new");
    }
    assert_eq!(attackers[0].read_answer().await, "408 body_too_slow");
    drop(attackers);
    rig.stop().await;
}

#[tokio::test]
async fn idle_connections_give_way_to_new_ones() {
    let rig = Rig::with_limits(|limits| (limits.connections_max, limits.idle_contended_ms) = (2, 5)).await;
    let mut idle = rig.connect().await;
    idle.write(&stripe_event("evt_1")).await;
    assert_eq!(idle.read_answer().await, "200 new");
    let _silent = rig.connect().await;
    for n in 0..10 {
        assert_eq!(rig.send(&crisis_signal(&format!("msg_{n}"))).await, "200 new");
    }
    assert!(idle.read_to_end().await.is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_connection_with_an_event_in_flight_gives_way_to_nobody() {
    let rig = Rig::with_limits(|limits| (limits.connections_max, limits.idle_contended_ms) = (1, 0)).await;
    rig.door.shut();
    let mut arrived = rig.door.arrived.subscribe();
    let mut first = rig.connect().await;
    first.write(&stripe_event("evt_1")).await;
    arrived.wait_for(|arrived| *arrived == 1).await.unwrap();
    let mut second = rig.connect().await;
    second.write(&stripe_event("evt_2")).await;
    rig.door.open.add_permits(2);
    assert_eq!(first.read_answer().await, "200 new");
    assert_eq!(second.read_answer().await, "200 new");
    rig.stop().await;
}
