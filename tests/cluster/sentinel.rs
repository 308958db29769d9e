//! Nodes at a Sentinel group: the master crashes, is replaced on purpose, or stays and is a replica all at once.

use std::time::Duration;

use rustix::process::Signal;

use super::outage::refused;
use crate::node::{Came, Client, Node, eventually};
use crate::redis::Redis;
use crate::redis::sentinel::{Access, Sentinel, SentinelGroup};
use crate::{attempt, count_in_log, links, nobody, node_at, wait_for_links};

const DOWN: &str = "the message was not sent: this node has no connection to the other nodes at the moment";

/// Two nodes at a group, connected to its master and listening to its Sentinels.
fn join_group(url: &str) -> [Node; 2] {
    let nodes = [node_at(url, &[]), node_at(url, &[])];
    for node in &nodes {
        wait_for_links(node);
        eventually("the node listens to the Sentinels", || node.metric("redis_sentinels_up") == 3);
    }
    nodes
}

/// A message from each to the other arrives. Until both nodes are at the same master, what one of them publishes may be refused, or
/// reach nobody.
pub(super) fn check_exchange(a: &mut Client, b: &mut Client) {
    eventually("a message arrives", || reaches(a, b));
    eventually("a message arrives on the way back", || reaches(b, a));
}

/// Whether a message from one to the other is taken and arrives. One that came too late the last time is passed over.
fn reaches(from: &mut Client, to: &mut Client) -> bool {
    let text = crate::node::id();
    from.send(to.id(), &text);
    let is_taken = loop {
        match from.next() {
            Came::Message(message) if message["kind"] == "receive" => {}
            Came::Message(message) => break message["kind"] == "ack",
            other => panic!("expected an answer, got {other:?}"),
        }
    };
    is_taken && has_come(to, &text)
}

/// Whether this text comes soon.
fn has_come(client: &mut Client, text: &str) -> bool {
    loop {
        match client.next_within(Duration::from_millis(200)) {
            Came::Message(message) if message["data"]["text"] == *text => return true,
            Came::Message(message) if message["kind"] == "receive" => {}
            Came::Nothing => return false,
            other => panic!("expected a message, got {other:?}"),
        }
    }
}

/// How many clients a server has that subscribe to a pattern.
fn listeners(group: &mut SentinelGroup, port: u16) -> i64 {
    group.server_at(port).command(&["PUBSUB", "NUMPAT"])
}

#[test]
fn after_a_crash_of_the_master_nodes_find_the_new_one() {
    let mut group = SentinelGroup::start();
    let nodes = join_group(&group.url());
    let (mut a, mut b) = (nodes[0].client(), nodes[1].client());
    check_exchange(&mut a, &mut b);
    let old = group.kill_master();
    eventually("the loss is noticed", || nodes.iter().all(|node| links(node) == (0, 0)));
    assert_eq!(attempt(&mut a, b.id()), refused(DOWN));
    a.check();
    let new = group.wait_for_other_master(old);
    eventually("both listen to the new master", || listeners(&mut group, new) == 2);
    nodes.iter().for_each(wait_for_links);
    check_exchange(&mut a, &mut b);
    // The old one comes back, and believes that it is a master until the Sentinels see to it.
    group.server_at(old).spawn();
    check_exchange(&mut a, &mut b);
    assert_eq!((listeners(&mut group, old), listeners(&mut group, new)), (0, 2));
}

#[test]
fn in_a_planned_failover_nodes_move_together_though_the_old_master_goes_on() {
    let mut group = SentinelGroup::start();
    let nodes = join_group(&group.url());
    let (mut a, mut b) = (nodes[0].client(), nodes[1].client());
    check_exchange(&mut a, &mut b);
    let old = group.master_port();
    group.fail_over();
    let new = group.wait_for_other_master(old);
    for node in &nodes {
        // They heard of it, and did not only see that the old one is no master any more.
        node.wait_for_log(&format!("the master is at 127.0.0.1:{new} now, as the Sentinels say"));
        wait_for_links(node);
    }
    eventually("both listen to the new master alone", || (listeners(&mut group, old), listeners(&mut group, new)) == (0, 2));
    check_exchange(&mut a, &mut b);
    assert!(nodes.iter().all(|node| node.metric("redis_moves_total") > 0));
}

#[test]
fn a_master_that_is_made_a_replica_is_left_by_both_connections_though_they_stay_open() {
    let mut group = SentinelGroup::start();
    let nodes = join_group(&group.url());
    let old = group.master_port();
    let other = group.servers().iter().map(Redis::port).find(|port| *port != old).unwrap();
    // Nobody is there to tell the nodes.
    (0..3).for_each(|number| group.sentinel(number).signal(Signal::STOP));
    let _: () = group.server_at(old).command(&["REPLICAOF", "127.0.0.1", &other.to_string()]);
    eventually("both connections are given up", || nodes.iter().all(|node| links(node) == (0, 0)));
    for node in &nodes {
        eventually("both say the same reason", || count_in_log(node, "it is a replica") == 2);
    }
    let _: () = group.server_at(old).command(&["REPLICAOF", "NO", "ONE"]);
    (0..3).for_each(|number| group.sentinel(number).signal(Signal::CONT));
    nodes.iter().for_each(wait_for_links);
    check_exchange(&mut nodes[0].client(), &mut nodes[1].client());
}

#[test]
fn a_dead_sentinel_and_one_that_stands_still_keep_nobody_out() {
    let mut group = SentinelGroup::start();
    group.sentinel(0).kill();
    group.sentinel(1).signal(Signal::STOP);
    let (near, far) = (node_at(&group.url(), &[]), node_at(&group.url(), &[]));
    [&near, &far].into_iter().for_each(wait_for_links);
    check_exchange(&mut near.client(), &mut far.client());
    eventually("the node listens to the one that is left", || near.metric("redis_sentinels_up") == 1);
    eventually("it says which Sentinels it misses", || count_in_log(&near, "no connection to Sentinel at") == 2);
    group.sentinel(1).signal(Signal::CONT);
    group.sentinel(0).spawn();
    eventually("the node listens to all that are back", || near.metric("redis_sentinels_up") == 3);
    assert_eq!((near.metric("redis_moves_total"), near.metric("redis_reconnects_total")), (0, 0), "{}", near.log());
}

#[test]
fn a_master_of_another_name_is_told_and_the_node_serves_its_own_clients() {
    let group = SentinelGroup::start();
    let node = node_at(&group.url().replace("master=main", "master=elsewhere"), &[]);
    node.wait_for_log("it knows no master of the name elsewhere");
    let mut client = node.client();
    assert_eq!(attempt(&mut client, &nobody(1)), refused(DOWN));
    client.check();
}

#[test]
fn a_group_kept_by_passwords_is_entered_with_both_and_with_nothing_less() {
    let access = Access { password: Some("open-redis"), sentinel_password: Some("open-sentinel") };
    let group = SentinelGroup::start_with(&access);
    let nodes = join_group(&group.url_with(":open-redis@", "&sentinel_password=open-sentinel"));
    check_exchange(&mut nodes[0].client(), &mut nodes[1].client());
    let shut_out = [
        (group.url_with(":open-redis@", ""), "Authentication required"),
        (group.url_with("", "&sentinel_password=open-sentinel"), "Authentication required"),
        (group.url_with(":open-redis@", "&sentinel_password=open-nothing"), "Password authentication failed"),
    ];
    for (url, why) in shut_out {
        let node = node_at(&url, &[]);
        node.wait_for_log(why);
        assert_eq!(links(&node), (0, 0));
        assert!(!node.log().contains("open-"), "{}", node.log());
    }
    assert!(nodes.iter().all(|node| !node.log().contains("open-")));
}

#[test]
fn sentinels_and_redis_are_reached_over_tls() {
    let master = Redis::start_tls();
    let sentinel = Sentinel::start_tls(&master);
    let url = format!("rediss+sentinel://127.0.0.1:{}/?master=main", sentinel.port());
    let trust = [("SSL_CERT_FILE", master.authority())];
    let trust = trust.each_ref().map(|(name, file)| (*name, file.as_str()));
    let (near, far) = (node_at(&url, &trust), node_at(&url, &trust));
    for node in [&near, &far] {
        wait_for_links(node);
        eventually("the node listens to the Sentinel", || node.metric("redis_sentinels_up") == 1);
    }
    check_exchange(&mut near.client(), &mut far.client());
    // Who does not know the authority speaks with neither.
    let distrustful = node_at(&url, &[]);
    distrustful.wait_for_log("certificate");
    assert_eq!(links(&distrustful), (0, 0));
}

/// The rules of the users that the documents recommend: one for Redis, one for the Sentinels.
fn recommended_users() -> Vec<Vec<&'static str>> {
    let lines = include_str!("../../docs/redis.md").lines().filter_map(|line| line.strip_prefix("user "));
    lines.map(|line| line.split(' ').collect()).collect()
}

#[test]
fn users_that_may_do_no_more_than_the_documents_say_are_enough() {
    let mut group = SentinelGroup::start();
    let [redis, sentinel] = recommended_users().try_into().unwrap();
    let set_user = |rules: Vec<&'static str>| [vec!["ACL", "SETUSER"], rules].concat();
    for server in group.servers() {
        let _: () = server.command(&set_user(redis.clone()));
    }
    for number in 0..3 {
        let _: String = group.sentinel(number).command(&set_user(sentinel.clone())).unwrap();
    }
    let url = group.url_with("texto:PASSWORD@", "&sentinel_user=texto&sentinel_password=PASSWORD");
    let nodes = join_group(&url);
    check_exchange(&mut nodes[0].client(), &mut nodes[1].client());
    for node in nodes {
        eventually("messages come round", || node.metric("redis_round_trips_up") == 1);
        assert!(!node.log().contains("WARN"), "{}", node.log());
    }
}
