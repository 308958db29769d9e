//! A node stops while messages are on their way.

use std::collections::BTreeSet;
use std::thread;

use crate::node::{Came, Client, UPGRADE, eventually};
use crate::redis::Redis;
use crate::{join, nobody, outcome};

/// What a client of the node that stops saw until the end: answers, in order.
struct Seen {
    sent: Vec<String>,
    acknowledged: Vec<String>,
}

/// Sends to `receiver` without a pause until it is told that the node stops, and reads to the end.
fn send_until_closed(client: &mut Client, receiver: &str) -> Seen {
    let mut seen = Seen { sent: Vec::new(), acknowledged: Vec::new() };
    loop {
        for _ in 0..10 {
            seen.sent.push(client.send(receiver, &format!("{}:{}", client.id(), seen.sent.len())));
        }
        for _ in 0..10 {
            match client.next() {
                Came::Message(message) => {
                    let (id, outcome) = outcome(&message).expect("nothing but answers");
                    assert_eq!(outcome, Ok(()), "Redis is well");
                    seen.acknowledged.push(id);
                }
                Came::Close(code, _) => {
                    assert_eq!(code, Some(1012));
                    client.expect_end();
                    return seen;
                }
                other => panic!("expected an answer or a Close, got {other:?}"),
            }
        }
    }
}

#[test]
fn what_a_draining_node_has_handed_on_it_has_answered() {
    let redis = Redis::start(&[]);
    let (mut near, far) = (join(&redis, &[("drain-time", "1s"), ("publish-timeout", "20s")]), join(&redis, &[("outbox-size", "64MiB")]));
    let third = join(&redis, &[]);
    let (mut receiver, mut bystander) = (far.client(), third.client());
    let mut senders: Vec<Client> = (0..20).map(|_| near.client()).collect();
    let mut arrived: BTreeSet<String> = BTreeSet::new();
    let to = &receiver.id().to_owned();
    let seen: Vec<Seen> = thread::scope(|scope| {
        let started: Vec<_> = senders.iter_mut().map(|client| scope.spawn(move || send_until_closed(client, to))).collect();
        arrived.insert(receiver.receive());
        near.terminate();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(near.wait().success());
    // From another node: Redis takes it last, so it arrives last.
    bystander.deliver(receiver.id(), "the last word");
    loop {
        let text = receiver.receive();
        if text == "the last word" {
            break;
        }
        assert!(arrived.insert(text), "twice");
    }
    let mut handed_on = 0;
    for (Seen { sent, acknowledged }, sender) in seen.iter().zip(&senders) {
        assert_eq!(sent[..acknowledged.len()], acknowledged[..], "each once, and in order");
        // What crossed the node's Close on its way is handed on, too, but could not be answered any more.
        let reached = (0..sent.len()).take_while(|number| arrived.contains(&format!("{}:{number}", sender.id()))).count();
        assert!(reached >= acknowledged.len(), "what was acknowledged has arrived");
        handed_on += reached;
    }
    assert_eq!(arrived.len(), handed_on, "from each sender without a gap");
    bystander.check();
}

#[test]
fn a_draining_node_waits_for_a_stalled_redis_to_answer() {
    let redis = Redis::start(&[]);
    let mut node = join(&redis, &[("loops", "1"), ("drain-time", "0s"), ("publish-timeout", "20s")]);
    let mut client = node.client();
    redis.pause();
    let id = client.send(&nobody(1), "on its way");
    client.check();
    node.terminate();
    // The node drains when it takes no new clients.
    eventually("newcomers are refused", || node.http().ask(UPGRADE).status == 503);
    redis.resume();
    assert_eq!(client.expect("ack")["id"], id);
    assert_eq!(client.expect_close(), Some(1012));
    client.expect_end();
    assert!(node.wait().success());
}
