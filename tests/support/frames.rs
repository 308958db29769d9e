//! WebSocket as a client speaks it, written from RFC 6455 and not from the code under test: masked frames out; a response and strictly
//! checked frames in.

/// What every frame of these clients is masked with. A server that forgets to unmask, or turns the key wrongly, is found out at once.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The first byte of a whole text message.
pub(crate) const TEXT: u8 = 0x81;
/// The first byte of a Close frame.
pub(crate) const CLOSE: u8 = 0x88;
/// The first byte of a ping.
pub(crate) const PING: u8 = 0x89;
/// The first byte of a pong.
pub(crate) const PONG: u8 = 0x8a;

/// The masked frame that begins with the byte `first` and carries `payload`.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// Takes the frame at the beginning of `bytes`: its first byte and its payload. `None` if it is not whole yet; an error if the server
/// breaks a rule.
pub(crate) fn take_frame(bytes: &mut Vec<u8>) -> Result<Option<(u8, Vec<u8>)>, String> {
    let [first, second, rest @ ..] = &bytes[..] else { return Ok(None) };
    let (first, second) = (*first, *second);
    if ![TEXT, CLOSE, PING, PONG].contains(&first) {
        return Err(format!("the server sent a frame that begins with {first:#04x}"));
    }
    if second & 0x80 != 0 {
        return Err("the server sent a masked frame".into());
    }
    let length_bytes = match second {
        0..=125 => 0,
        126 => 2,
        _ => 8,
    };
    if rest.len() < length_bytes {
        return Ok(None);
    }
    let long = rest[..length_bytes].iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
    let (length, is_shortest) = match second {
        126 => (long, long > 125),
        127 => (long, long > 0xffff),
        short => (usize::from(short), true),
    };
    if !is_shortest || (first >= CLOSE && length > 125) {
        return Err(format!("the server sent a frame of {first:#04x} with a length of {length} in {length_bytes} bytes"));
    }
    let start = 2 + length_bytes;
    if bytes.len() < start + length {
        return Ok(None);
    }
    let payload = bytes[start..start + length].to_vec();
    bytes.drain(..start + length);
    Ok(Some((first, payload)))
}

/// Takes the head of the response at the beginning of `bytes`, without the empty line; `None` if it is not whole yet.
pub(crate) fn take_head(bytes: &mut Vec<u8>) -> Option<String> {
    let len = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..len]).into_owned();
    bytes.drain(..len + 4);
    Some(head)
}

/// A good request for a WebSocket on `target`.
pub(crate) fn request(target: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}
