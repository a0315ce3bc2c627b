//! The chunked decoder against one that is written down in a page: same content, same trailers, same
//! length, same status of a refusal.

use super::{
    control::Control,
    reference::{self, ByName, Stop},
};
use ferricorn_http::{Event, Head, Limits, Reader};

/// The head in front of the body.
const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Fields that mean something in a head, and so must not come out of trailers (RFC 9110 §6.5.1).
pub const NEVER: [&str; 12] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "x-forwarded-for",
];

/// Reads the input as a chunked body, in two ways.
pub fn check(data: &[u8]) {
    let Some((control, body)) = Control::split(data) else {
        return;
    };
    // The head in front is to pass.
    let limits = Limits {
        request_line: 0,
        field_size: 0,
        fields: control.limits.fields.max(2),
        head: 64 * 1024,
        ..control.limits.clone()
    };
    let expected = reference::chunked(body, &limits);
    let whole = decode([body], &limits);
    let (content, end) = &whole;
    assert_eq!(*content, expected.content);
    match (end, &expected.end) {
        (Ok((trailers, consumed)), Ok((sent, length))) => {
            assert_eq!(consumed, length);
            same_trailers(trailers, sent);
        }
        (Err(stop), Err(other)) => assert_eq!(stop, other),
        (end, other) => panic!("{end:?} where the reference says {other:?}"),
    }
    assert_eq!(decode(control.cut(body), &limits), whole);
}

/// Every trailer was sent, none is dangerous, and none that is surely harmless was dropped.
fn same_trailers(trailers: &ByName, sent: &ByName) {
    for (name, values) in trailers {
        assert_eq!(sent.get(name), Some(values), "{name}");
        assert!(!NEVER.contains(&&name[..]), "{name}");
    }
    let harmless = |name: &str| name.starts_with("x-") && !name.starts_with("x-forwarded-");
    for name in sent.keys().filter(|name| harmless(name)) {
        assert!(trailers.contains_key(name), "{name} was dropped");
    }
}

type Decoded = (Vec<u8>, Result<(ByName, usize), Stop>);

/// Content, then trailers and consumed length, or why there is no end.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Decoded {
    let (mut reader, mut head) = (Reader::new(), Head::new());
    let event = reader.next(HEAD, limits, &mut head);
    assert_eq!(
        event,
        Ok(Event::Head {
            consumed: HEAD.len()
        })
    );
    let (mut content, mut total) = (Vec::new(), 0);
    for mut piece in pieces {
        // Nothing of a chunked body has to be kept: what comes next begins with what is new.
        loop {
            let consumed = match reader.next(piece, limits, &mut head) {
                Ok(Event::NeedMore { consumed }) => {
                    assert_eq!(consumed, piece.len(), "framing is not kept");
                    total += consumed;
                    break;
                }
                Ok(Event::Data { skip, len }) => {
                    assert!(len > 0);
                    content.extend_from_slice(&piece[skip..skip + len]);
                    skip + len
                }
                Ok(Event::End { consumed }) => {
                    assert!(consumed <= piece.len());
                    return (content, Ok((by_name(&reader), total + consumed)));
                }
                Ok(Event::Head { .. }) => panic!("a head within a body"),
                Err(reject) => return (content, Err(Stop::Refused(reject.status.as_u16()))),
            };
            total += consumed;
            piece = &piece[consumed..];
        }
    }
    (content, Err(Stop::Incomplete))
}

fn by_name(reader: &Reader) -> ByName {
    let mut fields = ByName::new();
    for (name, value) in reader.trailers().into_iter().flatten() {
        let values = fields.entry(name.to_string()).or_default();
        values.push(value.as_bytes().to_vec());
    }
    fields
}
