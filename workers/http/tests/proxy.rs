//! PROXY headers: what is taken, what is refused, and at which byte, however the input is cut.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use ferricorn_http::{Preface, ProxyAddresses, ProxyHeader, ProxyVersions, Reject};
use proptest::prelude::*;

use ProxyVersions::{Auto, V1, V2};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

/// What an input comes to: at how many bytes, and what.
type Outcome = Option<(usize, Result<(usize, ProxyHeader), u16>)>;

/// Shows the input byte by byte; what it comes to must be what it comes to as a whole, and at every
/// length from the deciding byte on.
#[track_caller]
fn drive(input: &[u8], versions: ProxyVersions) -> Outcome {
    let mut decided: Outcome = None;
    for end in 0..=input.len() {
        let outcome = match ProxyHeader::parse(&input[..end], versions) {
            Ok(Preface::NeedMore) => {
                assert!(decided.is_none(), "undecided again at {end}");
                continue;
            }
            Ok(Preface::Complete { len, header }) => Ok((len, header)),
            Err(Reject { status, .. }) => Err(status.as_u16()),
        };
        match &decided {
            None => decided = Some((end, outcome)),
            Some((_, first)) => assert_eq!(&outcome, first, "with {end} bytes"),
        }
    }
    decided
}

fn tcp(source: &str, destination: &str) -> ProxyAddresses {
    ProxyAddresses::Tcp {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

#[track_caller]
fn accepted(header: &[u8], versions: ProxyVersions, addresses: ProxyAddresses, tls: bool) {
    let input = [header, REQUEST].concat();
    let expected = (header.len(), ProxyHeader { addresses, tls });
    let at = header.len();
    assert_eq!(drive(&input, versions), Some((at, Ok(expected))));
    assert_eq!(drive(&header[..at - 1], versions), None, "one byte less");
}

/// It is refused at this byte, counted from 1.
#[track_caller]
fn refused(input: &[u8], versions: ProxyVersions, at: usize) {
    let text = String::from_utf8_lossy(input);
    assert_eq!(drive(input, versions), Some((at, Err(400))), "{text:?}");
}

#[test]
fn lines() {
    for (line, addresses) in [
        (
            "PROXY TCP4 192.0.2.1 198.51.100.1 51000 80\r\n",
            tcp("192.0.2.1:51000", "198.51.100.1:80"),
        ),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            tcp("255.255.255.255:65535", "255.255.255.255:65535"),
        ),
        (
            "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n",
            tcp("0.0.0.0:0", "0.0.0.0:0"),
        ),
        (
            "PROXY TCP6 2001:db8::1 ::1 51000 443\r\n",
            tcp("[2001:db8::1]:51000", "[::1]:443"),
        ),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            tcp(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            ),
        ),
        (
            "PROXY TCP6 1111:2222:3333:4444:5555:6666:255.255.255.255 ::1 1 2\r\n",
            tcp("[1111:2222:3333:4444:5555:6666:ffff:ffff]:1", "[::1]:2"),
        ),
        (
            "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.1 1 2\r\n",
            tcp("192.0.2.1:1", "198.51.100.1:2"),
        ),
        ("PROXY UNKNOWN\r\n", ProxyAddresses::Unknown),
        ("PROXY UNKNOWN \r\n", ProxyAddresses::Unknown),
        (
            "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
            ProxyAddresses::Unknown,
        ),
    ] {
        for versions in [V1, Auto] {
            accepted(line.as_bytes(), versions, addresses.clone(), false);
        }
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
    accepted(longest.as_bytes(), V1, ProxyAddresses::Unknown, false);
}

#[test]
fn lines_that_are_refused() {
    for (good, bad) in [
        ("", "GET / HTTP/1.1"),
        ("", "\r\n"),
        ("", "proxy TCP4"),
        ("P", "OST / HTTP/1.1"),
        ("PROXY", "\tTCP4"),
        ("PROXY ", " TCP4 1.2.3.4 1.2.3.4 1 1\r\n"),
        ("PROXY ", "\r\n"),
        ("PROXY T", "LS"),
        ("PROXY TCP", "5 "),
        ("PROXY TCP4", "\r\n"),
        ("PROXY TCP4", "\t1.2.3.4"),
        ("PROXY TCP4 ", " 1.2.3.4"),
        (
            "PROXY ",
            "UDP4 192.0.2.1 198.51.100.1 51000 80\r\n".get(1..).unwrap(),
        ),
        ("PROXY UNKNOWN", "X\r\n"),
        ("PROXY UNKNOWN", "\n"),
        ("PROXY UNKNOWN a b", "\n"),
        ("PROXY UNKNOWN \r", "a"),
        ("PROXY UNKNOWN\r", "\r\n"),
        ("PROXY TCP4 1.2.3.4.", " 1"),
        ("PROXY TCP4 ::1", " ::1 1 1\r\n"),
        ("PROXY TCP4 01.2.3.4", " "),
        ("PROXY TCP4 1.2.3.256", " "),
        ("PROXY TCP4 1.2.3.4 1.2.3", " 1 1\r\n"),
        ("PROXY TCP4 111.111.111.111", "1"),
        ("PROXY TCP4 1.2.3.4", "\r\n"),
        ("PROXY TCP4 1.2.3.4,", ""),
        ("PROXY TCP6 1.2.3.4", " 1.2.3.4 1 1\r\n"),
        ("PROXY TCP6 ::1%", "eth0"),
        ("PROXY TCP6 :::", " "),
        ("PROXY TCP6 [", "::1]"),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 ", " 1"),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 01", " 1\r\n"),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 65536", " 1\r\n"),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 99999", "9"),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 ", "+1 1\r\n"),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1", "\r\n"),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 1", " \r\n"),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 1", " x\r\n"),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 1", "\nGET / HTTP/1.1\r\n"),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r", "\r\n"),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 00", "\r\n"),
    ] {
        // The byte behind `good` decides, or its last one where that says so.
        let input = format!("{good}{bad}");
        let at = if good.ends_with([',', '%', '[']) {
            good.len()
        } else {
            good.len() + 1
        };
        if !input.starts_with("PROXY UNKNOWN a") {
            refused(input.as_bytes(), V1, at);
        }
        let first = input.as_bytes()[0];
        if first == b'P' {
            refused(input.as_bytes(), Auto, at);
        }
    }
    refused(b"PROXY UNKNOWN a b\n", V1, 18);
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(108 - 16));
    refused(long.as_bytes(), V1, 107);
    refused(b"GET / HTTP/1.1\r\n", Auto, 1);
}

/// Signature, `0x21` and such, family, length, rest.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &len, rest].concat()
}

const INET: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0xc7, 0x38, 0, 80];

fn inet() -> ProxyAddresses {
    tcp("192.0.2.1:51000", "198.51.100.1:80")
}

fn extra(kind: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], &len[..], value].concat()
}

#[test]
fn binary_headers() {
    let mut inet6 = [0; 36];
    inet6[15] = 1;
    inet6[16..28].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    inet6[28..32].copy_from_slice(&[192, 0, 2, 9]);
    inet6[33] = 7;
    inet6[35] = 8;
    let unix = |path: &[u8]| {
        let mut block = [0; 216];
        block[108..108 + path.len()].copy_from_slice(path);
        binary(0x21, 0x31, &block)
    };
    let path = |text: &[u8]| ProxyAddresses::Unix {
        destination: text.to_vec(),
    };
    for (header, addresses) in [
        (binary(0x21, 0x11, &INET), inet()),
        (binary(0x21, 0x21, &inet6), tcp("[::1]:7", "192.0.2.9:8")),
        (unix(b"/run/a.sock"), path(b"/run/a.sock")),
        (unix(b"\0name"), path(b"@name")),
        (unix(b""), path(b"")),
        (unix(&[b'x'; 108]), path(&[b'x'; 108])),
        (binary(0x20, 0x00, b""), ProxyAddresses::Local),
        (binary(0x20, 0x11, &INET), ProxyAddresses::Local),
        (binary(0x20, 0xff, b"any"), ProxyAddresses::Local),
        (binary(0x21, 0x00, b"any"), ProxyAddresses::Unknown),
        (
            binary(0x21, 0x00, &[0; ProxyHeader::LONGEST - 16]),
            ProxyAddresses::Unknown,
        ),
    ] {
        for versions in [V2, Auto] {
            accepted(&header, versions, addresses.clone(), false);
        }
    }
}

#[test]
fn binary_headers_that_are_refused() {
    for (input, at) in [
        (b"GET / HTTP/1.1\r\n".to_vec(), 1),
        (b"PROXY TCP4".to_vec(), 1),
        (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), 12),
        (binary(0x11, 0x11, &INET), 13),
        (binary(0x31, 0x11, &INET), 13),
        (binary(0x22, 0x11, &INET), 13),
        (binary(0x21, 0x12, &INET), 14),
        (binary(0x21, 0x22, &[0; 36]), 14),
        (binary(0x21, 0x32, &[0; 216]), 14),
        (binary(0x21, 0x01, &INET), 14),
        (binary(0x21, 0x10, &INET), 14),
        (binary(0x21, 0x41, &INET), 14),
        (binary(0x21, 0x11, &INET[..11]), 16),
        (binary(0x21, 0x21, &INET), 16),
        (binary(0x21, 0x31, &[0; 215]), 16),
        (binary(0x20, 0x00, &[0; ProxyHeader::LONGEST - 15]), 16),
    ] {
        refused(&input, V2, at);
    }
}

#[test]
fn extras() {
    let header = |extras: &[Vec<u8>]| binary(0x21, 0x11, &[&INET[..], &extras.concat()].concat());
    let ssl = |client: u8, inside: &[u8]| extra(0x20, &[&[client, 0, 0, 0, 0], inside].concat());
    let version = extra(0x21, b"TLSv1.3");
    for (extras, tls) in [
        (vec![extra(0x04, b"abc")], false),
        (vec![extra(0x04, b""), extra(0xe0, b"\x01\x02")], false),
        (vec![extra(0x02, b"example.com"), ssl(1, &version)], true),
        (vec![ssl(0x07, b"")], true),
        (vec![ssl(0x06, b"")], false),
    ] {
        accepted(&header(&extras), V2, inet(), tls);
        // The same where the addresses do not count means nothing.
        let local = binary(0x20, 0x11, &[&INET[..], &extras.concat()].concat());
        accepted(&local, V2, ProxyAddresses::Local, false);
    }
    for extras in [
        vec![vec![4]],
        vec![vec![4, 0]],
        vec![vec![4, 0, 1]],
        vec![extra(0x04, b"abc"), vec![4, 0xff, 0xff, 0]],
        vec![extra(0x20, &[1, 0, 0, 0])],
        vec![ssl(1, &[0x21, 0, 9, b'x'])],
        vec![ssl(1, b""), ssl(1, b"")],
        vec![extra(0x03, &[0; 4])],
        vec![extra(0x03, &[0; 3])],
    ] {
        let input = header(&extras);
        refused(&input, V2, input.len());
    }
}

/// A header with its checksum as a bit by bit division of polynomials has it.
#[test]
fn checksums() {
    fn sum(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 1 {
                    crc >> 1 ^ 0x82f6_3b78
                } else {
                    crc >> 1
                }
            })
        })
    }
    let with = |sum: u32| {
        let extras = [extra(0x03, &sum.to_be_bytes()), extra(0x04, b"pad")].concat();
        binary(0x21, 0x11, &[&INET[..], &extras].concat())
    };
    let right = sum(&with(0));
    accepted(&with(right), V2, inet(), false);
    let wrong = with(right ^ 1);
    refused(&wrong, V2, wrong.len());
    let twice = [extra(0x03, &right.to_be_bytes()), extra(0x03, &[0; 4])].concat();
    let twice = binary(0x21, 0x11, &[&INET[..], &twice].concat());
    refused(&twice, V2, twice.len());
}

/// Pieces of headers that next to each other make many kinds of trouble.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"PROXY ",
        b"TCP4 ",
        b"TCP6 ",
        b"UNKNOWN",
        b"1.2.3.4",
        b"::1",
        b" ",
        b"80",
        b"0",
        b"\r\n",
        b"\r",
        b"\n",
        SIGNATURE,
        b"\x21\x11\0\x0c",
        b"\x20\0\0\0",
        b"\x21\x21\0\x28",
        &INET,
        b"\x04\0\0",
        b"\x20\0\x05\x01\0\0\0\0",
        b"\0",
        REQUEST,
    ];
    let piece = prop_oneof![
        8 => proptest::sample::select(known).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_change_nothing(input in pieces()) {
        for versions in [V1, V2, Auto] {
            if let Some((at, Ok((len, _)))) = drive(&input, versions) {
                prop_assert_eq!(at, len, "no byte behind the header decides");
            }
        }
    }

    #[test]
    fn what_is_written_is_read(source: std::net::SocketAddr, destination: std::net::SocketAddr) {
        let canonical = |a: std::net::SocketAddr| std::net::SocketAddr::new(a.ip().to_canonical(), a.port());
        let kind = match (source.is_ipv4(), destination.is_ipv4()) {
            (true, true) => "TCP4",
            (false, false) => "TCP6",
            _ => return Ok(()),
        };
        let line = format!("PROXY {kind} {} {} {} {}\r\n", source.ip(), destination.ip(), source.port(), destination.port());
        let addresses = ProxyAddresses::Tcp { source: canonical(source), destination: canonical(destination) };
        accepted(line.as_bytes(), Auto, addresses, false);
    }
}
