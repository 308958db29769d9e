//! Where to connect: `ws://HOST:PORT/PATH`, and how a port range of 64 k is stretched over many addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

/// The nonce of RFC 6455 section 1.3, whose answer is known: a load tool has nothing to hide, and needs no SHA-1.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// One server, as the command line names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The authority for the `Host` field.
    pub(crate) host: String,
    pub(crate) path: String,
}

impl Target {
    /// Reads `ws://HOST:PORT/PATH`; the error is a sentence for the command line.
    pub(crate) fn parse(url: &str) -> Result<Target, String> {
        let rest = url.strip_prefix("ws://").ok_or_else(|| format!("{url}: a target begins with ws://"))?;
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/v1/texto"),
        };
        let mut found = host.to_socket_addrs().map_err(|error| format!("{url}: {error}"))?;
        let address = found.next().ok_or_else(|| format!("{url}: no address"))?;
        Ok(Target { address, host: host.to_owned(), path: path.to_owned() })
    }

    /// The request for a WebSocket.
    pub(crate) fn request(&self) -> String {
        let Target { path, host, .. } = self;
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        )
    }

    /// Whether the traffic stays on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.address.ip().is_loopback()
    }

    /// This target under `count` addresses of 127.0.0.0/8, so that a port range serves each of them once.
    pub(crate) fn stretched(&self, count: u32) -> Result<Vec<Target>, String> {
        let first = match self.address.ip() {
            IpAddr::V4(first) if first.is_loopback() => first,
            other if count > 1 => return Err(format!("{other}: only IPv4 loopback has many addresses")),
            _ => return Ok(vec![self.clone()]),
        };
        let at = |step| SocketAddr::new(neighbour(first, step).into(), self.address.port());
        Ok((0..count).map(|step| Target { address: at(step), ..self.clone() }).collect())
    }
}

/// The loopback address `step` further on.
pub(crate) fn neighbour(first: Ipv4Addr, step: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(first) + step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_address_and_path() {
        let target = Target::parse("ws://127.0.0.1:8398/v1/texto?nogreet=").expect("valid");
        assert_eq!(target.address, "127.0.0.1:8398".parse().expect("valid"));
        assert_eq!(target.path, "/v1/texto?nogreet=");
        assert!(target.is_loopback());
    }

    #[test]
    fn what_is_no_target_is_refused_with_a_sentence() {
        for url in ["wss://127.0.0.1:1/", "127.0.0.1:1", "ws://127.0.0.1/", "ws://"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn stretching_takes_the_next_addresses() {
        let target = Target::parse("ws://127.0.0.1:8398/").expect("valid");
        let addresses: Vec<_> = target.stretched(3).expect("loopback").iter().map(|target| target.address.ip().to_string()).collect();
        assert_eq!(addresses, ["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    }

    #[test]
    fn other_machines_are_not_loopback() {
        assert!(!Target::parse("ws://192.0.2.1:80/").expect("valid").is_loopback());
        assert!(Target::parse("ws://192.0.2.1:80/").expect("valid").stretched(2).is_err());
    }
}
