//! Where Redis is: at an address, wherever its Sentinels say, or on that node of a cluster which has the lanes.
//!
//! All lanes share a hash tag, so a cluster keeps them on one node, and whoever knows which needs no other connection.
//! Who has moved is found the way who was restarted is: the connection is given up, and the next one is opened to
//! whomever is named then.

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _,
    RedisError, RedisResult, TlsMode,
    aio::{MultiplexedConnection, PubSub},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use tokio::time::{Duration, timeout};

use super::{certificates::CertificateFiles, cluster::Cluster};

/// The most hosts that an address names, and the most nodes of a cluster that are remembered.
pub(super) const HOSTS_MAX: usize = 16;

/// Where Sentinels listen unless it is said (Sentinel's documentation).
const SENTINEL_PORT: u16 = 26_379;

/// How long finding out where Redis is may take, before it is connected to.
const FIND_TIMEOUT: Duration = Duration::from_secs(2);

/// After this long without an acknowledgement of what was sent, the kernel gives a connection up.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);

/// When and how often the kernel asks a silent peer whether it is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);
const KEEPALIVE_PROBES: u32 = 3;

/// Where Redis is, or who knows that.
pub(super) struct Address {
    /// For each host that is named: where it listens, and how one logs in.
    hosts: Vec<ConnectionInfo>,
    certificates: CertificateFiles,
    way: Way,
}

enum Way {
    /// The one host is Redis.
    There,
    /// The hosts are Sentinels and know the primary called `name`.
    Sentinels { name: String, user: Option<String>, password: Option<String> },
    /// The hosts are nodes of a cluster.
    Cluster(Cluster),
}

impl Address {
    /// What `url` says: `redis://`, `rediss://` or `unix://`, `redis-sentinel://host,host/name/database`, or
    /// `redis-cluster://host,host`; the latter two with `rediss-` where all speak TLS. `tag` is what all keys share.
    ///
    /// # Errors
    ///
    /// If it is none of these. The text has nothing of `url` in it, which may hold a password.
    pub(super) fn parse(url: &str, tag: &str) -> RedisResult<Self> {
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| wrong("it has no scheme such as `redis://`"))?;
        match scheme.split_once('-') {
            Some((plain @ ("redis" | "rediss"), kind)) => Self::of_several(plain, kind, rest, tag),
            _ => Ok(Self {
                hosts: vec![host(url)?],
                certificates: CertificateFiles::of(url)?,
                way: Way::There,
            }),
        }
    }

    fn of_several(plain: &str, kind: &str, rest: &str, tag: &str) -> RedisResult<Self> {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, names) = match authority.rfind('@') {
            Some(at) => authority.split_at(at + 1),
            None => ("", authority),
        };
        let (name, database) = path.split_once('/').unwrap_or((path, ""));
        let each: Vec<String> = names
            .split(',')
            .take(HOSTS_MAX + 1)
            .map(|name| format!("{plain}://{credentials}{name}/{database}?{query}"))
            .collect();
        if each.len() > HOSTS_MAX {
            return Err(wrong("it names more than 16 hosts"));
        }
        let mut hosts = each.iter().map(|url| host(url)).collect::<RedisResult<Vec<_>>>()?;
        let way = match kind {
            "sentinel" if name.is_empty() => {
                return Err(wrong("it lacks the name of the primary after its hosts: `host:26379/name`"));
            }
            "sentinel" => {
                for (host, url) in hosts.iter_mut().zip(&each) {
                    if redis::parse_redis_url(url).is_none_or(|url| url.port().is_none()) {
                        *host = host.clone().set_addr(at(host.addr(), None, SENTINEL_PORT));
                    }
                }
                Way::Sentinels {
                    name: name.to_owned(),
                    user: parameter(&each[0], "sentinel_user"),
                    password: parameter(&each[0], "sentinel_password"),
                }
            }
            "cluster" if path.is_empty() => Way::Cluster(Cluster::new(tag)),
            "cluster" => return Err(wrong("a cluster has no database but 0: nothing follows its hosts")),
            _ => return Err(wrong("what follows `redis-` is neither `sentinel` nor `cluster`")),
        };
        Ok(Self { hosts, certificates: CertificateFiles::of(&each[0])?, way })
    }

    /// A connection to whoever has the lanes now.
    pub(super) async fn connect(&self, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        self.find().await?.get_multiplexed_async_connection_with_config(config).await
    }

    /// A connection to the same that can listen. Nothing bounds how long it takes to open.
    pub(super) async fn listen(&self) -> RedisResult<PubSub> {
        self.find().await?.get_async_pubsub().await
    }

    /// The number of the database in use.
    pub(super) fn database(&self) -> i64 {
        self.hosts.first().map_or(0, |host| host.redis_settings().db())
    }

    async fn find(&self) -> RedisResult<Client> {
        let found = async {
            match &self.way {
                Way::There => self.certificates.client(self.hosts[0].clone()).await,
                Way::Sentinels { name, user, password } => {
                    self.primary(name, user.as_deref(), password.as_deref()).await
                }
                Way::Cluster(cluster) => {
                    let owner = cluster.owner(&self.hosts, &self.certificates).await?;
                    self.certificates.client(owner).await
                }
            }
        };
        let too_late = |_| RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        timeout(FIND_TIMEOUT, found).await.map_err(too_late)?
    }

    /// The primary called `name`, as the first Sentinel that answers knows it, and as it says of itself.
    async fn primary(&self, name: &str, user: Option<&str>, password: Option<&str>) -> RedisResult<Client> {
        let sentinels = self.hosts.iter().map(|host| host.addr().clone());
        let settings = self.hosts[0].redis_settings();
        let mut builder = SentinelClientBuilder::new(sentinels, name, SentinelServerType::Master)?
            .set_client_to_redis_db(settings.db())
            .set_client_to_redis_protocol(settings.protocol())
            .set_client_to_redis_tcp_settings(tcp())
            .set_client_to_sentinel_tcp_settings(tcp());
        if let Some(user) = settings.username() {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = settings.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(user) = user {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if matches!(self.hosts[0].addr(), ConnectionAddr::TcpTls { .. }) {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            if let Some(certificates) = self.certificates.read().await? {
                builder = builder
                    .set_client_to_redis_certificates(certificates.clone())
                    .set_client_to_sentinel_certificates(certificates);
            }
        }
        builder.build()?.async_get_client().await
    }
}

/// An address that cannot be used, and `why`.
pub(super) fn wrong(why: &'static str) -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, why))
}

/// The one host in `url`, whose sockets notice when their peer is gone.
fn host(url: &str) -> RedisResult<ConnectionInfo> {
    Ok(url.into_connection_info()?.set_tcp_settings(tcp()))
}

/// The address of `name` (or of the same host) and `port`, spoken to as `like` is.
pub(super) fn at(like: &ConnectionAddr, name: Option<String>, port: u16) -> ConnectionAddr {
    match like {
        ConnectionAddr::Tcp(host, _) => ConnectionAddr::Tcp(name.unwrap_or_else(|| host.clone()), port),
        ConnectionAddr::TcpTls { host, insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host: name.unwrap_or_else(|| host.clone()),
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        other => other.clone(),
    }
}

/// What `url` says of `word` behind its question mark.
pub(super) fn parameter(url: &str, word: &str) -> Option<String> {
    redis::parse_redis_url(url)?
        .query_pairs()
        .find(|(key, _)| key == word)
        .map(|(_, value)| value.into_owned())
}

fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_PROBES);
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(UNACKNOWLEDGED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<Address, String> {
        Address::parse(url, "{keepwell:0}").map_err(|error| error.to_string())
    }

    fn hosts(url: &str) -> Vec<String> {
        parsed(url).unwrap().hosts.iter().map(|host| host.addr().to_string()).collect()
    }

    #[test]
    fn an_address_may_name_one_server_its_sentinels_or_a_cluster() {
        for url in [
            "redis://host:1/2",
            "rediss://u:p@host",
            "unix:///run/redis.sock",
            "redis+unix:///run/redis.sock",
        ] {
            assert!(matches!(parsed(url).unwrap().way, Way::There), "{url}");
        }
        assert_eq!(hosts("redis-cluster://:secret@one,two:7,[::1]:8"), ["one:6379", "two:7", "::1:8"]);
        let url = "rediss-sentinel://user:pass@one,two:7/main/3?sentinel_user=s&sentinel_password=a%26b";
        assert_eq!(hosts(url), ["one:26379", "two:7"]);
        let address = parsed(url).unwrap();
        assert_eq!(address.database(), 3);
        assert_eq!(address.hosts[1].redis_settings().password(), Some("pass"));
        assert!(matches!(address.hosts[1].addr(), ConnectionAddr::TcpTls { insecure: false, .. }));
        let Way::Sentinels { name, user, password } = address.way else { panic!("{url}") };
        assert_eq!((name.as_str(), user.as_deref(), password.as_deref()), ("main", Some("s"), Some("a&b")));
    }

    #[test]
    fn an_address_that_says_too_little_or_too_much_is_refused_without_its_password() {
        let many = format!("redis-cluster://:secret@{}", vec!["host"; HOSTS_MAX + 1].join(","));
        for (url, why) in [
            ("redis-sentinel://:secret@host:26379", "the name of the primary"),
            ("redis-cluster://:secret@host/3", "no database but 0"),
            ("redis-other://:secret@host", "neither `sentinel` nor `cluster`"),
            ("redis-cluster://:secret@host:port", "did not parse"),
            ("host:secret", "no scheme"),
            ("rediss://:secret@host?sslcert=/there", "`sslkey`"),
            ("redis://:secret@host?sslrootcert=/there", "`rediss://`"),
            (many.as_str(), "more than 16 hosts"),
        ] {
            let error = parsed(url).err().unwrap_or_else(|| panic!("{url} is taken"));
            assert!(error.contains(why) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
