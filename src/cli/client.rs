//! A small HTTP/1.1 client, over TCP or a Unix socket: one connection, used for as many requests as one
//! likes.

use std::{fmt, future::Future, io, net::SocketAddr, path::PathBuf, pin::Pin, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest answer that is read, in bytes (64 MiB): a page of jobs has less than one.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Whom to talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    /// A server at an address.
    Tcp(SocketAddr),
    /// A server behind a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => write!(f, "http://{address}"),
            Peer::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// No answer came.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nobody listens there, or we may not talk to them.
    #[error("cannot connect to {peer}")]
    Connect {
        /// Whom we tried.
        peer: Peer,
        /// What the system says.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke before the answer came")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The request cannot be written down.
    #[error("the request cannot be sent")]
    Request(#[from] http::Error),
    /// The server says nothing.
    #[error("no answer within 30 s")]
    Silent,
}

/// What came back.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: StatusCode,
    /// The body.
    pub(super) body: Bytes,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What a problem says, else the status.
    pub(super) fn detail(&self) -> String {
        match self.json()["detail"].as_str() {
            Some(detail) => detail.to_owned(),
            None => self.status.to_string(),
        }
    }
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// An open connection.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Moves the bytes; done when the connection is closed.
    driver: Option<Driver>,
}

impl Connection {
    /// Connects to `peer`.
    pub(super) async fn open(peer: &Peer) -> Result<Self, ClientError> {
        let refused = |source| ClientError::Connect { peer: peer.clone(), source };
        match peer {
            Peer::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(refused)?;
                // A request is one small write; it must not wait for company.
                stream.set_nodelay(true).map_err(refused)?;
                Self::over(stream).await
            }
            Peer::Unix(path) => Self::over(UnixStream::connect(path).await.map_err(refused)?).await,
        }
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, ClientError> {
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        Ok(Self { sender, driver: Some(Box::pin(driver)) })
    }

    /// Sends a request and waits for the answer.
    pub(super) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body.into()))?;
        timeout(REQUEST_TIMEOUT, self.exchange(request)).await.unwrap_or(Err(ClientError::Silent))
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, ClientError> {
        let sender = &mut self.sender;
        let mut exchange = std::pin::pin!(async {
            sender.ready().await.map_err(broken)?;
            let (parts, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(ClientError::Broken)?;
            Ok(Answer { status: parts.status, body: body.to_bytes() })
        });
        if let Some(driver) = &mut self.driver {
            tokio::select! {
                biased;
                answer = &mut exchange => return answer,
                _ = driver => self.driver = None,
            }
        }
        // What was read before the connection closed is still to be had.
        exchange.await
    }
}

/// Sends one request over a connection of its own.
pub(super) async fn ask(
    peer: &Peer,
    method: Method,
    path: &str,
    headers: &[(&str, String)],
    body: impl Into<Bytes>,
) -> Result<Answer, ClientError> {
    Connection::open(peer).await?.send(method, path, headers, body).await
}

fn broken(error: hyper::Error) -> ClientError {
    ClientError::Broken(error.into())
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::post};
    use tokio::{net::TcpListener, task::JoinSet};

    use super::*;

    #[tokio::test]
    async fn a_connection_carries_request_after_request() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Peer::Tcp(listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        let echo = Router::new().route("/echo", post(|body: String| async move { body }));
        server.spawn(axum::serve(listener, echo).into_future());
        let mut connection = Connection::open(&peer).await.unwrap();
        for body in ["one", "two", "three"] {
            let answer = connection.send(Method::POST, "/echo", &[], body).await.unwrap();
            assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, body.as_bytes()));
        }
        let missing = ask(&peer, Method::GET, "/nothing", &[], "").await.unwrap();
        assert_eq!(missing.detail(), "404 Not Found");
    }

    #[tokio::test]
    async fn nobody_there_is_an_error_that_names_the_place() {
        let directory = tempfile::tempdir().unwrap();
        let peer = Peer::Unix(directory.path().join("operators.sock"));
        let error = ask(&peer, Method::GET, "/", &[], "").await.unwrap_err();
        assert!(error.to_string().starts_with("cannot connect to unix:/"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_an_error_and_no_hang() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Peer::Tcp(listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move { listener.accept().await.map(drop) });
        let error = ask(&peer, Method::GET, "/", &[], "").await.unwrap_err();
        assert!(matches!(error, ClientError::Broken(_)), "{error}");
    }
}
