//! The way to Redis.

use std::{sync::Arc, time::Duration};

use redis::RedisError;

use super::{
    address::Address, keys::Keys, link::Link, progress::Progress, scripts::Scripts, trouble::Trouble,
};
use crate::clock::SharedClock;

/// What the lanes need to know.
#[derive(Debug, Clone)]
pub struct LanesOptions {
    /// The first word of every key, so that several installations can share a server.
    pub key_prefix: String,
    /// How long a node may be silent before its jobs are given to others, in milliseconds.
    pub lease_ms: u64,
    /// A job of the realtime, standard or background lane that is older than this has aged, in milliseconds: it goes
    /// right after the crisis lane, for at most an eighth of the free slots.
    pub ageing_ms: u64,
    /// How long one command may take before the connection counts as broken and is replaced, in milliseconds.
    pub response_timeout_ms: u64,
    /// How long a pool that has nothing to do waits at most before it looks by itself, in milliseconds. Whatever puts a
    /// job into a lane wakes it, but a wake-up can be lost with the connection that carried it.
    pub idle_look_ms: u64,
}

impl Default for LanesOptions {
    fn default() -> Self {
        Self {
            key_prefix: "keepwell".into(),
            lease_ms: 10_000,
            ageing_ms: 60_000,
            response_timeout_ms: 3_000,
            idle_look_ms: 1_000,
        }
    }
}

/// The lanes could not be reached, or refused.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// This node's lease was taken away; it must enter anew, and what it holds is somebody else's.
    #[error("this node's lease was taken away")]
    LeaseLost,
    /// Redis is away or refused.
    #[error("redis: {0}")]
    Redis(RedisError),
    /// Another process is rebuilding the lanes.
    #[error("another process is rebuilding the lanes")]
    RebuildElsewhere,
    /// The ledger could not be read.
    #[error("the ledger cannot be read")]
    Ledger(#[from] sqlx::Error),
    /// The crisis lane is never held up by accident.
    #[error("the crisis lane can only be paused with an explicit override")]
    CrisisNeedsOverride,
}

impl LaneError {
    /// What an operator can do about it, if Redis is the trouble.
    pub fn hint(&self) -> Option<&'static str> {
        self.trouble().map(Trouble::hint)
    }

    /// The kind of trouble with Redis, if it is that.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        match self {
            LaneError::Redis(error) => Some(Trouble::of(error)),
            _ => None,
        }
    }
}

impl From<RedisError> for LaneError {
    fn from(error: RedisError) -> Self {
        if error.code() == Some("LEASELOST") { LaneError::LeaseLost } else { LaneError::Redis(error) }
    }
}

/// One connection to the lanes. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Lanes {
    pub(super) redis: Link,
    pub(super) address: Arc<Address>,
    pub(super) keys: Arc<Keys>,
    pub(super) scripts: Arc<Scripts>,
    pub(super) options: LanesOptions,
    pub(super) clock: SharedClock,
    pub(super) progress: Arc<Progress>,
}

impl Lanes {
    /// A connection to the Redis at `url` (one server, its Sentinels, or a cluster), opened when first used and again
    /// whenever it breaks, falls silent, or leads to a server that cannot help.
    pub fn connect(url: &str, options: LanesOptions, clock: SharedClock) -> Result<Self, LaneError> {
        let keys = Keys::new(&options.key_prefix);
        let address = Arc::new(Address::parse(url, keys.tag())?);
        Ok(Self {
            redis: Link::new(Arc::clone(&address), Duration::from_millis(options.response_timeout_ms)),
            address,
            keys: Arc::new(keys),
            scripts: Arc::new(Scripts::new()),
            options,
            clock,
            progress: Arc::default(),
        })
    }

    /// How long a pool that has nothing to do waits at most before it looks by itself.
    pub(crate) fn idle_look(&self) -> Duration {
        Duration::from_millis(self.options.idle_look_ms)
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), LaneError> {
        redis::cmd("PING").exec_async(&mut self.redis.clone()).await?;
        Ok(())
    }
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes").field("options", &self.options).finish_non_exhaustive()
    }
}
