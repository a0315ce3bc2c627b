//! The trailer section of a chunked message (RFC 9112 §7.1.2). Keeps the section and its fields; never
//! lets through a field that would mean something in a head.

use crate::{
    field_lines::{Bounds, Field, FieldLines},
    limits::Limits,
    reject::Reject,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// A trailer section being read.
#[derive(Debug, Default)]
pub(crate) struct Trailers {
    /// What there is of the section.
    section: Vec<u8>,
    lines: FieldLines,
    fields: HeaderMap,
}

/// Length of the empty line that ends the section.
const EMPTY_LINE: usize = 2;

impl Trailers {
    /// Reads on, and returns how many bytes of `input` belong to the section once it is complete;
    /// all of them do before that.
    pub(crate) fn next(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, Reject> {
        // Beyond its limit nothing of a section is looked at, so nothing is kept.
        let (before, most) = (self.section.len(), limits.longest_trailers() + EMPTY_LINE);
        let new = input.get(..most - before).unwrap_or(input);
        self.section.extend_from_slice(new);
        let (section, fields) = (&self.section, &mut self.fields);
        let mut each = |field: Field| {
            let name = HeaderName::from_bytes(field.name(section));
            let value = HeaderValue::from_bytes(field.value(section));
            let (Ok(name), Ok(value)) = (name, value) else {
                // Longer than 64 KiB: the names of the `http` crate are not.
                return Err(Reject::bad("trailer field is invalid"));
            };
            if !is_forbidden(&name) {
                // It holds 32 768 fields, as many as the limit lets come.
                let _ = fields.try_append(name, value);
            }
            Ok(())
        };
        let bounds = Bounds::new(limits, most);
        let end = self.lines.read(section, bounds, &mut each)?;
        Ok(end.map(|end| end - before))
    }

    /// The fields of the section, where there are any.
    pub(crate) fn take_fields(&mut self) -> Option<Box<HeaderMap>> {
        let fields = std::mem::take(&mut self.fields);
        (!fields.is_empty()).then(|| Box::new(fields))
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
        match trailers.next(input.as_bytes(), limits) {
            Ok(end) => {
                assert_eq!(end, Some(input.len()), "{input:?}");
                let text =
                    |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
                Ok(trailers
                    .take_fields()
                    .iter()
                    .flat_map(|fields| fields.iter())
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
