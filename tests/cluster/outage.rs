//! Redis is not there yet, dies, stalls, comes back. Whatever it does, a send gets exactly one answer, and local traffic goes on.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::node::{Client, Node, eventually};
use crate::redis::Redis;
use crate::{Outcome, answers, attempt, count_in_log, join, links, nobody, node_at, wait_for_links};

const DOWN: &str = "the message was not sent: this node has no connection to the other nodes at the moment";
const QUEUE_FULL: &str = "the message was not sent: too many messages are waiting for the other nodes";
pub(super) const UNANSWERED: &str = "nothing confirmed the message in time: it may still arrive, or it may be lost";

/// How long a node may take to find a Redis that is there again, after a short outage.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

pub(super) fn refused(why: &str) -> Outcome {
    Err(why.to_owned())
}

/// Whether a message from each to the other arrives, through Redis.
fn check_exchange(a: &mut Client, b: &mut Client) {
    a.deliver(b.id(), "there");
    assert_eq!(b.receive(), "there");
    b.deliver(a.id(), "and back");
    assert_eq!(a.receive(), "and back");
}

/// Waits until all these nodes are connected again, and tells how long that took.
fn check_recovery(what: &str, nodes: [&Node; 2], since: Instant) {
    nodes.into_iter().for_each(wait_for_links);
    let took = since.elapsed();
    println!("after {what} the nodes were connected again within {took:?}");
    assert!(took < RECOVERY_MAX, "{took:?}");
}

#[test]
fn a_node_starts_before_its_redis_and_finds_it_when_it_comes() {
    let mut redis = Redis::prepare(&[]);
    let (near, far) = (node_at(&redis.url(), &[]), node_at(&redis.url(), &[]));
    let (mut a, mut b) = (near.client(), far.client());
    a.check();
    assert_eq!(attempt(&mut a, b.id()), refused(DOWN));
    assert_eq!(near.admin_status("/ready"), 200);
    redis.spawn();
    let since = Instant::now();
    check_recovery("the first start of Redis", [&near, &far], since);
    check_exchange(&mut a, &mut b);
    assert_eq!((count_in_log(&near, "no connection to Redis"), count_in_log(&near, "connected to Redis")), (2, 2));
}

#[test]
fn a_killed_redis_refuses_at_once_and_is_found_again() {
    let mut redis = Redis::start(&[]);
    let (near, far) = (join(&redis, &[]), join(&redis, &[]));
    let (mut a, mut b) = (near.client(), far.client());
    check_exchange(&mut a, &mut b);
    redis.kill();
    eventually("the loss is noticed with nothing sent", || links(&near) == (0, 0) && links(&far) == (0, 0));
    let ids: Vec<_> = (0..100).map(|_| a.send(b.id(), "into the void")).collect();
    assert_eq!(answers(&mut a, &ids), vec![refused(DOWN); 100]);
    a.check();
    redis.spawn();
    check_recovery("a crash of Redis", [&near, &far], Instant::now());
    // What was refused was not kept: the next message is the next that arrives.
    check_exchange(&mut a, &mut b);
    for node in [&near, &far] {
        assert_eq!((count_in_log(node, "lost Redis"), count_in_log(node, "connected to Redis")), (2, 4), "{}", node.log());
    }
}

#[test]
fn each_send_has_one_answer_in_order_while_redis_is_killed_under_load() {
    let mut redis = Redis::start(&[]);
    let (near, far) = (join(&redis, &[]), join(&redis, &[]));
    let (mut a, mut b) = (near.client(), far.client());
    let mut ids = Vec::new();
    for batch in 0..40 {
        ids.extend((0..50).map(|number| a.send(b.id(), &(batch * 50 + number).to_string())));
        match batch {
            10 => redis.kill(),
            25 => redis.spawn(),
            _ => {}
        }
    }
    let outcomes = answers(&mut a, &ids);
    for outcome in &outcomes {
        assert!([Ok(()), refused(DOWN), refused(UNANSWERED)].contains(outcome), "{outcome:?}");
    }
    [&near, &far].into_iter().for_each(wait_for_links);
    a.deliver(b.id(), "the last word");
    let mut last = None;
    loop {
        let text = b.receive();
        if text == "the last word" {
            break;
        }
        let number: usize = text.parse().unwrap();
        assert!(last < Some(number), "{number} came after {last:?}");
        assert_ne!(outcomes[number], refused(DOWN), "what was refused has arrived");
        last = Some(number);
    }
}

#[test]
fn a_stalled_redis_is_given_up_in_time_and_local_traffic_never_waits() {
    const TIMEOUT: Duration = Duration::from_millis(500);
    let redis = Redis::start(&[]);
    let (near, far) = (join(&redis, &[("publish-timeout", "500ms")]), join(&redis, &[]));
    let (mut a, mut b, mut neighbour) = (near.client(), far.client(), near.client());
    check_exchange(&mut a, &mut b);
    redis.pause();
    let since = Instant::now();
    let id = a.send(b.id(), "it may still arrive");
    // From here on the neighbour's messages go there and back while the other one waits; each within less than the wait.
    let mut longest = Duration::ZERO;
    let mut rounds = 0;
    while near.metric("redis_refused_total{reason=\"unanswered\"}") == 0 {
        let before = Instant::now();
        neighbour.check();
        longest = longest.max(before.elapsed());
        rounds += 1;
    }
    assert!(rounds > 1 && longest < TIMEOUT / 2, "{rounds} local rounds, the longest {longest:?}");
    let took = since.elapsed();
    assert_eq!(answers(&mut a, &[id]), [refused(UNANSWERED)]);
    assert!(took >= TIMEOUT && took < 3 * TIMEOUT, "{took:?}");
    // The kernel still takes connections for a stopped process, but nobody is served on them.
    assert_eq!(attempt(&mut a, b.id()), refused(DOWN));
    neighbour.deliver(a.id(), "I am still here");
    assert_eq!(a.receive(), "I am still here");
    redis.resume();
    check_recovery("a stall of Redis", [&near, &far], Instant::now());
    a.deliver(b.id(), "after the stall");
    // Redis took the first message after all, as the sender was told it might; the other node was connected all the time.
    assert_eq!([b.receive(), b.receive()], ["it may still arrive", "after the stall"]);
    assert_eq!((count_in_log(&near, "lost Redis"), count_in_log(&far, "lost Redis")), (1, 0), "{}", near.log());
}

#[test]
fn a_full_queue_refuses_others_at_once_and_stays_small() {
    const COUNT: usize = 5_000;
    let redis = Redis::start(&[]);
    let node = join(&redis, &[("publish-queue", "64KiB"), ("publish-timeout", "2s"), ("outbox-size", "8MiB")]);
    let (mut a, mut b) = (node.client(), node.client());
    redis.pause();
    let text = "x".repeat(1000);
    let before = node.process().anonymous_bytes();
    let ids: Vec<_> = (0..COUNT).map(|_| a.send(&nobody(1), &text)).collect();
    // Its own recipient has nothing in the queue, so this one waits for nobody.
    eventually("the queue is full", || node.metric("redis_queue_messages") > 60);
    assert_eq!(attempt(&mut b, &nobody(2)), refused(QUEUE_FULL));
    b.check();
    assert_eq!(node.metric("redis_refused_total{reason=\"unanswered\"}"), 0, "all this while Redis may still answer");
    eventually("all are in the queue, or refused in their places", || node.metric("redis_queue_messages") >= COUNT as u64);
    assert!(node.metric("redis_queue_bytes") <= 64 * 1024);
    let grown = node.process().anonymous_bytes().saturating_sub(before);
    assert!(grown < 6 << 20, "{grown} bytes for a queue of 64 KiB, two copies of what waits and {COUNT} refusals");
    let outcomes = answers(&mut a, &ids);
    assert!(outcomes.iter().all(|outcome| [refused(UNANSWERED), refused(DOWN), refused(QUEUE_FULL)].contains(outcome)));
    let full = outcomes.iter().filter(|outcome| **outcome == refused(QUEUE_FULL)).count();
    assert!(full > COUNT - 100, "{full}");
    redis.resume();
    wait_for_links(&node);
    assert_eq!(attempt(&mut a, &nobody(1)), Ok(()));
}

#[test]
fn a_flood_without_redis_is_answered_whole_and_in_order() {
    const EACH: usize = 300;
    let unborn = Redis::prepare(&[]);
    let node = node_at(&unborn.url(), &[("loops", "1")]);
    let mut clients: Vec<Client> = (0..40).map(|_| node.client()).collect();
    // While the node stands still, its sockets take what each client says, so it finds all of it in one tick.
    node.signal(Signal::STOP);
    let floods: Vec<Vec<String>> = clients.iter_mut().map(|client| (0..EACH).map(|_| client.send(&nobody(1), "")).collect()).collect();
    node.signal(Signal::CONT);
    for (client, ids) in clients.iter_mut().zip(&floods) {
        assert_eq!(answers(client, ids), vec![refused(DOWN); EACH]);
        client.check();
    }
    assert_eq!(node.metric("redis_refused_total{reason=\"down\"}"), 40 * EACH as u64);
}
