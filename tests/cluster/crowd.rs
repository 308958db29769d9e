//! Many to one and all to all: nothing is lost, nothing comes twice, each sender's messages come in order, each send is answered once.

use std::collections::HashMap;
use std::thread;

use crate::node::{Came, Client, Node};
use crate::redis::Redis;
use crate::{join, outcome, spread};

/// Messages from each sender to each receiver.
const EACH: usize = 200;

/// Nobody here is a slow reader for what may pile up while all threads of the test share a processor.
const ROOM: (&str, &str) = ("outbox-size", "64MiB");

/// What one client has yet to see.
struct Tally {
    /// Requests not answered, by receiver, in the order of their sending; the last is the next to be answered.
    unanswered: HashMap<String, Vec<String>>,
    receiver_of: HashMap<String, String>,
    /// The number of the next message from each sender.
    next: HashMap<String, usize>,
}

/// A client that sends [`EACH`] messages to all `receivers` in turn, and gets as many from all `senders`.
fn take_part(client: &mut Client, receivers: &[String], senders: &[String]) {
    let mut tally =
        Tally { unanswered: HashMap::new(), receiver_of: HashMap::new(), next: senders.iter().map(|sender| (sender.clone(), 0)).collect() };
    for number in 0..EACH {
        for receiver in receivers {
            let id = client.send(receiver, &number.to_string());
            tally.receiver_of.insert(id.clone(), receiver.clone());
            tally.unanswered.entry(receiver.clone()).or_default().insert(0, id);
        }
    }
    for _ in 0..EACH * (receivers.len() + senders.len()) {
        tally.see(&client.next());
    }
    assert!(tally.unanswered.values().all(Vec::is_empty));
    assert!(tally.next.values().all(|&next| next == EACH));
}

impl Tally {
    fn see(&mut self, came: &Came) {
        let Came::Message(message) = came else { panic!("expected a message, got {came:?}") };
        if let Some((id, outcome)) = outcome(message) {
            assert_eq!(outcome, Ok(()));
            let receiver = self.receiver_of.get(&id).expect("only what was sent is answered");
            assert_eq!(self.unanswered.get_mut(receiver).and_then(Vec::pop), Some(id), "answers come once and in order");
            return;
        }
        assert_eq!(message["kind"], "receive");
        let next = self.next.get_mut(message["data"]["sender_id"].as_str().unwrap()).expect("only from those who send");
        assert_eq!(message["data"]["text"], next.to_string(), "messages come once and in order");
        *next += 1;
    }
}

/// All `senders` send to all `receivers`, at the same time.
fn check_crowd(senders: &mut [Client], receivers: &mut [Client]) {
    let ids = |clients: &[Client]| clients.iter().map(|client| client.id().to_owned()).collect::<Vec<_>>();
    let (sender_ids, receiver_ids) = (&ids(senders), &ids(receivers));
    thread::scope(|scope| {
        for client in &mut *receivers {
            scope.spawn(|| take_part(client, &[], sender_ids));
        }
        for client in &mut *senders {
            scope.spawn(|| take_part(client, receiver_ids, &[]));
        }
    });
    check_nothing_is_left(senders, receivers);
}

/// Whatever came twice would come before this.
fn check_nothing_is_left(senders: &mut [Client], receivers: &mut [Client]) {
    for receiver in receivers {
        for sender in &mut *senders {
            sender.deliver(receiver.id(), "the last word");
            assert_eq!(receiver.receive(), "the last word");
        }
    }
}

#[test]
fn fifty_on_all_loops_of_a_node_send_to_one() {
    let node = Node::start(&[("loops", "4"), ROOM]);
    let mut receiver = [node.client()];
    check_crowd(&mut spread(&node, 4, 50), &mut receiver);
    let sends = |route| node.metric(&format!("sends_total{{route=\"{route}\"}}"));
    assert!(sends("loop") > 0 && sends("node") > 0, "the senders share their loop with the receiver, and do not");
}

#[test]
fn fifty_on_all_loops_of_three_nodes_send_to_one() {
    let redis = Redis::start(&[]);
    let nodes = [(); 3].map(|()| join(&redis, &[ROOM, ("loops", "4"), ("publish-timeout", "20s")]));
    let mut receiver = [nodes[0].client()];
    let mut senders: Vec<Client> = nodes.iter().flat_map(|node| spread(node, 4, 17)).collect();
    check_crowd(&mut senders, &mut receiver);
}

#[test]
fn eight_on_three_nodes_send_to_all_eight() {
    let redis = Redis::start(&[]);
    let nodes = [(); 3].map(|()| join(&redis, &[ROOM, ("publish-timeout", "20s")]));
    let mut clients: Vec<Client> = (0..8).map(|number| nodes[number % 3].client()).collect();
    let ids: Vec<String> = clients.iter().map(|client| client.id().to_owned()).collect();
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| take_part(client, &ids, &ids));
        }
    });
    for client in &mut clients {
        client.check();
    }
}
