//! Where keepwell listens.

use std::{net::SocketAddr, path::PathBuf};

use crate::values::Network;

settings! {
    /// The public listener: webhooks, access documents, health and metrics.
    pub struct Server in "server" {
        /// Where it listens. Port 0 picks a free port.
        listen: SocketAddr,
        /// The proxies whose `Forwarded` and `X-Forwarded-For` headers are believed. From anybody else these
        /// headers are ignored, and the address of the connection counts.
        trusted_proxies: Vec<Network>,
    }
}

settings! {
    /// The operators' listener: the API under `/api/v1/`. Never reachable from the internet by itself.
    pub struct Operators in "operators" {
        /// Where the API listens: a loopback address, such as 127.0.0.1 or ::1. Port 0 picks a free port.
        listen: SocketAddr,
        /// The Unix socket through which the command line talks to the daemon; at most 107 bytes long. Unset,
        /// it is `operators.sock` in the directory systemd provides (`RUNTIME_DIRECTORY`), else in
        /// `/run/keepwell` where `/etc/keepwell/keepwell.toml` is in use, else in the state directory.
        socket: PathBuf => "/run/keepwell/operators.sock",
    }
}
