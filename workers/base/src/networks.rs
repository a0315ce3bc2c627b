//! A set of IP addresses, as settings write it: addresses, networks, or everybody. Compares numbers;
//! resolves no name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::peer::Peer;

/// Addresses and networks. An IPv4-mapped IPv6 address is IPv4, here and in what is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    /// `*`
    Everybody,
    /// The address and the length of its prefix in bits.
    V4(u32, u32),
    V6(u128, u32),
}

impl Networks {
    /// Reads networks, each an IPv4 or IPv6 address, one with `/` and the length of a prefix, or `*`.
    /// None of them is nobody.
    ///
    /// # Errors
    /// What is wrong with the first wrong one, for people.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Networks, String> {
        let networks = texts.into_iter().map(network);
        networks.collect::<Result<_, _>>().map(Networks)
    }

    /// This machine, `127.0.0.1` and `::1`: Gunicorn's default.
    #[must_use]
    pub fn loopback() -> Networks {
        Networks(vec![
            Network::V4(Ipv4Addr::LOCALHOST.into(), 32),
            Network::V6(Ipv6Addr::LOCALHOST.into(), 128),
        ])
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this address is in it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| match (network, ip) {
            (Network::Everybody, _) => true,
            (Network::V4(own, len), IpAddr::V4(ip)) => {
                (own ^ u32::from(ip)).checked_shr(32 - len).unwrap_or(0) == 0
            }
            (Network::V6(own, len), IpAddr::V6(ip)) => {
                (own ^ u128::from(ip)).checked_shr(128 - len).unwrap_or(0) == 0
            }
            _ => false,
        })
    }

    /// Whether this peer is in it: its address, or a process of this machine over a unix socket, to
    /// which the permissions of the socket let it, unless nobody is.
    #[must_use]
    pub fn trusts(&self, peer: &Peer) -> bool {
        match peer.ip() {
            Some(ip) => self.contains(ip),
            None => !self.is_empty(),
        }
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, network) in self.0.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let (ip, len, most): (IpAddr, _, _) = match *network {
                Network::Everybody => {
                    write!(f, "{comma}*")?;
                    continue;
                }
                Network::V4(ip, len) => (Ipv4Addr::from(ip).into(), len, 32),
                Network::V6(ip, len) => (Ipv6Addr::from(ip).into(), len, 128),
            };
            write!(f, "{comma}{ip}")?;
            if len < most {
                write!(f, "/{len}")?;
            }
        }
        Ok(())
    }
}

fn network(text: &str) -> Result<Network, String> {
    let text = text.trim();
    if text == "*" {
        return Ok(Network::Everybody);
    }
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (text, None),
    };
    let address = address.strip_prefix('[').unwrap_or(address);
    let address = address.strip_suffix(']').unwrap_or(address);
    let Ok(ip) = address.parse::<IpAddr>() else {
        return Err(format!(
            "expected an IP address, a network such as 10.0.0.0/8, or *, found \"{text}\""
        ));
    };
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let len = match len {
        None => most,
        Some(len) => {
            let digits = !len.is_empty() && len.bytes().all(|byte| byte.is_ascii_digit());
            let number = len.parse().ok().filter(|len| digits && *len <= most);
            number.ok_or_else(|| {
                format!("expected a prefix length from 0 to {most} in \"{text}\", found \"{len}\"")
            })?
        }
    };
    let (network, first) = match (ip, ip.to_canonical()) {
        // ::ffff:a.b.c.d/n is a network of IPv4 when all of its addresses are.
        (IpAddr::V6(_), IpAddr::V4(ip)) if len >= 96 => v4(ip, len - 96),
        (IpAddr::V4(ip), _) => v4(ip, len),
        (IpAddr::V6(ip), _) => v6(ip, len),
    };
    if network != first {
        let first = Networks(vec![first]);
        return Err(format!(
            "\"{text}\" has bits behind its prefix; did you mean \"{first}\"?"
        ));
    }
    Ok(network)
}

/// The network as written, and as it should be.
fn v4(ip: Ipv4Addr, len: u32) -> (Network, Network) {
    let ip = u32::from(ip);
    let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
    (Network::V4(ip, len), Network::V4(ip & mask, len))
}

fn v6(ip: Ipv6Addr, len: u32) -> (Network, Network) {
    let ip = u128::from(ip);
    let mask = u128::MAX.checked_shl(128 - len).unwrap_or(0);
    (Network::V6(ip, len), Network::V6(ip & mask, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members() {
        for (networks, inside, outside) in [
            ("", "", "127.0.0.1 ::1 0.0.0.0"),
            ("127.0.0.1", "127.0.0.1 ::ffff:127.0.0.1", "127.0.0.2 ::1"),
            (
                "10.0.0.0/8 ::1",
                "10.0.0.0 10.255.255.255 ::1 ::ffff:10.1.2.3",
                "11.0.0.0 9.255.255.255 ::2 ::",
            ),
            ("0.0.0.0/0", "1.2.3.4 ::ffff:1.2.3.4", "::1 ::"),
            ("::/0", "::1 2001:db8::1", "1.2.3.4 ::ffff:1.2.3.4"),
            ("*", "1.2.3.4 ::1 ::ffff:1.2.3.4", ""),
            (
                "2001:db8::/33",
                "2001:db8:7fff::1",
                "2001:db8:8000::1 2001:db9::",
            ),
            ("192.0.2.128/25", "192.0.2.128 192.0.2.255", "192.0.2.127"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"),
            ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("[::1]", "::1", "::2"),
        ] {
            let set = Networks::parse(networks.split_whitespace()).unwrap();
            for (ips, is) in [(inside, true), (outside, false)] {
                for ip in ips.split_whitespace() {
                    assert_eq!(set.contains(ip.parse().unwrap()), is, "{ip} in {networks}");
                }
            }
            let again = set.to_string();
            let again = Networks::parse(again.split(',').filter(|text| !text.is_empty()));
            assert_eq!(again, Ok(set), "{networks}");
        }
    }

    #[test]
    fn a_unix_peer_is_trusted_unless_nobody_is() {
        assert!(Networks::loopback().trusts(&Peer::Unix));
        assert!(!Networks::default().trusts(&Peer::Unix));
    }

    #[test]
    fn mistakes() {
        let odd = "expected an IP address, a network such as 10.0.0.0/8, or *, found";
        for (text, message) in [
            ("localhost", format!("{odd} \"localhost\"")),
            ("", format!("{odd} \"\"")),
            ("10.0.0", format!("{odd} \"10.0.0\"")),
            ("1.2.3.4:80", format!("{odd} \"1.2.3.4:80\"")),
            (
                "10.0.0.0/33",
                "expected a prefix length from 0 to 32 in \"10.0.0.0/33\", found \"33\"".into(),
            ),
            (
                "::/x",
                "expected a prefix length from 0 to 128 in \"::/x\", found \"x\"".into(),
            ),
            (
                "10.0.0.1/8",
                "\"10.0.0.1/8\" has bits behind its prefix; did you mean \"10.0.0.0/8\"?".into(),
            ),
            (
                "2001:db8::1/32",
                "\"2001:db8::1/32\" has bits behind its prefix; did you mean \"2001:db8::/32\"?"
                    .into(),
            ),
        ] {
            assert_eq!(Networks::parse([text]), Err(message), "{text}");
        }
    }
}
