//! A network that can be made to fail: TCP in front, a server's Unix socket behind.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
};

use crate::support::pass;

/// What the network is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Clear,
    /// Every piece takes this much longer.
    Slow(Duration),
    /// Nothing arrives until the weather changes.
    Silent,
    /// Connections break.
    Cut,
}

/// A way to one server. Connections end with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// A way to the server behind the Unix socket at `server`.
    pub async fn before(server: PathBuf) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (weather, watching) = watch::channel(Weather::Clear);
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, server, watching));
        Self { address, weather, _serving: serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn serve(listener: TcpListener, server: PathBuf, weather: watch::Receiver<Weather>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((front, _)) = accepted else { continue };
                connections.spawn(connect(front, server.clone(), weather.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(front: TcpStream, server: PathBuf, weather: watch::Receiver<Weather>) {
    if *weather.borrow() == Weather::Cut {
        return;
    }
    // A server that is away ends the connection, as it would without a proxy.
    let Ok(back) = UnixStream::connect(server).await else { return };
    let _ = front.set_nodelay(true);
    let ((front_in, front_out), (back_in, back_out)) = (front.into_split(), back.into_split());
    // Whichever direction ends takes the other along.
    tokio::select! {
        _ = pump(front_in, back_out, weather.clone()) => {}
        _ = pump(back_in, front_out, weather.clone()) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = tokio::select! {
            read = from.read(&mut piece) => read?,
            _ = weather.wait_for(|weather| *weather == Weather::Cut) => return Ok(()),
        };
        if length == 0 {
            return Ok(());
        }
        let now = *weather.borrow();
        match now {
            Weather::Clear => {}
            Weather::Slow(by) => pass(by).await,
            Weather::Silent => _ = weather.wait_for(|weather| *weather != Weather::Silent).await,
            Weather::Cut => return Ok(()),
        }
        to.write_all(&piece[..length]).await?;
    }
}

#[tokio::test]
async fn what_is_swallowed_arrives_later_and_what_is_cut_does_not() {
    let redis = crate::support::redis::Redis::start().await;
    let proxy = Proxy::before(redis.socket()).await;
    let url = format!("redis://{}", proxy.address());
    let client = redis::Client::open(url).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a way through");

    proxy.set(Weather::Silent);
    let command = redis::cmd("PING");
    let mut silent = connection.clone();
    let mut answer = std::pin::pin!(command.query_async::<String>(&mut silent));
    assert!(futures_util::poll!(&mut answer).is_pending());
    proxy.set(Weather::Clear);
    assert_eq!(answer.await.expect("an answer"), "PONG");

    proxy.set(Weather::Cut);
    let refused = redis::cmd("PING").query_async::<String>(&mut connection).await;
    assert!(refused.is_err(), "{refused:?}");
}
