//! WebSocket frames (RFC 6455 section 5): header in, payload unmasked in place, header out.
//!
//! ```text
//!   0 1 2 3 4 5 6 7   0 1 2 3 4 5 6 7
//!  +-+-+-+-+-------+ +-+-------------+
//!  |F|R|R|R| opcode| |M| length (7)  |  then 0, 2 or 8 bytes of length, then 4 bytes of mask
//!  +-+-+-+-+-------+ +-+-------------+
//! ```
//!
//! Every rule that a header can break is checked as soon as the header is whole and before a byte of the payload is stored. Opcodes are
//! tungstenite's; its header type is not used, because it copies each field through a cursor, at several times the instructions, and
//! does not tell whether a length has its shortest form.

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::limits::CONTROL_BYTES_MAX;

/// What a peer did that ends its connection, by the close code that tells it so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// 1002: a rule of RFC 6455 was broken; the reason names it.
    Protocol(&'static str),
    /// 1007: text that is not UTF-8.
    NotUtf8,
    /// 1009: a message above the size limit.
    TooBig,
    /// 1008: a message in more frames than allowed.
    TooManyFragments,
}

impl Violation {
    /// The code of the Close frame (RFC 6455 section 7.4.1).
    pub fn code(self) -> u16 {
        match self {
            Violation::Protocol(_) => 1002,
            Violation::NotUtf8 => 1007,
            Violation::TooBig => 1009,
            Violation::TooManyFragments => 1008,
        }
    }

    /// The reason in the Close frame.
    pub fn reason(self) -> &'static str {
        match self {
            Violation::Protocol(rule) => rule,
            Violation::NotUtf8 => "text is not UTF-8",
            Violation::TooBig => "message above the size limit",
            Violation::TooManyFragments => "message in too many frames",
        }
    }
}

/// What a frame is, as far as its header tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Text, or the first part of one.
    Text,
    /// Bytes, or the first part of them.
    Binary,
    /// The next part of the message that has begun.
    Continuation,
    /// The closing handshake.
    Close,
    /// A ping.
    Ping,
    /// A pong.
    Pong,
}

impl Kind {
    /// Whether the frame may stand between the parts of a message.
    pub fn is_control(self) -> bool {
        matches!(self, Kind::Close | Kind::Ping | Kind::Pong)
    }

    fn opcode(self) -> OpCode {
        match self {
            Kind::Text => OpCode::Data(Data::Text),
            Kind::Binary => OpCode::Data(Data::Binary),
            Kind::Continuation => OpCode::Data(Data::Continue),
            Kind::Close => OpCode::Control(Control::Close),
            Kind::Ping => OpCode::Control(Control::Ping),
            Kind::Pong => OpCode::Control(Control::Pong),
        }
    }

    fn of(opcode: OpCode) -> Result<Kind, Violation> {
        match opcode {
            OpCode::Data(Data::Text) => Ok(Kind::Text),
            OpCode::Data(Data::Binary) => Ok(Kind::Binary),
            OpCode::Data(Data::Continue) => Ok(Kind::Continuation),
            OpCode::Control(Control::Close) => Ok(Kind::Close),
            OpCode::Control(Control::Ping) => Ok(Kind::Ping),
            OpCode::Control(Control::Pong) => Ok(Kind::Pong),
            OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => Err(Violation::Protocol("reserved opcode")),
        }
    }
}

/// The header of a frame from a client that broke no rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// Whether it is the last of its message.
    pub fin: bool,
    /// Bytes of payload.
    pub len: usize,
    /// The key that the payload is masked with.
    pub mask: Mask,
}

/// Where a message stands when the next frame comes: what its header is checked against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Whether a fragmented message has begun.
    pub in_message: bool,
    /// Bytes that the message may still take.
    pub bytes_left: usize,
    /// Frames that the message may still take.
    pub frames_left: u32,
}

/// Reads the header at the start of `bytes` and how many bytes it takes, or `None` when it is not whole yet.
pub fn parse_header(bytes: &[u8], progress: Progress) -> Result<Option<(Header, usize)>, Violation> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let Some((len, rest)) = parse_len(second & LENGTH, rest) else { return Ok(None) };
    let mask = match second & MASKED {
        0 => None,
        _ => match rest.first_chunk() {
            None => return Ok(None),
            mask => mask.copied(),
        },
    };
    let header = check(*first, len, mask, progress)?;
    let header_len = bytes.len() - rest.len() + size_of_val(&header.mask);
    if header_len > shortest_len(len) {
        return Err(Violation::Protocol("payload length not in its shortest form"));
    }
    Ok(Some((header, header_len)))
}

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// The length of the payload, of which the second byte of the header has `short`, and what follows it.
fn parse_len(short: u8, rest: &[u8]) -> Option<(u64, &[u8])> {
    match short {
        126 => rest.split_first_chunk().map(|(len, rest)| (u64::from(u16::from_be_bytes(*len)), rest)),
        127 => rest.split_first_chunk().map(|(len, rest)| (u64::from_be_bytes(*len), rest)),
        _ => Some((u64::from(short), rest)),
    }
}

/// Bytes of the shortest header with a mask and this length of payload.
fn shortest_len(len: u64) -> usize {
    match len {
        0..=125 => 6,
        126..=0xffff => 8,
        _ => 14,
    }
}

fn check(first: u8, len: u64, mask: Option<[u8; 4]>, progress: Progress) -> Result<Header, Violation> {
    if first & RESERVED != 0 {
        return Err(Violation::Protocol("reserved bit set without an extension"));
    }
    let kind = Kind::of(OpCode::from(first & OPCODE))?;
    let mask = mask.ok_or(Violation::Protocol("frame from a client is not masked"))?;
    let fin = first & FIN != 0;
    if kind.is_control() {
        check_control(fin, len)?;
    } else {
        check_data(kind, len, progress)?;
    }
    Ok(Header { kind, fin, len: len as usize, mask: Mask(mask) })
}

fn check_control(fin: bool, len: u64) -> Result<(), Violation> {
    if len > CONTROL_BYTES_MAX as u64 {
        return Err(Violation::Protocol("control frame above 125 bytes"));
    }
    if !fin {
        return Err(Violation::Protocol("control frame in fragments"));
    }
    Ok(())
}

fn check_data(kind: Kind, len: u64, progress: Progress) -> Result<(), Violation> {
    match (kind == Kind::Continuation, progress.in_message) {
        (true, false) => return Err(Violation::Protocol("continuation of no message")),
        (false, true) => return Err(Violation::Protocol("new message inside of a fragmented one")),
        (true, true) | (false, false) => {}
    }
    if len > i64::MAX as u64 {
        return Err(Violation::Protocol("payload length with its top bit set"));
    }
    if len > progress.bytes_left as u64 {
        return Err(Violation::TooBig);
    }
    if progress.frames_left == 0 {
        return Err(Violation::TooManyFragments);
    }
    Ok(())
}

/// A masking key (RFC 6455 section 5.3), turned so that its first byte belongs to the next byte of the payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mask([u8; 4]);

impl Mask {
    /// The key as it stands in a header.
    pub fn new(key: [u8; 4]) -> Mask {
        Mask(key)
    }

    /// Unmasks `bytes` in place and turns the key, so that the next part of the payload follows on.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        let word = u32::from_ne_bytes(self.0);
        let double = u64::from(word) << 32 | u64::from(word);
        // Eight bytes at a time, which the compiler widens further: unmasking costs about what copying does.
        let mut words = bytes.chunks_exact_mut(8);
        for chunk in &mut words {
            let masked = u64::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7]]);
            chunk.copy_from_slice(&(masked ^ double).to_ne_bytes());
        }
        for (byte, key) in words.into_remainder().iter_mut().zip(self.0.into_iter().cycle()) {
            *byte ^= key;
        }
        self.0.rotate_left(bytes.len() % 4);
    }
}

/// Appends the header of an unfragmented frame from the server.
pub fn write_header(out: &mut Vec<u8>, kind: Kind, payload_len: usize) {
    let first = FIN | u8::from(kind.opcode());
    match payload_len {
        0..=125 => out.extend_from_slice(&[first, payload_len as u8]),
        126..=0xffff => {
            let [high, low] = (payload_len as u16).to_be_bytes();
            out.extend_from_slice(&[first, 126, high, low]);
        }
        _ => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
}

/// Appends a whole frame from the server.
pub fn write(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    write_header(out, kind, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a Close frame; without a code its payload is empty.
pub fn write_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let Some(code) = code else { return write_header(out, Kind::Close, 0) };
    debug_assert!(reason.len() + 2 <= CONTROL_BYTES_MAX);
    write_header(out, Kind::Close, 2 + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Reads the payload of a Close frame (RFC 6455 section 5.5.1): the code, if there is one.
pub fn parse_close(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::Protocol("close payload of one byte")) };
    };
    let code = u16::from_be_bytes([*high, *low]);
    if !may_be_sent(code) {
        return Err(Violation::Protocol("close code that must not be sent"));
    }
    if str::from_utf8(reason).is_err() {
        return Err(Violation::NotUtf8);
    }
    Ok(Some(code))
}

/// Whether a Close frame may carry `code`: the registered codes but those for local use, and the ranges for libraries and
/// applications (RFC 6455 section 7.4, IANA's registry of close codes).
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Progress = Progress { in_message: false, bytes_left: 1 << 20, frames_left: 8 };
    const WITHIN: Progress = Progress { in_message: true, ..FRESH };

    fn refused(bytes: &[u8], progress: Progress) -> Violation {
        parse_header(bytes, progress).expect_err(&format!("{}", bytes.escape_ascii()))
    }

    fn rule(bytes: &[u8], progress: Progress, expected: &str) {
        let violation = refused(bytes, progress);
        assert_eq!(violation.code(), 1002, "{}", bytes.escape_ascii());
        assert!(violation.reason().contains(expected), "{} is not about {expected}", violation.reason());
    }

    #[test]
    fn a_header_is_read_once_it_is_whole() {
        let whole = [0x81, 0xfe, 1, 0, 9, 8, 7, 6];
        for cut in 0..whole.len() {
            assert_eq!(parse_header(&whole[..cut], FRESH), Ok(None), "{cut}");
        }
        let header = Header { kind: Kind::Text, fin: true, len: 256, mask: Mask([9, 8, 7, 6]) };
        assert_eq!(parse_header(&whole, FRESH), Ok(Some((header, 8))));
    }

    #[test]
    fn every_broken_rule_is_a_protocol_error() {
        for first in [0xc1, 0xa1, 0x91] {
            rule(&[first, 0x80, 0, 0, 0, 0], FRESH, "reserved bit");
        }
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            rule(&[0x80 | opcode, 0x80, 0, 0, 0, 0], FRESH, "opcode");
        }
        rule(&[0x81, 0x00], FRESH, "not masked");
        for opcode in [8, 9, 10] {
            rule(&[0x80 | opcode, 0xfe, 0, 126, 0, 0, 0, 0], FRESH, "125");
            rule(&[opcode, 0x80, 0, 0, 0, 0], FRESH, "fragments");
        }
        rule(&[0x80, 0x80, 0, 0, 0, 0], FRESH, "continuation");
        rule(&[0x81, 0x80, 0, 0, 0, 0], WITHIN, "new message");
        rule(&[0x82, 0x80, 0, 0, 0, 0], WITHIN, "new message");
        rule(&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], FRESH, "top bit");
        rule(&[0x81, 0xfe, 0, 125, 0, 0, 0, 0], FRESH, "shortest");
        rule(&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0], FRESH, "shortest");
        rule(&[0x89, 0xfe, 0, 5, 0, 0, 0, 0], FRESH, "shortest");
    }

    #[test]
    fn size_and_count_are_checked_against_what_is_left() {
        let limited = Progress { bytes_left: 200, ..FRESH };
        assert!(parse_header(&[0x81, 0xfe, 0, 200, 0, 0, 0, 0], limited).is_ok());
        assert_eq!(refused(&[0x81, 0xfe, 0, 201, 0, 0, 0, 0], limited), Violation::TooBig);
        assert_eq!(refused(&[0x81, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0], FRESH), Violation::TooBig);
        assert_eq!(refused(&[0x80, 0x80, 0, 0, 0, 0], Progress { frames_left: 0, ..WITHIN }), Violation::TooManyFragments);
        let spent = Progress { bytes_left: 0, frames_left: 0, ..WITHIN };
        assert!(parse_header(&[0x89, 0x81, 0, 0, 0, 0], spent).is_ok(), "control frames are not part of the message");
    }

    #[test]
    fn unmasking_in_parts_equals_unmasking_at_once() {
        let key = [0x12, 0x34, 0x56, 0x78];
        let plain: Vec<u8> = (0..100).collect();
        let masked: Vec<u8> = plain.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        for first in 0..=plain.len() {
            for second in first..=plain.len() {
                let mut bytes = masked.clone();
                let mut mask = Mask::new(key);
                mask.apply(&mut bytes[..first]);
                mask.apply(&mut bytes[first..second]);
                mask.apply(&mut bytes[second..]);
                assert_eq!(bytes, plain, "{first} {second}");
            }
        }
    }

    #[test]
    fn headers_of_the_server_have_the_shortest_length() {
        for (len, head) in
            [(0, &[0x81, 0][..]), (125, &[0x81, 125]), (126, &[0x81, 126, 0, 126]), (65536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0])]
        {
            let mut out = Vec::new();
            write_header(&mut out, Kind::Text, len);
            assert_eq!(out, head);
        }
    }

    #[test]
    fn close_codes_are_those_of_the_registry() {
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
            assert_eq!(parse_close(&u16::to_be_bytes(code)), Ok(Some(code)));
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert_eq!(parse_close(&u16::to_be_bytes(code)).unwrap_err().code(), 1002, "{code}");
        }
        assert_eq!(parse_close(b""), Ok(None));
        assert_eq!(parse_close(b"x").unwrap_err().code(), 1002);
        assert_eq!(parse_close(b"\x03\xe8\xff").unwrap_err(), Violation::NotUtf8);
        assert_eq!(parse_close("\u{3}é".as_bytes()).unwrap_err().code(), 1002);
    }

    #[test]
    fn close_frames_carry_code_and_reason_or_nothing() {
        let mut out = Vec::new();
        write_close(&mut out, Some(1002), "why");
        write_close(&mut out, None, "");
        assert_eq!(out, b"\x88\x05\x03\xeawhy\x88\x00");
    }
}
