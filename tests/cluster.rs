//! Nodes together: the program itself, two or three times, and in one test eight, on one real Redis; in one test on a toy.
//!
//! ```text
//!   chat.rs       messages between nodes: what arrives, when it is acknowledged, what is said to those who leave
//!   crowd.rs      many to one and all to all: nothing lost, nothing twice, in order
//!   deliveries.rs what Redis has to do for a message, however many nodes there are
//!   go_nodes.rs   next to nodes of the earlier implementation, and next to anybody who publishes nonsense
//!   access.rs     what a node asks of Redis, and the ways to reach one: TLS, Unix socket, password, and no replica
//!   outage.rs     Redis is not there yet, dies, stalls, comes back
//!   probe.rs      Redis answers, and nothing arrives; a subscriber that reads too slowly
//!   sentinel.rs   a Sentinel group: the master crashes, or is replaced on purpose
//!   slow_redis.rs Redis takes what it is given, but much too slowly
//!   drain.rs      a node stops while messages are on their way
//! ```
//!
//! Nothing sleeps to let something happen: that something does *not* come is shown by what comes instead, or after it.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod node;
mod redis;

mod cluster {
    mod access;
    mod chat;
    mod crowd;
    mod deliveries;
    mod drain;
    mod go_nodes;
    mod outage;
    mod probe;
    mod sentinel;
    mod slow_redis;
}

use std::collections::BTreeSet;

use node::{Came, Client, Node, eventually};
use redis::Redis;
use serde_json::Value;

/// An id that nobody holds. Its last digits make it another one.
fn nobody(number: u32) -> String {
    format!("ffffffff-ffff-4fff-8fff-{number:012x}")
}

/// A node at the Redis of this URL, not necessarily connected to it.
fn node_at(url: &str, settings: &[(&str, &str)]) -> Node {
    Node::start(&[&[("REDIS_URL", url), ("TEXTO_LOOPS", "2")], settings].concat())
}

/// A node that has both of its connections to `redis`, and has seen that messages come round: its next message to itself is some seconds
/// away.
fn join(redis: &Redis, settings: &[(&str, &str)]) -> Node {
    let node = node_at(&redis.url(), settings);
    wait_for_links(&node);
    eventually("messages come round", || node.metric("redis_round_trips_up") == 1);
    node
}

fn wait_for_links(node: &Node) {
    eventually("the node is connected to Redis", || links(node) == (1, 1));
}

/// Whether the publisher and the subscriber are connected.
fn links(node: &Node) -> (u64, u64) {
    (node.metric("redis_publisher_up"), node.metric("redis_subscriber_up"))
}

/// Clients of a node on each of its `loops`, at least `count` in all. The kernel chooses the loop of each.
fn spread(node: &Node, loops: usize, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::new();
    let mut served = BTreeSet::new();
    while clients.len() < count || served.len() < loops {
        assert!(clients.len() < 1000, "only the loops {served:?} serve");
        clients.push(node.client());
        served.extend(clients.last().map(Client::event_loop));
    }
    clients
}

/// What became of a request: accepted, or the description of its `EBROKER`.
type Outcome = Result<(), String>;

/// The next message, which answers a `send`: the request's id, and the outcome.
fn answer(client: &mut Client) -> (String, Outcome) {
    match client.next() {
        Came::Message(message) => outcome(&message).unwrap_or_else(|| panic!("not an answer: {message}")),
        other => panic!("expected an answer, got {other:?}"),
    }
}

fn outcome(message: &Value) -> Option<(String, Outcome)> {
    let id = message["id"].as_str()?.to_owned();
    match message["kind"].as_str()? {
        "ack" => Some((id, Ok(()))),
        "error" => {
            assert_eq!(message["data"]["code"], "EBROKER", "{message}");
            Some((id, Err(message["data"]["description"].as_str()?.to_owned())))
        }
        _ => None,
    }
}

/// The next answers, which are to requests with these ids in this order.
fn answers(client: &mut Client, ids: &[String]) -> Vec<Outcome> {
    let check = |id: &String| {
        let (answered, outcome) = answer(client);
        assert_eq!(&answered, id, "{outcome:?}");
        outcome
    };
    ids.iter().map(check).collect()
}

/// The outcome of one message to `receiver`.
fn attempt(client: &mut Client, receiver: &str) -> Outcome {
    let id = client.send(receiver, "an attempt");
    answers(client, &[id]).remove(0)
}

/// Lines of a node's log that hold these words.
fn count_in_log(node: &Node, words: &str) -> usize {
    node.log().lines().filter(|line| line.contains(words)).count()
}
