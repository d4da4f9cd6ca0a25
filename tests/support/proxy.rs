//! A network that misbehaves: a proxy before a server, whose faults a test turns on and off while it runs.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
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

/// Where a connection is led to.
#[derive(Debug, Clone)]
pub enum Upstream {
    Address(SocketAddr),
    Socket(PathBuf),
}

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are led on.
    Forward,
    /// They are accepted and stay open, and everything is swallowed. A connection that this has happened to stays so,
    /// like one whose peer is gone.
    BlackHole,
    /// What the client says arrives; what the server answers is swallowed, for good, from the first answer that
    /// contains this.
    MuteFrom(&'static [u8]),
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
    accepted: AtomicU32,
}

trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

impl Proxy {
    /// Starts one before `upstream`.
    pub async fn before(upstream: Upstream) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let control = Arc::new(Control {
            mode: watch::Sender::new(Mode::Forward),
            upstream: Mutex::new(upstream),
            delay: Mutex::default(),
            cut: watch::Sender::new(0),
            stranded: watch::Sender::new(0),
            accepted: AtomicU32::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, address, Arc::clone(&control)));
        Self { address, control, _accepting: accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
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

    /// Makes the connections there are swallow everything while they stay open; new ones are led on.
    pub fn strand(&self) {
        self.control.stranded.send_modify(|number| *number += 1);
    }

    /// How many connections it has accepted so far.
    pub fn accepted(&self) -> u32 {
        self.control.accepted.load(Ordering::SeqCst)
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
    let upstream = control.upstream.lock().unwrap().clone();
    let led = async {
        // In a black hole there is nobody to be led to, now or ever.
        if *control.mode.borrow() == Mode::BlackHole {
            return std::future::pending().await;
        }
        let server = connect(upstream).await?;
        let (from_client, to_client) = tokio::io::split(client);
        let (from_server, to_server) = tokio::io::split(server);
        let there = carry(from_client, to_server, &control, false);
        let back = carry(from_server, to_client, &control, true);
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
    }
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
    answers: bool,
) -> io::Result<()> {
    let mut modes = control.mode.subscribe();
    let mut swallows = false;
    let mut chunk = vec![0; 16 * 1024];
    loop {
        swallows |= *modes.borrow_and_update() == Mode::BlackHole;
        let length = tokio::select! {
            biased;
            _ = modes.changed() => continue,
            length = from.read(&mut chunk) => length?,
        };
        if length == 0 {
            return Ok(());
        }
        let said = &chunk[..length];
        if let (true, Mode::MuteFrom(words)) = (answers, *modes.borrow()) {
            swallows |= said.windows(words.len()).any(|window| window == words);
        }
        let delay = *control.delay.lock().unwrap();
        if !delay.is_zero() {
            sleep_until(Instant::now() + delay).await;
        }
        if !swallows {
            to.write_all(said).await?;
        }
    }
}
