//! The syntax of a request line, as one state machine. Keeps offsets and no bytes; what a target
//! says is for `target`.

use crate::{
    field_lines::{BARE_CR, BARE_LF},
    kinds::Version,
    reject::Reject,
    syntax::{self, TCHAR},
};
use http::StatusCode;

/// A request line being read:
///
/// ```text
/// request-line = method SP request-target SP HTTP-version CRLF       ; RFC 9112 §2.1, §3
/// ```
///
/// Exactly one SP between the parts: the lenient splitting of RFC 9112 §3 is a MAY, and how blanks,
/// VT and CR became each other is the history of request smuggling. The first byte that cannot stand
/// where it does decides, so that a line is refused for the same reason however it arrives.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequestLine {
    at: At,
    /// Where the next byte stands; in a version, its first.
    pos: usize,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Method,
    Target {
        method_end: usize,
    },
    /// The version, and the end of the line.
    Version {
        method_end: usize,
        target_end: usize,
    },
}

/// Where the parts of a request line are, and what it says by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Offset of the blank behind the method.
    pub(crate) method_end: usize,
    /// Offset of the blank behind the target.
    pub(crate) target_end: usize,
    pub(crate) version: Version,
}

impl Parts {
    /// Length of the line without its CRLF.
    #[inline]
    pub(crate) fn line_len(self) -> usize {
        self.target_end + 1 + VERSION_LEN
    }
}

/// `HTTP/d.d`, and the end of the line.
const VERSION_LEN: usize = 8;
const LAST_LEN: usize = VERSION_LEN + 2;
/// Where its digits are.
const MAJOR: usize = 5;
const MINOR: usize = 7;

impl RequestLine {
    /// Goes on; `None` while the line is not complete. `input` begins with the method, and has what
    /// there is behind it; the line with its CRLF has to end before `bound`.
    #[inline(always)]
    pub(crate) fn next(&mut self, input: &[u8], bound: usize) -> Result<Option<Parts>, Reject> {
        let line = input.get(..bound).unwrap_or(input);
        // In the order in which a line goes through the states, from the one where it was left.
        if self.at == At::Method {
            self.pos = syntax::run(line, self.pos, TCHAR); // RFC 9110 §9.1
            match line.get(self.pos) {
                Some(b' ') if self.pos > 0 => {
                    self.at = At::Target {
                        method_end: self.pos,
                    };
                }
                other => return self.stopped(other, line.len() < bound),
            }
            self.pos += 1;
        }
        if let At::Target { method_end } = self.at {
            self.pos = syntax::visible(line, self.pos);
            match line.get(self.pos) {
                Some(b' ') => {
                    self.at = At::Version {
                        method_end,
                        target_end: self.pos,
                    };
                }
                other => return self.stopped(other, line.len() < bound),
            }
            self.pos += 1;
        }
        if let At::Version {
            method_end,
            target_end,
        } = self.at
        {
            if let Some(version) = version(line.get(self.pos..).unwrap_or_default())? {
                return Ok(Some(Parts {
                    method_end,
                    target_end,
                    version,
                }));
            }
        }
        self.stopped(None, line.len() < bound)
    }

    /// Why a line does not go on behind the bytes that are here: there are no more, there may be no
    /// more, or this one cannot be the next.
    #[cold]
    fn stopped(&self, next: Option<&u8>, may_go_on: bool) -> Result<Option<Parts>, Reject> {
        match next {
            Some(&byte) => Err(misplaced(self.at, byte, self.pos == 0)),
            None if may_go_on => Ok(None),
            // RFC 9112 §3
            None => Err(Reject::new(
                StatusCode::URI_TOO_LONG,
                "request line is too long",
            )),
        }
    }
}

/// Why no request line has this byte here.
#[cold]
fn misplaced(at: At, byte: u8, first: bool) -> Reject {
    Reject::bad(match (at, byte) {
        // TLS, or a second empty line: refused at its first byte.
        (At::Method, _) if first => "request does not begin with a method",
        // HTTP/0.9 has no version (RFC 9112 §2.3).
        (_, b'\r' | b'\n') => "request line is not method, target, version",
        (At::Method, _) => "method is not a token", // RFC 9110 §9.1, §5.6.2
        // RFC 3986 §2: a target is visible ASCII.
        (At::Target { .. } | At::Version { .. }, _) => "request target holds a byte that none may",
    })
}

/// The version, once the line ends behind it (RFC 9110 §2.5, RFC 9112 §2.3; it is case-sensitive).
/// `rest` begins with it.
#[inline]
fn version(rest: &[u8]) -> Result<Option<Version>, Reject> {
    match rest.first_chunk::<LAST_LEN>() {
        Some(b"HTTP/1.1\r\n") => Ok(Some(Version::Http11)),
        _ => other_version(rest),
    }
}

fn other_version(rest: &[u8]) -> Result<Option<Version>, Reject> {
    /// A digit stands for any.
    const FORM: &[u8; LAST_LEN] = b"HTTP/0.0\r\n";
    let fits = |(byte, form): &(&u8, &u8)| byte == form || **form == b'0' && byte.is_ascii_digit();
    let fitting = rest.iter().zip(FORM).take_while(fits).count();
    // RFC 9110 §15.6.6. The HTTP/2 preface is one: `PRI * HTTP/2.0` (RFC 9113 §3.4).
    if fitting >= VERSION_LEN && rest[MAJOR] != b'1' {
        return Err(Reject::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "HTTP version is not 1.x",
        ));
    }
    match rest.get(fitting) {
        _ if fitting == LAST_LEN => Ok(Some(match rest[MINOR] {
            b'0' => Version::Http10,
            // A higher minor version is processed as the highest we know (RFC 9110 §2.5).
            _ => Version::Http11,
        })),
        None => Ok(None),
        Some(_) if fitting > VERSION_LEN => Err(Reject::bad(BARE_CR)),
        Some(b'\n') if fitting == VERSION_LEN => Err(Reject::bad(BARE_LF)),
        Some(_) => Err(Reject::bad("HTTP version is malformed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (line, expected) in [
            (&b"GET / HTTP/1.1"[..], Ok(Version::Http11)),
            (b"GET / HTTP/1.0", Ok(Version::Http10)),
            (b"GET / HTTP/1.2", Ok(Version::Http11)),
            (b"PRI * HTTP/2.0", Err(505)),
            (b"GET / HTTP/0.9", Err(505)),
            (b"GET / HTTP/0.0", Err(505)),
            (b"GET / HTTP/1", Err(400)),
            (b"GET / HTTP/1.10", Err(400)),
            (b"GET / HTTP/1.x", Err(400)),
            (b"GET / HTTP/11", Err(400)),
            (b"GET / HTTP/1.1\r", Err(400)),
            (b"GET / http/1.1", Err(400)),
            (b"GET / XHTTP/1.1", Err(400)),
            (b"GET /", Err(400)),
            (b"GET", Err(400)),
            (b"GET  / HTTP/1.1", Err(400)),
            (b"GET / HTTP/1.1 ", Err(400)),
            (b" GET / HTTP/1.1", Err(400)),
            (b"G(T / HTTP/1.1", Err(400)),
            (b"GET\t/ HTTP/1.1", Err(400)),
            (b"GET /a b HTTP/1.1", Err(400)),
            (b"GET /\xe9 HTTP/1.1", Err(400)),
            (b"GET /\0 HTTP/1.1", Err(400)),
            (b"", Err(400)),
        ] {
            let line = [line, b"\r\n"].concat();
            let found = RequestLine::default().next(&line, 99);
            if let Ok(Some(parts)) = found {
                assert_eq!(parts.line_len() + 2, line.len());
            }
            let version = found
                .map_err(|reject| reject.status.as_u16())
                .map(|parts| parts.expect("the line is complete").version);
            assert_eq!(version, expected, "{line:?}");
        }
    }

    #[test]
    fn the_first_byte_that_does_not_fit_decides() {
        for (line, decides) in [
            (&b"\x16\x03"[..], 1),
            (b"G(T", 2),
            (b"GET\r\n", 4),
            (b"GET /\x80", 6),
            (b"GET /\r\n", 6),
            (b"GET / X", 7),
            (b"GET / HTTP/2.0", 14),
            (b"GET / HTTP/1.1\n", 15),
            (b"GET / HTTP/1.1\rX", 16),
            (b"GET / HTTP/1.1 ", 15),
        ] {
            let mut reader = RequestLine::default();
            for len in 0..decides {
                assert_eq!(reader.next(&line[..len], 99), Ok(None), "{line:?}");
            }
            let reject = reader.next(&line[..decides], 99).expect_err("it decides");
            let whole = RequestLine::default().next(line, 99);
            assert_eq!(whole, Err(reject), "{line:?}");
        }
    }
}
