//! `uri-host [ ":" port ]`, wherever a request names one. Checks, and gives back nothing but where
//! the port begins; names are never resolved or compared here.

use crate::syntax::{self, REG_NAME};
use std::net::Ipv6Addr;

/// Checks a Host value or an authority (RFC 9110 §7.2, RFC 3986 §3.2) and returns its port, where
/// there is one with digits.
///
/// No userinfo: a recipient SHOULD take it for an error (RFC 9110 §4.2.4), and a Host field has
/// none. The host may be empty; who needs one says so.
pub(crate) fn check(value: &[u8]) -> Option<Authority> {
    let (host_len, rest) = match value {
        [b'[', tail @ ..] => {
            let end = tail.iter().position(|&byte| byte == b']')?;
            // IP-literal: IPv6 only. IPvFuture has no future yet, and a zone identifier means
            // nothing to anybody but its sender (RFC 6874 §1).
            let literal = std::str::from_utf8(&tail[..end]).ok()?;
            literal.parse::<Ipv6Addr>().ok()?;
            (end + 2, &tail[end + 1..])
        }
        _ => {
            let end = reg_name(value)?;
            (end, &value[end..])
        }
    };
    let port = match rest {
        [] => None,
        [b':'] => None, // port = *DIGIT may be empty (RFC 3986 §3.2.3)
        [b':', digits @ ..] => Some(port_number(digits)?),
        _ => return None,
    };
    Some(Authority {
        empty_host: host_len == 0,
        port,
    })
}

/// Host and port of a valid authority; `None` for anything else. The host keeps its brackets and
/// may be empty, the port is `None` where it has no digits.
pub fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let port = check(authority.as_bytes())?.port;
    let host = match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => &authority[..colon],
        _ => authority,
    };
    Some((host, port))
}

/// Length of the `reg-name` in front (RFC 3986 §3.2.2); `None` when it holds a byte that none may.
fn reg_name(value: &[u8]) -> Option<usize> {
    let mut end = 0;
    loop {
        end = syntax::run(value, end, REG_NAME);
        match value.get(end) {
            None | Some(b':') => return Some(end),
            Some(b'%')
                if value
                    .get(end + 1..end + 3)?
                    .iter()
                    .all(u8::is_ascii_hexdigit) =>
            {
                end += 3
            }
            Some(_) => return None,
        }
    }
}

/// `*DIGIT` (RFC 3986 §3.2.3) of at most 65535.
fn port_number(digits: &[u8]) -> Option<u16> {
    let mut port = 0u32;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        port = port * 10 + u32::from(value);
        if value > 9 || port > u32::from(u16::MAX) {
            return None;
        }
    }
    u16::try_from(port).ok()
}

/// What was found in an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    /// The host is empty.
    pub(crate) empty_host: bool,
    /// The port, where it has digits.
    pub(crate) port: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid() {
        for (value, port) in [
            ("localhost", None),
            ("localhost:", None),
            ("LOCALHOST:8000", Some(8000)),
            ("127.0.0.1:00080", Some(80)),
            ("[::1]", None),
            ("[::ffff:127.0.0.1]:65535", Some(65535)),
            ("a%20b_~!$&'()*+;=", None),
            ("%41g%42", None),
            ("[::]:9", Some(9)),
            ("h:9999", Some(9999)),
            ("", None),
        ] {
            assert_eq!(
                check(value.as_bytes()).map(|found| found.port),
                Some(port),
                "{value}"
            );
        }
    }

    #[test]
    fn split() {
        for (authority, parts) in [
            ("a", Some(("a", None))),
            ("a:", Some(("a", None))),
            ("a:80", Some(("a", Some(80)))),
            ("[::1]", Some(("[::1]", None))),
            ("[::1]:8", Some(("[::1]", Some(8)))),
            (":8", Some(("", Some(8)))),
            ("a/b", None),
        ] {
            assert_eq!(split_authority(authority), parts, "{authority}");
        }
    }

    #[test]
    fn invalid() {
        for value in [
            "a,b",
            "a/b",
            "a?b",
            "a#b",
            "a b",
            "a\tb",
            "a@b",
            "a:80:80",
            "a:8x",
            "a:65536",
            "[::1",
            "[::1]x",
            "[::g]",
            "[v1.x]",
            "[fe80::1%25eth0]",
            "::1",
            "a%2",
            "a%zz",
            "a%2g",
            "a%g2b",
            "a\\b",
            "http://a",
            "\"a\"",
            "<a>",
            "{a}",
            "a^b",
            "caf\u{e9}",
        ] {
            assert_eq!(check(value.as_bytes()), None, "{value}");
        }
    }
}
