//! A small HTTP/1.1 client: one connection for each request, everything bounded, redirects never followed.
//!
//! Whoever is called may be slow, hang up, talk nonsense or never stop talking; all of it becomes an [`HttpError`]
//! within the limits. Each request has a connection of its own because requests are few and a pooled one can turn out
//! dead only after it was used. TLS is rustls on ring.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header, header::HeaderMap};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// How much and how long a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// For the connection, TLS included, in milliseconds.
    pub connect_timeout_ms: u64,
    /// For all of it, in milliseconds.
    pub timeout_ms: u64,
    /// For the answer's body, in bytes.
    pub answer_bytes_max: usize,
}

/// The headers of an answer have to fit into this, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Why there is no answer. Names neither the address nor anything that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Not an address that can be called.
    #[error("the address is no http:// or https:// address with a host")]
    Address,
    /// Nobody is there.
    #[error("no connection: {0}")]
    Unreachable(std::io::ErrorKind),
    /// Whoever is there cannot show to be the right one.
    #[error("no secure connection: the certificate or the protocol was refused")]
    Tls,
    /// A limit of [`HttpLimits`].
    #[error("no answer in time")]
    TimedOut,
    /// The connection ended too early, or what came was no HTTP.
    #[error("the answer broke off or was no HTTP")]
    BrokenOff,
    /// A limit of [`HttpLimits`].
    #[error("the answer is too long")]
    TooLong,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// The certificates that are trusted beside those of the web cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the certificates are no PEM with at least one certificate that can be trusted")]
pub struct CertificatesError;

/// Calls servers. Cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    tls: TlsConnector,
    limits: HttpLimits,
}

impl HttpClient {
    /// One that trusts the authorities of the web (Mozilla's list) and those in `more` (PEM).
    pub fn new(limits: HttpLimits, more: Option<&[u8]>) -> Result<Self, CertificatesError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(pem) = more {
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate.map_err(|_| CertificatesError)?).map_err(|_| CertificatesError)?;
            }
            if roots.len() == before {
                return Err(CertificatesError);
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            // Ring knows the ciphers of both versions.
            .map_err(|_| CertificatesError)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), limits })
    }

    /// Sends `request`, whose address is a whole one.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Answer, HttpError> {
        let whole = Duration::from_millis(self.limits.timeout_ms);
        timeout(whole, self.exchange(request)).await.unwrap_or(Err(HttpError::TimedOut))
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Answer, HttpError> {
        let place = Place::of(request.uri())?;
        let connecting = Duration::from_millis(self.limits.connect_timeout_ms);
        let bytes_max = self.limits.answer_bytes_max;
        let late = |_| HttpError::TimedOut;
        let stream = timeout(connecting, TcpStream::connect((place.host.as_str(), place.port)));
        let stream = stream.await.map_err(late)?.map_err(|error| HttpError::Unreachable(error.kind()))?;
        let request = Place::request(request)?;
        if !place.secure {
            return converse(stream, request, bytes_max).await;
        }
        let name = ServerName::try_from(place.host).map_err(|_| HttpError::Address)?;
        let stream = timeout(connecting, self.tls.connect(name, stream)).await.map_err(late)?;
        converse(stream.map_err(|_| HttpError::Tls)?, request, bytes_max).await
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Where a request goes.
struct Place {
    secure: bool,
    host: String,
    port: u16,
}

impl Place {
    fn of(address: &Uri) -> Result<Self, HttpError> {
        let secure = match address.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(HttpError::Address),
        };
        let host = address.host().filter(|host| !host.is_empty()).ok_or(HttpError::Address)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = address.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Self { secure, host, port })
    }

    /// The request as it goes over the line: the path alone, and the host in a header.
    fn request(request: Request<Bytes>) -> Result<Request<Full<Bytes>>, HttpError> {
        let (mut parts, body) = request.into_parts();
        let authority = parts.uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let host = authority.parse().map_err(|_| HttpError::Address)?;
        let path = parts.uri.path_and_query().cloned().ok_or(HttpError::Address)?;
        parts.headers.insert(header::HOST, host);
        parts.headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        parts.uri = Uri::from(path);
        Ok(Request::from_parts(parts, Full::new(body)))
    }
}

async fn converse<S>(stream: S, request: Request<Full<Bytes>>, bytes_max: usize) -> Result<Answer, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let shaken = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|_| HttpError::BrokenOff)?;
    let asking = async move {
        let answer = sender.send_request(request).await.map_err(|_| HttpError::BrokenOff)?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, bytes_max).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { HttpError::TooLong } else { HttpError::BrokenOff }
        })?;
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    };
    let (mut asking, mut connection, mut open) = (pin!(asking), pin!(connection), true);
    loop {
        tokio::select! {
            biased;
            answer = &mut asking => return answer,
            // How it ended shows in the answer, or in that there is none.
            _ = &mut connection, if open => open = false,
        }
    }
}
