//! The gateway misbehaves, and every way of it becomes a clear end of the run within the limits.

use std::{sync::Arc, time::Duration};

use keepwell_jobs::outbound::notify::{Haste, Notifier, NotifierError, NotifierOptions};
use keepwell_workers::{id::JobId, outcome::Outcome};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::json;
use tokio_rustls::TlsAcceptor;

use crate::support::{
    NOW_MS,
    gateway::{GATEWAY_TOKEN, Gateway, Manner},
};

const AUTHORITY: &[u8] = include_bytes!("../fixtures/tls/authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("../fixtures/tls/gateway.pem");
const KEY: &[u8] = include_bytes!("../fixtures/tls/gateway.key");

/// Far more than a gateway on this machine needs.
const PATIENT_MS: u64 = 20_000;

fn notifier(url: &str, token: &str, timeout_ms: u64, authorities: Option<&[u8]>) -> Notifier {
    Notifier::new(&NotifierOptions {
        url,
        token,
        timeout_ms,
        authorities,
        urgent_in_flight_max: 2,
        in_flight_max: 1,
    })
    .unwrap()
}

async fn sent(notifier: &Notifier, haste: Haste) -> Result<(), Outcome> {
    let document = json!({ "kind": "message", "body": "to Kim, +49 170 1" });
    Ok(notifier.place(haste)?.send(JobId::new(NOW_MS), &document).await?)
}

/// The words of a failure that is tried again, and how long it waits.
fn retried(outcome: Result<(), Outcome>) -> (String, Option<u64>) {
    match outcome {
        Err(Outcome::Retry { error, after }) => (error, after.map(|after| after.as_secs())),
        other => panic!("not tried again: {other:?}"),
    }
}

fn dead(outcome: Result<(), Outcome>) -> String {
    match outcome {
        Err(Outcome::Dead { error }) => error,
        other => panic!("not dead: {other:?}"),
    }
}

#[tokio::test]
async fn a_message_is_posted_with_its_token_and_under_the_jobs_id() {
    let gateway = Gateway::start().await;
    let id = JobId::new(NOW_MS);
    let document = json!({ "kind": "message", "title": "Grüße" });
    let notifier = notifier(&gateway.url(), GATEWAY_TOKEN, PATIENT_MS, None);
    for _ in 0..2 {
        assert_eq!(notifier.place(Haste::Calm).unwrap().send(id, &document).await, Ok(()));
    }
    // Asked twice, told once.
    assert_eq!(gateway.asked(), [id.to_string(), id.to_string()]);
    let [notice] = &gateway.taken()[..] else { panic!("{:?}", gateway.taken()) };
    assert_eq!(notice.key, id.to_string());
    assert_eq!(notice.document, json!({ "id": id.to_string(), "kind": "message", "title": "Grüße" }));
}

#[tokio::test]
async fn what_passes_by_itself_is_tried_again_after_as_long_as_the_gateway_asks() {
    let gateway = Gateway::start().await;
    let notifier = notifier(&gateway.url(), GATEWAY_TOKEN, PATIENT_MS, None);
    let asked = |seconds: &str| vec![("retry-after", seconds.to_owned())];
    for (status, headers, haste, after) in [
        (429, asked("7"), Haste::Calm, Some(7)),
        (503, asked("30"), Haste::Urgent, Some(30)),
        (503, asked("86400"), Haste::Calm, Some(6 * 60 * 60)),
        (429, asked("86400"), Haste::Urgent, Some(60)),
        (500, Vec::new(), Haste::Calm, None),
        (502, Vec::new(), Haste::Urgent, None),
        (504, asked("soon"), Haste::Calm, None),
        (408, Vec::new(), Haste::Calm, None),
        (409, Vec::new(), Haste::Calm, None),
        (425, Vec::new(), Haste::Calm, None),
    ] {
        gateway.next([Manner::Answers(status, headers)]);
        let (error, waits) = retried(sent(&notifier, haste).await);
        assert_eq!(waits, after, "{status}");
        assert!(error.contains(&status.to_string()) && !error.contains("Kim"), "{error}");
    }
    assert!(gateway.taken().is_empty());
}

#[tokio::test]
async fn what_the_gateway_may_have_taken_is_told_from_what_it_has_not() {
    let gateway = Gateway::start().await;
    let notifier = notifier(&gateway.url(), GATEWAY_TOKEN, PATIENT_MS, None);
    let perhaps = async |notifier: &Notifier| {
        let sent = notifier.place(Haste::Urgent).unwrap().send(JobId::new(NOW_MS), &json!({})).await;
        sent.unwrap_err().perhaps
    };
    for status in [302, 400, 401, 404, 408, 422, 425, 429, 503] {
        gateway.next([Manner::Answers(status, Vec::new())]);
        assert!(!perhaps(&notifier).await, "{status}");
    }
    for status in [409, 500, 502, 504] {
        gateway.next([Manner::Answers(status, Vec::new())]);
        assert!(perhaps(&notifier).await, "{status}");
    }
    for manner in [Manner::TakesAndHangsUp, Manner::Garbage, Manner::Floods] {
        gateway.next([manner]);
        assert!(perhaps(&notifier).await);
    }
    let nobody = self::notifier("http://127.0.0.1:1/", GATEWAY_TOKEN, PATIENT_MS, None);
    assert!(!perhaps(&nobody).await);
}

#[tokio::test]
async fn what_does_not_pass_by_itself_is_dead_and_says_what_to_do() {
    let gateway = Gateway::start().await;
    let known = notifier(&gateway.url(), GATEWAY_TOKEN, PATIENT_MS, None);
    for status in [400, 402, 410, 413, 415, 422] {
        for haste in [Haste::Calm, Haste::Urgent] {
            gateway.next([Manner::Answers(status, Vec::new())]);
            let error = dead(sent(&known, haste).await);
            assert!(error.contains(&format!("refuses the message ({status})")), "{error}");
        }
    }
    gateway.next([Manner::Answers(302, vec![("location", "http://127.0.0.1:1/".to_owned())])]);
    assert!(dead(sent(&known, Haste::Calm).await).contains("302"));

    let stranger = notifier(&gateway.url(), "another token", PATIENT_MS, None);
    let error = dead(sent(&stranger, Haste::Calm).await);
    assert!(
        error.contains("401") && error.contains("`notify.token`") && !error.contains("another"),
        "{error}"
    );
    // Somebody can mend that in time for a contact.
    let (error, _) = retried(sent(&stranger, Haste::Urgent).await);
    assert!(error.contains("401"), "{error}");
    let lost =
        notifier(&gateway.url().replace("/v1/messages", "/elsewhere"), GATEWAY_TOKEN, PATIENT_MS, None);
    assert!(dead(sent(&lost, Haste::Calm).await).contains("`notify.url`"));
}

#[tokio::test]
async fn a_gateway_that_hangs_up_or_talks_nonsense_is_tried_again() {
    let gateway = Gateway::start().await;
    let notifier = notifier(&gateway.url(), GATEWAY_TOKEN, PATIENT_MS, None);
    for (manner, words) in [
        (Manner::HangsUp, "broke off"),
        (Manner::TakesAndHangsUp, "broke off"),
        (Manner::Garbage, "broke off or was no HTTP"),
        (Manner::FloodsHead, "broke off or was no HTTP"),
        (Manner::Floods, "too long"),
    ] {
        gateway.next([manner.clone()]);
        let (error, _) = retried(sent(&notifier, Haste::Calm).await);
        assert!(error.contains(words), "{manner:?}: {error}");
    }
    assert_eq!(sent(&notifier, Haste::Calm).await, Ok(()));
}

#[tokio::test]
async fn a_gateway_that_is_slow_or_away_costs_no_more_than_the_limit() {
    let gateway = Gateway::start().await;
    let hasty = notifier(&gateway.url(), GATEWAY_TOKEN, 100, None);
    for manner in [Manner::Hangs, Manner::Drips] {
        gateway.next([manner.clone()]);
        let (error, _) = retried(sent(&hasty, Haste::Urgent).await);
        assert!(error.contains("no answer in time"), "{manner:?}: {error}");
    }
    let address = gateway.address();
    drop(gateway);
    let url = format!("http://{address}/v1/messages");
    let (error, _) = retried(sent(&notifier(&url, GATEWAY_TOKEN, PATIENT_MS, None), Haste::Urgent).await);
    assert!(error.contains("no connection") && !error.contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn no_more_are_under_way_than_may_be_and_nobody_waits_for_a_place() {
    let gateway = Gateway::start().await;
    gateway.always(Manner::Hangs);
    let notifier = notifier(&gateway.url(), GATEWAY_TOKEN, PATIENT_MS, None);
    let full = |wait_ms| Err(Outcome::Snooze { after: Duration::from_millis(wait_ms) });
    let look = async {
        while gateway.held() < 3 {
            tokio::task::yield_now().await;
        }
        // The more are turned away, the later they come back; contacts after seconds at the latest.
        for wait_ms in [250, 500, 750] {
            assert_eq!(sent(&notifier, Haste::Calm).await, full(wait_ms));
        }
        for number in 1..=21 {
            assert_eq!(sent(&notifier, Haste::Urgent).await, full((250 * number).min(5_000)));
        }
        gateway.let_go();
    };
    let (one, other, calm, ()) = tokio::join!(
        sent(&notifier, Haste::Urgent),
        sent(&notifier, Haste::Urgent),
        sent(&notifier, Haste::Calm),
        look,
    );
    assert_eq!((one, other, calm), (Ok(()), Ok(()), Ok(())));
    assert_eq!(sent(&notifier, Haste::Calm).await, Ok(()));
}

#[tokio::test]
async fn words_travel_sealed_and_only_to_a_gateway_that_shows_who_it_is() {
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let chain = CertificateDer::pem_slice_iter(CERTIFICATE).collect::<Result<Vec<_>, _>>().unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let gateway = Gateway::serve(move |stream| {
        let accepting = acceptor.accept(stream);
        async move { accepting.await.ok() }
    })
    .await;
    let port = gateway.address().port();
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("https://{host}:{port}/v1/messages");
        let trusting = notifier(&url, GATEWAY_TOKEN, PATIENT_MS, Some(AUTHORITY));
        assert_eq!(sent(&trusting, Haste::Calm).await, Ok(()), "{host}");
        let (error, _) = retried(sent(&notifier(&url, GATEWAY_TOKEN, PATIENT_MS, None), Haste::Calm).await);
        assert!(error.contains("no secure connection"), "{error}");
    }
    assert_eq!(gateway.taken().len(), 2);
}

#[test]
fn a_gateway_that_cannot_be_used_is_refused_before_anybody_needs_it() {
    let made = |url, token, authorities| {
        Notifier::new(&NotifierOptions {
            url,
            token,
            timeout_ms: 1,
            authorities,
            urgent_in_flight_max: 1,
            in_flight_max: 1,
        })
    };
    assert!(made("https://gateway.example", "token", None).is_ok());
    assert!(matches!(made("gateway.example/path", "token", None), Err(NotifierError::Address)));
    assert!(matches!(made("ftp://gateway.example", "token", None), Err(NotifierError::Address)));
    assert!(matches!(made("https://gateway.example", "to\nken", None), Err(NotifierError::Token)));
    for pem in [&b""[..], b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(matches!(
            made("https://gateway.example", "token", Some(pem)),
            Err(NotifierError::Certificates(_))
        ));
    }
    let secret = format!("{:?}", made("https://gateway.example", "a-secret-token", None).unwrap());
    assert!(!secret.contains("secret"), "{secret}");
}
