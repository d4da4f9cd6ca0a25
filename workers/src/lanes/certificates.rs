//! By whose certificates a Redis that speaks TLS is believed, and with which one shows oneself to it.

use std::path::{Path, PathBuf};

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult,
    TlsCertificates,
};
use tokio::fs;

use super::address::{parameter, wrong};

/// The files that an address names as those of PostgreSQL do. They are read with every new connection, so that whoever
/// renews them restarts nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CertificateFiles {
    /// The authorities that may vouch for the server; those of the machine unless it is said.
    authorities: Option<PathBuf>,
    /// One's own certificate, and its key.
    own: Option<(PathBuf, PathBuf)>,
}

impl CertificateFiles {
    /// What `url` says with `sslrootcert`, `sslcert` and `sslkey`.
    pub(super) fn of(url: &str) -> RedisResult<Self> {
        let file = |word| parameter(url, word).map(PathBuf::from);
        let own = match (file("sslcert"), file("sslkey")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(wrong("of `sslcert` and `sslkey` it has only one")),
        };
        let files = Self { authorities: file("sslrootcert"), own };
        if files != Self::default() && !url.starts_with("rediss") {
            return Err(wrong("it names certificates, but only what begins with `rediss://` speaks TLS"));
        }
        Ok(files)
    }

    /// What is in them; nothing if none are named.
    pub(super) async fn read(&self) -> RedisResult<Option<TlsCertificates>> {
        if *self == Self::default() {
            return Ok(None);
        }
        let root_cert = match &self.authorities {
            Some(path) => Some(contents(path).await?),
            None => None,
        };
        let client_tls = match &self.own {
            Some((certificate, key)) => Some(ClientTlsConfig {
                client_cert: contents(certificate).await?,
                client_key: contents(key).await?,
            }),
            None => None,
        };
        Ok(Some(TlsCertificates { client_tls, root_cert }))
    }

    /// A client for `server`.
    pub(super) async fn client(&self, server: ConnectionInfo) -> RedisResult<Client> {
        match (server.addr(), self.read().await?) {
            (ConnectionAddr::TcpTls { .. }, Some(certificates)) => {
                Client::build_with_tls(server, certificates)
            }
            _ => Client::open(server),
        }
    }
}

async fn contents(path: &Path) -> RedisResult<Vec<u8>> {
    fs::read(path).await.map_err(|error| {
        let why = format!("{}: {error}", path.display());
        RedisError::from((
            ErrorKind::InvalidClientConfig,
            "a file that `redis.url` names cannot be read",
            why,
        ))
    })
}
