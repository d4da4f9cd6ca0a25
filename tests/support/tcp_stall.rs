//! A network between a client and a server that listens on a Unix socket: it can fall silent, and it can lose an answer
//! at the worst moment.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    task::JoinSet,
};

/// A network to one server. It is gone, with every connection through it, when it goes out of scope.
#[derive(Debug)]
pub struct TcpStall {
    address: SocketAddr,
    network: Arc<Network>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Network {
    accepted: AtomicU64,
    /// Connections with a lower number are silent: whatever is sent is swallowed, and nobody is told.
    silent_below: AtomicU64,
    cut_at_commit: AtomicBool,
}

impl TcpStall {
    /// A network to the server that listens on `socket`.
    pub async fn before(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let network = Arc::new(Network::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, socket.to_owned(), Arc::clone(&network)));
        Self { address, network, _tasks: tasks }
    }

    /// Where it leads in from, for the database `name`.
    pub fn postgres_url(&self, name: &str) -> String {
        format!("postgres://keepwell@{}/{name}?sslmode=disable", self.address)
    }

    /// Every connection falls silent, those of the future too.
    pub fn fall_silent(&self) {
        self.network.silent_below.store(u64::MAX, SeqCst);
    }

    /// New connections go through; those that were silent stay so for ever.
    pub fn let_new_ones_through(&self) {
        self.network.silent_below.store(self.network.accepted.load(SeqCst), SeqCst);
    }

    /// The next `COMMIT` reaches the server; when the answer comes, the connection is cut instead.
    pub fn cut_at_commit(&self) {
        self.network.cut_at_commit.store(true, SeqCst);
    }

    /// Whether that has happened.
    pub fn has_cut(&self) -> bool {
        !self.network.cut_at_commit.load(SeqCst)
    }
}

async fn accept(listener: TcpListener, socket: PathBuf, network: Arc<Network>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let number = network.accepted.fetch_add(1, SeqCst);
        let (socket, network) = (socket.clone(), Arc::clone(&network));
        connections.spawn(async move {
            if let Ok(server) = UnixStream::connect(socket).await {
                let _ = carry(client, server, number, &network).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Carries until one side has ended or the connection is to be cut.
async fn carry(client: TcpStream, server: UnixStream, number: u64, network: &Network) -> io::Result<()> {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let committing = AtomicBool::new(false);
    let up = pump(from_client, to_server, number, network, |bytes| {
        let commits = bytes.windows(7).any(|word| word == b"COMMIT\0");
        if commits && network.cut_at_commit.load(SeqCst) {
            committing.store(true, SeqCst);
        }
        Ok(())
    });
    let down = pump(from_server, to_client, number, network, |_| {
        if committing.load(SeqCst) {
            network.cut_at_commit.store(false, SeqCst);
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    });
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    number: u64,
    network: &Network,
    look: impl Fn(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut buffer).await?;
        if number < network.silent_below.load(SeqCst) {
            if length == 0 {
                std::future::pending::<()>().await;
            }
            continue;
        }
        look(&buffer[..length])?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
    }
}
