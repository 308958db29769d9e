//! Two readers of one stream: what Texto hears in it, and what `tungstenite::WebSocket` does.
//!
//! # Known differences
//!
//! Each is named in [`Excuse`] and granted only where it applies; everything else has to be the same, event by event.

use std::io::{self, Read, Write};

use texto::wire::message::{self, Event, Limits};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, WebSocket};

/// The limit that both are given.
pub(crate) const MESSAGE_BYTES_MAX: usize = 70_000;

/// tungstenite counts no frames, so neither does this.
const LIMITS: Limits = Limits { message_bytes_max: MESSAGE_BYTES_MAX, message_frames_max: u32::MAX };

/// An event without its loan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

/// How a stream ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It may go on.
    Open,
    /// A Close has come.
    Closed,
    /// A rule was broken; the code says which kind of.
    Failed(u16),
}

/// Where tungstenite does something else, and may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Excuse {
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

/// How many excuses there are.
pub(crate) const EXCUSES: usize = 8;

/// All that Texto makes of `pieces`, up to the first Close.
pub(crate) fn texto_reads(pieces: &[&[u8]]) -> (Vec<Heard>, Fate) {
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
pub(crate) fn tungstenite_reads(stream: &[u8]) -> (Vec<Heard>, Fate) {
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
pub(crate) fn excuse(stream: &[u8], texto: &(Vec<Heard>, Fate), tungstenite: &(Vec<Heard>, Fate)) -> Option<Excuse> {
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
