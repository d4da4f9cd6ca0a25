//! A Redis Cluster keeps the lanes on one of its nodes, and may choose another one.

use futures_util::future::join_all;
use keepwell_workers::{database::Dialect, engine::Engine, lane::Lane};

use super::bench::{Bench, nothing_owed, scripted};
use crate::support::{
    eventually,
    redis_node::{Node, free_port},
};

/// What all keys of the lanes begin with.
const TAG: &str = "{keepwell:0}";

/// Three primaries that share all slots, the first of which has the lanes, and a replica of that one.
struct Cluster {
    owner: Node,
    replica: Node,
    others: [Node; 2],
    slot: u16,
}

impl Cluster {
    async fn start() -> Self {
        let nodes = join_all((0..4).map(|_| async {
            let bus = free_port();
            let bus_text = bus.to_string();
            let arguments = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus_text,
                "--cluster-node-timeout",
                "1000",
                "--save",
                "",
                "--repl-diskless-sync-delay",
                "0",
            ];
            (Node::start(&arguments).await, bus)
        }))
        .await;
        let slot: u16 = nodes[0].0.ask(&format!("CLUSTER KEYSLOT {TAG}")).await;
        // The one with the lanes has one slot more, so that it stays a primary without them; the others have the rest.
        let ranges = [[slot - 1, slot], [0, slot - 2], [slot + 1, 16_383]];
        for ((node, _), [first, last]) in nodes.iter().zip(ranges) {
            node.ask::<()>(&format!("CLUSTER ADDSLOTSRANGE {first} {last}")).await;
        }
        for (node, bus) in &nodes[1..] {
            nodes[0].0.ask::<()>(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port())).await;
        }
        for (node, _) in &nodes {
            eventually("the nodes know each other", async || {
                let info: String = node.ask("CLUSTER INFO").await;
                (info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:4")).then_some(())
            })
            .await;
        }
        let [owner, below, above, replica] =
            <[_; 4]>::try_from(nodes).unwrap_or_else(|_| panic!("four nodes")).map(|(node, _)| node);
        let id: String = owner.ask("CLUSTER MYID").await;
        replica.ask::<()>(&format!("CLUSTER REPLICATE {id}")).await;
        let cluster = Self { owner, replica, others: [below, above], slot };
        eventually("the replica is up to date, and all know of it", async || {
            let replica: String = cluster.replica.ask("INFO replication").await;
            let mut known = replica.contains("master_link_status:up");
            for node in &cluster.others {
                known &= node.ask::<String>("CLUSTER NODES").await.contains("slave");
            }
            known.then_some(())
        })
        .await;
        cluster
    }

    /// Names a host where nobody is, and a node that has not the lanes.
    fn url(&self) -> String {
        format!("redis-cluster://127.0.0.1:{},127.0.0.1:{}", free_port(), self.others[0].port())
    }
}

/// A job of the general lanes is done, which no pool takes without the lanes.
async fn works(bench: &Bench, engine: &Engine) {
    let job = engine.enqueue(scripted("ok", Lane::Standard)).await.unwrap().id.to_string();
    nothing_owed(engine).await;
    assert!(bench.effects().await.contains(&job));
    eventually("all is well", async || engine.health().lanes_ok.then_some(())).await;
}

async fn keys(node: &Node) -> u64 {
    node.ask("DBSIZE").await
}

#[tokio::test]
async fn lanes_in_a_cluster_are_found_and_go_on_when_their_node_dies() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let mut cluster = Cluster::start().await;
    let engine = bench.engine_at(cluster.url(), |_| {});
    works(&bench, &engine).await;
    assert!(keys(&cluster.owner).await > 0);

    cluster.owner.kill();
    let crisis = engine.enqueue(scripted("ok", Lane::Crisis)).await.unwrap().id.to_string();
    eventually("the crisis job is done", async || bench.effects().await.contains(&crisis).then_some(()))
        .await;
    works(&bench, &engine).await;
    assert_eq!(bench.effects().await.len(), 3);
    assert!(cluster.replica.ask::<String>("INFO replication").await.contains("role:master"));
    engine.shutdown().await;
}

#[tokio::test]
async fn lanes_whose_slot_is_moved_to_another_node_are_followed_there() {
    let bench = Bench::new(Dialect::Sqlite).await;
    let cluster = Cluster::start().await;
    let engine = bench.engine_at(cluster.url(), |_| {});
    works(&bench, &engine).await;
    let ([target, _], slot) = (&cluster.others, cluster.slot);
    let [from, to]: [String; 2] = [cluster.owner.ask("CLUSTER MYID").await, target.ask("CLUSTER MYID").await];
    target.ask::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {from}")).await;
    cluster.owner.ask::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {to}")).await;
    loop {
        let keys: Vec<String> = cluster.owner.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 100")).await;
        let Some(key) = keys.first() else { break };
        cluster.owner.ask::<String>(&format!("MIGRATE 127.0.0.1 {} {key} 0 5000", target.port())).await;
    }
    for node in [target, &cluster.owner] {
        node.ask::<()>(&format!("CLUSTER SETSLOT {slot} NODE {to}")).await;
    }

    works(&bench, &engine).await;
    assert!(keys(target).await > 0);
    assert_eq!(keys(&cluster.owner).await, 0);
    engine.shutdown().await;
}
