//! The reader of messages against itself, cut differently, and against `tungstenite::WebSocket`.
//!
//! Streams are made from seeds: valid frames, fragments, control frames in between, now and then a broken rule or a flipped byte.
//! `TEXTO_SEED=7 cargo test --test differential` plays one of each again.
//!
//! # Known differences to tungstenite
//!
//! Each is named in [`Excuse`] and granted only where it applies; everything else has to be the same, event by event.

#[path = "support/frames.rs"]
#[allow(dead_code, reason = "this test makes frames and takes none")]
mod frames;
#[path = "support/random.rs"]
#[allow(dead_code, reason = "not every test throws every die")]
mod random;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use random::Random;
use texto::wire::frame::Violation;
use texto::wire::message::{self, Event, Limits};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, WebSocket};

const MESSAGE_BYTES_MAX: usize = 70_000;
const STREAMS: u64 = 10_000;

/// tungstenite counts no frames, so neither does this.
const LIMITS: Limits = Limits { message_bytes_max: MESSAGE_BYTES_MAX, message_frames_max: u32::MAX };

/// An event without its loan.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

/// How a stream ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// It may go on.
    Open,
    /// A Close has come.
    Closed,
    /// A rule was broken; the code says which kind of.
    Failed(u16),
}

/// Where tungstenite does something else, and may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Excuse {
    /// It looks at text when a frame is whole: text that is broken for certain is not found out while more of its frame is to come.
    LateUtf8,
    /// It looks at everything but the size, the opcode and the bits of the length when a frame is whole.
    LateRules,
    /// It accepts lengths that are not in their shortest form.
    LongLength,
    /// It looks at the size of a frame before any other rule, also of a control frame.
    SizeFirst,
    /// It looks at a message's size when a frame is whole.
    LateSize,
    /// A close code that must not be sent is a Close to it, which it answers with 1002.
    BadCloseCode,
    /// It reads the reason of a Close before it looks at the code; if both are wrong, the other one is complained of.
    ReasonFirst,
    /// It does not know 1014, which the register of close codes has.
    BadGateway,
}

const EXCUSES: usize = 8;

/// All that Texto makes of `pieces`, up to the first Close.
fn texto_reads(pieces: &[&[u8]]) -> (Vec<Heard>, Fate) {
    let mut heard = Vec::new();
    let mut partial = None;
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        loop {
            let event = match message::next(&mut partial, &mut input, LIMITS) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(violation) => return (heard, Fate::Failed(violation.code())),
            };
            heard.push(match event {
                Event::Text(text) => Heard::Text(text.to_owned()),
                Event::Binary(bytes) => Heard::Binary(bytes.to_owned()),
                Event::Ping(payload) => Heard::Ping(payload.to_owned()),
                Event::Pong => Heard::Pong,
                Event::Close(code) => Heard::Close(code),
            });
            if let Some(Heard::Close(_)) = heard.last() {
                return (heard, Fate::Closed);
            }
        }
        assert!(input.is_empty(), "all of a piece is taken");
    }
    (heard, Fate::Open)
}

/// What tungstenite reads from: the stream, and then nothing for now.
struct Stream<'b>(&'b [u8]);

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All that tungstenite makes of `stream`, up to the first Close.
fn tungstenite_reads(stream: &[u8]) -> (Vec<Heard>, Fate) {
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
    let mut socket = WebSocket::from_raw_socket(Stream(stream), Role::Server, Some(config));
    let mut heard = Vec::new();
    loop {
        heard.push(match socket.read() {
            Ok(tungstenite::Message::Text(text)) => Heard::Text(text.as_str().to_owned()),
            Ok(tungstenite::Message::Binary(bytes)) => Heard::Binary(bytes.to_vec()),
            Ok(tungstenite::Message::Ping(payload)) => Heard::Ping(payload.to_vec()),
            Ok(tungstenite::Message::Pong(_)) => Heard::Pong,
            Ok(tungstenite::Message::Close(frame)) => {
                heard.push(Heard::Close(frame.map(|frame| frame.code.into())));
                return (heard, Fate::Closed);
            }
            Ok(tungstenite::Message::Frame(_)) => panic!("raw frames are never read"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (heard, Fate::Open),
            Err(Error::Protocol(_)) => return (heard, Fate::Failed(1002)),
            Err(Error::Utf8(_)) => return (heard, Fate::Failed(1007)),
            Err(Error::Capacity(_)) => return (heard, Fate::Failed(1009)),
            Err(error) => panic!("tungstenite fails with {error}"),
        });
    }
}

/// The frame at which Texto stopped: what an excuse is measured by.
struct LastFrame {
    opcode: u8,
    length: u64,
    is_whole: bool,
    is_shortest: bool,
}

/// Walks over the frames of `stream` to the one at which Texto stops, or of which more is to come.
fn last_frame(stream: &[u8]) -> Option<LastFrame> {
    let mut rest = stream;
    loop {
        let [first, second, ..] = *rest else { return None };
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
        let header_len = 2 + length_bytes + mask_bytes;
        if rest.len() < header_len {
            return None;
        }
        let long = rest[2..2 + length_bytes].iter().fold(0_u64, |length, &byte| length << 8 | u64::from(byte));
        let (length, is_shortest) = match second & 0x7f {
            126 => (long, long > 125),
            127 => (long, long > 0xffff),
            short => (u64::from(short), true),
        };
        let is_whole = (rest.len() - header_len) as u64 >= length;
        let frame = LastFrame { opcode: first & 0x0f, length, is_whole, is_shortest };
        if !is_whole {
            return Some(frame);
        }
        let len = header_len + length as usize;
        // Is it here that Texto stops? Then this is the frame that it stops at.
        if matches!(texto_reads(&[&stream[..stream.len() - rest.len() + len]]).1, Fate::Failed(_) | Fate::Closed) {
            return Some(frame);
        }
        rest = &rest[len..];
    }
}

/// The excuse for a difference between what Texto and tungstenite make of `stream`, if there is one.
fn excuse(stream: &[u8], texto: &(Vec<Heard>, Fate), tungstenite: &(Vec<Heard>, Fate)) -> Option<Excuse> {
    let frame = last_frame(stream)?;
    let is_control = frame.opcode >= 8;
    let same_events = texto.0 == tungstenite.0;
    match (texto.1, tungstenite.1) {
        (Fate::Closed, Fate::Closed) if texto.0.last() == Some(&Heard::Close(Some(1014))) => Some(Excuse::BadGateway),
        (Fate::Failed(1002), Fate::Closed) if frame.opcode == 8 => Some(Excuse::BadCloseCode),
        (Fate::Failed(1002), Fate::Failed(1007)) if frame.opcode == 8 && same_events => Some(Excuse::ReasonFirst),
        // From here on tungstenite goes on where Texto does not.
        (Fate::Failed(1002), _) if !frame.is_shortest && tungstenite.0.starts_with(&texto.0) => Some(Excuse::LongLength),
        (Fate::Failed(1007), Fate::Open) if !frame.is_whole && same_events => Some(Excuse::LateUtf8),
        (Fate::Failed(1002), Fate::Open) if !frame.is_whole && same_events => Some(Excuse::LateRules),
        (Fate::Failed(1002), Fate::Failed(1009)) if frame.length > MESSAGE_BYTES_MAX as u64 && same_events => Some(Excuse::SizeFirst),
        (Fate::Failed(1009), Fate::Open) if !frame.is_whole && !is_control && same_events => Some(Excuse::LateSize),
        _ => None,
    }
}

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
