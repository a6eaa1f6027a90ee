//! Who is asking: the client's address, through proxies that are trusted and no others.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::HttpRequest;
use ipnet::IpNet;

use crate::domain::network::ClientIp;

const FORWARDED_FOR: &str = "X-Forwarded-For";

/// Proxies whose `X-Forwarded-For` is believed.
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    warned: AtomicBool,
}

impl TrustedProxies {
    /// These networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self { networks, warned: AtomicBool::new(false) }
    }

    /// Whether an address is one of theirs.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.networks.iter().any(|network| network.contains(&ip))
    }

    /// Whoever stands behind the last trusted proxy.
    pub(super) fn client(&self, request: &HttpRequest) -> ClientIp {
        let peer = request.peer_addr().map_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let headers = request.headers().get_all(FORWARDED_FOR);
        let hops: Vec<&str> = headers.filter_map(|value| value.to_str().ok()).collect();
        if !hops.is_empty() && !self.contains(peer) && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                %peer,
                "{FORWARDED_FOR} from an address that is not in server.trusted_proxies is ignored; if a proxy of \
                 yours stands there, add it, or all its clients share one limit (this is said once)"
            );
        }
        ClientIp::new(self.right_most_untrusted(peer, &hops))
    }

    /// Walks from our peer outwards. What a trusted proxy wrote is believed; what stands left of an untrusted hop
    /// anybody may have written.
    fn right_most_untrusted(&self, peer: IpAddr, headers: &[&str]) -> IpAddr {
        let mut client = peer;
        for hop in headers.iter().rev().flat_map(|header| header.rsplit(',')) {
            if !self.contains(client) {
                break;
            }
            match parse_hop(hop.trim()) {
                Some(ip) => client = ip,
                None => break,
            }
        }
        client
    }
}

/// An address, perhaps with a port.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let socket = || hop.parse::<std::net::SocketAddr>().map(|socket| socket.ip());
    let bracketed = || hop.trim_start_matches('[').trim_end_matches(']').parse();
    hop.parse().or_else(|_| socket()).or_else(|_| bracketed()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[&str]) -> String {
        let proxies = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
        let proxies = TrustedProxies::new(proxies.to_vec());
        proxies.right_most_untrusted(peer.parse().expect("an address"), headers).to_string()
    }

    #[test]
    fn only_trusted_hops_are_believed_right_to_left_j3() {
        assert_eq!(client("203.0.113.9", &["1.2.3.4"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "1.2.3.4,10.0.0.2"]), "1.2.3.4");
        assert_eq!(client("::ffff:10.0.0.1", &["1.2.3.4:5678"]), "1.2.3.4");
        assert_eq!(client("fd00::1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["1.2.3.4, unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[""]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.3"]), "10.0.0.3");
    }
}
