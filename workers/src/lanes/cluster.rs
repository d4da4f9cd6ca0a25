//! Which node of a Redis Cluster has the lanes.

use std::sync::{Mutex, PoisonError};

use futures_util::future::select_ok;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult,
    ServerErrorKind, Value, from_redis_value,
};

use super::{
    address::{HOSTS_MAX, at},
    certificates::CertificateFiles,
};

/// A cluster in which all keys share one tag, and with it one slot.
pub(super) struct Cluster {
    tag: String,
    /// The nodes that it had when it was last asked, should those that were named all be gone.
    known: Mutex<Vec<ConnectionAddr>>,
}

/// A range of slots: its first, its last, and where its nodes listen, the primary first.
type Range = (u16, u16, Vec<(Option<String>, u16)>);

impl Cluster {
    pub(super) fn new(tag: &str) -> Self {
        Self { tag: tag.to_owned(), known: Mutex::default() }
    }

    /// The primary of the slot in which the keys are, as the first node that answers, and that sees a whole cluster,
    /// knows it.
    pub(super) async fn owner(
        &self,
        named: &[ConnectionInfo],
        certificates: &CertificateFiles,
    ) -> RedisResult<ConnectionInfo> {
        let like = &named[0];
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known = known.into_iter().map(|address| like.clone().set_addr(address));
        let asked = named.iter().cloned().chain(known).map(|node| Box::pin(self.ask(node, certificates)));
        let ((owner, nodes), _) = select_ok(asked).await?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
        Ok(like.clone().set_addr(owner))
    }

    /// The owner of the slot, and the nodes, as `node` knows them.
    async fn ask(
        &self,
        node: ConnectionInfo,
        certificates: &CertificateFiles,
    ) -> RedisResult<(ConnectionAddr, Vec<ConnectionAddr>)> {
        let asked = node.addr().clone();
        let client = certificates.client(node).await?;
        let config = AsyncConnectionConfig::new();
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let (slot, state, slots): (u16, String, Vec<Value>) = redis::pipe()
            .cmd("CLUSTER")
            .arg("KEYSLOT")
            .arg(&self.tag)
            .cmd("CLUSTER")
            .arg("INFO")
            .cmd("CLUSTER")
            .arg("SLOTS")
            .query_async(&mut connection)
            .await?;
        let ranges = slots.iter().map(range).collect::<RedisResult<Vec<_>>>()?;
        let owner = ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
        let owner =
            owner.and_then(|(_, _, nodes)| nodes.first()).filter(|_| state.contains("cluster_state:ok"));
        // A node without a name is the one that was asked.
        let address = |(name, port): &(Option<String>, u16)| at(&asked, name.clone(), *port);
        let owner = owner.map(address).ok_or_else(|| {
            let down = ErrorKind::Server(ServerErrorKind::ClusterDown);
            RedisError::from((down, "The cluster lacks nodes or slots"))
        })?;
        let nodes = ranges.iter().flat_map(|(_, _, nodes)| nodes).map(address).take(HOSTS_MAX).collect();
        Ok((owner, nodes))
    }
}

/// A line of `CLUSTER SLOTS`.
fn range(line: &Value) -> RedisResult<Range> {
    let Value::Array(parts) = line else { return Err(unreadable()) };
    let [first, last, nodes @ ..] = parts.as_slice() else { return Err(unreadable()) };
    let node = |node: &Value| match node {
        Value::Array(parts) if parts.len() >= 2 => {
            let name: Option<String> = from_redis_value(parts[0].clone())?;
            // Where a node does not know a name, and where it is told to name none.
            let name = name.filter(|name| !name.is_empty() && name != "?");
            Ok((name, number(&parts[1])?))
        }
        _ => Err(unreadable()),
    };
    let nodes = nodes.iter().map(node).collect::<RedisResult<Vec<_>>>()?;
    Ok((number(first)?, number(last)?, nodes))
}

/// A slot or a port. What is none would be cut to one by the conversion.
fn number(value: &Value) -> RedisResult<u16> {
    let Value::Int(number) = value else { return Err(unreadable()) };
    u16::try_from(*number).map_err(|_| unreadable())
}

fn unreadable() -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, "what CLUSTER SLOTS answers cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn a_node_that_knows_no_name_for_itself_is_the_one_that_was_asked() {
        for nameless in [Value::Nil, text(""), text("?")] {
            let node = Value::Array(vec![nameless, Value::Int(7_000), text("id"), Value::Array(vec![])]);
            let line = Value::Array(vec![Value::Int(0), Value::Int(9), node]);
            assert_eq!(range(&line).unwrap(), (0, 9, vec![(None, 7_000)]));
        }
        let asked = ConnectionAddr::Tcp("asked".into(), 1);
        assert_eq!(at(&asked, None, 7_000), ConnectionAddr::Tcp("asked".into(), 7_000));
    }

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        for garbage in [
            Value::Nil,
            Value::Array(vec![Value::Int(0)]),
            Value::Array(vec![Value::Int(0), Value::Int(9), Value::Array(vec![text("host")])]),
            Value::Array(vec![
                Value::Int(0),
                Value::Int(9),
                Value::Array(vec![text("host"), Value::Int(70_000)]),
            ]),
            Value::Array(vec![text("first"), Value::Int(9)]),
        ] {
            assert!(range(&garbage).is_err(), "{garbage:?}");
        }
    }
}
