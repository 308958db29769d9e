//! Addresses of clients: what of one counts as one client, and which networks proxies may speak from.
//!
//! An address is a value here, as it came from the kernel, a proxy or a setting; nothing is looked up and nothing is connected to.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::limits::TRUSTED_NETWORKS_MAX;

/// What counts as one client: an IPv4 address, or the first 64 bits of an IPv6 one, because a provider hands out no less to a household,
/// and who has one such network has 2^64 addresses. An IPv4 address written as an IPv6 one is what it stands for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Source(u64);

/// What the number of an IPv4 address begins with: the first half of IPv6 addresses that are for groups, so no client has one.
const IPV4: u64 = 0xffff_ffff_0000_0000;

impl Source {
    /// What `address` is counted as.
    pub fn of(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V4(address) => Source(IPV4 | u64::from(address.to_bits())),
            IpAddr::V6(address) => Source((address.to_bits() >> 64) as u64),
        }
    }

    /// A number that differs for neighbours, to spread them with.
    pub fn spread(self) -> usize {
        (self.0 ^ self.0 >> 32) as usize
    }
}

/// A network: addresses that begin with the same bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Network {
    first: IpAddr,
    prefix: u32,
}

impl Network {
    fn holds(self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => begin_alike(first.to_bits().into(), address.to_bits().into(), 32 - self.prefix),
            (IpAddr::V6(first), IpAddr::V6(address)) => begin_alike(first.to_bits(), address.to_bits(), 128 - self.prefix),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Whether it is written with its first address, as it should be: `10.0.0.7/8` is a mistake, of whatever kind.
    fn is_first(self) -> bool {
        let (bits, rest) = match self.first {
            IpAddr::V4(first) => (u128::from(first.to_bits()), 32 - self.prefix),
            IpAddr::V6(first) => (first.to_bits(), 128 - self.prefix),
        };
        bits.checked_shr(rest).unwrap_or(0).checked_shl(rest).unwrap_or(0) == bits
    }
}

/// Whether two addresses are the same but for their last `rest` bits.
fn begin_alike(one: u128, other: u128, rest: u32) -> bool {
    (one ^ other).checked_shr(rest).unwrap_or(0) == 0
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Network, ()> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let first: IpAddr = address.parse().map_err(|_| ())?;
        let bits = if first.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| ())?,
            Some(_) => return Err(()),
        };
        // Addresses are compared in their canonical form, so one that is never seen would match nothing.
        let is_mapped = first.is_ipv6() && first.to_canonical().is_ipv4();
        let network = Network { first, prefix };
        (prefix <= bits && !is_mapped && network.is_first()).then_some(network).ok_or(())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// Where proxies stand that are believed when they say whom they speak for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Networks {
    list: Vec<Network>,
    has_unix: bool,
}

impl Networks {
    /// Networks separated by commas, `10.0.0.0/8,fd00::/8,192.0.2.7`, where `unix` stands for whoever comes over a unix socket. An empty
    /// text is none. The error is what is allowed.
    pub fn parse(text: &str) -> Result<Networks, String> {
        let mut networks = Networks::default();
        for word in text.split(',').filter(|_| !text.is_empty()) {
            match word.trim() {
                "unix" => networks.has_unix = true,
                word => networks.list.push(word.parse().map_err(|()| allowed())?),
            }
        }
        if networks.list.len() > TRUSTED_NETWORKS_MAX {
            return Err(allowed());
        }
        Ok(networks)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && !self.has_unix
    }

    /// Whether `peer` is in one of them; who has no address came over a unix socket.
    pub fn hold(&self, peer: Option<IpAddr>) -> bool {
        match peer.map(|address| address.to_canonical()) {
            None => self.has_unix,
            Some(address) => self.list.iter().any(|network| network.holds(address)),
        }
    }
}

fn allowed() -> String {
    format!(
        "up to {TRUSTED_NETWORKS_MAX} IP addresses or networks in CIDR form, such as 10.0.0.0/8 or fd00::/8, or unix, separated by commas, \
         are allowed"
    )
}

/// As [`Networks::parse`] takes them.
impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unix = self.has_unix.then(|| "unix".to_owned());
        let words: Vec<String> = self.list.iter().map(ToString::to_string).chain(unix).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network_of_64_bits() {
        let check = |one: &str, other: &str, is_same: bool| {
            assert_eq!(Source::of(address(one)) == Source::of(address(other)), is_same, "{one} and {other}");
        };
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("192.0.2.1", "::ffff:192.0.2.2", false);
        check("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true);
        check("2001:db8:0:1::1", "2001:db8:0:2::1", false);
        check("0.0.0.1", "::1", false);
    }

    #[test]
    fn networks_hold_the_addresses_that_begin_as_they_do() {
        let check = |networks: &str, inside: &[&str], outside: &[&str]| {
            let networks = Networks::parse(networks).unwrap();
            inside.iter().for_each(|one| assert!(networks.hold(Some(address(one))), "{one} is not in {networks}"));
            outside.iter().for_each(|one| assert!(!networks.hold(Some(address(one))), "{one} is in {networks}"));
            assert_eq!(Networks::parse(&networks.to_string()), Ok(networks));
        };
        check("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], &["9.255.255.255", "11.0.0.0", "::10.1.2.3", "a00::"]);
        check("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "192.0.2.8"]);
        check("192.0.2.6/31, 198.51.100.0/24", &["192.0.2.6", "192.0.2.7", "198.51.100.9"], &["192.0.2.5", "192.0.2.8", "::1"]);
        check("fd00::/8,2001:db8::/33", &["fdff::1", "2001:db8:7fff::"], &["fe00::", "2001:db8:8000::", "253.0.0.1"]);
        check("::1", &["::1"], &["::", "::2", "127.0.0.1"]);
        check("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::1"]);
        check("::/0", &["::1", "2001:db8::1"], &["192.0.2.1", "::ffff:192.0.2.1"]);
        check("", &[], &["127.0.0.1", "::1", "0.0.0.0"]);
    }

    #[test]
    fn a_peer_without_an_address_is_trusted_only_by_name() {
        let check = |networks: &str, is_trusted: bool| assert_eq!(Networks::parse(networks).unwrap().hold(None), is_trusted, "{networks}");
        check("unix", true);
        check("unix,10.0.0.0/8", true);
        check("0.0.0.0/0,::/0", false);
        check("", false);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let long = vec!["192.0.2.1"; TRUSTED_NETWORKS_MAX + 1].join(",");
        for text in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0/8",
            "010.0.0.0/8",
            "localhost",
            ",",
            "10.0.0.0/8,",
            "10.0.0.0/8 fd00::/8",
            "::ffff:10.0.0.0/104",
            "fe80::1%eth0",
            "UNIX",
            "2001:db8::1/64",
            &long,
        ] {
            assert!(Networks::parse(text).is_err(), "{text}");
        }
    }
}
