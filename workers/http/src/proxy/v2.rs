//! Version 2: a binary header (proxy-protocol.txt section 2.2).

use super::{Preface, ProxyAddresses, ProxyHeader, tcp};
use crate::reject::Reject;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const FIXED: usize = 16;

/// What the fixed part says of the rest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `LOCAL`: the rest is skipped unread.
    Local,
    /// An unspecified family: likewise.
    Unknown,
    Inet,
    Inet6,
    Unix,
}

impl Kind {
    /// Bytes of both addresses and ports.
    fn addresses(self) -> usize {
        match self {
            Kind::Local | Kind::Unknown => 0,
            Kind::Inet => 12,
            Kind::Inet6 => 36,
            Kind::Unix => 216,
        }
    }
}

pub(super) fn parse(input: &[u8]) -> Result<Preface, Reject> {
    let mut same = input.iter().zip(&SIGNATURE);
    if !same.all(|(byte, expected)| byte == expected) {
        return Err(Reject::bad("PROXY signature is wrong"));
    }
    // What is refused is refused at the first byte that decides.
    let Some(&command) = input.get(12) else {
        return Ok(Preface::NeedMore);
    };
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => {
            return Err(Reject::bad(
                "PROXY version is not 2, or its command is unknown",
            ));
        }
    };
    let Some(&family) = input.get(13) else {
        return Ok(Preface::NeedMore);
    };
    let kind = match family {
        _ if local => Kind::Local,
        0x00 => Kind::Unknown,
        0x11 => Kind::Inet,
        0x21 => Kind::Inet6,
        0x31 => Kind::Unix,
        // Datagrams do not come over a connection; other values must not be sent.
        _ => {
            return Err(Reject::bad(
                "PROXY family or protocol is not one of streams",
            ));
        }
    };
    let Some(&[high, low]) = input.get(14..FIXED) else {
        return Ok(Preface::NeedMore);
    };
    let len = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if len > ProxyHeader::LONGEST {
        return Err(Reject::bad("PROXY header is longer than 4096 bytes"));
    }
    if len < FIXED + kind.addresses() {
        return Err(Reject::bad("PROXY header is too short for its addresses"));
    }
    let Some(header) = input.get(..len) else {
        return Ok(Preface::NeedMore);
    };
    let (addresses, extra) = header[FIXED..].split_at(kind.addresses());
    Ok(Preface::Complete {
        len,
        header: ProxyHeader {
            addresses: read(kind, addresses),
            tls: kind.addresses() > 0 && extras(header, extra)?,
        },
    })
}

/// The addresses of a block that is as long as its kind has it.
fn read(kind: Kind, block: &[u8]) -> ProxyAddresses {
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    match kind {
        Kind::Local => ProxyAddresses::Local,
        Kind::Unknown => ProxyAddresses::Unknown,
        Kind::Inet => {
            let ip = |at: usize| -> IpAddr {
                let octets: [u8; 4] = block[at..at + 4].try_into().unwrap_or_default();
                Ipv4Addr::from(octets).into()
            };
            tcp(
                SocketAddr::new(ip(0), port(8)),
                SocketAddr::new(ip(4), port(10)),
            )
        }
        Kind::Inet6 => {
            let ip = |at: usize| -> IpAddr {
                let octets: [u8; 16] = block[at..at + 16].try_into().unwrap_or_default();
                Ipv6Addr::from(octets).into()
            };
            tcp(
                SocketAddr::new(ip(0), port(32)),
                SocketAddr::new(ip(16), port(34)),
            )
        }
        Kind::Unix => {
            let path = &block[108..];
            // An abstract name begins with a zero byte (unix(7)).
            let (mark, name) = match path {
                [0, name @ ..] if name.first() != Some(&0) => (&b"@"[..], name),
                path => (&b""[..], path),
            };
            let end = name.iter().position(|&byte| byte == 0);
            let destination = [mark, &name[..end.unwrap_or(name.len())]].concat();
            ProxyAddresses::Unix { destination }
        }
    }
}

const CRC32C: u8 = 0x03;
const SSL: u8 = 0x20;
/// Bytes of the SSL extra before those inside of it: client flags, verify.
const SSL_FIXED: usize = 5;
const CLIENT_SSL: u8 = 0x01;

/// Walks the type-length-values behind the addresses (section 2.2.1 to 2.2.7): whether the client's
/// connection is TLS. All are checked to be whole; those that mean nothing to us are skipped.
fn extras(header: &[u8], extra: &[u8]) -> Result<bool, Reject> {
    let (mut tls, mut checked) = (None, false);
    for part in Extras(extra) {
        let (kind, value) = part?;
        match kind {
            SSL => {
                let Some((fixed, inside)) = value.split_at_checked(SSL_FIXED) else {
                    return Err(malformed());
                };
                Extras(inside).try_for_each(|part| part.map(drop))?;
                if tls.replace(fixed[0] & CLIENT_SSL != 0).is_some() {
                    return Err(Reject::bad("PROXY header tells of TLS twice"));
                }
            }
            CRC32C => {
                let Ok(sum) = <[u8; 4]>::try_from(value) else {
                    return Err(malformed());
                };
                // It is computed with its own place at zero. Of two, none could be right.
                let place = value.as_ptr() as usize - header.as_ptr() as usize;
                let expected = u32::from_be_bytes(sum);
                if std::mem::replace(&mut checked, true) || crc32c(header, place) != expected {
                    return Err(Reject::bad("PROXY checksum is wrong"));
                }
            }
            _ => {}
        }
    }
    Ok(tls.unwrap_or(false))
}

fn malformed() -> Reject {
    Reject::bad("PROXY type-length-value is malformed")
}

/// Type-length-values: the type, and the value.
struct Extras<'a>(&'a [u8]);

impl<'a> Iterator for Extras<'a> {
    type Item = Result<(u8, &'a [u8]), Reject>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.0);
        if rest.is_empty() {
            return None;
        }
        let Some((&[kind, high, low], rest)) = rest.split_first_chunk() else {
            return Some(Err(malformed()));
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        let Some((value, rest)) = rest.split_at_checked(len) else {
            return Some(Err(malformed()));
        };
        self.0 = rest;
        Some(Ok((kind, value)))
    }
}

/// CRC32C (RFC 9260 appendix A) of the header, with the four bytes from `place` taken for zeros.
fn crc32c(header: &[u8], place: usize) -> u32 {
    let mut crc = u32::MAX;
    for (at, byte) in header.iter().enumerate() {
        let zero = (place..place + 4).contains(&at);
        crc ^= u32::from(if zero { 0 } else { *byte });
        for _ in 0..8 {
            crc = crc >> 1 ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720 appendix B.4: 32 bytes of zeros, and "123456789" as everywhere.
    #[test]
    fn checksums() {
        assert_eq!(crc32c(&[0; 32], 99), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789", 99), 0xe306_9283);
        assert_eq!(crc32c(&[0, 0, 1, 2, 3, 4], 2), crc32c(&[0; 6], 99));
    }
}
