//! Next to nodes of the earlier implementation in Go, and next to anybody who publishes nonsense.

use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::Value;
use texto::limits::LOG_KIND_BURST;

use crate::node::{Client, Node, PATIENCE, eventually};
use crate::redis::Redis;
use crate::{join, nobody};

/// What a Go node does on Redis: it listens to the channels of everybody, and publishes what its clients send to those of others.
pub(super) struct GoNode<'r> {
    redis: &'r Redis,
    heard: Receiver<(String, Vec<u8>)>,
}

impl GoNode<'_> {
    pub(super) fn join(redis: &Redis) -> GoNode<'_> {
        let mut connection = redis.connection();
        let (sender, heard) = channel();
        let (ready, subscribed) = channel();
        // The thread ends when its connection does, with the Redis of the test.
        thread::spawn(move || {
            let mut messages = connection.as_pubsub();
            // More than it needs: nothing whatsoever that a node publishes is to be missed.
            messages.psubscribe("*").unwrap();
            ready.send(()).unwrap();
            while let Ok(message) = messages.get_message() {
                let _test_is_over = sender.send((message.get_channel_name().to_owned(), message.get_payload_bytes().to_owned()));
            }
        });
        subscribed.recv_timeout(PATIENCE).unwrap();
        GoNode { redis, heard }
    }

    /// Publishes on the channel of `recipient`, and takes note of it as everybody does.
    fn publish(&self, recipient: &str, payload: &[u8]) {
        let channel = format!("texto:{recipient}");
        let _: i64 = ::redis::cmd("PUBLISH").arg(&channel).arg(payload).query(&mut self.redis.connection()).unwrap();
        assert_eq!(self.hear(), (channel, payload.to_owned()));
    }

    /// The next message that is not from a node to itself: those come every few seconds, and are for nobody.
    fn hear(&self) -> (String, Vec<u8>) {
        loop {
            let (channel, payload) = self.heard.recv_timeout(PATIENCE).expect("something is published");
            if !is_probe(&payload) {
                return (channel, payload);
            }
        }
    }

    /// What was published to whom, as a Go node reads it.
    pub(super) fn hear_message(&self) -> (String, String) {
        let (channel, payload) = self.hear();
        (channel, String::from_utf8(payload).unwrap())
    }
}

/// Whether a message is from a node to itself: no client's message to itself goes through Redis.
fn is_probe(payload: &[u8]) -> bool {
    let message = serde_json::from_slice::<Value>(payload).unwrap_or_default();
    message["SenderID"].is_string() && message["SenderID"] == message["RecipientID"]
}

/// Whether a Go node can read a UUID.
fn is_for_go(id: &str) -> bool {
    uuid::Uuid::parse_str(id).is_ok_and(|uuid| {
        (uuid.get_version_num(), uuid.get_variant()) == (4, uuid::Variant::RFC4122) && uuid.as_hyphenated().to_string() == id
    })
}

#[test]
fn what_a_node_sends_to_itself_is_for_a_go_node_a_message_to_nobody() {
    let redis = Redis::start(&[]);
    let (go, node) = (GoNode::join(&redis), join(&redis, &[("redis-probe-interval", "100ms")]));
    let client = node.client();
    for _ in 0..5 {
        let (channel, payload) = go.heard.recv_timeout(PATIENCE).expect("a node sends to itself");
        let text = String::from_utf8(payload).unwrap();
        let message: Value = serde_json::from_str(&text).unwrap();
        let id = message["RecipientID"].as_str().unwrap();
        assert_eq!(text, format!(r#"{{"SenderID":"{id}","RecipientID":"{id}","Text":{}}}"#, message["Text"]));
        assert!(is_for_go(id) && message["Text"].is_string(), "{text}");
        assert_eq!((channel, &id[..6]), (format!("texto:{id}"), &client.id()[..6]));
        assert_ne!(id, client.id());
    }
}

#[test]
fn a_go_node_understands_what_a_client_here_sends() {
    let redis = Redis::start(&[]);
    let (go, node) = (GoNode::join(&redis), join(&redis, &[]));
    let mut client = node.client();
    let recipient = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let mut check = |receiver: &str, text: &str| {
        client.deliver(receiver, text);
        let (channel, payload) = go.hear_message();
        assert_eq!(channel, format!("texto:{recipient}"));
        let sender = client.id();
        let text_as_json = Value::from(text).to_string();
        assert_eq!(payload, format!(r#"{{"SenderID":"{sender}","RecipientID":"{recipient}","Text":{text_as_json}}}"#));
        assert!(is_for_go(sender), "{sender}");
    };
    check(recipient, "hello, Go");
    check(&recipient.to_uppercase(), "<b> & \"quoted\" \u{2028} \0 😀");
    // The messages of a node to its own clients, its greetings and its pings are nobody's business.
    client.check();
    drop(node);
    assert!(go.heard.try_iter().all(|(_, payload)| is_probe(&payload)), "nothing else is ever published");
}

#[test]
fn what_a_sibling_loop_does_not_hold_is_passed_on_to_whoever_shares_the_tag() {
    let redis = Redis::start(&[]);
    let (go, node) = (GoNode::join(&redis), join(&redis, &[]));
    let mut client = node.client();
    // Tags are drawn by chance, so a node cannot be given that of another. What it could hear of the other one's clients is this:
    let sibling = format!("{}{:02x}", &client.id()[..6], 1 - client.event_loop());
    let twin = format!("{sibling}-ffff-4fff-8fff-ffffffffffff");
    client.deliver(&twin, "are you on the other node?");
    let expected = format!(r#"{{"SenderID":"{}","RecipientID":"{twin}","Text":"are you on the other node?"}}"#, client.id());
    assert_eq!(go.hear_message(), (format!("texto:{twin}"), expected));
    // It comes back, and that is the end of it: nobody is answered twice, and nothing goes around in a circle.
    eventually("the node has heard it, too", || (node.metric("redis_received_total"), node.metric("deliveries_dropped_total")) == (1, 2));
    client.check();
    client.deliver(&nobody(1), "the last word");
    assert!(go.hear_message().1.contains("the last word"));
}

#[test]
fn a_client_here_understands_what_a_go_node_publishes() {
    let redis = Redis::start(&[]);
    let (go, node) = (GoNode::join(&redis), join(&redis, &[]));
    let (mut client, mut other) = (node.client(), node.client());
    let sender = "0b4d1f0e-87b6-4b1f-a3c5-2f1d7f5b9a10";
    let (id, other_id) = (client.id().to_owned(), other.id().to_owned());
    let mut check = |payload: String, text: &str| {
        go.publish(&id, payload.as_bytes());
        let message = client.expect("receive");
        assert_eq!((&message["data"]["sender_id"], &message["data"]["text"]), (&Value::from(sender), &Value::from(text)));
    };
    check(format!(r#"{{"SenderID":"{sender}","RecipientID":"{id}","Text":"\u003cb\u003e \u0026 é \u2028"}}"#), "<b> & é \u{2028}");
    check(format!(r#"{{"Text":"\ud83d\ude00","RecipientID":"{id}","SenderID":"{sender}"}}"#), "😀");
    check(format!(r#"{{"Hops":[1,{{}}],"Text":"","SenderID":"{sender}","At":null,"RecipientID":"{id}"}}"#), "");
    let upper = [sender.to_uppercase(), id.to_uppercase()];
    check(format!("\n{{ \"SenderID\" : \"{}\",\t\"RecipientID\" : \"{}\", \"Text\" : \"spaced\" }} ", upper[0], upper[1]), "spaced");
    // The recipient is the one in the payload.
    go.publish(&id, format!(r#"{{"SenderID":"{sender}","RecipientID":"{other_id}","Text":"not for the channel"}}"#).as_bytes());
    assert_eq!(other.receive(), "not for the channel");
    client.check();
}

/// Payloads that are no messages to `id`.
fn garbage(id: &str) -> Vec<Vec<u8>> {
    let from = nobody(1);
    let payload = |from: &str, to: &str, text: &str| format!(r#"{{"SenderID":{from},"RecipientID":{to},"Text":{text}}}"#);
    let (from, to) = (format!("\"{from}\""), format!("\"{id}\""));
    let good = payload(&from, &to, "\"x\"");
    let texts = [
        String::new(),
        "hello".into(),
        "null".into(),
        "[]".into(),
        format!("[{from},{to},\"x\"]"),
        "{}".into(),
        "{".repeat(100_000),
        good[..good.len() - 1].into(),
        format!("{good}{good}"),
        payload(&from, &to, "7"),
        payload(&from, &to, "null"),
        payload(&from, &to, r#"{"a":"b"}"#),
        payload(&from, &to, r#""\ud800""#),
        payload(&from, &to, r#""\ude00\ud83d""#),
        payload(&from, &to, "\"a\nb\""),
        payload(&from, "7", "\"x\""),
        payload("null", &to, "\"x\""),
        payload("\"\"", &to, "\"x\""),
        payload(&format!("\"{}\"", id.replace('-', "")), &to, "\"x\""),
        payload(&from, &format!("\"{{{id}}}\""), "\"x\""),
        payload(&from, &format!("\"urn:uuid:{id}\""), "\"x\""),
        payload(&from, &format!("\"{}z\"", &id[..35]), "\"x\""),
        good.replace("\"Text\"", "\"text\""),
        good.replace("SenderID", "Sender"),
    ];
    let noise = (0..2_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    texts.into_iter().map(String::into_bytes).chain([b"{\"Text\":\"\xff\"}".to_vec(), noise]).collect()
}

#[test]
fn garbage_is_counted_dropped_and_logged_a_few_times() {
    let redis = Redis::start(&[]);
    let (go, node) = (GoNode::join(&redis), join(&redis, &[]));
    let mut client = node.client();
    let garbage = garbage(client.id());
    let burst = LOG_KIND_BURST as usize;
    let count = garbage.iter().cycle().take(burst + 50).inspect(|payload| go.publish(client.id(), payload)).count();
    eventually("all garbage is counted", || node.metric("redis_garbage_total") == count as u64);
    // One more for each ten seconds that this takes.
    assert!((burst..burst + 10).contains(&count_complaints(&node)), "{}", node.log());
    assert!(!node.log().contains(client.id()), "the log names no client");
    check_still_served(&node, &go, &mut client);
}

#[test]
fn messages_for_others_and_messages_too_large_are_counted_and_dropped() {
    let redis = Redis::start(&[]);
    let (go, node) = (GoNode::join(&redis), join(&redis, &[]));
    let mut client = node.client();
    let payload = |to: &str, text: &str| format!(r#"{{"SenderID":"{}","RecipientID":"{to}","Text":"{text}"}}"#, nobody(1)).into_bytes();
    // For a client of another node, for one of this node and of a loop that it does not have, for one that is not there, and for one
    // that could never take it.
    let (foreign, loopless) = (nobody(2), format!("{}ff-0000-4000-8000-000000000000", &client.id()[..6]));
    let absent = format!("{}-ffff-4fff-8fff-ffffffffffff", &client.id()[..8]);
    for to in [&foreign, &loopless, &absent] {
        go.publish(client.id(), &payload(to, "x"));
    }
    go.publish(client.id(), &payload(client.id(), &"x".repeat(2_000_000)));
    eventually("each is counted", || (node.metric("redis_strays_total"), node.metric("redis_received_total")) == (1, 3));
    eventually("each is dropped", || node.metric("deliveries_dropped_total") == 2);
    assert_eq!(count_complaints(&node), 0);
    check_still_served(&node, &go, &mut client);
}

fn count_complaints(node: &Node) -> usize {
    crate::count_in_log(node, "that are no message")
}

/// The client gets the next message, and nothing came before it; nothing was disconnected.
fn check_still_served(node: &Node, go: &GoNode<'_>, client: &mut Client) {
    let good = format!(r#"{{"SenderID":"{}","RecipientID":"{}","Text":"sense"}}"#, nobody(1), client.id());
    go.publish(client.id(), good.as_bytes());
    assert_eq!(client.receive(), "sense");
    client.check();
    assert_eq!(node.metric("redis_reconnects_total"), 0);
}
