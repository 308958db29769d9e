//! The few WebSocket frames that a load tool needs: masked ones out, a server's unmasked ones in.
//!
//! No type of a WebSocket library is kept per connection: what a connection costs here would be measured as if the kernel had spent it,
//! and a million of them have to fit beside the server.

use std::ops::Range;

/// A whole text message.
pub(crate) const TEXT: u8 = 0x1;
/// The closing handshake.
pub(crate) const CLOSE: u8 = 0x8;
/// A ping, which is answered.
pub(crate) const PING: u8 = 0x9;
/// The answer to a ping.
pub(crate) const PONG: u8 = 0xA;

/// A frame at the beginning of some bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// Its end has not arrived.
    Partial,
    /// Whole: what it is, and where in the bytes its payload lies.
    Whole(u8, Range<usize>),
    /// Not a frame that a server may send here.
    Broken(&'static str),
}

/// Reads the header at the beginning of `bytes`.
pub(crate) fn look(bytes: &[u8]) -> Seen {
    let [first, second, ..] = *bytes else { return Seen::Partial };
    if first & 0x70 != 0 {
        return Seen::Broken("a frame with reserved bits");
    }
    if first & 0x80 == 0 {
        return Seen::Broken("a fragmented message");
    }
    if second & 0x80 != 0 {
        return Seen::Broken("a masked frame from a server");
    }
    let Some((length, start)) = length(second, bytes) else { return Seen::Partial };
    match start.checked_add(length) {
        Some(end) if end <= bytes.len() => Seen::Whole(first & 0x0F, start..end),
        Some(_) => Seen::Partial,
        None => Seen::Broken("a frame longer than memory"),
    }
}

/// The payload's length and where it begins; `None`: the header is not whole.
fn length(second: u8, bytes: &[u8]) -> Option<(usize, usize)> {
    Some(match second {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).unwrap_or(usize::MAX), 10),
        short => (usize::from(short), 2),
    })
}

/// Appends one frame, masked by `key` as a client's must be.
pub(crate) fn mask(out: &mut Vec<u8>, opcode: u8, payload: &[u8], key: [u8; 4]) {
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => out.push(0x80 | short),
        (_, Ok(medium)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    let mut chunks = out[start..].chunks_exact_mut(4);
    for chunk in &mut chunks {
        for (byte, key) in chunk.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(key) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_frame_is_the_example_of_the_rfc() {
        // RFC 6455 section 5.7: a single-frame masked text message with the payload "Hello".
        let mut out = Vec::new();
        mask(&mut out, TEXT, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn lengths_take_their_shortest_form() {
        for (length, header) in [(0, 6), (125, 6), (126, 8), (65_535, 8), (65_536, 14)] {
            let mut out = Vec::new();
            mask(&mut out, TEXT, &vec![b'x'; length], [1, 2, 3, 4]);
            assert_eq!(out.len(), header + length, "{length}");
        }
    }

    #[test]
    fn a_frame_is_seen_when_its_last_byte_has_come() {
        for length in [0usize, 5, 125, 126, 70_000] {
            let mut bytes = vec![0x81];
            match length {
                0..126 => bytes.push(length as u8),
                126..65_536 => bytes.extend([126, (length >> 8) as u8, length as u8]),
                _ => {
                    bytes.push(127);
                    bytes.extend((length as u64).to_be_bytes());
                }
            }
            let start = bytes.len();
            bytes.resize(start + length, b'x');
            for cut in 0..bytes.len().min(200) {
                assert_eq!(look(&bytes[..cut]), Seen::Partial, "{length} cut at {cut}");
            }
            assert_eq!(look(&bytes), Seen::Whole(TEXT, start..start + length));
        }
    }

    #[test]
    fn what_a_server_may_not_send_is_broken() {
        for bytes in [[0x81, 0x80], [0x01, 0x00], [0xC1, 0x00]] {
            assert!(matches!(look(&bytes), Seen::Broken(_)), "{bytes:x?}");
        }
    }
}
