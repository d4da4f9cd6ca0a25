//! A notification gateway, small and real: it checks what the documented ones check (the method, the token, the key,
//! the content), tells nobody twice under one key, and misbehaves when it is told to. In the same way it stands for
//! PagerDuty, for a channel's incoming webhook and for a signed one (see [`Sort`]).

use std::{
    collections::{HashSet, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

/// The bearer token that it knows.
pub const GATEWAY_TOKEN: &str = "gateway-token-for-tests";

/// The routing key that it knows as PagerDuty.
pub const ROUTING_KEY: &str = "routing-key-for-tests-0123456789";

/// The routing key of another service that it knows as PagerDuty.
pub const ESCALATION_KEY: &str = "escalation-key-for-tests-0123456789";

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// A notification gateway.
    Notices,
    /// PagerDuty's Events API v2.
    Pagerduty,
    /// A channel's incoming webhook.
    Channel,
    /// A webhook that is signed as Standard Webhooks says. Whoever looks at what it took checks the signature.
    Signed,
}

impl Sort {
    fn path(self) -> &'static str {
        match self {
            Sort::Notices => "/v1/messages",
            Sort::Pagerduty => "/v2/enqueue",
            Sort::Channel => "/services/T0/B0/secret",
            Sort::Signed => "/alerts",
        }
    }

    /// The header whose value it takes only once.
    fn key(self) -> Option<&'static str> {
        match self {
            Sort::Notices => Some("idempotency-key"),
            Sort::Signed => Some("webhook-id"),
            Sort::Pagerduty | Sort::Channel => None,
        }
    }
}

/// What it does with a request.
#[derive(Debug, Clone)]
pub enum Manner {
    /// Takes it.
    Takes,
    /// Answers with this status and these headers, and takes nothing.
    Answers(u16, Vec<(&'static str, String)>),
    /// Takes it and hangs up before it has answered.
    TakesAndHangsUp,
    /// Reads it and says nothing until [`Gateway::let_go`].
    Hangs,
    /// Hangs up at once.
    HangsUp,
    /// Answers with bytes that are no HTTP.
    Garbage,
    /// Begins an answer and never ends it.
    Drips,
    /// Answers 200 with more than anybody wants to read.
    Floods,
    /// Answers 200 with a head that never ends.
    FloodsHead,
}

/// A request that was taken.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The idempotency key.
    pub key: String,
    /// The document.
    pub document: Value,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The document as it came.
    pub body: Vec<u8>,
}

#[derive(Debug, Default)]
struct Book {
    manners: VecDeque<Manner>,
    /// What it does when nothing is said.
    usual: Option<Manner>,
    /// Every key that was asked with, in order.
    asked: Vec<String>,
    taken: Vec<Notice>,
    told: HashSet<String>,
    held: usize,
    /// Connections that have not ended.
    callers: usize,
}

/// A running gateway; gone when dropped.
#[derive(Debug)]
pub struct Gateway {
    sort: Sort,
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    released: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl Gateway {
    /// Starts one that takes everything.
    pub async fn start() -> Self {
        Self::serve(|stream| async move { Some(stream) }).await
    }

    /// Starts one of another sort that takes everything.
    pub async fn of(sort: Sort) -> Self {
        Self::serve_as(sort, |stream| async move { Some(stream) }).await
    }

    /// Starts one whose connections first go through `secure`.
    pub async fn serve<S, F, Fut>(secure: F) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<S>> + Send + 'static,
    {
        Self::serve_as(Sort::Notices, secure).await
    }

    async fn serve_as<S, F, Fut>(sort: Sort, secure: F) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Fn(TcpStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Option<S>> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (book, released) = (Arc::new(Mutex::new(Book::default())), Arc::new(Notify::new()));
        let (shared, let_go) = (Arc::clone(&book), Arc::clone(&released));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (book, let_go, securing) = (Arc::clone(&shared), Arc::clone(&let_go), secure(stream));
                book.lock().expect("the book").callers += 1;
                connections.spawn(async move {
                    if let Some(stream) = securing.await {
                        // A client that hangs up is no concern of a gateway's.
                        let _ = converse(stream, sort, &book, &let_go).await;
                    }
                    book.lock().expect("the book").callers -= 1;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { sort, address, book, released, _tasks: tasks }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where documents are posted.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.address, self.sort.path())
    }

    /// Has it treat the next requests so, one after the other.
    pub fn next(&self, manners: impl IntoIterator<Item = Manner>) {
        self.book.lock().expect("the book").manners.extend(manners);
    }

    /// Has it treat every further request so.
    pub fn always(&self, manner: Manner) {
        self.book.lock().expect("the book").usual = Some(manner);
    }

    /// Lets go of everything that hangs; it is taken and answered.
    pub fn let_go(&self) {
        self.book.lock().expect("the book").usual = None;
        self.released.notify_waiters();
    }

    /// The keys it was asked with so far, in order.
    pub fn asked(&self) -> Vec<String> {
        self.book.lock().expect("the book").asked.clone()
    }

    /// What it has brought to people so far.
    pub fn taken(&self) -> Vec<Notice> {
        self.book.lock().expect("the book").taken.clone()
    }

    /// How many of those who have called so far are still there: neither answered nor gone. Of a process that was
    /// killed before, nobody comes any more once there is none.
    // The tests of jobs kill nobody who calls it.
    #[allow(dead_code)]
    pub async fn callers(&self) -> usize {
        // Connections are let in one after the other: whoever comes last and says nothing is hung up on last.
        let mut last = TcpStream::connect(self.address).await.expect("the gateway");
        last.shutdown().await.expect("half a connection");
        _ = last.read(&mut [0; 1]).await;
        self.book.lock().expect("the book").callers
    }

    /// How many requests hang.
    pub fn held(&self) -> usize {
        self.book.lock().expect("the book").held
    }
}

struct Asked {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map_or("", |(_, value)| value.as_str())
    }

    /// The status that a request deserves which is not in order.
    fn refusal(&self, sort: Sort) -> Option<u16> {
        let authorized = self.header("authorization") == format!("Bearer {GATEWAY_TOKEN}");
        let document: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        match () {
            () if sort == Sort::Notices && !authorized => Some(401),
            () if !self.line.starts_with(&format!("POST {} ", sort.path())) => Some(404),
            () if self.header("content-type") != "application/json" => Some(415),
            () if self.header("host").is_empty() || !document.is_object() => Some(400),
            () if sort.key().is_some_and(|key| self.header(key).len() != 36) => Some(400),
            () if sort == Sort::Pagerduty && !is_event(&document) => Some(400),
            () if sort == Sort::Channel && !document["text"].is_string() => Some(400),
            () => None,
        }
    }
}

/// What the Events API v2 asks of an event.
fn is_event(document: &Value) -> bool {
    let payload = &document["payload"];
    let described = payload["summary"].as_str().is_some_and(|text| (1..=1_024).contains(&text.len()))
        && payload["source"].is_string()
        && ["critical", "error", "warning", "info"].iter().any(|word| payload["severity"] == *word);
    let keyed = document["dedup_key"].as_str().is_some_and(|key| (1..=255).contains(&key.len()));
    let is_known = [ROUTING_KEY, ESCALATION_KEY].iter().any(|key| document["routing_key"] == *key);
    is_known
        && keyed
        && match document["event_action"].as_str() {
            Some("trigger") => described,
            Some("acknowledge" | "resolve") => true,
            _ => false,
        }
}

async fn converse<S>(mut stream: S, sort: Sort, book: &Mutex<Book>, released: &Notify) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let asked = read(&mut stream).await?;
    let key = sort.key().map_or(String::new(), |key| asked.header(key).to_owned());
    let let_go = released.notified();
    let mut let_go = std::pin::pin!(let_go);
    // From here on it hears of being let go.
    let_go.as_mut().enable();
    let manner = {
        let mut book = book.lock().expect("the book");
        book.asked.push(key.clone());
        let manner = book.manners.pop_front().or_else(|| book.usual.clone()).unwrap_or(Manner::Takes);
        book.held += usize::from(matches!(manner, Manner::Hangs));
        manner
    };
    if let Some(status) = asked.refusal(sort) {
        return answer(&mut stream, status, &[], "{}").await;
    }
    let take = || {
        let mut book = book.lock().expect("the book");
        if book.told.insert(key.clone()) || sort.key().is_none() {
            let document = serde_json::from_slice(&asked.body).expect("it was read before");
            let (headers, body) = (asked.headers.clone(), asked.body.clone());
            book.taken.push(Notice { key: key.clone(), document, headers, body });
        }
    };
    match manner {
        Manner::Takes => {
            take();
            answer(&mut stream, 202, &[], r#"{"accepted":true}"#).await
        }
        Manner::Answers(status, headers) => answer(&mut stream, status, &headers, "{}").await,
        Manner::TakesAndHangsUp => {
            take();
            Ok(())
        }
        Manner::Hangs => {
            let mut nothing = [0; 1];
            let held = tokio::select! {
                () = let_go => true,
                _ = stream.read(&mut nothing) => false,
            };
            book.lock().expect("the book").held -= 1;
            if !held {
                return Ok(());
            }
            take();
            answer(&mut stream, 202, &[], "{}").await
        }
        Manner::HangsUp => Ok(()),
        Manner::Garbage => stream.write_all(b"\x00\x01\x02 this is not the protocol\r\n\r\n").await,
        Manner::Drips => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{").await?;
            stream.read(&mut [0; 1]).await.map(|_| ())
        }
        Manner::Floods => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await?;
            flood(&mut stream).await
        }
        Manner::FloodsHead => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx-endless: ").await?;
            flood(&mut stream).await
        }
    }
}

/// At most 100 MB, unless the client has had enough before.
async fn flood<S: AsyncWrite + Unpin>(stream: &mut S) -> std::io::Result<()> {
    let piece = vec![b'x'; 100_000];
    for _ in 0..1_000 {
        stream.write_all(&piece).await?;
    }
    Ok(())
}

async fn answer<S: AsyncWrite + Unpin>(
    stream: &mut S,
    status: u16,
    headers: &[(&str, String)],
    body: &str,
) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.extend([*name, ": ", value, "\r\n"]);
    }
    text.extend(["\r\n", body]);
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<Asked> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let mut lines = head.lines();
            let line = lines.next().unwrap_or_default().to_owned();
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect();
            let mut asked = Asked { line, headers, body: bytes[end + 4..].to_vec() };
            let length: usize = asked.header("content-length").parse().unwrap_or(0);
            while asked.body.len() < length {
                let mut piece = [0; 4_096];
                let read = stream.read(&mut piece).await?;
                if read == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                asked.body.extend_from_slice(&piece[..read]);
            }
            return Ok(asked);
        }
        let mut piece = [0; 4_096];
        let read = stream.read(&mut piece).await?;
        if read == 0 || bytes.len() > 64 << 10 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&piece[..read]);
    }
}
