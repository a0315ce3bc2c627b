//! The trailer section of a chunked message (RFC 9112 §7.1.2). Keeps the line in progress and the
//! fields; never lets through a field that would mean something in a head.

use crate::{
    head::{bare_lf, too_many_fields},
    limits::Limits,
    reject::Reject,
    syntax::{self, VALUE},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// A trailer section being read.
#[derive(Debug, Default)]
pub(crate) struct Trailers {
    /// The line in progress.
    line: Vec<u8>,
    /// Bytes of the complete lines.
    total: usize,
    /// How many they are, dropped ones included.
    lines: usize,
    fields: HeaderMap,
}

impl Trailers {
    /// Reads on; returns how many bytes, and whether the empty line was among them.
    pub(crate) fn read(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, bool), Reject> {
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            let lf = memchr::memchr(b'\n', rest);
            self.line
                .extend_from_slice(&rest[..lf.unwrap_or(rest.len())]);
            // Without its LF; the CR of the empty line is not counted.
            if self.line != b"\r"
                && !self.line.is_empty()
                && self.total + self.line.len() + 1 > limits.trailers
            {
                return Err(Reject::new(
                    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                    "trailer section is too long",
                ));
            }
            let Some(lf) = lf else {
                return Ok((input.len(), false));
            };
            consumed += lf + 1;
            let Some((b'\r', line)) = self.line.split_last() else {
                return Err(bare_lf());
            };
            if line.is_empty() {
                self.line = Vec::new();
                return Ok((consumed, true));
            }
            self.lines += 1;
            if self.lines > limits.most_fields() {
                return Err(too_many_fields());
            }
            if let Some((name, value)) = parse(line)? {
                // It holds 32 768 fields, as many as the limit lets come.
                let _ = self.fields.try_append(name, value);
            }
            self.total += self.line.len() + 1;
            self.line.clear();
        }
    }

    /// The fields of the section.
    pub(crate) fn fields(&self) -> &HeaderMap {
        &self.fields
    }
}

/// `field-name ":" OWS field-value OWS`, as strictly as in a head (RFC 9112 §5); `None` for a field
/// that is not to be a trailer. A folded line begins with a blank, which is in no name.
fn parse(line: &[u8]) -> Result<Option<(HeaderName, HeaderValue)>, Reject> {
    let Some(colon) = memchr::memchr(b':', line) else {
        return Err(Reject::bad("trailer line without a colon"));
    };
    let (name, value) = (&line[..colon], syntax::trim(&line[colon + 1..]));
    if !syntax::is_token(name) {
        return Err(Reject::bad("trailer name is invalid"));
    }
    if !syntax::all(value, VALUE) {
        return Err(Reject::bad("trailer value is invalid"));
    }
    match (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
        (Ok(name), Ok(value)) => Ok(Some((name, value)).filter(|(name, _)| !is_forbidden(name))),
        _ => Err(Reject::bad("trailer field is invalid")),
    }
}

/// RFC 9110 §6.5.1: no trailer is a field that is needed for framing, routing, authentication,
/// request modifiers, response controls, or to know what the content is. RFC 9112 §7.1.2: what
/// is not known to be safe MUST NOT be merged.
pub(crate) fn is_forbidden(name: &HeaderName) -> bool {
    const FORBIDDEN: [&str; 42] = [
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "age",
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "cookie2",
        "date",
        "expect",
        "expires",
        "forwarded",
        "from",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "keep-alive",
        "location",
        "max-forwards",
        "origin",
        "pragma",
        "range",
        "referer",
        "retry-after",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "vary",
        "via",
        "warning",
        "www-authenticate",
    ];
    let name = name.as_str();
    // Proxies and their kin route, authenticate and claim by these.
    name.starts_with("proxy-")
        || name.starts_with("x-forwarded-")
        || FORBIDDEN.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &str, limits: &Limits) -> Result<Vec<(String, String)>, u16> {
        let mut trailers = Trailers::default();
        match trailers.read(input.as_bytes(), limits) {
            Ok((consumed, complete)) => {
                assert!(complete && consumed == input.len(), "{input:?}");
                let text =
                    |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
                Ok(trailers
                    .fields()
                    .iter()
                    .map(|(name, value)| (name.to_string(), text(value)))
                    .collect())
            }
            Err(reject) => Err(reject.status.as_u16()),
        }
    }

    #[test]
    fn forbidden_names_are_sorted() {
        for name in [
            "accept",
            "content-length",
            "host",
            "set-cookie",
            "transfer-encoding",
            "www-authenticate",
            "proxy-x",
        ] {
            assert!(is_forbidden(&HeaderName::from_static(name)), "{name}");
        }
        for name in [
            "x-t",
            "digest",
            "server-timing",
            "content-digest",
            "grpc-status",
        ] {
            assert!(!is_forbidden(&HeaderName::from_static(name)), "{name}");
        }
    }

    #[test]
    fn fields() {
        let limits = Limits::default();
        assert_eq!(read("\r\n", &limits), Ok(vec![]));
        let expected = vec![
            ("a".to_string(), "b c".to_string()),
            ("a".to_string(), String::new()),
        ];
        assert_eq!(
            read(
                "A:\t b c \r\na:\r\nHost: x\r\ncontent-length: 5\r\n\r\n",
                &limits
            ),
            Ok(expected)
        );
    }

    #[test]
    fn refused() {
        for input in [
            "A\r\n\r\n",
            "A : b\r\n\r\n",
            ": b\r\n\r\n",
            "A: b\n\r\n",
            "A: b\r\n\n",
            "A: b\n\n\r\n",
            "A: a\0b\r\n\r\n",
            "A: a\rb\r\n\r\n",
            "A: b\r\n c\r\n\r\n",
            "\n",
            " A: b\r\n\r\n",
            "A: \x7f\r\n\r\n",
            "(: b\r\n\r\n",
            "A: b\r\r\n\r\n",
        ] {
            assert_eq!(read(input, &Limits::default()), Err(400), "{input:?}");
        }
    }

    #[test]
    fn bounded() {
        let limits = Limits {
            trailers: 8,
            fields: 2,
            ..Limits::default()
        };
        assert_eq!(
            read("A: bcd\r\n\r\n", &limits).map(|fields| fields.len()),
            Ok(1)
        );
        assert_eq!(read("A: bcde\r\n\r\n", &limits), Err(431));
        assert_eq!(
            read("A:\r\nA:\r\n\r\n", &limits).map(|fields| fields.len()),
            Ok(2)
        );
        let limits = Limits {
            trailers: 80,
            fields: 2,
            ..Limits::default()
        };
        assert_eq!(read("A:\r\nA:\r\nA:\r\n\r\n", &limits), Err(431));
    }
}
