//! Clients that break rules, lie about lengths, never finish, never read, or vanish: a node survives them, gives back what they cost,
//! and nobody else notices.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod node;

use std::io::Write;
use std::time::{Duration, Instant};

use node::{Came, Client, Http, Node, PATIENCE, UPGRADE, eventually, frame, id, poll};

const KIB: usize = 1024;
const MIB: u64 = 1024 * 1024;

/// A node under attack still serves a witness and newcomers, and afterwards holds no descriptor more than before.
fn withstands(settings: &[(&str, &str)], attack: impl FnOnce(&Node, &mut Client)) {
    let mut node = Node::start(settings);
    let mut witness = node.client();
    witness.check();
    let descriptors = node.process().descriptors();
    attack(&node, &mut witness);
    witness.check();
    node.client().check();
    eventually("every descriptor is back", || node.process().descriptors() == descriptors);
    assert!(node.is_running());
}

/// The bytes, and after them more than a socket holds: the answer must get through all the same, without a reset.
fn answer_to(node: &Node, bytes: &[u8]) -> Came {
    let mut client = node.client();
    client.write(bytes);
    for _ in 0..8 {
        client.write(&[0x5a; 64 * KIB]);
    }
    let answer = client.next();
    assert_eq!(client.next(), Came::End);
    answer
}

/// A frame's header with a length of 8 bytes and a mask, and nothing after it.
fn header(first: u8, length: u64) -> Vec<u8> {
    [&[first, 0xff][..], &length.to_be_bytes(), &[1, 2, 3, 4]].concat()
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes(), reason].concat())
}

#[test]
fn frames_that_break_a_rule_end_only_their_own_connection() {
    let mut rows: Vec<(String, Vec<u8>, u16)> = Vec::new();
    let mut row = |claim: &str, bytes: Vec<u8>, code: u16| rows.push((claim.to_owned(), bytes, code));
    row("a length of 2^63-1", header(0x81, u64::MAX >> 1), 1009);
    row("a length with its top bit set", header(0x81, 1 << 63), 1002);
    row("a length of 2^64-1", header(0x82, u64::MAX), 1002);
    row("one byte above the limit", header(0x81, 256 * 1024 + 1), 1009);
    row("fragments above the limit", [frame(0x01, &[b'x'; 200 * KIB]), frame(0x00, &[b'x'; 100 * KIB])].concat(), 1009);
    row("fragments whose last one is announced above the limit", [frame(0x01, b"x"), header(0x80, 256 * 1024)].concat(), 1009);
    row("a short length in 8 bytes", header(0x81, 5), 1002);
    row("a short length in 2 bytes", vec![0x81, 0xfe, 0, 5, 1, 2, 3, 4], 1002);
    row("an unmasked text", vec![0x81, 1, b'A'], 1002);
    row("an unmasked ping", vec![0x89, 0], 1002);
    for first in [0xc1, 0xa1, 0x91, 0xf1, 0xc9, 0xc0] {
        row(&format!("reserved bits in {first:02x}"), frame(first, b"{}"), 1002);
    }
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        row(&format!("reserved opcode {opcode:x}"), frame(0x80 | opcode, b""), 1002);
    }
    for opcode in [0x8, 0x9, 0xa] {
        row(&format!("a fragmented control frame {opcode:x}"), frame(opcode, b""), 1002);
        row(&format!("a control frame {opcode:x} of 126 bytes"), frame(0x80 | opcode, &[3; 126]), 1002);
    }
    row("a continuation of nothing", frame(0x80, b"x"), 1002);
    row("a text within a text", [frame(0x01, b"x"), frame(0x81, b"x")].concat(), 1002);
    row("a million empty continuations", [frame(0x01, b""), frame(0x00, b"").repeat(1_000_000)].concat(), 1008);
    row("a Close of one byte", frame(0x88, &[3]), 1002);
    for code in [0, 999, 1004, 1005, 1006, 1015, 1100, 2999, 5000, 65535] {
        row(&format!("a Close with {code}"), close(code, b""), 1002);
    }
    row("a Close whose reason is not UTF-8", close(1000, b"\xff"), 1007);
    for bad in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\x80", b"\xe2\x82", b"\xe2\x28\xa1"]
    {
        let within = [br#"{"kind":""#, bad, br#""}"#].concat();
        row(&format!("{bad:02x?} in a text"), frame(0x81, &within), 1007);
        row(&format!("{bad:02x?} in a continuation"), [frame(0x01, b"{"), frame(0x89, b""), frame(0x80, &within)].concat(), 1007);
        let (first, rest) = within.split_at(10);
        row(&format!("{bad:02x?} across two frames"), [frame(0x01, first), frame(0x80, rest)].concat(), 1007);
    }
    row("a text that ends within a character", frame(0x81, b"\xe2\x82"), 1007);

    withstands(&[], |node, witness| {
        for (claim, bytes, code) in &rows {
            let answer = answer_past_pongs(node, bytes);
            assert!(matches!(answer, Came::Close(Some(found), _) if found == *code), "{claim}: {answer:?} instead of {code}");
        }
        witness.check();
        eventually("it is counted", || node.metric(r#"connections_closed_total{reason="too_many_fragments"}"#) == 1);
    });
}

/// [`answer_to`] for bytes with a ping among them.
fn answer_past_pongs(node: &Node, bytes: &[u8]) -> Came {
    if !bytes.windows(2).any(|two| two == [0x89, 0x80]) {
        return answer_to(node, bytes);
    }
    let mut client = node.client();
    client.write(bytes);
    match client.next() {
        Came::Pong(_) => client.next(),
        other => other,
    }
}

#[test]
fn closes_that_are_allowed_are_answered_with_the_same_code() {
    withstands(&[], |node, _| {
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 4999] {
            let answer = answer_to(node, &close(code, "gr\u{fc}ezi".as_bytes()));
            assert!(matches!(answer, Came::Close(Some(found), _) if found == code), "{code}: {answer:?}");
        }
        assert_eq!(answer_to(node, &frame(0x88, b"")), Came::Close(None, String::new()));
    });
}

#[test]
fn random_bytes_never_end_more_than_their_own_connection() {
    withstands(&[("close-timeout", "1s")], |node, witness| {
        let mut state = 1_u64;
        for round in 0..200 {
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .take(500)
            .collect();
            // Every other one gets as far as to a session.
            let mut client = if round % 2 == 0 { node.http() } else { Http::adopt(node.client().stream().try_clone().unwrap()) };
            client.try_write(&bytes);
        }
        witness.check();
    });
}

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
    withstands(&[], |node, _| {
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
    withstands(&[("message-timeout", "1s"), ("message-size", "64KiB")], |node, witness| {
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
        witness.check();
        eventually("the memory is back", || process.anonymous_bytes() < before + 4 * MIB);
        let counted = || node.metric(r#"connections_closed_total{reason="slow_message"}"#);
        eventually("they are counted", || counted() == CLIENTS as u64);
    });
}

#[test]
fn a_flood_of_pings_whose_pongs_nobody_reads_ends_at_the_bound() {
    withstands(&[("close-timeout", "1s")], |node, witness| {
        let process = node.process();
        let before = process.anonymous_bytes();
        let mut client = node.client();
        let pings = frame(0x89, &[7; 125]).repeat(500);
        client.stream().set_write_timeout(Some(PATIENCE)).unwrap();
        let begun = Instant::now();
        while client.stream().write_all(&pings).is_ok() {
            assert!(begun.elapsed() < PATIENCE, "the flood never ends");
        }
        witness.check();
        drop(client);
        eventually("it is counted", || node.metric(r#"connections_closed_total{reason="slow_reader"}"#) == 1);
        eventually("the memory is back", || process.anonymous_bytes() < before + 2 * MIB);
    });
}

#[test]
fn a_reader_that_stops_is_closed_and_nobody_else_loses_anything() {
    // Far above the bound of 1 MiB and what the sockets of loopback hold.
    const SENT: usize = 1_000;
    withstands(&[], |node, witness| {
        let process = node.process();
        let before = process.anonymous_bytes();
        let mut stopped = node.client();
        let mut reads_on = node.client();
        let mut sender = node.client();
        let text = "x".repeat(32 * KIB);
        for sent in 0..SENT {
            sender.deliver(stopped.id(), &format!("{sent:06}{text}"));
            sender.deliver(reads_on.id(), &format!("{sent:06}"));
            assert_eq!(reads_on.receive(), format!("{sent:06}"));
        }
        witness.check();
        // What was put into its queue before is still there to be read, and in order.
        let mut read = 0;
        let code = loop {
            match stopped.next() {
                Came::Message(message) => assert!(message["data"]["text"].as_str().unwrap().starts_with(&format!("{read:06}"))),
                Came::Close(code, _) => break code,
                other => panic!("after {read} of {SENT} messages: {other:?}"),
            }
            read += 1;
        };
        assert_eq!(code, Some(1008));
        assert!(read > 0 && read < SENT, "{read} of {SENT}");
        stopped.expect_end();
        eventually("it is counted", || node.metric(r#"connections_closed_total{reason="slow_reader"}"#) == 1);
        eventually("the memory is back", || process.anonymous_bytes() < before + 2 * MIB);
    });
}

#[test]
fn clients_that_vanish_anywhere_leave_nothing_behind() {
    withstands(&[], |node, witness| {
        let text = "x".repeat(40 * KIB);
        for round in 0..200 {
            let mut client = node.client();
            let own = client.id().to_owned();
            let whole = frame(0x81, client.request(&own, &text).0.as_bytes());
            match round % 4 {
                0 => client.write(&whole[..1]),
                1 => client.write(&whole[..whole.len() / 2]),
                2 => client.write(&[frame(0x01, b"{"), frame(0x89, b"p"), vec![0x80]].concat()),
                // Gone while the node has something to say to it.
                _ => client.write(&whole.repeat(10)),
            }
            client.reset();
        }
        for cut in (0..UPGRADE.len()).step_by(7) {
            node.http().write(&UPGRADE.as_bytes()[..cut]);
        }
        witness.check();
    });
}

#[test]
fn what_was_sent_before_leaving_is_handed_on_and_answered() {
    const SENDS: usize = 100;
    for leave in [Client::half_close as fn(&mut Client), |client| client.write(&close(1000, b""))] {
        withstands(&[("loops", "4")], |node, _| {
            let mut recipients: Vec<Client> = (0..8).map(|_| node.client()).collect();
            let mut client = node.client();
            let requests: Vec<(String, String)> =
                (0..SENDS).map(|number| client.request(recipients[number % 8].id(), &number.to_string())).collect();
            let bytes: Vec<u8> = requests.iter().flat_map(|(request, _)| frame(0x81, request.as_bytes())).collect();
            client.write(&bytes);
            leave(&mut client);
            let mut missing: Vec<&str> = requests.iter().map(|(_, id)| id.as_str()).collect();
            while !missing.is_empty() {
                let ack = client.expect("ack");
                missing.retain(|id| ack["id"] != **id);
            }
            client.expect_end();
            for number in 0..SENDS {
                assert_eq!(recipients[number % 8].receive(), number.to_string());
            }
        });
    }
}

#[test]
fn a_node_without_descriptors_waits_for_some_without_spinning() {
    const ROOM: usize = 20;
    withstands(&[("max-connections", "10000")], |node, witness| {
        let process = node.process();
        process.limit_descriptors(ROOM);
        let crowd: Vec<Http> = (0..200).map(|_| node.http()).collect();
        node.wait_for_log("connections wait, because they cannot be accepted");
        witness.check();

        let (begun, ticks) = (Instant::now(), process.cpu_ticks());
        poll(Duration::from_secs(2), || false);
        let spent = Duration::from_millis(10 * (process.cpu_ticks() - ticks));
        assert!(spent * 20 < begun.elapsed(), "{spent:?} of processor time in {:?}", begun.elapsed());

        witness.check();
        drop(crowd);
        // By itself: nothing but its own clock tells it.
        node.client().check();
        assert!(node.metric("accept_failures_total") > 0);
    });
}

#[test]
fn thousands_of_handshakes_that_never_end_keep_nobody_out() {
    const HALVES: usize = 2_000;
    node::own_file_limit();
    withstands(&[("handshake-timeout", "3s"), ("close-timeout", "1s")], |node, witness| {
        let process = node.process();
        let mut halves: Vec<Http> = Vec::new();
        for number in 0..HALVES {
            let mut http = node.http();
            http.write(&UPGRADE.as_bytes()[..number % UPGRADE.len()]);
            halves.push(http);
        }
        witness.check();
        node.client().check();
        assert!(process.anonymous_bytes() < 16 * MIB, "{} MiB", process.anonymous_bytes() / MIB);
        for half in &mut halves {
            assert_eq!(half.response().status, 408);
        }
    });
}

#[test]
fn all_clients_may_go_at_once_and_come_back() {
    const CLIENTS: usize = 1_000;
    node::own_file_limit();
    withstands(&[], |node, witness| {
        let process = node.process();
        let mut settled = Vec::new();
        for round in 0..3 {
            let mut clients: Vec<Client> = (0..CLIENTS).map(|_| node.client()).collect();
            clients.iter_mut().step_by(50).for_each(Client::check);
            let leave = if round % 2 == 0 { Client::reset } else { drop::<Client> };
            clients.into_iter().for_each(leave);
            eventually("they are gone", || node.metric("connections") == 1);
            witness.check();
            settled.push(process.anonymous_bytes());
        }
        // What the first crowd needed may be kept for the next, but a crowd must not cost more each time.
        assert!(settled[2] < settled[0] + MIB, "{settled:?}");
    });
}
