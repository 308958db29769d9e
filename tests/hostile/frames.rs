//! Frames that break a rule of RFC 6455, one row each, and bytes that are no frames at all.

use super::arena::{KIB, withstands};
use crate::node::{Came, Http, Node, eventually, frame};

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

pub(super) fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes(), reason].concat())
}

/// What is said, and the code of the Close that answers it.
pub(super) fn rows() -> Vec<(String, Vec<u8>, u16)> {
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
    rows
}

#[test]
fn frames_that_break_a_rule_end_only_their_own_connection() {
    withstands(&[], |node| {
        for (claim, bytes, code) in rows() {
            let answer = answer_past_pongs(node, &bytes);
            assert!(matches!(answer, Came::Close(Some(found), _) if found == code), "{claim}: {answer:?} instead of {code}");
        }
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
    withstands(&[], |node| {
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 4999] {
            let answer = answer_to(node, &close(code, "gr\u{fc}ezi".as_bytes()));
            assert!(matches!(answer, Came::Close(Some(found), _) if found == code), "{code}: {answer:?}");
        }
        assert_eq!(answer_to(node, &frame(0x88, b"")), Came::Close(None, String::new()));
    });
}

#[test]
fn random_bytes_never_end_more_than_their_own_connection() {
    withstands(&[("close-timeout", "1s")], |node| {
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
    });
}
