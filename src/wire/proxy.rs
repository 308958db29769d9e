//! The PROXY protocol, versions 1 and 2: what a balancer of TCP connections says first, so that the server knows whose they are.
//!
//! ```text
//!   version 1   PROXY TCP4 192.0.2.1 198.51.100.2 40000 443 CR LF          or TCP6, or UNKNOWN and anything
//!   version 2   12 bytes of signature
//!               version 2, and a command: LOCAL (the proxy itself, to see whether we are alive) or PROXY
//!               family and transport
//!               length of the rest, 2 bytes
//!               addresses and ports, then extensions: a type, a length of 2 bytes, a value
//! ```
//!
//! Only the source address is of use here. Extensions are stepped over, but they must be whole, and a checksum among them must be right.
//! Whether the peer may be believed is decided where its own address is known.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::PROXY_HEADER_BYTES_MAX;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// They may become a header.
    Incomplete,
    /// No header: the protocol proper has begun.
    Absent,
    /// A header.
    Header {
        /// Its bytes; what follows is the protocol proper.
        len: usize,
        /// Whose connection it is. `None`: the proxy's own, or one of which it knows nothing.
        client: Option<IpAddr>,
    },
    /// The beginning of a header and then something else: what is wrong.
    Malformed(&'static str),
}

/// Bytes of the longest header of version 1, with its line end.
const LINE_BYTES_MAX: usize = 107;
const LINE_START: &[u8] = b"PROXY ";

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of a header of version 2 before its addresses.
const FIXED_BYTES: usize = 16;
const VERSION: u8 = 2;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;

/// The type of the extension that holds a checksum.
const CHECKSUM: u8 = 3;

/// Reads the header at the start of `bytes`.
pub fn read(bytes: &[u8]) -> Found {
    let is_start_of = |start: &[u8]| start.starts_with(&bytes[..bytes.len().min(start.len())]);
    let found = match (is_start_of(LINE_START), is_start_of(SIGNATURE)) {
        (false, false) => return Found::Absent,
        (true, _) => read_line(bytes),
        (false, true) => read_block(bytes),
    };
    match found {
        Ok(None) => Found::Incomplete,
        Ok(Some((len, client))) => Found::Header { len, client: client.map(|address| address.to_canonical()) },
        Err(what) => Found::Malformed(what),
    }
}

/// The length of a header, and the client that it names.
type Parsed = Result<Option<(usize, Option<IpAddr>)>, &'static str>;

fn read_line(bytes: &[u8]) -> Parsed {
    const WRONG: &str = "the PROXY header is not as version 1 has it";
    let Some(end) = bytes.iter().take(LINE_BYTES_MAX).position(|&byte| byte == b'\n') else {
        return if bytes.len() < LINE_BYTES_MAX { Ok(None) } else { Err("the PROXY header has no end") };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(WRONG)?;
    let line = std::str::from_utf8(line).map_err(|_| WRONG)?;
    let words: Vec<&str> = line.split(' ').collect();
    let client = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", from, to, from_port, to_port] if is_port(from_port) && is_port(to_port) => {
            to.parse::<Ipv4Addr>().map_err(|_| WRONG)?;
            Some(from.parse::<Ipv4Addr>().map_err(|_| WRONG)?.into())
        }
        ["PROXY", "TCP6", from, to, from_port, to_port] if is_port(from_port) && is_port(to_port) => {
            to.parse::<Ipv6Addr>().map_err(|_| WRONG)?;
            Some(from.parse::<Ipv6Addr>().map_err(|_| WRONG)?.into())
        }
        _ => return Err(WRONG),
    };
    Ok(Some((end + 1, client)))
}

/// A number from 0 to 65535 without zeros in front.
fn is_port(text: &str) -> bool {
    let is_plain = text == "0" || text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    is_plain && text.parse::<u16>().is_ok()
}

fn read_block(bytes: &[u8]) -> Parsed {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED_BYTES) else { return Ok(None) };
    let len = FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let (version, command) = (fixed[12] >> 4, fixed[12] & 0x0f);
    if version != VERSION || !matches!(command, LOCAL | PROXY) {
        return Err("the PROXY header has an unknown version or command");
    }
    if len > PROXY_HEADER_BYTES_MAX {
        return Err("the PROXY header is too long");
    }
    let Some(rest) = rest.get(..len - FIXED_BYTES) else { return Ok(None) };
    // What a proxy says on its own behalf is of no interest but its length.
    if command == LOCAL {
        return Ok(Some((len, None)));
    }
    let (client, extensions) = read_addresses(fixed[13], rest)?;
    check_extensions(&bytes[..len], len - extensions.len())?;
    Ok(Some((len, client)))
}

/// The source address, and what follows the addresses.
fn read_addresses(family: u8, rest: &[u8]) -> Result<(Option<IpAddr>, &[u8]), &'static str> {
    const SHORT: &str = "the PROXY header is too short for its addresses";
    const UNSPECIFIED: u8 = 0;
    const STREAM: u8 = 1;
    const DATAGRAM: u8 = 2;
    let (family, transport) = (family >> 4, family & 0x0f);
    if !matches!(transport, UNSPECIFIED | STREAM | DATAGRAM) {
        return Err("the PROXY header has an unknown transport");
    }
    let bytes = match family {
        // How long the addresses of no family are, nobody knows: all of it is theirs.
        0 => rest.len(),
        1 => 2 * (4 + 2),
        2 => 2 * (16 + 2),
        3 => 2 * 108,
        _ => return Err("the PROXY header has an unknown family of addresses"),
    };
    let (addresses, extensions) = rest.split_at_checked(bytes).ok_or(SHORT)?;
    // Of a stream alone it is known that the address was proven by a handshake.
    let client = match (family, transport) {
        (1, STREAM) => addresses.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        (2, STREAM) => addresses.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    };
    Ok((client, extensions))
}

/// Steps over the extensions of `header`, which begin at `at`.
fn check_extensions(header: &[u8], mut at: usize) -> Result<(), &'static str> {
    while at < header.len() {
        let Some(&[kind, high, low]) = header[at..].first_chunk() else { return Err("the PROXY header ends within an extension") };
        let value = at + 3;
        at = value + usize::from(u16::from_be_bytes([high, low]));
        let Some(bytes) = header.get(value..at) else { return Err("the PROXY header ends within an extension") };
        if kind == CHECKSUM && bytes != checksum(header, value).to_be_bytes() {
            return Err("the checksum of the PROXY header is wrong");
        }
    }
    Ok(())
}

/// CRC32c (RFC 3720 appendix B.4) of a header in which the four bytes at `hole`, where the checksum itself stands, count as zeros. One bit
/// at a time: there is a header once in the life of a connection, and it is short.
fn checksum(header: &[u8], hole: usize) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let bytes = header.iter().enumerate().map(|(at, &byte)| if (hole..hole + 4).contains(&at) { 0 } else { byte });
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 2.
    fn block(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, rest].concat()
    }

    fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[kind][..], &(value.len() as u16).to_be_bytes(), value].concat()
    }

    const IPV4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x9c, 0x40, 1, 0xbb];

    fn ipv6(from: &str) -> Vec<u8> {
        let from: Ipv6Addr = from.parse().unwrap();
        [&from.octets()[..], &[0; 16], &[0x9c, 0x40, 1, 0xbb]].concat()
    }

    /// The header is read whole, whatever follows it; with every byte less it is incomplete.
    fn check(header: &[u8], client: Option<&str>) {
        let expected = Found::Header { len: header.len(), client: client.map(|address| address.parse().unwrap()) };
        assert_eq!(read(header), expected, "{}", header.escape_ascii());
        assert_eq!(read(&[header, b"GET / HTTP/1.1\r\n\r\n"].concat()), expected);
        for len in 0..header.len() {
            assert_eq!(read(&header[..len]), Found::Incomplete, "{len} bytes of {}", header.escape_ascii());
        }
    }

    fn malformed(header: &[u8]) {
        assert!(matches!(read(header), Found::Malformed(_)), "{}", header.escape_ascii());
    }

    #[test]
    fn lines_of_version_1_name_the_client() {
        check(b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n", Some("192.0.2.1"));
        check(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Some("255.255.255.255"));
        check(b"PROXY TCP6 2001:db8::1 ::1 0 1\r\n", Some("2001:db8::1"));
        check(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 40000 443\r\n", Some("192.0.2.1"));
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN ffff:f...f:ffff anything at all 65535\r\n", None);
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 16));
        assert_eq!(longest.len(), LINE_BYTES_MAX);
        check(longest.as_bytes(), None);
    }

    #[test]
    fn lines_that_are_not_as_version_1_has_them_are_refused() {
        for line in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 40000\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 40000 443 \r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.2 40000 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 40000 443 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\n",
            "PROXY TCP4 192.0.2.01 198.51.100.2 40000 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100 40000 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 040 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +40 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2  443\r\n",
            "PROXY TCP4 ::1 ::1 40000 443\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 40000 443\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 40000 443\r\n",
            "PROXY TCP5 192.0.2.1 198.51.100.2 40000 443\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 40000 443\r\n",
            "PROXY tcp4 192.0.2.1 198.51.100.2 40000 443\r\n",
        ] {
            malformed(line.as_bytes());
        }
        malformed(b"PROXY TCP4 192.0.2.1\xff 198.51.100.2 40000 443\r\n");
        malformed(format!("PROXY UNKNOWN {}", "x".repeat(LINE_BYTES_MAX)).as_bytes());
        assert_eq!(read(format!("PROXY UNKNOWN {}", "x".repeat(LINE_BYTES_MAX - 15)).as_bytes()), Found::Incomplete);
    }

    #[test]
    fn blocks_of_version_2_name_the_client() {
        check(&block(0x21, 0x11, &IPV4), Some("192.0.2.1"));
        check(&block(0x21, 0x21, &ipv6("2001:db8::1")), Some("2001:db8::1"));
        check(&block(0x21, 0x21, &ipv6("::ffff:192.0.2.1")), Some("192.0.2.1"));
        let extensions = [extension(1, b"h2"), extension(4, &[0; 9]), extension(0xee, b"")].concat();
        check(&block(0x21, 0x11, &[&IPV4[..], &extensions].concat()), Some("192.0.2.1"));
    }

    #[test]
    fn blocks_that_name_nobody_are_the_proxys_own() {
        check(&block(0x20, 0x11, &IPV4), None);
        check(&block(0x20, 0x00, b""), None);
        check(&block(0x20, 0xff, b"not looked at"), None);
        check(&block(0x21, 0x00, b"of no known form"), None);
        check(&block(0x21, 0x31, &[0; 216]), None);
        check(&block(0x21, 0x12, &IPV4), None);
        check(&block(0x21, 0x22, &ipv6("::1")), None);
    }

    #[test]
    fn blocks_that_are_not_as_version_2_has_them_are_refused() {
        for (command, family) in [(0x11, 0x11), (0x01, 0x11), (0x31, 0x11), (0x22, 0x11), (0x2f, 0x11), (0x21, 0x41), (0x21, 0x13)] {
            malformed(&block(command, family, &IPV4));
        }
        malformed(&block(0x21, 0x11, &IPV4[..11]));
        malformed(&block(0x21, 0x21, &IPV4));
        malformed(&block(0x21, 0x31, &[0; 215]));
        malformed(&block(0x21, 0x11, &[&IPV4[..], &[1]].concat()));
        malformed(&block(0x21, 0x11, &[&IPV4[..], &[1, 0, 3, b'h', b'2']].concat()));
    }

    #[test]
    fn a_header_is_refused_for_its_length_before_it_has_come() {
        let longest = [&IPV4[..], &extension(4, &vec![0; PROXY_HEADER_BYTES_MAX - FIXED_BYTES - IPV4.len() - 3])].concat();
        check(&block(0x21, 0x11, &longest), Some("192.0.2.1"));
        let longer = block(0x21, 0x11, &[&longest[..], &extension(4, b"")].concat());
        malformed(&longer[..FIXED_BYTES]);
    }

    #[test]
    fn a_checksum_is_believed_only_if_it_is_right() {
        let mut header = block(0x21, 0x11, &[&IPV4[..], &extension(CHECKSUM, &[0; 4]), &extension(1, b"h2")].concat());
        malformed(&header);
        let right = checksum(&header, 31).to_be_bytes();
        header[31..35].copy_from_slice(&right);
        check(&header, Some("192.0.2.1"));
        header[16] ^= 1;
        malformed(&header);
        malformed(&block(0x21, 0x11, &[&IPV4[..], &extension(CHECKSUM, &[0; 3])].concat()));
    }

    #[test]
    fn the_checksum_is_that_of_its_standard() {
        // The check value of CRC32c, and the first of the examples in the RFC.
        assert_eq!(checksum(b"123456789", usize::MAX - 4), 0xe306_9283);
        assert_eq!(checksum(&[0; 32], usize::MAX - 4), 0x8a91_36aa);
    }

    #[test]
    fn what_begins_otherwise_is_no_header() {
        for bytes in ["GET / HTTP/1.1\r\n", "PROXYTCP4", "PROX ", "POST", "\r\nGET", "\r\n\r\n\0\r\nQUIX", "proxy TCP4", "\u{16}\u{3}"] {
            assert_eq!(read(bytes.as_bytes()), Found::Absent, "{bytes}");
        }
        for bytes in ["", "P", "PROXY", "\r", "\r\n\r\n"] {
            assert_eq!(read(bytes.as_bytes()), Found::Incomplete, "{bytes}");
        }
    }
}
