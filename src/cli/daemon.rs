//! The running daemon, as the command line finds and asks it.

use std::{io, net::SocketAddr};

use http::{Method, StatusCode};
use keepwell_config::Config;
use serde_json::Value;

use super::{
    client::{self, Answer, ClientError, Peer},
    failure::Failure,
};

/// The operators' interface of the running daemon.
#[derive(Debug, Clone)]
pub(super) struct Operators {
    peer: Peer,
}

impl Operators {
    /// Of the daemon that `config` describes.
    pub(super) fn of(config: &Config) -> Self {
        Self { peer: Peer::Unix(config.operators.socket.clone()) }
    }

    /// `GET path`; a failure unless the answer is 2xx.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, "").await
    }

    /// `POST path` with a body of JSON; a failure unless the answer is 2xx.
    pub(super) async fn post(&self, path: &str, body: String) -> Result<Value, Failure> {
        self.call(Method::POST, path, body).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: impl Into<bytes::Bytes>,
    ) -> Result<Value, Failure> {
        let answer = client::ask(&self.peer, method, path, &[], body).await;
        succeeded(&answer.map_err(|error| explain(error, &self.peer))?)
    }
}

/// The public listener of the daemon that `config` describes, as seen from the same machine.
pub(super) fn public_peer(config: &Config) -> Result<Peer, Failure> {
    let listen = config.server.listen;
    if listen.port() == 0 {
        let what = "`server.listen` has port 0, so the daemon picked a port that nobody else knows; name one";
        return Err(Failure::Usage(what.to_owned()));
    }
    Ok(Peer::Tcp(reachable(listen)))
}

/// The address under which a listener on `listen` is reached from the same machine.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(address) if address.ip().is_unspecified() => ([127, 0, 0, 1], address.port()).into(),
        SocketAddr::V6(address) if address.ip().is_unspecified() => {
            (std::net::Ipv6Addr::LOCALHOST, address.port()).into()
        }
        other => other,
    }
}

/// Why nobody answered, and what to do about it.
pub(super) fn explain(error: ClientError, peer: &Peer) -> Failure {
    let ClientError::Connect { source, .. } = &error else { return error.into() };
    let what = match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
            "no daemon listens on {peer}; start one with `keepwell serve`, or name its configuration with --config"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("the daemon on {peer} belongs to another user; ask as that user, or with sudo")
        }
        _ => return error.into(),
    };
    Failure::Failed(what)
}

fn succeeded(answer: &Answer) -> Result<Value, Failure> {
    match answer.status {
        status if status.is_success() => Ok(answer.json()),
        // The daemon knows the words that a filter may have; on the command line a wrong one is a matter of usage.
        StatusCode::BAD_REQUEST => Err(Failure::Usage(answer.detail())),
        _ => Err(Failure::Failed(answer.detail())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_reached_on_the_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:3000", "127.0.0.1:3000"),
            ("[::]:3000", "[::1]:3000"),
            ("10.0.0.7:3000", "10.0.0.7:3000"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), expected.parse().unwrap());
        }
    }

    #[test]
    fn what_the_daemon_refuses_as_wrong_is_a_matter_of_usage() {
        let answer = |status| Answer { status, body: r#"{"detail":"no such word"}"#.into() };
        let codes = [StatusCode::BAD_REQUEST, StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE]
            .map(|status| succeeded(&answer(status)).unwrap_err())
            .map(|failure| (failure.to_string(), failure.code()));
        assert_eq!(codes, [2, 1, 1].map(|code| ("no such word".to_owned(), code)));
    }

    #[tokio::test]
    async fn when_no_daemon_runs_the_person_is_told_how_to_start_one() {
        let directory = tempfile::tempdir().unwrap();
        let operators = Operators { peer: Peer::Unix(directory.path().join("operators.sock")) };
        let failure = operators.get("/api/v1/lanes").await.unwrap_err();
        assert!(failure.to_string().contains("keepwell serve"), "{failure}");
        assert_eq!(failure.code(), 1);
    }
}
