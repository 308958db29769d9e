//! What a node asks of Redis, and the ways to reach one: TLS, Unix socket, password, and no replica.

use crate::node::{Client, Node, eventually};
use crate::redis::Redis;
use crate::{attempt, count_in_log, join, links, nobody, node_at, wait_for_links};

const DOWN: &str = "the message was not sent: this node has no connection to the other nodes at the moment";

/// Two nodes at the Redis of this URL carry messages both ways.
fn check_exchange(url: &str, settings: &[(&str, &str)]) {
    let (near, far) = (node_at(url, settings), node_at(url, settings));
    wait_for_links(&near);
    wait_for_links(&far);
    let (mut a, mut b) = (near.client(), far.client());
    let meet = |from: &mut Client, to: &mut Client| {
        from.deliver(to.id(), "over there");
        assert_eq!(to.receive(), "over there");
    };
    meet(&mut a, &mut b);
    meet(&mut b, &mut a);
}

#[test]
fn a_node_listens_to_its_own_prefix_alone() {
    let redis = Redis::start(&[]);
    let nodes = [join(&redis, &[]), join(&redis, &[])];
    assert_eq!(redis.command::<i64>(&["PUBSUB", "NUMPAT"]), 2);
    let clients: String = redis.command(&["CLIENT", "LIST"]);
    let count = |words: &str| clients.lines().filter(|line| line.contains(words)).count();
    // The test's own connection is the fifth, and it asks with CLIENT.
    assert_eq!((count(" psub=1 "), count(" psub=0 "), count(" sub=0 ")), (2, 3, 5), "{clients}");
    for node in &nodes {
        let client = node.client();
        let tag = &client.id()[..6];
        let listeners = |channel: &str| redis.command::<i64>(&["PUBLISH", channel, "?"]);
        let reaches = |channel: &str| listeners(&format!("texto:{channel}")) == 1;
        assert!(reaches(client.id()) && reaches(tag), "the pattern is no longer than the tag");
        let neighbour = if tag.ends_with('0') { '1' } else { '0' };
        assert!(!reaches(&tag[..5]) && !reaches(&format!("{}{neighbour}", &tag[..5])) && !reaches(""), "and no shorter");
        assert_eq!(listeners(client.id()), 0);
    }
}

#[test]
fn tls_with_an_authority_of_ones_own_connects() {
    let redis = Redis::start_tls();
    let url = format!("rediss://127.0.0.1:{}", redis.port());
    check_exchange(&url, &[("SSL_CERT_FILE", &redis.authority())]);
    // Who does not know the authority does not speak with it.
    let node = node_at(&url, &[]);
    check_refused(&node, "certificate");
}

#[test]
fn a_unix_socket_connects() {
    let redis = Redis::start(&[]);
    check_exchange(&format!("unix://{}", redis.socket()), &[]);
}

#[test]
fn a_password_opens_redis() {
    let redis = Redis::start(&["--requirepass", "open sesame"]);
    check_exchange(&format!("redis://:open%20sesame@127.0.0.1:{}", redis.port()), &[]);
}

#[test]
fn a_wrong_password_is_told_once_and_the_node_serves_its_own_clients() {
    let redis = Redis::start(&["--requirepass", "open sesame"]);
    let node = node_at(&format!("redis://:hunter2@127.0.0.1:{}", redis.port()), &[]);
    check_refused(&node, "Password authentication failed");
    let mut authorized = redis.authorized("open sesame");
    let mut attempts = || {
        let stats: String = ::redis::cmd("INFO").arg("stats").query(&mut authorized).unwrap();
        let line = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap().to_owned();
        line.parse::<u64>().unwrap()
    };
    let before = attempts();
    eventually("it tries again", || attempts() >= before + 6);
    assert_eq!(count_in_log(&node, "no connection to Redis"), 2, "once for each connection:\n{}", node.log());
    assert!(!node.log().contains("hunter2"));
}

#[test]
fn a_replica_is_no_link_until_it_is_a_master() {
    let master = Redis::start(&[]);
    let replica = Redis::start(&["--replicaof", &format!("127.0.0.1 {}", master.port())]);
    let node = node_at(&replica.url(), &[]);
    node.wait_for_log("it is a replica");
    let mut client = node.client();
    assert_eq!(attempt(&mut client, &nobody(1)), Err(DOWN.into()));
    client.check();
    assert_eq!(node.metric("redis_publisher_up"), 0);
    let _: () = replica.command(&["REPLICAOF", "NO", "ONE"]);
    wait_for_links(&node);
    assert_eq!(attempt(&mut client, &nobody(1)), Ok(()));
}

/// A node that Redis does not let in says why, for both connections; it refuses what is for others, and serves its own clients.
fn check_refused(node: &Node, why: &str) {
    eventually("both connections were tried", || count_in_log(node, "no connection to Redis") >= 2);
    assert!(node.log().contains(why), "{}", node.log());
    assert_eq!(links(node), (0, 0));
    let mut client = node.client();
    assert_eq!(attempt(&mut client, &nobody(1)), Err(DOWN.into()));
    client.check();
}
