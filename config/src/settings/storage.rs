//! The database and Redis.

use std::path::PathBuf;

use crate::values::{DatabaseUrl, RedisUrl};

settings! {
    /// Redis (or Valkey): which job is next. It can be lost at any time; the ledger fills it again.
    pub struct Redis in "redis" {
        /// The Redis to use: `redis://host:6379/0`, with `user:password@` before the host where needed, or the
        /// path of a Unix socket as `redis+unix:///path` or `unix:///path`. `redis-sentinel://host:26379,host/name/0`
        /// asks Sentinels where the primary called `name` is (with `?sentinel_user=…&sentinel_password=…` where they
        /// want one), `redis-cluster://host:6379,host` a Redis Cluster which of its nodes has the lanes. What begins
        /// with `rediss` in place of `redis` speaks TLS, and believes the machine's authorities or those in
        /// `?sslrootcert=/path`; `sslcert` and `sslkey` are shown to a server that asks for them. Unset, keepwell
        /// starts and looks after a private one in its state directory.
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
