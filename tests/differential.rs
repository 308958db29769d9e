//! The reader of messages against itself, cut differently, and against `tungstenite::WebSocket`.
//!
//! Streams are made from seeds: valid frames, fragments, control frames in between, now and then a broken rule or a flipped byte.
//! `TEXTO_SEED=7 cargo test --test differential` plays one of each again.
//!
//! Where the two readers may differ is in `support/readers.rs`.

#[path = "support/frames.rs"]
#[allow(dead_code, reason = "this test makes frames and takes none")]
mod frames;
#[path = "support/random.rs"]
#[allow(dead_code, reason = "not every test throws every die")]
mod random;
#[path = "support/readers.rs"]
mod readers;

use std::collections::BTreeSet;

use random::Random;
use readers::{EXCUSES, Fate, Heard, MESSAGE_BYTES_MAX, excuse, texto_reads, tungstenite_reads};
use texto::wire::frame::Violation;

const STREAMS: u64 = 10_000;

/// A stream of frames, most of them good.
fn stream(dice: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..1 + dice.below(6) {
        match dice.below(12) {
            0 => bytes.extend(frames::frame(frames::PING, &noise(dice, 126))),
            1 => bytes.extend(frames::frame(frames::PONG, &noise(dice, 126))),
            2 => bytes.extend(broken(dice)),
            3 if dice.one_in(3) => bytes.extend(close(dice)),
            4 => bytes.extend(frames::frame(0x82, &noise(dice, 300))),
            _ => bytes.extend(text_message(dice)),
        }
    }
    if dice.one_in(4) {
        let at = dice.below(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
    }
    if dice.one_in(4) {
        bytes.truncate(dice.below(bytes.len() + 1));
    }
    bytes
}

fn noise(dice: &mut Random, end: usize) -> Vec<u8> {
    (0..dice.below(end)).map(|_| dice.bits() as u8).collect()
}

/// A text, sometimes broken, in frames with control frames in between.
fn text_message(dice: &mut Random) -> Vec<u8> {
    let units = ["a", "é", "漢", "😀", "\0", "\u{7ff}", "\u{ffff}", "\u{10ffff}"];
    let mut text: Vec<u8> = (0..dice.below(40)).flat_map(|_| dice.pick(&units).bytes()).collect();
    if dice.one_in(8) && !text.is_empty() {
        let at = dice.below(text.len());
        text[at] = *dice.pick(&[0xff, 0xc0, 0xed, 0xf4, 0x80]);
    }
    if dice.one_in(10) {
        text = text.repeat(1 + dice.below(1000));
    }
    let mut bytes = Vec::new();
    let mut opcode = 0x01;
    let mut rest = &text[..];
    while dice.one_in(2) {
        let (part, after) = rest.split_at(dice.below(rest.len() + 1));
        bytes.extend(frames::frame(opcode, part));
        (opcode, rest) = (0x00, after);
        if dice.one_in(3) {
            bytes.extend(frames::frame(*dice.pick(&[frames::PING, frames::PONG]), &noise(dice, 20)));
        }
    }
    bytes.extend(frames::frame(0x80 | opcode, rest));
    bytes
}

fn close(dice: &mut Random) -> Vec<u8> {
    let code: u16 = *dice.pick(&[1000, 1001, 1005, 1011, 1014, 1015, 999, 2999, 3000, 4999, 5000]);
    match dice.below(4) {
        0 => frames::frame(frames::CLOSE, b""),
        1 => frames::frame(frames::CLOSE, b"\x03"),
        2 => frames::frame(frames::CLOSE, &[&code.to_be_bytes()[..], b"bye"].concat()),
        _ => frames::frame(frames::CLOSE, &[&code.to_be_bytes()[..], b"\xff"].concat()),
    }
}

/// A frame that breaks a rule by its header.
fn broken(dice: &mut Random) -> Vec<u8> {
    let payload = noise(dice, 8);
    match dice.below(8) {
        0 => frames::frame(0x81 | 0x10 << dice.below(3), &payload),
        1 => frames::frame(0x80 | *dice.pick(&[3, 7, 0xb, 0xf]), &payload),
        2 => frames::frame(*dice.pick(&[0x08, 0x09, 0x0a]), &payload),
        3 => frames::frame(frames::PING, &[b'a'; 126]),
        4 => [&[0x81, payload.len() as u8][..], &payload].concat(),
        5 => [&[0x82, 0x80 | 126, 0, 3, 0, 0, 0, 0][..], b"abc"].concat(),
        6 => frames::frame(0x00, &payload),
        _ => [0x82, 0x80 | 127, 0, 0, 0, 0, 0, dice.below(256) as u8, 0, 0, 0, 0, 0, 0].to_vec(),
    }
}

/// The pieces of `stream` between a few random cuts.
fn cut<'s>(stream: &'s [u8], dice: &mut Random) -> Vec<&'s [u8]> {
    let mut cuts: Vec<usize> = (0..dice.below(8)).map(|_| dice.below(stream.len() + 1)).collect();
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for to in cuts.into_iter().chain([stream.len()]) {
        pieces.push(&stream[from..to]);
        from = to;
    }
    pieces
}

/// Cut anywhere, a stream is the same to Texto.
fn check_cuts(stream: &[u8], dice: &mut Random) -> (Vec<Heard>, Fate) {
    let whole = texto_reads(&[stream]);
    for _ in 0..4 {
        let pieces = cut(stream, dice);
        assert_eq!(texto_reads(&pieces), whole, "in pieces of {:?} bytes", pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>());
    }
    let singles: Vec<&[u8]> = stream.chunks(1).collect();
    if stream.len() < 2_000 {
        assert_eq!(texto_reads(&singles), whole, "byte by byte");
    }
    whole
}

#[test]
fn events_do_not_depend_on_the_cuts() {
    for seed in random::seeds(STREAMS) {
        let mut dice = Random::new(seed);
        let epitaph = random::Epitaph(seed);
        let stream = stream(&mut dice);
        check_cuts(&stream, &mut dice);
        drop(epitaph);
    }
}

#[test]
fn tungstenite_hears_the_same() {
    let (mut same, mut excused) = (0, BTreeSet::new());
    for seed in random::seeds(STREAMS) {
        let stream = stream(&mut Random::new(seed));
        let (texto, tungstenite) = (texto_reads(&[&stream]), tungstenite_reads(&stream));
        if texto == tungstenite {
            same += 1;
            continue;
        }
        let Some(excuse) = excuse(&stream, &texto, &tungstenite) else {
            panic!("TEXTO_SEED={seed}\n texto       {texto:?}\n tungstenite {tungstenite:?}\n stream {}", stream.escape_ascii());
        };
        excused.insert(excuse);
    }
    println!("{same} of {STREAMS} streams are the same, the others are excused by {excused:?}");
    assert!(random::is_replay() || excused.len() == EXCUSES, "an excuse that nobody needs has to go");
    assert!(random::is_replay() || same > STREAMS as usize / 2, "most streams are the same to both, with no excuse: {same}");
}

#[test]
fn texts_of_every_length_of_length_are_heard_by_both() {
    for len in [0, 1, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536, 65_537, MESSAGE_BYTES_MAX] {
        for unit in ["a", "é", "漢", "😀"] {
            let text: String = unit.repeat(len / unit.len()) + &"b".repeat(len % unit.len());
            let stream = frames::frame(frames::TEXT, text.as_bytes());
            let expected = (vec![Heard::Text(text)], Fate::Open);
            assert!(check_cuts(&stream, &mut Random::new(len as u64)) == expected, "{len} bytes of {unit}");
            assert!(tungstenite_reads(&stream) == expected, "{len} bytes of {unit}");
        }
    }
}

#[test]
fn one_byte_above_the_limit_is_too_big_for_both() {
    let stream = frames::frame(frames::TEXT, &[b'a'; MESSAGE_BYTES_MAX + 1]);
    assert_eq!(texto_reads(&[&stream]), (Vec::new(), Fate::Failed(Violation::TooBig.code())));
    assert_eq!(tungstenite_reads(&stream), (Vec::new(), Fate::Failed(Violation::TooBig.code())));
}

#[test]
fn the_content_of_large_messages_is_unchanged() {
    let mut dice = Random::new(8398);
    let content: Vec<u8> = (0..MESSAGE_BYTES_MAX).map(|_| dice.bits() as u8).collect();
    for parts in [1, 2, 7, 1000] {
        let mut stream = Vec::new();
        for (index, part) in content.chunks(content.len().div_ceil(parts)).enumerate() {
            stream.extend(frames::frame(if index == 0 { 0x02 } else { 0x00 }, part));
        }
        stream.extend(frames::frame(0x80, b""));
        let expected = (vec![Heard::Binary(content.clone())], Fate::Open);
        assert!(check_cuts(&stream, &mut dice) == expected, "in {parts} parts");
        assert!(tungstenite_reads(&stream) == expected, "in {parts} parts");
    }
}
