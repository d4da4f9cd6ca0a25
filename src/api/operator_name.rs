//! Who operates the daemon, as the audit trail names it. Operators do not sign in yet, so it is what the system knows:
//! the user behind the Unix socket, or that somebody came over the loopback address.

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts, connect_info::Connected},
    serve::IncomingStream,
};
use http::request::Parts;
use keepwell_jobs::store::audit::Actor;
use tokio::net::{TcpListener, UnixListener};

/// The name of whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorName(pub String);

impl OperatorName {
    /// As the audit trail takes it.
    pub(super) fn actor(&self) -> Actor {
        Actor::Operator { name: self.0.clone() }
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for OperatorName {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let user = stream.io().peer_cred().map(|peer| peer.uid());
        OperatorName(user.map_or_else(|_| "socket".to_owned(), |uid| format!("uid {uid}")))
    }
}

impl Connected<IncomingStream<'_, TcpListener>> for OperatorName {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        let address: &SocketAddr = stream.remote_addr();
        OperatorName(format!("console {}", address.ip()))
    }
}

impl<S: Sync> FromRequestParts<S> for OperatorName {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<ConnectInfo<OperatorName>>();
        Ok(known.map_or_else(|| OperatorName("unknown".to_owned()), |ConnectInfo(name)| name.clone()))
    }
}
