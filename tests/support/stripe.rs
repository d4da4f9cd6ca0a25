//! Stripe's API, small and real: it knows subscriptions and events, lists both page by page, checks the key, answers as
//! documented, and misbehaves when it is told to.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

/// The restricted key that it knows.
pub const API_KEY: &str = "rk_test_51KeepwellTestsOnly0123456789";

/// What it does with a question.
#[derive(Debug, Clone)]
pub enum Manner {
    /// Answers as documented.
    Answers,
    /// Answers with this status, these headers and this body.
    Says(u16, Vec<(&'static str, &'static str)>, String),
    /// Reads it and says nothing until [`FakeStripe::let_go`].
    Hangs,
    /// Hangs up at once.
    HangsUp,
    /// Answers with bytes that are no HTTP.
    Garbage,
    /// Breaks off in the middle of its answer.
    Truncated,
    /// Answers 200 with more than anybody wants to read.
    Floods,
}

/// A question, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The path.
    pub path: String,
    /// The connected account it was asked for.
    pub account: Option<String>,
    /// The API version that was asked for.
    pub version: Option<String>,
}

#[derive(Debug, Default)]
struct Book {
    manners: VecDeque<Manner>,
    usual: Option<Manner>,
    subscriptions: BTreeMap<String, Value>,
    /// Newest first.
    events: Vec<Value>,
    asked: Vec<Asked>,
    date: Option<String>,
    under_way: usize,
    under_way_max: usize,
}

/// A running one; gone when dropped.
#[derive(Debug)]
pub struct FakeStripe {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    released: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl FakeStripe {
    /// Starts one that knows no subscription.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (book, released) = (Arc::new(Mutex::new(Book::default())), Arc::new(Notify::new()));
        let (shared, let_go) = (Arc::clone(&book), Arc::clone(&released));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (book, let_go) = (Arc::clone(&shared), Arc::clone(&let_go));
                connections.spawn(async move {
                    // A client that hangs up is no concern of a server's.
                    let _ = converse(stream, &book, &let_go).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, book, released, _tasks: tasks }
    }

    /// Its address, for `stripe.api_base`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has it know a subscription by its `id`.
    pub fn knows(&self, subscription: Value) {
        let id = subscription["id"].as_str().expect("an id").to_owned();
        self.book.lock().expect("the book").subscriptions.insert(id, subscription);
    }

    /// Has it list `event` in front of those that it lists already.
    pub fn lists(&self, event: Value) {
        self.book.lock().expect("the book").events.insert(0, event);
    }

    /// Has it list no event any more.
    pub fn lists_nothing(&self) {
        self.book.lock().expect("the book").events.clear();
    }

    /// Has it treat the next questions so, one after the other.
    pub fn next(&self, manners: impl IntoIterator<Item = Manner>) {
        self.book.lock().expect("the book").manners.extend(manners);
    }

    /// Has it treat every further question so.
    pub fn always(&self, manner: Manner) {
        self.book.lock().expect("the book").usual = Some(manner);
    }

    /// Has it answer at this time, as a header of HTTP says it.
    pub fn at(&self, date: &str) {
        self.book.lock().expect("the book").date = Some(date.to_owned());
    }

    /// Lets go of everything that hangs; it is answered as documented, and so is all that follows.
    pub fn let_go(&self) {
        self.book.lock().expect("the book").usual = None;
        self.released.notify_waiters();
    }

    /// The questions so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.book.lock().expect("the book").asked.clone()
    }

    /// The most questions that were under way at a time.
    pub fn under_way_max(&self) -> usize {
        self.book.lock().expect("the book").under_way_max
    }
}

async fn converse(mut stream: TcpStream, book: &Arc<Mutex<Book>>, released: &Notify) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    let mut line = head.split(' ');
    let (method, path) = (line.next().unwrap_or_default(), line.next().unwrap_or_default().to_owned());
    let asked =
        Asked { path: path.clone(), account: header("stripe-account"), version: header("stripe-version") };
    let let_go = released.notified();
    let mut let_go = std::pin::pin!(let_go);
    // From here on it hears of being let go.
    let_go.as_mut().enable();
    let _under_way = UnderWay::of(book);
    let manner = {
        let mut book = book.lock().expect("the book");
        book.asked.push(asked);
        book.manners.pop_front().or_else(|| book.usual.clone()).unwrap_or(Manner::Answers)
    };
    match manner {
        Manner::HangsUp => return Ok(()),
        Manner::Garbage => return stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n").await,
        Manner::Truncated => {
            return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{\"id\":\"sub").await;
        }
        Manner::Floods => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n").await?;
            while stream.write_all(&vec![b' '; 64 << 10]).await.is_ok() {}
            return Ok(());
        }
        Manner::Says(status, headers, body) => return answer(&mut stream, status, &headers, &body).await,
        Manner::Hangs => let_go.await,
        Manner::Answers => {}
    }
    let authorized = header("authorization").is_some_and(|text| text == format!("Bearer {API_KEY}"));
    let (status, body) = documented(book, method, &path, authorized);
    let date = book.lock().expect("the book").date.clone();
    let headers: Vec<(&str, &str)> = date.iter().map(|date| ("Date", date.as_str())).collect();
    answer(&mut stream, status, &headers, &format!("{body:#}")).await
}

/// What Stripe's documentation says that it answers.
fn documented(book: &Mutex<Book>, method: &str, path: &str, authorized: bool) -> (u16, Value) {
    let error = |kind: &str, code: Option<&str>, message: String| json!({ "error": { "code": code, "message": message, "param": "id", "type": kind } });
    let invalid = "invalid_request_error";
    if !authorized {
        return (401, error(invalid, None, "Invalid API Key provided: rk_test_***6789".into()));
    }
    let (place, query) = path.split_once('?').unwrap_or((path, ""));
    let book = book.lock().expect("the book");
    match (method, place) {
        ("GET", "/v1/events") => return listed(place, query, &book.events),
        ("GET", "/v1/subscriptions") => {
            let newest_first: Vec<Value> = book.subscriptions.values().rev().cloned().collect();
            return listed(place, query, &newest_first);
        }
        _ => {}
    }
    match place.strip_prefix("/v1/subscriptions/").filter(|_| method == "GET") {
        None => (404, error(invalid, None, format!("Unrecognized request URL ({method}: {path})."))),
        Some(id) => match book.subscriptions.get(id) {
            Some(subscription) => (200, subscription.clone()),
            None => (404, error(invalid, Some("resource_missing"), format!("No such subscription: '{id}'"))),
        },
    }
}

/// A page of `items`, as the `query` asks for it.
fn listed(place: &str, query: &str, items: &[Value]) -> (u16, Value) {
    let query = query.replace("%5B", "[").replace("%5D", "]");
    let asked: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let one = |name: &str| asked.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let second = |name: &str| one(name).map(|text| text.parse::<i64>().expect("a second"));
    let types: Vec<&str> =
        asked.iter().filter(|(name, _)| *name == "types[]").map(|(_, value)| *value).collect();
    let limit: usize = one("limit").map_or(10, |text| text.parse().expect("a number"));
    let refused =
        |message: &str| (400, json!({ "error": { "message": message, "type": "invalid_request_error" } }));
    if !(1..=100).contains(&limit) || types.len() > 20 {
        return refused("limit is 1 to 100, and there are at most 20 types");
    }
    let is_asked = |item: &&Value| {
        let (created, kind) =
            (item["created"].as_i64().unwrap_or(0), item["type"].as_str().unwrap_or_default());
        // `pending_webhooks` is how many endpoints have not taken it yet.
        let delivered = item["pending_webhooks"] == 0;
        second("created[gte]").is_none_or(|since_s| created >= since_s)
            && second("created[lte]").is_none_or(|until_s| created <= until_s)
            && (types.is_empty() || types.contains(&kind))
            && (one("delivery_success") != Some("false") || !delivered)
            && (one("status").is_some() || item["object"] == "event" || item["status"] != "canceled")
    };
    let mut found: Vec<&Value> = items.iter().filter(is_asked).collect();
    if let Some(after) = one("starting_after") {
        let Some(place) = found.iter().position(|item| item["id"] == after) else {
            return refused("No such object");
        };
        found.drain(..=place);
    }
    let has_more = found.len() > limit;
    found.truncate(limit);
    (200, json!({ "object": "list", "url": place, "has_more": has_more, "data": found }))
}

async fn answer(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<()> {
    let named: String = headers.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]).collect();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nConnection: close\r\n{named}\
         Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// Counts a question for as long as it is under way.
struct UnderWay(Arc<Mutex<Book>>);

impl UnderWay {
    fn of(book: &Arc<Mutex<Book>>) -> Self {
        let mut open = book.lock().expect("the book");
        open.under_way += 1;
        open.under_way_max = open.under_way_max.max(open.under_way);
        Self(Arc::clone(book))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().expect("the book").under_way -= 1;
    }
}
