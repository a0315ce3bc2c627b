//! PROXY headers: cut anywhere they come to the same, they come to what a second reader says, and
//! written down again they are themselves.

use ferricorn_http::{Preface, ProxyAddresses, ProxyHeader, ProxyVersions, Reject};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What a header of version 1 is at most (section 2.1).
const LONGEST_LINE: usize = 107;

/// Reads the input, behind its first byte, as the front of a connection.
pub fn check(data: &[u8]) {
    let Some((kind, input)) = data.split_first() else {
        return;
    };
    let mut input = input.to_vec();
    if kind & 128 != 0 {
        right_checksum(&mut input);
    }
    let input = &input[..];
    let versions = match kind % 3 {
        0 => ProxyVersions::Auto,
        1 => ProxyVersions::V1,
        _ => ProxyVersions::V2,
    };
    let whole = ProxyHeader::parse(input, versions);
    however_cut(input, versions, &whole);
    let text = match versions {
        ProxyVersions::V1 => true,
        ProxyVersions::V2 => false,
        ProxyVersions::Auto => input.first() == Some(&b'P'),
    };
    let expected = if text { line(input) } else { binary(input) };
    match (&whole, expected) {
        (Ok(Preface::Complete { len, header }), Verdict::Good(other, length)) => {
            assert_eq!((header, *len), (&other, length));
            assert!(
                *len <= if text {
                    LONGEST_LINE
                } else {
                    ProxyHeader::LONGEST
                }
            );
            written_again(header);
        }
        (Err(reject), Verdict::Bad | Verdict::Incomplete) => assert_eq!(reject.status, 400),
        (Ok(Preface::NeedMore), Verdict::Incomplete) => {}
        (outcome, expected) => panic!("{outcome:?} where the reference says {expected:?}"),
    }
}

/// Makes the first checksum of a binary header right, which a fuzzer would never guess.
fn right_checksum(input: &mut [u8]) {
    let addresses = match input.get(13) {
        Some(0x11) => 12,
        Some(0x21) => 36,
        _ => 216,
    };
    let length = match input.get(14..16) {
        Some(length) => 16 + usize::from(length[0]) * 256 + usize::from(length[1]),
        None => return,
    };
    let Some(header) = input.get_mut(..length) else {
        return;
    };
    let start = 16 + addresses;
    let found = header.get(start..).and_then(extras).and_then(|extras| {
        let of_four = |extra: &&Extra<'_>| extra.0 == 0x03 && extra.1.len() == 4;
        extras.iter().find(of_four).map(|extra| start + extra.2)
    });
    if let Some(at) = found {
        header[at..at + 4].fill(0);
        let sum = crc32c(header);
        header[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Shown longer and longer beginnings, it is decided once, and stays so.
fn however_cut(input: &[u8], versions: ProxyVersions, whole: &Result<Preface, Reject>) {
    let read = |end: usize| ProxyHeader::parse(&input[..end], versions);
    let ends = 0..=input.len().min(ProxyHeader::LONGEST);
    let Some(first) = ends.clone().find(|&end| read(end) != Ok(Preface::NeedMore)) else {
        assert_eq!(*whole, Ok(Preface::NeedMore));
        assert!(
            input.len() < ProxyHeader::LONGEST,
            "more is wanted than a header has"
        );
        return;
    };
    assert_eq!(read(first), *whole);
    if let Ok(Preface::Complete { len, .. }) = whole {
        assert_eq!(*len, first, "complete at its last byte");
    }
    for end in (first..=input.len()).take(40) {
        assert_eq!(read(end), *whole, "with {end} bytes");
    }
}

#[derive(Debug)]
enum Verdict {
    Good(ProxyHeader, usize),
    Bad,
    /// Not whole; that ours refuses it early is its right.
    Incomplete,
}

/// Section 2.1, over the whole line.
fn line(input: &[u8]) -> Verdict {
    let Some(lf) = input
        .iter()
        .take(LONGEST_LINE)
        .position(|&byte| byte == b'\n')
    else {
        return match input.len() {
            LONGEST_LINE.. => Verdict::Bad,
            _ => Verdict::Incomplete,
        };
    };
    match line_addresses(&input[..lf]) {
        Some(addresses) => {
            let header = ProxyHeader {
                addresses,
                tls: false,
            };
            Verdict::Good(header, lf + 1)
        }
        None => Verdict::Bad,
    }
}

fn line_addresses(line: &[u8]) -> Option<ProxyAddresses> {
    let line = line.strip_suffix(b"\r")?;
    // A line ends at its first CR; what an unknown kind has before it is nobody's business.
    if line.contains(&b'\r') {
        return None;
    }
    if line == b"PROXY UNKNOWN" || line.starts_with(b"PROXY UNKNOWN ") {
        return Some(ProxyAddresses::Unknown);
    }
    let parts: Vec<&str> = std::str::from_utf8(line).ok()?.split(' ').collect();
    let &["PROXY", kind, source, destination, source_port, port] = &parts[..] else {
        return None;
    };
    let address = |text: &str| -> Option<IpAddr> {
        match kind {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
            _ => None,
        }
    };
    // As it is written back: no sign, no zeros in front.
    let number = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| port.to_string() == text)
    };
    Some(tcp(
        (address(source)?, number(source_port)?),
        (address(destination)?, number(port)?),
    ))
}

fn tcp(source: (IpAddr, u16), destination: (IpAddr, u16)) -> ProxyAddresses {
    let socket = |(ip, port): (IpAddr, u16)| match ip {
        IpAddr::V6(v6) => match v6.octets() {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, a, b, c, d] => {
                SocketAddr::from(([a, b, c, d], port))
            }
            octets => SocketAddr::from((octets, port)),
        },
        IpAddr::V4(v4) => SocketAddr::from((v4, port)),
    };
    ProxyAddresses::Tcp {
        source: socket(source),
        destination: socket(destination),
    }
}

/// Section 2.2, over the whole header.
fn binary(input: &[u8]) -> Verdict {
    if !input.starts_with(&SIGNATURE[..input.len().min(12)]) {
        return Verdict::Bad;
    }
    let Some(length) = input.get(14..16) else {
        return Verdict::Incomplete;
    };
    let length = 16 + usize::from(length[0]) * 256 + usize::from(length[1]);
    if length > ProxyHeader::LONGEST {
        return Verdict::Bad;
    }
    match input.get(..length).map(block) {
        None => Verdict::Incomplete,
        Some(None) => Verdict::Bad,
        Some(Some(header)) => Verdict::Good(header, length),
    }
}

fn block(header: &[u8]) -> Option<ProxyHeader> {
    let rest = &header[16..];
    let port = |at: usize| u16::from(rest[at]) << 8 | u16::from(rest[at + 1]);
    let v4 = |at: usize| {
        let octets: [u8; 4] = rest[at..at + 4].try_into().expect("four bytes");
        IpAddr::from(octets)
    };
    let v6 = |at: usize| {
        let octets: [u8; 16] = rest[at..at + 16].try_into().expect("sixteen bytes");
        IpAddr::from(octets)
    };
    let (addresses, used) = match (header[12], header[13]) {
        (0x20, _) => (ProxyAddresses::Local, rest.len()),
        (0x21, 0) => (ProxyAddresses::Unknown, rest.len()),
        (0x21, 0x11) if rest.len() >= 12 => (tcp((v4(0), port(8)), (v4(4), port(10))), 12),
        (0x21, 0x21) if rest.len() >= 36 => (tcp((v6(0), port(32)), (v6(16), port(34))), 36),
        (0x21, 0x31) if rest.len() >= 216 => {
            let mut path = rest[108..216].to_vec();
            // unix(7): a zero byte and a name is an abstract address.
            if path[0] == 0 && path[1] != 0 {
                path[0] = b'@';
            }
            let end = path.iter().position(|&byte| byte == 0);
            path.truncate(end.unwrap_or(path.len()));
            (ProxyAddresses::Unix { destination: path }, 216)
        }
        _ => return None,
    };
    let extras = extras(&rest[used..])?;
    let of = |kind: u8| extras.iter().filter(move |extra| extra.0 == kind);
    // The SSL extra holds five bytes and extras of its own.
    for (_, value, _) in of(0x20) {
        self::extras(value.get(5..)?)?;
    }
    // The checksum is that of the header with zeros in its place.
    for (_, value, at) in of(0x03) {
        let mut copy = header.to_vec();
        let at = 16 + used + at;
        copy.get_mut(at..at + 4)?.fill(0);
        if value.len() != 4 || crc32c(&copy).to_be_bytes() != *value {
            return None;
        }
    }
    if of(0x20).count() > 1 || of(0x03).count() > 1 {
        return None;
    }
    Some(ProxyHeader {
        addresses,
        tls: of(0x20).any(|(_, value, _)| value[0] & 1 == 1),
    })
}

/// Type, value, and where the value is.
type Extra<'a> = (u8, &'a [u8], usize);

fn extras(bytes: &[u8]) -> Option<Vec<Extra<'_>>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let length = u16::from_be_bytes([*bytes.get(at + 1)?, *bytes.get(at + 2)?]);
        let value = bytes.get(at + 3..at + 3 + usize::from(length))?;
        found.push((bytes[at], value, at + 3));
        at += 3 + value.len();
    }
    Some(found)
}

/// CRC32C by division of polynomials, most significant bit first, of the bits in the order of the
/// wire.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut rest = u32::MAX;
    for byte in bytes {
        rest ^= u32::from(byte.reverse_bits()) << 24;
        for _ in 0..8 {
            let carry = rest >> 31;
            rest = (rest << 1) ^ (carry * 0x1edc_6f41);
        }
    }
    !rest.reverse_bits()
}

/// Written as version 2, and as version 1 where that can say it, it is read as what it was.
fn written_again(header: &ProxyHeader) {
    let mut text = None;
    let mut bytes = [SIGNATURE, &[0x21]].concat();
    let mut block = Vec::new();
    match &header.addresses {
        ProxyAddresses::Local => {
            bytes[12] = 0x20;
            bytes.push(0);
        }
        ProxyAddresses::Unknown => {
            text = Some("PROXY UNKNOWN\r\n".to_owned());
            bytes.push(0);
        }
        ProxyAddresses::Tcp {
            source,
            destination,
        } => {
            let ports = format!("{} {}", source.port(), destination.port());
            match (source.ip(), destination.ip()) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    text = Some(format!("PROXY TCP4 {from} {to} {ports}\r\n"));
                    bytes.push(0x11);
                    block.extend_from_slice(&[from.octets(), to.octets()].concat());
                }
                (from, to) => {
                    let v6 = |ip| match ip {
                        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                        IpAddr::V6(v6) => v6,
                    };
                    let (from, to) = (v6(from), v6(to));
                    text = Some(format!("PROXY TCP6 {from} {to} {ports}\r\n"));
                    bytes.push(0x21);
                    block.extend_from_slice(&[from.octets(), to.octets()].concat());
                }
            }
            for port in [source.port(), destination.port()] {
                block.extend_from_slice(&port.to_be_bytes());
            }
        }
        ProxyAddresses::Unix { destination } => {
            bytes.push(0x31);
            block.extend_from_slice(&[0; 108]);
            block.extend_from_slice(destination);
            block.resize(216, 0);
        }
    }
    if !matches!(
        header.addresses,
        ProxyAddresses::Local | ProxyAddresses::Unknown
    ) {
        block.extend_from_slice(&[0x20, 0, 5, u8::from(header.tls), 0, 0, 0, 0]);
    }
    bytes.extend_from_slice(&u16::try_from(block.len()).expect("short").to_be_bytes());
    bytes.extend_from_slice(&block);
    same(&bytes, ProxyVersions::V2, header);
    same(&bytes, ProxyVersions::Auto, header);
    assert!(ProxyHeader::parse(&bytes, ProxyVersions::V1).is_err());
    if let Some(text) = text {
        let plain = ProxyHeader {
            tls: false,
            ..header.clone()
        };
        same(text.as_bytes(), ProxyVersions::V1, &plain);
        same(text.as_bytes(), ProxyVersions::Auto, &plain);
        assert!(ProxyHeader::parse(text.as_bytes(), ProxyVersions::V2).is_err());
    }
}

fn same(bytes: &[u8], versions: ProxyVersions, expected: &ProxyHeader) {
    let behind = [bytes, b"GET / HTTP/1.1\r\n\r\n"].concat();
    let complete = Preface::Complete {
        len: bytes.len(),
        header: expected.clone(),
    };
    assert_eq!(ProxyHeader::parse(&behind, versions), Ok(complete));
}
