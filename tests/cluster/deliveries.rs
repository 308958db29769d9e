//! What Redis has to do for a message, by its own statistics: however many nodes there are, it delivers a message to one of them.

use crate::join;
use crate::node::{Client, Node};
use crate::redis::Redis;

const MESSAGES: usize = 50;

/// So long that beside it nothing counts that nodes and Redis say to each other anyway.
const TEXT_BYTES: usize = 20_000;

/// A number from a section of `INFO`.
fn info(redis: &Redis, section: &str, begin: &str) -> u64 {
    let text: String = redis.command(&["INFO", section]);
    let value = text.lines().find_map(|line| line.strip_prefix(begin)).and_then(|rest| rest.split(',').next());
    value.map_or(0, |value| value.parse().unwrap())
}

/// What Redis has been asked to publish, and what it has sent to anybody.
fn published_and_sent(redis: &Redis) -> (u64, u64) {
    (info(redis, "commandstats", "cmdstat_publish:calls="), info(redis, "stats", "total_net_output_bytes:"))
}

/// How often Redis sent each message during `work`, during which at least [`MESSAGES`] of [`TEXT_BYTES`] are published.
fn deliveries_per_message(redis: &Redis, work: impl FnOnce()) -> f64 {
    let before = published_and_sent(redis);
    work();
    let after = published_and_sent(redis);
    assert!(after.0 - before.0 >= MESSAGES as u64, "{} were published", after.0 - before.0);
    (after.1 - before.1) as f64 / (MESSAGES * TEXT_BYTES) as f64
}

/// From the client of the first node to those of the others in turn.
fn with_nodes(count: usize) -> f64 {
    let redis = Redis::start(&[]);
    let nodes: Vec<Node> = (0..count).map(|_| join(&redis, &[])).collect();
    let mut clients: Vec<Client> = nodes.iter().map(Node::client).collect();
    let text = "x".repeat(TEXT_BYTES);
    deliveries_per_message(&redis, || {
        for number in 0..MESSAGES {
            let to = 1 + number % (count - 1);
            let receiver = clients[to].id().to_owned();
            clients[0].deliver(&receiver, &text);
            assert!(clients[to].receive() == text);
        }
    })
}

/// The same where everybody listens to everything, as the nodes of the earlier implementation do.
fn with_subscribers_to_all(count: usize) -> f64 {
    let redis = Redis::start(&[]);
    let mut connections: Vec<_> = (0..count).map(|_| redis.connection()).collect();
    let mut subscribers: Vec<_> = connections.iter_mut().map(::redis::Connection::as_pubsub).collect();
    subscribers.iter_mut().for_each(|subscriber| subscriber.psubscribe("texto:*").unwrap());
    let text = "x".repeat(TEXT_BYTES);
    deliveries_per_message(&redis, || {
        for _ in 0..MESSAGES {
            let reached: usize = redis.command(&["PUBLISH", "texto:67e55044-10b1-426f-9247-bb680e5fe0c8", &text]);
            assert_eq!(reached, count);
            subscribers
                .iter_mut()
                .for_each(|subscriber| assert!(subscriber.get_message().unwrap().get_payload_bytes().len() == TEXT_BYTES));
        }
    })
}

#[test]
fn redis_delivers_a_message_once_however_many_nodes_there_are() {
    for count in [2, 4, 8] {
        let (nodes, all) = (with_nodes(count), with_subscribers_to_all(count));
        println!("Redis sent each message {nodes:.3} times with {count} nodes, and {all:.3} times with {count} that listen to `texto:*`");
        assert!((1.0..1.2).contains(&nodes), "{nodes} with {count} nodes");
        assert!((count as f64..count as f64 + 0.2).contains(&all), "{all} with {count} that listen to everything");
    }
}
