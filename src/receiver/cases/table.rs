//! Runs a table of abuse cases against one receiver.

use super::rig::{Rig, stripe_event};

/// What is done, the bytes that are sent, and the sum of the answers.
pub(super) type Case = (&'static str, Vec<u8>, &'static str);

/// Sends every case over a connection of its own. However it went, the next honest event is taken.
pub(super) async fn run(rig: Rig, cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for (index, (name, bytes, expected)) in cases.into_iter().enumerate() {
        let answer = rig.send(&bytes).await;
        if answer != expected {
            wrong.push(format!("{name}: {answer}, not {expected}"));
        }
        let honest = rig.send(&stripe_event(&format!("evt_after_{index}"))).await;
        assert_eq!(honest, "200 new", "after: {name}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let stats = rig.stats.clone();
    assert_eq!(stats.in_flight.get(), 0);
    rig.stop().await;
    assert_eq!(stats.connections.get(), 0);
}
