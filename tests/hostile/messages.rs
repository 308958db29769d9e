//! Messages that are no envelopes, or never end.

use super::arena::{KIB, MIB, withstands};
use crate::node::{Came, Client, eventually, frame, id};

#[test]
fn json_of_any_kind_is_answered_and_the_connection_goes_on() {
    let with_id = |data: &str| format!(r#"{{"client_id":"$","id":"{}","kind":"send","data":{data}}}"#, id());
    let texts = [
        ("[".repeat(100_000), "ESYNTAX"),
        (r#"{"id":"#.repeat(20_000), "ESYNTAX"),
        (with_id(&("[".repeat(200) + &"]".repeat(200))), "ESYNTAX"),
        (with_id(&"9".repeat(200_000)), "EINVAL or ESYNTAX"),
        (with_id(r#"{"receiver_id":"$","text":"\ud800"}"#), "EINVAL or ESYNTAX"),
        (with_id(r#"{"receiver_id":"$","text":"\udc00\ud800"}"#), "EINVAL or ESYNTAX"),
        (with_id("{\"receiver_id\":\"$\",\"text\":\"\0\"}"), "ESYNTAX"),
        (with_id(r#"{"receiver_id":"$","text":"a","text":"b"}"#), "EINVAL"),
        (with_id("1e999999"), "EINVAL or ESYNTAX"),
        (with_id("null").replace("$", &"x".repeat(200_000)), "ESYNTAX"),
        (with_id("null") + &with_id("null"), "ESYNTAX"),
        ("{}".to_owned() + &" ".repeat(200_000), "ESYNTAX"),
        ("\u{feff}{}".to_owned(), "ESYNTAX"),
        (String::new(), "ESYNTAX"),
    ];
    withstands(&[], |node| {
        let mut client = node.client();
        let own = client.id().to_owned();
        for (text, codes) in &texts {
            client.say(&text.replace('$', &own));
            let shown = &text[..text.len().min(120)];
            match client.next() {
                Came::Message(answer) if answer["kind"] == "error" => {
                    let found = answer["data"]["code"].as_str().unwrap();
                    assert!(codes.contains(found), "{shown}: {answer}");
                }
                other => panic!("{shown}: {other:?}"),
            }
        }
        client.check();
        // A text may hold the character NUL, as an escape.
        client.say(&with_id(r#"{"receiver_id":"$","text":"\u0000"}"#).replace('$', &own));
        client.expect("ack");
        assert_eq!(client.receive(), "\0");
    });
}

#[test]
fn messages_that_never_end_cost_bounded_memory_for_a_bounded_time() {
    const CLIENTS: usize = 500;
    withstands(&[("message-timeout", "1s"), ("message-size", "64KiB")], |node| {
        let process = node.process();
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| node.client()).collect();
        let before = process.anonymous_bytes();
        let mut highest = 0;
        for part in 0..60 {
            let first = if part == 0 { 0x01 } else { 0x00 };
            let part = frame(first, &[b'x'; KIB]);
            clients.iter_mut().for_each(|client| client.write(&part));
            highest = highest.max(process.anonymous_bytes());
        }
        // As much as was said, and as much again for buffers that grow by doubling.
        let bound = CLIENTS as u64 * 2 * 64 * KIB as u64 + 8 * MIB;
        assert!(highest < before + bound, "{} MiB for {CLIENTS} unfinished messages", (highest - before) / MIB);
        for client in &mut clients {
            assert_eq!(client.expect_close(), Some(1008));
        }
        drop(clients);
        let counted = || node.metric(r#"connections_closed_total{reason="slow_message"}"#);
        eventually("they are counted", || counted() == CLIENTS as u64);
    });
}
