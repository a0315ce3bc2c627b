//! One access-log line as text.
//!
//! Nothing here allocates but by growing the line, and everything that a client or a handler chose
//! goes through [`escape`].

use std::io::Write;
use std::net::IpAddr;

use ferricorn_http::{Head, Version};

use super::format::Part;
use super::{Record, escape};
use crate::peer::Peer;
use crate::stamp;

/// The longest user name that is shown in full, in bytes.
pub(super) const USER: usize = 256;

/// Appends the line, without its end.
pub(super) fn render(
    parts: &[Part],
    record: &Record<'_>,
    pid: impl Fn() -> u32,
    out: &mut Vec<u8>,
) {
    let head = record.head;
    for part in parts {
        match part {
            Part::Literal(text) => out.extend_from_slice(text),
            Part::Missing => out.push(b'-'),
            Part::RemoteAddr => match record.client.ip() {
                Some(ip) => address(ip, out),
                None => out.push(b'-'),
            },
            Part::RemotePort => match record.client {
                Peer::Tcp(address) if address.port() != 0 => number(address.port().into(), out),
                _ => out.push(b'-'),
            },
            Part::User => match basic_user(head, &mut [0; USER]) {
                Some(user) if !user.is_empty() => escape::bare(user, out),
                _ => out.push(b'-'),
            },
            Part::Time => stamp::push_common(record.unix_us / 1_000_000, out),
            Part::RequestLine => or_dash(Some(head.request_line()), out),
            Part::Method => or_dash(Some(head.method()), out),
            Part::Target => or_dash(Some(head.target()), out),
            Part::Path => or_dash(Some(head.path()), out),
            Part::Query => or_dash(head.query(), out),
            Part::Protocol => or_dash(protocol(head), out),
            Part::Status => number(record.status.into(), out),
            Part::Bytes => number(record.body_bytes, out),
            Part::BytesOrDash if record.body_bytes == 0 => out.push(b'-'),
            Part::BytesOrDash => number(record.body_bytes, out),
            Part::Seconds => number(record.took_us / 1_000_000, out),
            Part::Milliseconds => number(record.took_us / 1000, out),
            Part::Microseconds => number(record.took_us, out),
            Part::DecimalSeconds => decimal(record.took_us, out),
            Part::Pid => {
                out.push(b'<');
                number(pid().into(), out);
                out.push(b'>');
            }
            // Writing to a Vec cannot fail; a name that was given is plain.
            Part::RequestId => drop(write!(out, "{}", record.id)),
            Part::TraceId => hex(record.trace.map(|trace| (trace.id(), 32)), out),
            Part::SpanId => hex(record.trace.map(|trace| (trace.span().into(), 16)), out),
            Part::ParentId => {
                let parent = record.trace.and_then(|trace| trace.parent());
                hex(parent.map(|parent| (parent.into(), 16)), out);
            }
            Part::FirstField(name) => match head.field(name) {
                Some(value) => escape::quoted(value, out),
                None => out.push(b'-'),
            },
            Part::RequestField(name) => {
                let named = |field: &(&str, &[u8])| name.as_str().eq_ignore_ascii_case(field.0);
                joined(head.fields().filter(named).map(|(_, value)| value), out);
            }
            Part::ResponseField(name) => {
                let values = record.response_fields.map(|fields| fields.get_all(name));
                joined(
                    values.into_iter().flatten().map(|value| value.as_bytes()),
                    out,
                );
            }
        }
    }
}

/// The protocol, where a head was read.
pub(super) fn protocol(head: &Head) -> Option<&'static str> {
    if head.method().is_empty() {
        return None;
    }
    Some(match head.version() {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    })
}

/// The user name of Basic authentication (RFC 7617 §2), cut to what `user` holds; `None` where
/// there is none or it cannot be read.
pub(super) fn basic_user<'a>(head: &Head, user: &'a mut [u8; USER]) -> Option<&'a [u8]> {
    let value = head.field("authorization")?;
    let (scheme, code) = value.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let mut length = 0;
    let (mut bits, mut count) = (0u32, 0);
    for &digit in code.trim_ascii() {
        let six = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            let byte = (bits >> count) as u8;
            if byte == b':' {
                return Some(&user[..length]);
            }
            if let Some(place) = user.get_mut(length) {
                *place = byte;
                length += 1;
            }
        }
    }
    None
}

pub(super) fn number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

pub(super) fn address(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            number(a.into(), out);
            for part in [b, c, d] {
                out.push(b'.');
                number(part.into(), out);
            }
        }
        IpAddr::V6(ip) => {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{ip}");
        }
    }
}

fn or_dash(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        None | Some("") => out.push(b'-'),
        Some(text) => escape::quoted(text.as_bytes(), out),
    }
}

fn joined<'a>(values: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    let mut none = true;
    for value in values {
        if !none {
            out.extend_from_slice(b", ");
        }
        none = false;
        escape::quoted(value, out);
    }
    if none {
        out.push(b'-');
    }
}

fn hex(number: Option<(u128, usize)>, out: &mut Vec<u8>) {
    match number {
        Some((number, digits)) => drop(write!(out, "{number:0digits$x}")),
        None => out.push(b'-'),
    }
}

fn decimal(us: u64, out: &mut Vec<u8>) {
    number(us / 1_000_000, out);
    out.push(b'.');
    let start = out.len();
    // One more digit in front keeps the zeros.
    number(1_000_000 + us % 1_000_000, out);
    out.remove(start);
}
