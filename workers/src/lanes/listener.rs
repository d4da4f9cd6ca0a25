//! The ear for wake-ups: rings the bells when another process has put something into a lane.
//!
//! It is a help, not a need: a pool that hears nothing looks once a second by itself. A subscription is silent for as
//! long as nothing happens, and so is one whose peer is gone; therefore it is asked every now and then.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use redis::{RedisResult, aio::PubSub};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Bells, Lanes};
use crate::backoff::Backoff;

/// How long subscribing may take.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(3);

/// How often the server is asked whether it is there, and how long its answer may take.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits between attempts to listen.
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Listens until `stop` is cancelled, and subscribes again whenever the subscription is lost.
pub(crate) async fn listen(lanes: Lanes, bells: Arc<Bells>, stop: CancellationToken) {
    let mut backoff = Backoff::new(WAIT_MIN, WAIT_MAX);
    loop {
        let listening = async {
            if let Ok(Ok(listener)) = timeout(SUBSCRIBE_TIMEOUT, subscribe(&lanes)).await {
                backoff.reset();
                bells.ring_all();
                hear(listener, &bells).await;
                bells.ring_all();
            }
            tokio::time::sleep(backoff.next()).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = listening => {}
        }
    }
}

async fn subscribe(lanes: &Lanes) -> RedisResult<PubSub> {
    let mut listener = lanes.address.listen().await?;
    listener.subscribe(lanes.keys.wake()).await?;
    Ok(listener)
}

/// Returns when the subscription is lost.
async fn hear(listener: PubSub, bells: &Bells) {
    let (mut asking, mut messages) = listener.split();
    let hearing = async {
        while let Some(message) = messages.next().await {
            if message.get_payload_bytes() == b"0" {
                bells.ring_all();
            } else {
                bells.general.notify_one();
            }
        }
    };
    let asking = async {
        loop {
            tokio::time::sleep(PING_EVERY).await;
            let pong = timeout(PING_TIMEOUT, asking.ping::<redis::Value>()).await;
            if !matches!(pong, Ok(Ok(_))) {
                return;
            }
        }
    };
    tokio::select! {
        () = hearing => {}
        () = asking => {}
    }
}
