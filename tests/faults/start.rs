//! A node that has just been started.

use std::net::SocketAddr;
use std::time::Duration;

use super::proxy::Proxy;
use crate::node::{Client, Node};
use crate::redis::Redis;

#[test]
fn a_client_of_a_node_that_has_just_started_can_be_reached_from_the_others() {
    let redis = Redis::start(&[]);
    let near = Node::start(&[("REDIS_URL", &redis.url())]);
    // It takes the other one a while to connect; a client is there as soon as anybody can be.
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], redis.port())));
    proxy.delay(Duration::from_millis(50));
    let far = Node::start(&[("REDIS_URL", &format!("redis://{}", proxy.address()))]);
    let (mut from, mut to): (Client, Client) = (near.client(), far.client());
    from.deliver(to.id(), "welcome");
    assert_eq!(to.receive(), "welcome");
}

#[test]
fn a_redis_that_does_not_answer_keeps_no_node_from_its_own_clients() {
    let redis = Redis::start(&[]);
    redis.pause();
    let node = Node::start(&[("REDIS_URL", &redis.url())]);
    node.client().check();
    redis.resume();
}
