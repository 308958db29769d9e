//! Messages between nodes: what arrives, when it is acknowledged, and what is said to those who leave.

use serde_json::{Value, json};

use super::go_nodes::GoNode;
use crate::node::{Came, Client, Node, eventually, frame, id};
use crate::redis::Redis;
use crate::{answers, join, nobody, spread};

#[test]
fn clients_of_two_nodes_chat_both_ways() {
    let redis = Redis::start(&[]);
    let (near, far) = (join(&redis, &[]), join(&redis, &[]));
    let (mut a, mut b) = (near.client(), far.client());
    let check = |from: &mut Client, to: &mut Client, text: &str| {
        from.deliver(to.id(), text);
        let message = to.expect("receive");
        let expected = json!({
            "client_id": to.id(), "id": message["id"], "kind": "receive", "data": {"sender_id": from.id(), "text": text}
        });
        assert_eq!(message, expected);
        uuid_version_4(&message["id"])
    };
    let ids = [check(&mut a, &mut b, "hello"), check(&mut b, &mut a, "hello yourself"), check(&mut a, &mut b, "hello")];
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "each message has an id of its own: {ids:?}");
    // An upper-case id names the same client.
    a.deliver(&b.id().to_uppercase(), "who are you?");
    assert_eq!(b.receive(), "who are you?");
}

fn uuid_version_4(id: &Value) -> String {
    let id = id.as_str().unwrap();
    let uuid = uuid::Uuid::parse_str(id).unwrap();
    assert_eq!((uuid.get_version_num(), uuid.hyphenated().to_string().as_str()), (4, id));
    id.to_owned()
}

#[test]
fn text_keeps_its_characters_whatever_escapes_it_travels_in() {
    let redis = Redis::start(&[]);
    let (near, far) = (join(&redis, &[]), join(&redis, &[]));
    let (mut a, mut b) = (near.client(), far.client());
    let (from, to) = (a.id().to_owned(), b.id().to_owned());
    let mut check = |literal: &str, text: &str| {
        let id = id();
        a.say(&format!(r#"{{"client_id":"{from}","id":"{id}","kind":"send","data":{{"receiver_id":"{to}","text":{literal}}}}}"#));
        assert_eq!(a.expect("ack")["id"], id);
        assert!(b.receive() == text, "{} bytes: {:.80}", literal.len(), literal);
    };
    check(r#""""#, "");
    check(r#""\u0000 and \u001f""#, "\0 and \u{1f}");
    check(r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t");
    check(r#""\u003cb\u003e \u0026 <b> &""#, "<b> & <b> &");
    check(r#""é \u00e9 \u00E9 e\u0301""#, "é é é e\u{301}");
    check(r#""👩‍👩‍👧 \ud83d\ude00 \uD83D\uDE00""#, "👩‍👩‍👧 😀 😀");
    check(
        "\"\u{7f} \u{2028} \u{2029} \u{feff} \u{fffd} \u{ffff} \u{10ffff}\"",
        "\u{7f} \u{2028} \u{2029} \u{feff} \u{fffd} \u{ffff} \u{10ffff}",
    );
    check(r#""\u2028 \uffff \udbff\udfff \ud800\udc00""#, "\u{2028} \u{ffff} \u{10ffff} \u{10000}");
    check(r#""{\"kind\":\"ack\"}\r\n$5\r\nhello\r\n""#, "{\"kind\":\"ack\"}\r\n$5\r\nhello\r\n");
    // A message of exactly the largest size, 256 KiB by default, of characters that are two bytes each.
    let around = r#"{"client_id":"","id":"","kind":"send","data":{"receiver_id":"","text":""}}"#.len() + 3 * 36;
    let long = "é".repeat((256 * 1024 - around) / 2);
    check(&format!("\"{long}\""), &long);
}

#[test]
fn messages_within_a_node_do_not_go_through_redis() {
    let redis = Redis::start(&[]);
    let (witness, near, far) = (GoNode::join(&redis), join(&redis, &[]), join(&redis, &[]));
    let mut clients = spread(&near, 2, 4);
    let ids: Vec<String> = clients.iter().map(|client| client.id().to_owned()).collect();
    for (from, to) in (0..ids.len()).flat_map(|from| (0..ids.len()).map(move |to| (from, to))) {
        clients[from].deliver(&ids[to], "neighbour");
        assert_eq!(clients[to].receive(), "neighbour");
    }
    let mut stranger = far.client();
    clients[0].deliver(stranger.id(), "traveller");
    assert_eq!(stranger.receive(), "traveller");
    let (channel, payload) = witness.hear_message();
    assert!(channel.ends_with(stranger.id()) && payload.contains("traveller"), "{payload}");
    let sends = |route| near.metric(&format!("sends_total{{route=\"{route}\"}}"));
    let local = (ids.len() * ids.len()) as u64;
    eventually("each send is counted by its route", || (sends("loop") + sends("node"), sends("redis"), sends("nobody")) == (local, 1, 0));
}

#[test]
fn an_ack_waits_for_redis_and_nothing_local_waits_with_it() {
    let redis = Redis::start(&[]);
    let (near, far) = (join(&redis, &[("publish-timeout", "20s")]), join(&redis, &[]));
    let (mut clients, mut stranger) = (spread(&near, 2, 2), far.client());
    redis.pause();
    let waiting: Vec<_> = clients.iter_mut().map(|client| client.send(stranger.id(), "through a stopped Redis")).collect();
    let ids: Vec<String> = clients.iter().map(|client| client.id().to_owned()).collect();
    // Each of these panics if something else comes before its own answer, such as an ack that did not wait.
    for (from, to) in (0..ids.len()).flat_map(|from| (0..ids.len()).map(move |to| (from, to))) {
        clients[from].deliver(&ids[to], "around it");
        assert_eq!(clients[to].receive(), "around it");
    }
    redis.resume();
    for (client, id) in clients.iter_mut().zip(waiting) {
        assert_eq!(answers(client, &[id]), [Ok(())]);
        assert_eq!(stranger.receive(), "through a stopped Redis");
    }
}

#[test]
fn a_message_to_nobody_is_acknowledged_and_dropped() {
    let redis = Redis::start(&[]);
    let (near, far) = (join(&redis, &[]), join(&redis, &[]));
    for node in [&near, &Node::start(&[("loops", "2")])] {
        let mut client = node.client();
        client.deliver(&nobody(1), "anybody?");
        client.deliver("00000000-0000-0000-0000-000000000000", "anybody?");
        client.check();
    }
    // Those who have left, of this node and of another, from both.
    for node in [&near, &far] {
        let gone = leave(node.client());
        for mut client in [near.client(), far.client()] {
            client.deliver(&gone, "still there?");
            client.check();
        }
        let mut back = node.client();
        assert_ne!(back.id(), gone, "a session ends with its connection");
        back.check();
    }
    let reached = |node: &Node| node.metric("deliveries_total");
    assert_eq!((reached(&near), reached(&far)), (0, 0));
}

/// Closes as a browser does, and waits until the node has seen it.
fn leave(mut client: Client) -> String {
    client.frame(0x88, &1000_u16.to_be_bytes());
    assert_eq!(client.expect_close(), Some(1000));
    client.expect_end();
    client.id().to_owned()
}

#[test]
fn what_was_sent_whole_before_a_close_is_handed_on_and_answered_before_the_end() {
    let redis = Redis::start(&[]);
    let (near, far) = (join(&redis, &[]), join(&redis, &[]));
    let mut receiver = far.client();
    check_leaver(near.client(), &mut receiver, Leave::Close);
    check_leaver(near.client(), &mut receiver, Leave::HalfClose);
    // The receiver has seen all of both, and nothing more.
    receiver.check();
}

/// How a client goes.
#[derive(Clone, Copy)]
enum Leave {
    Close,
    HalfClose,
}

/// Sends a hundred messages and half of another, and leaves in the same breath.
fn check_leaver(mut client: Client, receiver: &mut Client, how: Leave) {
    let (requests, ids): (Vec<_>, Vec<_>) = (0..100).map(|number| client.request(receiver.id(), &number.to_string())).unzip();
    let mut bytes: Vec<u8> = requests.iter().flat_map(|request| frame(0x81, request.as_bytes())).collect();
    match how {
        Leave::Close => bytes.extend(frame(0x88, &1000_u16.to_be_bytes())),
        Leave::HalfClose => bytes.extend(&frame(0x81, requests[0].as_bytes())[..100]),
    }
    client.write(&bytes);
    if let Leave::HalfClose = how {
        client.half_close();
    }
    assert_eq!(answers(&mut client, &ids), vec![Ok(()); ids.len()]);
    if let Leave::Close = how {
        assert_eq!(client.next(), Came::Close(Some(1000), String::new()));
    }
    assert_eq!(client.next(), Came::End);
    for number in 0..100 {
        assert_eq!(receiver.receive(), number.to_string());
    }
}

#[test]
fn who_leaves_while_redis_stalls_is_told_before_the_end() {
    let redis = Redis::start(&[]);
    // The closing handshake has a deadline, but what is owed to the client before it has one of its own.
    let (near, far) = (join(&redis, &[("publish-timeout", "3s"), ("close-timeout", "1s")]), join(&redis, &[]));
    let (mut leaver, receiver) = (near.client(), far.client());
    redis.pause();
    let ids: Vec<_> = (0..3).map(|_| leaver.send(receiver.id(), "bad timing")).collect();
    leaver.half_close();
    assert!(answers(&mut leaver, &ids).iter().all(Result::is_err));
    assert_eq!(leaver.next(), Came::End);
    redis.resume();
}
