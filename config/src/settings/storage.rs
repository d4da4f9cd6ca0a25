//! The database and Redis.

use std::path::PathBuf;

use crate::values::{DatabaseUrl, RedisUrl};

settings! {
    /// Redis (or Valkey): which job is next. It can be lost at any time; the ledger fills it again.
    pub struct Redis in "redis" {
        /// The Redis to use: `redis://host:6379/0`, with `user:password@` before the host where needed, or the
        /// path of a Unix socket as `redis+unix:///path` or `unix:///path`. It is one server, or the primary among
        /// replicas at an address that follows it (a proxy, a name, a floating address): Sentinel and Redis Cluster
        /// are not asked where it is. Unset, keepwell starts and looks after a private one in its state directory.
        url: Option<RedisUrl> => "redis://127.0.0.1:6379/0",
        /// The program for the private Redis. Unset, `redis-server` is looked for in `PATH`.
        server_binary: Option<PathBuf> => "/usr/bin/redis-server",
        /// What the names of all keys begin with, so that several installations can share one Redis.
        key_prefix: String,
    }
}

settings! {
    /// The database: what is owed, and what was done.
    pub struct Database in "database" {
        /// The database to use: `postgres://user:password@host/name` or `sqlite:/path/to/file`. Unset, it is
        /// SQLite in the state directory.
        url: Option<DatabaseUrl> => "postgres://keepwell@localhost/keepwell",
        /// The most connections held open, beside those that are reserved for crisis work.
        connections_max: u32 where 2..=1_000,
    }
}
