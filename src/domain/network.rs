//! Where a request comes from, as limits count it.
//!
//! Guarantees: one host has one key whatever its spelling. IPv4 counts by address; IPv6 by /64, which is what one
//! subscriber gets, and by /48 beside it, which is what one site gets; IPv4 mapped into IPv6 is IPv4.

use std::net::IpAddr;

/// A client's address, v4-mapped folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientIp(IpAddr);

impl ClientIp {
    /// Folds `::ffff:a.b.c.d` to `a.b.c.d`.
    #[must_use]
    pub fn new(ip: IpAddr) -> Self {
        Self(ip.to_canonical())
    }

    /// One of the network that [`ClientIp::key`] named.
    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        let network = key.split_once('/').map_or(key, |(network, _)| network);
        Some(Self::new(network.parse().ok()?))
    }

    /// The address itself.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// `192.0.2.1`, or `2001:db8:1:2::/64`.
    #[must_use]
    pub fn key(self) -> String {
        match self.0 {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => prefix(ip, 64),
        }
    }

    /// The site around it: `2001:db8:1::/48`. IPv4 has none.
    #[must_use]
    pub fn site_key(self) -> Option<String> {
        match self.0 {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(prefix(ip, 48)),
        }
    }
}

/// The site around a network that [`ClientIp::key`] named.
#[must_use]
pub fn site_of(key: &str) -> Option<String> {
    ClientIp::of_key(key)?.site_key()
}

fn prefix(ip: std::net::Ipv6Addr, bits: u32) -> String {
    let kept = ip.to_bits() & (u128::MAX << (128 - bits));
    format!("{}/{bits}", std::net::Ipv6Addr::from_bits(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        ClientIp::new(text.parse().expect("an address")).key()
    }

    #[test]
    fn one_host_has_one_key_whatever_the_spelling_j3() {
        assert_eq!(key("192.0.2.1"), "192.0.2.1");
        assert_eq!(key("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(key("2001:db8:1:2:aaaa::1"), "2001:db8:1:2::/64");
        assert_eq!(key("2001:0DB8:0001:0002:ffff:ffff:ffff:ffff"), "2001:db8:1:2::/64");
        let site = ClientIp::new("2001:db8:1:2::1".parse().expect("an address")).site_key();
        assert_eq!(site.as_deref(), Some("2001:db8:1::/48"));
        assert_eq!(site_of("2001:db8:1:2::/64"), site);
        for network in ["192.0.2.1", "2001:db8:1:2::/64"] {
            assert_eq!(ClientIp::of_key(network).map(ClientIp::key).as_deref(), Some(network));
        }
        assert_eq!((site_of("192.0.2.1"), site_of("nowhere/64")), (None, None));
    }
}
