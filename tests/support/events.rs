//! Server-sent events as a client sees them.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{PATIENCE, http::Connection};

/// One server-sent event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    /// The name of what happened (the field `event`).
    pub name: String,
    pub data: String,
}

/// An open stream of server-sent events.
pub struct Events {
    connection: Option<Connection>,
    body: Incoming,
    read: String,
}

impl Events {
    /// The events in `body`, which `connection` brings.
    pub fn new(body: Incoming, connection: Connection) -> Self {
        Self { connection: Some(connection), body, read: String::new() }
    }

    /// The next event; `None` when the server has ended the stream. Comments (heartbeats) are passed over.
    pub async fn next(&mut self) -> Option<Event> {
        timeout(PATIENCE, async {
            loop {
                while let Some(end) = self.read.find("\n\n") {
                    let block: String = self.read.drain(..end + 2).collect();
                    let event = parse(&block);
                    if event != Event::default() {
                        return Some(event);
                    }
                }
                let piece = self.piece().await?;
                self.read.push_str(std::str::from_utf8(&piece).expect("text"));
            }
        })
        .await
        .expect("an event in time")
    }

    async fn piece(&mut self) -> Option<Bytes> {
        loop {
            let frame = match &mut self.connection {
                None => self.body.frame().await,
                Some(connection) => tokio::select! {
                    biased;
                    frame = self.body.frame() => frame,
                    () = connection => {
                        self.connection = None;
                        continue;
                    }
                },
            };
            if let Ok(piece) = frame?.ok()?.into_data() {
                return Some(piece);
            }
        }
    }
}

fn parse(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut event.id),
            "event" => value.clone_into(&mut event.name),
            "data" if event.data.is_empty() => value.clone_into(&mut event.data),
            "data" => event.data = format!("{}\n{value}", event.data),
            _ => {}
        }
    }
    event
}

#[test]
fn an_event_is_read_line_by_line_and_a_heartbeat_is_none() {
    let expected = Event { id: "7".into(), name: "access".into(), data: "a\nb".into() };
    assert_eq!(parse("id: 7\nevent: access\ndata: a\ndata:b"), expected);
    assert_eq!(parse(": still here"), Event::default());
}
