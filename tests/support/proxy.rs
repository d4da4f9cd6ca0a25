//! A network that misbehaves: a proxy before a server, whose faults a test turns on and off while it runs. The only one
//! of its kind here: it slows down, holds back, swallows, cuts and refuses.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::postgres::USER;

/// Where a connection is led to.
#[derive(Debug, Clone)]
pub enum Upstream {
    Address(SocketAddr),
    Socket(PathBuf),
}

impl From<PathBuf> for Upstream {
    fn from(socket: PathBuf) -> Self {
        Self::Socket(socket)
    }
}

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are led on.
    Forward,
    /// They are accepted and stay open, and everything is swallowed. A connection that this has happened to stays so,
    /// like one whose peer is gone.
    BlackHole,
    /// Nothing arrives until the mode is another; then all of it does.
    Hold,
    /// What the client says arrives; what the server answers is swallowed, for good, from the first answer that
    /// contains this.
    MuteFrom(&'static [u8]),
    /// Those there are break, and new ones break as soon as they are accepted.
    Cut,
    /// New ones are refused; those there are go on.
    Refuse,
}

/// A proxy on a free port of this machine. It ends, and its connections with it, when it goes out of scope.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    control: Arc<Control>,
    _accepting: JoinSet<()>,
}

#[derive(Debug)]
struct Control {
    mode: watch::Sender<Mode>,
    upstream: Mutex<Upstream>,
    delay: Mutex<Duration>,
    /// Connections of an earlier number are cut.
    cut: watch::Sender<u32>,
    /// Connections of an earlier number swallow everything.
    stranded: watch::Sender<u32>,
    /// The words after which the answer is lost with its connection, once.
    fatal: Mutex<Option<&'static [u8]>>,
    accepted: AtomicU32,
    pieces: AtomicU32,
}

trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

impl Proxy {
    /// Starts one before `upstream`.
    pub async fn before(upstream: impl Into<Upstream>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let control = Arc::new(Control {
            mode: watch::Sender::new(Mode::Forward),
            upstream: Mutex::new(upstream.into()),
            delay: Mutex::default(),
            cut: watch::Sender::new(0),
            stranded: watch::Sender::new(0),
            fatal: Mutex::default(),
            accepted: AtomicU32::new(0),
            pieces: AtomicU32::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, address, Arc::clone(&control)));
        Self { address, control, _accepting: accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where a PostgreSQL behind it has the database `name`.
    pub fn postgres_url(&self, name: &str) -> String {
        format!("postgres://{USER}@{}/{name}?sslmode=disable", self.address)
    }

    /// What becomes of connections from now on.
    pub fn set(&self, mode: Mode) {
        self.control.mode.send_replace(mode);
    }

    /// Leads new connections to `upstream` from now on; those there are stay where they are.
    pub fn lead_to(&self, upstream: Upstream) {
        *self.control.upstream.lock().unwrap() = upstream;
    }

    /// How long everything takes on its way, in each direction.
    pub fn delay(&self, delay: Duration) {
        *self.control.delay.lock().unwrap() = delay;
    }

    /// Closes the connections there are.
    pub fn cut(&self) {
        self.control.cut.send_modify(|number| *number += 1);
    }

    /// The next time that a client says `words`, the server hears it; when the answer comes, the connection is cut.
    pub fn cut_at_answer_to(&self, words: &'static [u8]) {
        *self.control.fatal.lock().unwrap() = Some(words);
    }

    /// Whether that has happened.
    pub fn has_cut(&self) -> bool {
        self.control.fatal.lock().unwrap().is_none()
    }

    /// Makes the connections there are swallow everything while they stay open; new ones are led on.
    pub fn strand(&self) {
        self.control.stranded.send_modify(|number| *number += 1);
    }

    /// How many connections it has accepted so far.
    pub fn accepted(&self) -> u32 {
        self.control.accepted.load(Ordering::SeqCst)
    }

    /// How many pieces clients have said so far: of a client that waits for its answers, how often it asked.
    pub fn pieces(&self) -> u32 {
        self.control.pieces.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, address: SocketAddr, control: Arc<Control>) {
    let mut modes = control.mode.subscribe();
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    loop {
        if *modes.borrow_and_update() == Mode::Refuse {
            listener = None;
            modes.changed().await.expect("the control is ours");
            continue;
        }
        if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.expect("the port that was ours"));
        }
        let Some(listener) = &listener else { continue };
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                control.accepted.fetch_add(1, Ordering::SeqCst);
                connections.spawn(lead(client, Arc::clone(&control)));
            }
            _ = modes.changed() => {}
        }
        while connections.try_join_next().is_some() {}
    }
}

/// The life of one connection.
async fn lead(client: TcpStream, control: Arc<Control>) {
    let (mut cut, mut stranded) = (control.cut.subscribe(), control.stranded.subscribe());
    let mut modes = control.mode.subscribe();
    let upstream = control.upstream.lock().unwrap().clone();
    let led = async {
        // In a black hole there is nobody to be led to, now or ever.
        if *control.mode.borrow() == Mode::BlackHole {
            return std::future::pending().await;
        }
        let server = connect(upstream).await?;
        let (from_client, to_client) = tokio::io::split(client);
        let (from_server, to_server) = tokio::io::split(server);
        let doomed = AtomicBool::new(false);
        let there = carry(from_client, to_server, &control, Direction::There(&doomed));
        let back = carry(from_server, to_client, &control, Direction::Back(&doomed));
        tokio::pin!(there, back);
        tokio::select! {
            ended = &mut there => ended,
            ended = &mut back => ended,
            // Both ends stay open, and nobody reads or writes.
            _ = stranded.changed() => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = led => {}
        _ = cut.changed() => {}
        _ = modes.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

/// Whose words are carried, with what both directions have to know: whether the next answer is lost.
#[derive(Clone, Copy)]
enum Direction<'c> {
    There(&'c AtomicBool),
    Back(&'c AtomicBool),
}

impl Direction<'_> {
    /// Whether the connection ends in place of what was `said`.
    fn is_fatal(self, said: &[u8], control: &Control) -> bool {
        let mut fatal = control.fatal.lock().unwrap();
        match (self, *fatal) {
            (Self::There(doomed), Some(words)) => {
                doomed.fetch_or(contains(said, words), Ordering::SeqCst);
                false
            }
            (Self::Back(doomed), Some(_)) if doomed.load(Ordering::SeqCst) => {
                *fatal = None;
                true
            }
            _ => false,
        }
    }
}

fn contains(said: &[u8], words: &[u8]) -> bool {
    said.windows(words.len()).any(|window| window == words)
}

async fn connect(upstream: Upstream) -> io::Result<Pin<Box<dyn Stream>>> {
    Ok(match upstream {
        Upstream::Address(address) => Box::pin(TcpStream::connect(address).await?),
        Upstream::Socket(path) => Box::pin(UnixStream::connect(path).await?),
    })
}

/// Carries what `from` says to `to` until one of them closes, or swallows it from the moment at which the mode says so.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    control: &Control,
    direction: Direction<'_>,
) -> io::Result<()> {
    let mut modes = control.mode.subscribe();
    let mut swallows = false;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        swallows |= *modes.borrow_and_update() == Mode::BlackHole;
        let length = tokio::select! {
            biased;
            _ = modes.changed() => continue,
            length = from.read(&mut chunk) => length?,
        };
        if length == 0 {
            // Where everything is swallowed, so is the goodbye.
            return if swallows { std::future::pending().await } else { Ok(()) };
        }
        let said = &chunk[..length];
        if let Direction::There(_) = direction {
            control.pieces.fetch_add(1, Ordering::SeqCst);
        }
        if let (Direction::Back(_), Mode::MuteFrom(words)) = (direction, *modes.borrow()) {
            swallows |= contains(said, words);
        }
        if !swallows && direction.is_fatal(said, control) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let delay = *control.delay.lock().unwrap();
        if !delay.is_zero() {
            sleep_until(Instant::now() + delay).await;
        }
        let held = modes.wait_for(|mode| *mode != Mode::Hold).await;
        swallows |= held.is_ok_and(|mode| *mode == Mode::BlackHole);
        if !swallows {
            to.write_all(said).await?;
        }
    }
}

#[tokio::test]
async fn what_is_held_back_arrives_later_and_what_is_cut_does_not() {
    let redis = super::redis::Redis::start().await;
    let proxy = Proxy::before(redis.socket()).await;
    let url = format!("redis://{}", proxy.address());
    let client = redis::Client::open(url).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a way through");

    proxy.set(Mode::Hold);
    let command = redis::cmd("PING");
    let mut held = connection.clone();
    let mut answer = std::pin::pin!(command.query_async::<String>(&mut held));
    assert!(futures_util::poll!(&mut answer).is_pending());
    proxy.set(Mode::Forward);
    assert_eq!(answer.await.expect("an answer"), "PONG");

    proxy.set(Mode::Cut);
    let refused = redis::cmd("PING").query_async::<String>(&mut connection).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(client.get_multiplexed_async_connection().await.is_err());
}
