//! Whoever dies, and whenever: what was answered 2xx is done once, as if nothing had happened.

use rustix::process::{Signal, kill_process};

use super::{private_redis, stream::Stream};
use crate::support::{
    daemon::Daemon,
    postgres::{Postgres, Sync},
};

/// Five thousand events: long enough for ten deaths at moments of their own.
const LONG: Stream = Stream { people: 25, events_each: 200 };

const SHORT: Stream = Stream { people: 15, events_each: 40 };

pub(super) fn kill_private_redis(daemon: &Daemon) {
    let redis = daemon.private_redis().expect("a private Redis");
    kill_process(redis, Signal::KILL).expect("it runs");
}

#[tokio::test]
async fn a_daemon_that_is_killed_ten_times_loses_nothing_and_does_nothing_twice() {
    let mut daemon = Daemon::start().await;
    LONG.survives(&mut daemon, async |daemon, mut taken| {
        for moment in LONG.moments(10, 1) {
            taken.wait_for(|taken| *taken >= moment).await.expect("somebody sends");
            daemon.kill();
            daemon.start_again().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_daemon_that_is_killed_on_postgres_loses_nothing_and_does_nothing_twice() {
    let postgres = Postgres::start(Sync::On).await;
    let url = postgres.database("keepwell").await;
    let mut daemon = Daemon::start_with(&[("KEEPWELL_DATABASE__URL", &url)]).await;
    SHORT
        .survives(&mut daemon, async |daemon, mut taken| {
            for moment in SHORT.moments(4, 2) {
                taken.wait_for(|taken| *taken >= moment).await.expect("somebody sends");
                daemon.kill();
                daemon.start_again().await;
            }
        })
        .await;
}

#[tokio::test]
async fn a_daemon_that_is_asked_to_stop_leaves_nothing_undone() {
    let mut daemon = Daemon::start().await;
    SHORT
        .survives(&mut daemon, async |daemon, mut taken| {
            for moment in SHORT.moments(4, 3) {
                taken.wait_for(|taken| *taken >= moment).await.expect("somebody sends");
                let status = daemon.stop().await;
                assert!(status.success(), "{status}");
                assert!(daemon.private_redis().is_none(), "it takes its Redis along");
                daemon.start_again().await;
            }
        })
        .await;
}

#[tokio::test]
async fn a_daemon_that_is_asked_to_stop_as_soon_as_it_is_ready_stops() {
    let mut daemon = Daemon::start().await;
    for _ in 0..10 {
        let status = daemon.stop().await;
        assert!(status.success(), "{status}");
        daemon.start_again().await;
    }
}

#[tokio::test]
async fn a_daemon_that_is_killed_with_its_redis_loses_nothing() {
    let mut daemon = Daemon::start().await;
    SHORT
        .survives(&mut daemon, async |daemon, mut taken| {
            for moment in SHORT.moments(4, 4) {
                taken.wait_for(|taken| *taken >= moment).await.expect("somebody sends");
                daemon.kill();
                kill_private_redis(daemon);
                daemon.start_again().await;
            }
        })
        .await;
}

#[tokio::test]
async fn a_redis_that_is_killed_or_emptied_takes_nothing_along() {
    let mut daemon = Daemon::start().await;
    SHORT
        .survives(&mut daemon, async |daemon, mut taken| {
            for (number, moment) in SHORT.moments(4, 5).into_iter().enumerate() {
                taken.wait_for(|taken| *taken >= moment).await.expect("somebody sends");
                if number % 2 == 0 {
                    let mut redis = private_redis(daemon).await;
                    redis::cmd("FLUSHALL").exec_async(&mut redis).await.expect("FLUSHALL");
                } else {
                    kill_private_redis(daemon);
                }
            }
        })
        .await;
}
