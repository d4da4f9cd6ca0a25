//! A small HTTP/1.1 client: one connection for each request, to an address or a Unix socket.

use std::{io, net::SocketAddr, path::PathBuf, pin::Pin};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{PATIENCE, events::Events};

/// Whom to talk to, and as whom.
#[derive(Debug, Clone)]
pub struct Client {
    peer: Peer,
    token: Option<String>,
}

#[derive(Debug, Clone)]
enum Peer {
    Address(SocketAddr),
    Socket(PathBuf),
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}) in {}: {}", self.status, self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of the header `name`; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a readable header"))
    }
}

impl Client {
    /// A client of the server at `address`.
    pub fn of(address: SocketAddr) -> Self {
        Self { peer: Peer::Address(address), token: None }
    }

    /// A client of the server behind the Unix socket at `path`.
    pub fn of_socket(path: impl Into<PathBuf>) -> Self {
        Self { peer: Peer::Socket(path.into()), token: None }
    }

    /// The same client with a bearer token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// `GET path`. Fails the test if no answer comes.
    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], Bytes::new()).await
    }

    /// `POST path` with a JSON body. Fails the test if no answer comes.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, &[("content-type", "application/json".to_owned())], body.to_string()).await
    }

    /// `POST path` with these headers and bytes. Fails the test if no answer comes.
    pub async fn post_bytes(&self, path: &str, headers: &[(&str, String)], body: impl Into<Bytes>) -> Answer {
        self.call(Method::POST, path, headers, body.into()).await
    }

    /// Any request. Fails the test if no answer comes.
    pub async fn call(&self, method: Method, path: &str, headers: &[(&str, String)], body: Bytes) -> Answer {
        self.try_call(method.clone(), path, headers, body)
            .await
            .unwrap_or_else(|error| panic!("no answer to {method} {path}: {error}"))
    }

    /// Any request; an error if no answer comes.
    pub async fn try_call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> io::Result<Answer> {
        let request = self.request(method, path, headers, body);
        let answered = timeout(PATIENCE, async {
            let (response, connection) = self.send(request).await?;
            let (parts, body) = response.into_parts();
            let (body, ()) = tokio::join!(body.collect(), connection);
            let body = body.map_err(io::Error::other)?.to_bytes();
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        });
        answered.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Opens a stream of server-sent events. Fails the test unless the answer is 200.
    pub async fn events(&self, path: &str, headers: &[(&str, String)]) -> Events {
        let request = self.request(Method::GET, path, headers, Bytes::new());
        let (response, connection) = self.send(request).await.expect("an open stream");
        assert_eq!(response.status(), StatusCode::OK, "GET {path}");
        Events::new(response.into_body(), connection)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.body(Full::new(body)).expect("a well-formed request")
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> io::Result<(hyper::Response<Incoming>, Connection)> {
        match &self.peer {
            Peer::Address(address) => exchange(TcpStream::connect(address).await?, request).await,
            Peer::Socket(path) => exchange(UnixStream::connect(path).await?, request).await,
        }
    }
}

/// Moves the bytes of one connection for as long as it is polled.
pub type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> io::Result<(hyper::Response<Incoming>, Connection)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let mut connection: Connection = Box::pin(async move {
        // How a connection ended shows in what was read from it.
        let _ = connection.await;
    });
    let mut response = std::pin::pin!(sender.send_request(request));
    let mut closed = false;
    let response = loop {
        tokio::select! {
            biased;
            response = &mut response => break response.map_err(io::Error::other)?,
            () = &mut connection, if !closed => closed = true,
        }
    };
    if closed {
        connection = Box::pin(async {});
    }
    Ok((response, connection))
}
