//! PROXY headers: what comes behind one changes nothing, nothing is decided of a part that the rest would change, and the address of a
//! client survives being written down in either version.

use std::net::IpAddr;

use texto::wire::proxy::{self, Found};

pub(crate) fn check(bytes: &[u8]) {
    let found = proxy::read(bytes);
    for at in [bytes.len() / 4, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        match proxy::read(&bytes[..at]) {
            Found::Incomplete => {}
            decided => assert_eq!(decided, found, "decided after {at} of {} bytes", bytes.len()),
        }
    }
    if found != Found::Incomplete {
        let more = [bytes, b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(proxy::read(&more), found, "with a request behind it");
    }
    if let Found::Header { len, client } = found {
        assert!(len <= bytes.len() && len > 0);
        for at in 0..len {
            assert_eq!(proxy::read(&bytes[..at]), Found::Incomplete, "{at} of {len} bytes");
        }
        client.into_iter().for_each(check_client);
    }
}

/// Headers that a proxy would write for this client.
fn check_client(client: IpAddr) {
    assert_eq!(client, client.to_canonical(), "an address is told in one form");
    let (family, line_family, octets) = match client {
        IpAddr::V4(address) => (0x11, "TCP4", address.octets().to_vec()),
        IpAddr::V6(address) => (0x21, "TCP6", address.octets().to_vec()),
    };
    let line = format!("PROXY {line_family} {client} {client} 40000 443\r\n");
    assert_eq!(proxy::read(line.as_bytes()), Found::Header { len: line.len(), client: Some(client) });
    let block =
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x21, family, 0, 2 * octets.len() as u8 + 4], &octets, &octets, &[156, 64, 1, 187]].concat();
    assert_eq!(proxy::read(&block), Found::Header { len: block.len(), client: Some(client) });
}
