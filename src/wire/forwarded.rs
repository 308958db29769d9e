//! `X-Forwarded-For` and `X-Real-IP`: whom a proxy says it speaks for.
//!
//! ```text
//!   client ──▶ proxy A ──▶ proxy B ──▶ here       X-Forwarded-For: (whatever the client said), client, A
//! ```
//!
//! Each proxy appends the address that it was called from, so only the end of the list is worth anything: the client is the rightmost
//! address that is not of a trusted proxy, and what stands left of it anybody may have written.

use std::net::{IpAddr, SocketAddr};

use super::address::Networks;

/// What a request says about whom it is forwarded for. To be believed only if it comes from a trusted proxy.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Forwarded<'a> {
    /// The values of `X-Forwarded-For`, in order: lists of addresses.
    pub chain: Vec<&'a [u8]>,
    /// The value of `X-Real-IP`; the last, if there are several.
    pub real_ip: Option<&'a [u8]>,
}

impl Forwarded<'_> {
    /// The client, if the request names it. With `X-Forwarded-For` there, `X-Real-IP` is not looked at.
    pub fn client(&self, trusted: &Networks) -> Option<IpAddr> {
        if self.chain.is_empty() {
            return self.real_ip.and_then(address);
        }
        let hops = self.chain.iter().rev().flat_map(|value| value.rsplit(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
        let mut nearest = None;
        for hop in hops.filter(|hop| !hop.is_empty()) {
            // Beyond a word that is no address nothing is known: the request is taken to come from the proxy that wrote it down.
            let Some(known) = address(hop) else { break };
            nearest = Some(known);
            if !trusted.hold(nearest) {
                break;
            }
        }
        nearest
    }
}

/// An address, perhaps with a port, as some proxies add it: `192.0.2.1`, `192.0.2.1:40000`, `2001:db8::1`, `[2001:db8::1]:40000`.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|bare| bare.contains(':')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse::<IpAddr>().ok().or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client that the fields name; `10.0.0.0/8` and `fd00::/8` are trusted.
    fn check(chain: &[&str], real_ip: Option<&str>, client: Option<&str>) {
        let trusted = Networks::parse("10.0.0.0/8,fd00::/8").unwrap();
        let forwarded = Forwarded { chain: chain.iter().map(|value| value.as_bytes()).collect(), real_ip: real_ip.map(str::as_bytes) };
        assert_eq!(forwarded.client(&trusted), client.map(|address| address.parse().unwrap()), "{chain:?} {real_ip:?}");
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_of_a_trusted_proxy() {
        check(&["192.0.2.1"], None, Some("192.0.2.1"));
        check(&["192.0.2.1, 10.1.1.1"], None, Some("192.0.2.1"));
        check(&["192.0.2.1, 10.1.1.1, fd00::7 ,10.2.2.2"], None, Some("192.0.2.1"));
        check(&["192.0.2.1", "10.1.1.1", "10.2.2.2"], None, Some("192.0.2.1"));
        check(&["192.0.2.1,,10.1.1.1,"], None, Some("192.0.2.1"));
        check(&["2001:db8::1"], None, Some("2001:db8::1"));
        check(&["::ffff:192.0.2.1"], None, Some("192.0.2.1"));
    }

    #[test]
    fn what_a_client_wrote_itself_counts_for_nothing() {
        check(&["203.0.113.9, 192.0.2.1"], None, Some("192.0.2.1"));
        check(&["10.9.9.9, 192.0.2.1, 10.1.1.1"], None, Some("192.0.2.1"));
        check(&["203.0.113.9", "192.0.2.1"], None, Some("192.0.2.1"));
        check(&["unknown, \"><script>, 192.0.2.1"], None, Some("192.0.2.1"));
        check(&["192.0.2.1"], Some("203.0.113.9"), Some("192.0.2.1"));
    }

    #[test]
    fn a_client_within_the_trusted_networks_is_the_farthest_that_is_known() {
        check(&["10.3.3.3"], None, Some("10.3.3.3"));
        check(&["10.3.3.3, 10.1.1.1"], None, Some("10.3.3.3"));
        check(&["unknown, 10.3.3.3, 10.1.1.1"], None, Some("10.3.3.3"));
        check(&["192.0.2.1, unknown"], None, None);
        check(&["unknown"], Some("192.0.2.1"), None);
        check(&[""], Some("192.0.2.1"), None);
    }

    #[test]
    fn x_real_ip_counts_where_there_is_no_chain() {
        check(&[], Some("192.0.2.1"), Some("192.0.2.1"));
        check(&[], Some("10.1.1.1"), Some("10.1.1.1"));
        check(&[], Some("192.0.2.1, 192.0.2.2"), None);
        check(&[], Some("localhost"), None);
        check(&[], None, None);
    }

    #[test]
    fn addresses_may_have_ports() {
        check(&["192.0.2.1:40000"], None, Some("192.0.2.1"));
        check(&["[2001:db8::1]:40000"], None, Some("2001:db8::1"));
        check(&["[2001:db8::1]"], None, Some("2001:db8::1"));
        for text in ["192.0.2.1:", "192.0.2.1:65536", "[192.0.2.1]", "[2001:db8::1", "2001:db8::1]", "192.0.2.256", "192.0.2.01", "1"] {
            check(&[text], None, None);
        }
    }
}
