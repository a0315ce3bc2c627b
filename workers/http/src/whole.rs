//! A whole response whose content is in memory. The usual one is written in one go, any other piece by
//! piece as `encode` and `body_encoder` do; which of the two cannot be told from the bytes.

use crate::{
    encode::{Defaults, Facts, Length, encode_head},
    encode_error::EncodeError,
    kinds::Version,
};
use http::{HeaderMap, StatusCode};

/// What the usual request asks for.
const USUAL: Facts = Facts {
    version: Version::Http11,
    head_request: false,
    connect_request: false,
    keep_alive: true,
};

/// Bytes that the names and line ends of the usual head have, and its length at most.
const FRAME: usize = 80;

/// A final response whose content is in memory.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// What is known of its request.
    pub facts: Facts,
    /// Its status.
    pub status: StatusCode,
    /// The fields of the handler's.
    pub fields: &'a HeaderMap,
    /// Its content.
    pub content: &'a [u8],
    /// The fields of the server's.
    pub defaults: Defaults<'a>,
}

/// Writes a whole response to `out`: whether the connection goes on, and how many
/// bytes of content there are (RFC 9112 §6.3: none for HEAD, 204, 205, 304). Its head is as that of
/// [`encode_head`].
///
/// # Errors
/// [`EncodeError`]; `out` is then as it was. Also for a status that hands the connection to another
/// protocol (101, 2xx to CONNECT): nobody is here who would speak that.
#[inline]
pub fn encode_whole(out: &mut Vec<u8>, whole: &Whole<'_>) -> Result<(bool, u64), EncodeError> {
    let usual = whole.status == StatusCode::OK && whole.facts == USUAL && whole.fields.is_empty();
    if usual && !whole.defaults.rendered.is_empty() {
        write_usual(out, whole.content, &whole.defaults);
        return Ok((true, whole.content.len() as u64));
    }
    let start = out.len();
    let written = write_any(out, whole);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn write_usual(out: &mut Vec<u8>, content: &[u8], defaults: &Defaults<'_>) {
    let content_type = defaults.content_type.filter(|_| !content.is_empty());
    let most = FRAME + content_type.map_or(0, str::len) + defaults.rendered.len() + content.len();
    out.reserve(most);
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: ");
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(content.len()).as_bytes());
    if let Some(content_type) = content_type {
        out.extend_from_slice(b"\r\nContent-Type: ");
        out.extend_from_slice(content_type.as_bytes());
    }
    out.extend_from_slice(defaults.rendered);
    out.extend_from_slice(content);
}

#[inline(never)]
fn write_any(out: &mut Vec<u8>, whole: &Whole<'_>) -> Result<(bool, u64), EncodeError> {
    let &Whole {
        ref facts,
        status,
        fields,
        content,
        ref defaults,
    } = whole;
    let length = Length::Known(content.len() as u64);
    let mut body = encode_head(out, facts, status, fields, length, defaults)?;
    if body.upgraded() {
        return Err(EncodeError::Status(status));
    }
    let sent = match body.suppressed() {
        true => 0,
        false => content.len() as u64,
    };
    body.encode(content, out)?;
    body.finish(None, out)?;
    Ok((body.keep_alive(), sent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, SERVER};

    /// By all statuses, fields and facts of interest, the usual one among them: what is written in one
    /// go has the bytes that pieces have.
    #[test]
    fn a_whole_response_has_the_bytes_of_its_pieces() {
        let (date, server) = (b"Sun, 06 Nov 1994 08:49:37 GMT", b"x");
        let field_maps = [
            vec![],
            vec![(CONTENT_TYPE, "a/b")],
            vec![(CONNECTION, "close")],
            vec![(SERVER, "mine")],
            vec![(DATE, "now")],
            vec![(CONTENT_LENGTH, "5")],
        ];
        let large = vec![b'x'; 100_000];
        let mut usual = 0;
        for bits in 0..16 {
            let facts = Facts {
                version: [Version::Http11, Version::Http10][bits & 1],
                head_request: bits & 2 != 0,
                connect_request: bits & 4 != 0,
                keep_alive: bits & 8 == 0,
            };
            for status in [101, 200, 201, 204, 205, 304, 404, 500] {
                let status = StatusCode::from_u16(status).unwrap();
                for fields in &field_maps {
                    let fields: HeaderMap = fields
                        .iter()
                        .map(|(name, value)| (name.clone(), value.parse().unwrap()))
                        .collect();
                    for content in [&b""[..], b"hello", b"0123456789", &large] {
                        for content_type in [None, Some("text/plain"), Some("")] {
                            for rendered in [false, true] {
                                let mut lines = Vec::new();
                                let plain = Defaults {
                                    date,
                                    server: Some(server),
                                    content_type,
                                    rendered: b"",
                                };
                                plain.render(&mut lines);
                                let defaults = Defaults {
                                    rendered: if rendered { &lines } else { b"" },
                                    ..plain
                                };
                                let mut pieces = b"before".to_vec();
                                let mut response = Whole {
                                    facts,
                                    status,
                                    fields: &fields,
                                    content,
                                    defaults: plain,
                                };
                                let expected = write_any(&mut pieces, &response);
                                let mut whole = b"before".to_vec();
                                response.defaults = defaults;
                                let written = encode_whole(&mut whole, &response);
                                assert_eq!(written, expected);
                                match written {
                                    Ok(_) => assert_eq!(whole, pieces),
                                    Err(_) => assert_eq!(whole, b"before"),
                                }
                                usual += usize::from(facts == USUAL && status == 200);
                            }
                        }
                    }
                }
            }
        }
        assert!(usual > 0);
    }
}
