//! The operators' listener: a loopback address for the console, and a Unix socket for the command line.
//!
//! As long as operators do not have to say who they are, whoever can reach the listener is one. So the
//! address must be one of the machine's own, and the socket belongs to the daemon's user alone.

use std::{
    fs,
    future::IntoFuture as _,
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::Router;
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::operator_name::OperatorName;

/// How long requests in flight may take to finish at shutdown.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// The operators' listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address can be reached from other machines.
    #[error(
        "`operators.listen` is {0}, which other machines can reach; operators do not sign in yet, so it has to be a \
         loopback address such as 127.0.0.1:3001"
    )]
    NotLoopback(SocketAddr),
    /// The address is taken, or not ours.
    #[error("`operators.listen` ({address}) cannot be listened on")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody answers there.
    #[error("another daemon listens on the socket {0}")]
    SocketTaken(PathBuf),
    /// The socket cannot be made.
    #[error("the socket {path} (`operators.socket`) cannot be made")]
    Socket {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The open listener. The socket is removed when it goes out of scope.
#[derive(Debug)]
pub struct OperatorsListener {
    tcp: TcpListener,
    address: SocketAddr,
    unix: UnixListener,
    socket: SocketFile,
}

impl OperatorsListener {
    /// Listens on the loopback address `listen` (port 0 picks a free one) and on a Unix socket at `socket`,
    /// readable and writable for this user only. A socket that a killed daemon left behind is replaced; its
    /// directory is made.
    pub async fn bind(listen: SocketAddr, socket: &Path) -> Result<Self, BindError> {
        if !listen.ip().to_canonical().is_loopback() {
            return Err(BindError::NotLoopback(listen));
        }
        let failed = |source| BindError::Address { address: listen, source };
        let tcp = TcpListener::bind(listen).await.map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        if UnixStream::connect(socket).await.is_ok() {
            return Err(BindError::SocketTaken(socket.to_owned()));
        }
        let unix =
            bind_socket(socket).map_err(|source| BindError::Socket { path: socket.to_owned(), source })?;
        Ok(Self { tcp, address, unix, socket: SocketFile(socket.to_owned()) })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket it listens on.
    pub fn socket(&self) -> &Path {
        &self.socket.0
    }

    /// Answers with `router` until `shutdown`, then finishes the requests in flight, but not for long.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) -> io::Result<()> {
        let tcp = axum::serve(self.tcp, router.clone().into_make_service_with_connect_info::<OperatorName>())
            .with_graceful_shutdown(shutdown.clone().cancelled_owned());
        let unix = axum::serve(self.unix, router.into_make_service_with_connect_info::<OperatorName>())
            .with_graceful_shutdown(shutdown.clone().cancelled_owned());
        let serving = async { tokio::try_join!(tcp.into_future(), unix.into_future()) };
        tokio::pin!(serving);
        tokio::select! {
            served = &mut serving => return served.map(drop),
            () = shutdown.cancelled() => {}
        }
        // Whatever still runs after that is cut off.
        timeout(FINISH_TIMEOUT, serving).await.unwrap_or(Ok(((), ()))).map(drop)
    }
}

fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Removes the socket when nobody listens on it any more.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[tokio::test]
    async fn an_address_that_others_can_reach_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("operators.sock");
        for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let error = OperatorsListener::bind(listen.parse().unwrap(), &socket).await.unwrap_err();
            assert!(error.to_string().contains("loopback"), "{error}");
        }
        assert!(!socket.exists());
    }

    #[tokio::test]
    async fn the_socket_is_for_its_owner_only_and_gone_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/operators.sock");
        let listener = OperatorsListener::bind(ANY_PORT, &socket).await.unwrap();
        assert_eq!(fs::metadata(listener.socket()).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
        assert!(!socket.exists());
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("operators.sock");
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let listener = OperatorsListener::bind(ANY_PORT, &socket).await.unwrap();
        let error = OperatorsListener::bind(ANY_PORT, &socket).await.unwrap_err();
        assert!(matches!(error, BindError::SocketTaken(_)), "{error}");
        drop(listener);
    }

    #[tokio::test]
    async fn serving_ends_when_it_is_told_to() {
        let directory = tempfile::tempdir().unwrap();
        let listener =
            OperatorsListener::bind(ANY_PORT, &directory.path().join("operators.sock")).await.unwrap();
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        listener.serve(Router::new(), shutdown).await.unwrap();
    }
}
