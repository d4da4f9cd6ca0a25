//! What a refusal of Redis means, and what an operator can do about it.

use redis::RedisError;

/// The kinds of trouble that call for different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It does not answer.
    Away,
    /// It reads its data from the disk.
    Loading,
    /// It is a replica, or was made one.
    ReadOnly,
    /// It is cut off from those it needs (its primary, its replicas, its cluster).
    CutOff,
    /// It is a node of a cluster, and another one has the lanes' keys.
    Divided,
    /// Its cluster is moving the lanes' keys from one node to another.
    Moving,
    /// It is no node of a cluster, and was taken for one.
    Undivided,
    /// No Sentinel knows a primary.
    NoPrimary,
    /// It is at its `maxmemory`.
    Full,
    /// The address, or what it names, cannot be used.
    Misconfigured,
    /// It wants a password, or another one.
    Unauthenticated,
    /// It refuses a command that the lanes need.
    Forbidden,
    /// It refuses writes because it cannot save them.
    Unsaved,
    /// Anything else.
    Other,
}

impl Trouble {
    /// What `error` means.
    pub(crate) fn of(error: &RedisError) -> Self {
        if error.is_io_error() {
            return Trouble::Away;
        }
        // Redis 6.2 wraps what a command in a script answered into an `ERR` with the code somewhere in its text.
        let (code, detail) = (error.code().unwrap_or_default(), error.detail().unwrap_or_default());
        let says = |word: &str| code == word || (code == "ERR" && detail.contains(word));
        match () {
            () if says("READONLY") => Trouble::ReadOnly,
            () if says("LOADING") => Trouble::Loading,
            () if says("MASTERDOWN") || says("CLUSTERDOWN") || says("NOREPLICAS") => Trouble::CutOff,
            () if says("MOVED") => Trouble::Divided,
            () if says("ASK") || says("TRYAGAIN") => Trouble::Moving,
            () if detail.contains("cluster support disabled") => Trouble::Undivided,
            () if error.kind() == redis::ErrorKind::MasterNameNotFoundBySentinel => Trouble::NoPrimary,
            () if says("OOM") => Trouble::Full,
            () if says("MISCONF") => Trouble::Unsaved,
            () if says("NOAUTH") || says("WRONGPASS") => Trouble::Unauthenticated,
            () if error.kind() == redis::ErrorKind::AuthenticationFailed => Trouble::Unauthenticated,
            () if error.kind() == redis::ErrorKind::InvalidClientConfig => Trouble::Misconfigured,
            () if says("NOPERM")
                || detail.contains("unknown command")
                || detail.contains("Unknown Redis") =>
            {
                Trouble::Forbidden
            }
            () => Trouble::Other,
        }
    }

    /// Whether a new connection to the same address may find a server that is better off.
    pub(crate) fn may_be_elsewhere(self) -> bool {
        matches!(self, Trouble::Loading | Trouble::ReadOnly | Trouble::CutOff | Trouble::Divided)
    }

    /// What an operator can do about it.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Trouble::Away => "see whether it runs and can be reached",
            Trouble::Loading => "it is still reading its data; that ends by itself",
            Trouble::ReadOnly => "this is a replica; `redis.url` has to lead to the primary",
            Trouble::CutOff => "it has lost its primary, its replicas or its cluster; see its log",
            Trouble::Divided => {
                "this is a node of a Redis Cluster, and another one has the keys: begin `redis.url` with \
                 `redis-cluster://`"
            }
            Trouble::Moving => "the keys are being moved to another node of the cluster; that ends by itself",
            Trouble::Undivided => "this is no Redis Cluster: begin `redis.url` with `redis://`",
            Trouble::NoPrimary => {
                "no Sentinel that answers knows a primary of that name that is well; see the name in `redis.url` and \
                 the Sentinels' logs"
            }
            Trouble::Full => "it has reached its `maxmemory`; raise it or let the lanes drain",
            Trouble::Misconfigured => "see `redis.url`, and the files that it names",
            Trouble::Unauthenticated => "put the right user and password into `redis.url`",
            Trouble::Forbidden => {
                "its user needs `+@read +@write +@scripting +@pubsub +ping +info +client` on the keys and \
                 channels under `redis.key_prefix`, under their own names, and in a cluster `+cluster`; and a \
                 Sentinel has none of them: for one `redis.url` begins with `redis-sentinel://`"
            }
            Trouble::Unsaved => "it cannot save its data and refuses writes; see its log and its disk",
            Trouble::Other => "see its log",
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::{ErrorKind, ServerErrorKind};

    use super::*;

    fn reply(kind: ServerErrorKind, detail: &str) -> RedisError {
        (ErrorKind::Server(kind), "", detail.to_owned()).into()
    }

    #[test]
    fn refusals_are_told_apart_also_as_redis_6_wraps_them() {
        let wrapped = "Error running script (call to f_a): @user_script:31: @user_script: 31: -";
        for (error, trouble) in [
            (
                reply(ServerErrorKind::ReadOnly, "You can't write against a read only replica."),
                Trouble::ReadOnly,
            ),
            (
                reply(ServerErrorKind::ResponseError, &format!("{wrapped}READONLY You can't")),
                Trouble::ReadOnly,
            ),
            (reply(ServerErrorKind::ResponseError, &format!("{wrapped}OOM command not")), Trouble::Full),
            (reply(ServerErrorKind::BusyLoading, "Redis is loading"), Trouble::Loading),
            (reply(ServerErrorKind::MasterDown, "Link with MASTER is down"), Trouble::CutOff),
            (reply(ServerErrorKind::ClusterDown, "The cluster is down"), Trouble::CutOff),
            (reply(ServerErrorKind::Moved, "3999 127.0.0.1:6381"), Trouble::Divided),
            (reply(ServerErrorKind::Ask, "3999 127.0.0.1:6381"), Trouble::Moving),
            (reply(ServerErrorKind::TryAgain, "Multiple keys request"), Trouble::Moving),
            (
                reply(ServerErrorKind::ResponseError, "This instance has cluster support disabled"),
                Trouble::Undivided,
            ),
            ((ErrorKind::MasterNameNotFoundBySentinel, "unknown").into(), Trouble::NoPrimary),
            (reply(ServerErrorKind::NoPerm, "this user has no permissions"), Trouble::Forbidden),
            (reply(ServerErrorKind::ResponseError, "unknown command 'EVALSHA'"), Trouble::Forbidden),
            (reply(ServerErrorKind::ResponseError, "value is not an integer"), Trouble::Other),
            (std::io::Error::from(std::io::ErrorKind::TimedOut).into(), Trouble::Away),
        ] {
            assert_eq!(Trouble::of(&error), trouble, "{error}");
        }
    }

    #[test]
    fn only_what_another_server_may_not_have_calls_for_another_connection() {
        assert!(Trouble::ReadOnly.may_be_elsewhere() && Trouble::Loading.may_be_elsewhere());
        assert!(!Trouble::Full.may_be_elsewhere() && !Trouble::Forbidden.may_be_elsewhere());
    }
}
