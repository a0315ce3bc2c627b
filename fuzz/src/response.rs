//! A response as a handler may make it, with any status, fields and body: what is written can be read
//! in one way only, and that is what was meant; what cannot be meant is an error that writes nothing.

use super::reference::{self, ByName};
use ferricorn_http::{
    BodyEncoder, Defaults, EncodeError, Facts, Length, Limits, Version, encode_head,
    encode_interim, encode_reject,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Names that mean something to the server, and some that do not.
const NAMES: [&str; 16] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "content-type",
    "date",
    "server",
    "keep-alive",
    "proxy-connection",
    "trailer",
    "set-cookie",
    "location",
    "x-a",
    "x-b",
    "te",
    "x-forwarded-for",
];

/// Names that the server writes itself, or not at all.
const MANAGED: [&str; 7] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "date",
    "server",
    "keep-alive",
    "proxy-connection",
];

/// The bytes of an input, taken off the front; zeros behind its end.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn byte(&mut self) -> u8 {
        let (&byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        byte
    }

    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn fields(&mut self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for _ in 0..self.byte() % 8 {
            let name = NAMES[usize::from(self.byte()) % NAMES.len()];
            let length = usize::from(self.byte() % 32);
            if let Ok(value) = HeaderValue::from_bytes(self.bytes(length)) {
                fields.append(HeaderName::from_static(name), value);
            }
        }
        fields
    }
}

/// Builds the response that the input describes, and reads it as a client does.
pub fn check(data: &[u8]) {
    let mut source = Source(data);
    let kind = source.byte();
    let facts = Facts {
        version: if kind & 1 == 0 {
            Version::Http11
        } else {
            Version::Http10
        },
        head_request: kind & 6 == 2,
        connect_request: kind & 6 == 4,
        keep_alive: kind & 8 == 0,
    };
    let defaults = Defaults {
        date: b"Sun, 06 Nov 1994 08:49:37 GMT",
        server: Some(b"ferricorn"),
        content_type: (kind & 16 != 0).then_some("text/plain"),
        rendered: if kind & 32 == 0 {
            b""
        } else {
            b"Server: ferricorn\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        },
    };
    let code = 100 + u16::from_be_bytes([source.byte() & 3, source.byte()]) % 900;
    let status = StatusCode::from_u16(code).expect("three digits");
    let length = match source.byte() {
        255 => Length::Known(u64::MAX),
        byte if byte & 1 == 0 => Length::Known(u64::from(byte >> 1)),
        _ => Length::Unknown,
    };
    let fields = source.fields();
    interim(status, &fields);
    refusal(status, facts.head_request, &defaults);

    let before = b"what was there before".to_vec();
    let mut out = before.clone();
    match encode_head(&mut out, &facts, status, &fields, length, &defaults) {
        Err(_) => assert_eq!(out, before, "an error leaves nothing behind"),
        Ok(encoder) => {
            assert!(out.starts_with(&before));
            let told = read_head(&out[before.len()..], status);
            judge_head(&told, &facts, status, &fields, &encoder);
            body(&mut source, &told, encoder);
        }
    }
}

/// An interim response is one exactly where the status is one, and frames nothing.
fn interim(status: StatusCode, fields: &HeaderMap) {
    let mut out = Vec::new();
    let written = encode_interim(&mut out, status, fields);
    let is_interim = status.is_informational() && status != 101;
    assert_eq!(written.is_ok(), is_interim);
    if is_interim {
        let told = read_head(&out, status);
        for name in ["content-length", "transfer-encoding", "connection"] {
            assert!(!told.contains_key(name), "{name} in an interim response");
        }
    } else {
        assert!(out.is_empty());
    }
}

/// The answer to a refused request closes, and is as long as it says; for HEAD its head only.
fn refusal(status: StatusCode, head_request: bool, defaults: &Defaults<'_>) {
    let mut out = Vec::new();
    encode_reject(&mut out, status, head_request, defaults);
    let end = out.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let (head, content) = out.split_at(end.expect("an empty line") + 4);
    let told = read_head(head, status);
    assert!(lists(&told, "connection", "close"));
    if head_request {
        assert!(content.is_empty());
    } else {
        assert_eq!(
            told["content-length"],
            [content.len().to_string().as_bytes()]
        );
    }
}

/// Reads a whole response head (RFC 9112 §4, §5) that has this status, and nothing behind it.
fn read_head(head: &[u8], status: StatusCode) -> ByName {
    let text = head
        .strip_suffix(b"\r\n\r\n")
        .expect("an empty line at the end");
    let mut lines = text.split(|&byte| byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!line.is_empty(), "an empty line within");
        line
    });
    let line = lines.next().expect("a status line");
    let start = format!("HTTP/1.1 {} ", status.as_str());
    assert!(line.starts_with(start.as_bytes()) && reference::is_value(line));
    let mut fields = ByName::new();
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':');
        let (name, value) = line.split_at(colon.expect("a colon"));
        assert!(reference::is_token(name) && reference::is_value(value));
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let value = value.strip_prefix(b": ").expect("a blank behind the colon");
        fields.entry(name).or_default().push(value.to_vec());
    }
    fields
}

/// Whether a list field has this member.
fn lists(fields: &ByName, name: &str, member: &str) -> bool {
    let values = fields.get(name).into_iter().flatten();
    values
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|other| other.trim_ascii().eq_ignore_ascii_case(member.as_bytes()))
}

/// Framing, connection and fields, as a client reads them.
fn judge_head(
    told: &ByName,
    facts: &Facts,
    status: StatusCode,
    fields: &HeaderMap,
    encoder: &BodyEncoder,
) {
    let count = |name: &str| told.get(name).map_or(0, Vec::len);
    let (length, coding) = (count("content-length"), count("transfer-encoding"));
    // RFC 9112 §6.3: one framing, RFC 9110 §8.6: and none where none is allowed.
    assert!(length + coding <= 1, "two framings");
    let tunnel = facts.connect_request && status.is_success();
    if status.is_informational() || status == 204 || tunnel {
        assert_eq!(length + coding, 0);
    }
    if coding == 1 {
        assert_eq!(told["transfer-encoding"], [b"chunked"]);
        assert_eq!(facts.version, Version::Http11);
        assert!(!facts.head_request && status != 304);
    }
    for name in ["date", "server"] {
        assert_eq!(count(name), 1, "{name}");
    }
    // RFC 9112 §9.3: both sides know whether the connection goes on.
    let handed = status == 101 || tunnel;
    assert_eq!(encoder.upgraded(), handed);
    let close = lists(told, "connection", "close");
    if encoder.keep_alive() {
        assert!(facts.keep_alive && !close && !handed);
        let says_so = lists(told, "connection", "keep-alive");
        assert!(facts.version == Version::Http11 || says_so);
        let delimited = length + coding == 1 || encoder.suppressed();
        assert!(delimited, "only the end of the connection ends this");
    } else {
        assert!(close || handed);
    }
    if told.contains_key("upgrade") {
        assert!(lists(told, "connection", "upgrade"), "RFC 9110 §7.8");
    }
    for name in fields
        .keys()
        .filter(|name| !MANAGED.contains(&name.as_str()))
    {
        let values = fields.get_all(name).iter().map(HeaderValue::as_bytes);
        // Of a field that may come once only, the first (RFC 9110 §5.3).
        let most = if name == "content-type" {
            1
        } else {
            usize::MAX
        };
        let kept = values.take(most).eq(told[name.as_str()].iter());
        assert!(kept, "{name} is changed");
    }
}

/// Writes what the input says, and reads it back after every step.
fn body(source: &mut Source<'_>, told: &ByName, mut encoder: BodyEncoder) {
    let declared: Option<u64> = told.get("content-length").map(|values| {
        let text = std::str::from_utf8(&values[0]).expect("digits");
        text.parse().expect("a number")
    });
    let chunked = told.contains_key("transfer-encoding");
    let (silent, may_persist) = (encoder.suppressed(), encoder.keep_alive());
    let (mut out, mut written, mut trailers) = (Vec::new(), Vec::new(), HeaderMap::new());
    let (mut failed, mut finished) = (false, false);
    while !source.0.is_empty() {
        let op = source.byte();
        let result = match op {
            0..=239 => {
                let length = usize::from(op >> 1) % 64;
                let data = source.bytes(length);
                let result = if op & 1 == 0 {
                    encoder.encode(data, &mut out)
                } else {
                    send_file(&mut encoder, data, &mut out)
                };
                if result.is_ok() {
                    assert!(
                        !finished || failed || data.is_empty() || silent,
                        "content behind the end"
                    );
                    written.extend_from_slice(data);
                }
                result
            }
            _ => {
                if !finished {
                    trailers = source.fields();
                }
                let result = encoder.finish(Some(&trailers), &mut out);
                if !finished {
                    assert_eq!(result.is_ok(), encoder.is_complete());
                }
                finished = true;
                result
            }
        };
        failed |= result.is_err();
        assert_eq!(encoder.keep_alive(), may_persist && !failed);
        if silent {
            assert!(out.is_empty() && !failed);
        } else if chunked {
            as_chunked(&out, &written, finished.then_some(&trailers));
        } else if let Some(declared) = declared {
            // Never more than declared; what there is, is the handler's, in its order.
            assert!(out.len() as u64 <= declared && out.starts_with(&written));
            assert_eq!(encoder.remaining(), Some(declared - out.len() as u64));
            assert_eq!(encoder.is_complete(), out.len() as u64 == declared);
        } else {
            assert_eq!(out, written);
        }
    }
}

/// What the loop does with a file: the frame, its bytes, what goes behind it.
fn send_file(encoder: &mut BodyEncoder, data: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let length = encoder.frame(data.len() as u64, out)?;
    assert!(length == data.len() as u64 || length == 0 && encoder.suppressed());
    out.extend_from_slice(&data[..usize::try_from(length).expect("as long as the data")]);
    encoder.end_frame(out);
    Ok(())
}

fn as_chunked(out: &[u8], written: &[u8], trailers: Option<&HeaderMap>) {
    let limits = Limits {
        fields: 0,
        body: 0,
        ..Limits::default()
    };
    let body = reference::chunked(out, &limits);
    assert_eq!(body.content, written);
    match (body.end, trailers) {
        (Err(reference::Stop::Incomplete), None) => {}
        (Ok((read, length)), Some(sent)) => {
            assert_eq!(length, out.len(), "something behind the end");
            for (name, values) in &read {
                assert!(!super::chunked::NEVER.contains(&&name[..]), "{name}");
                let sent = sent.get_all(name).iter().map(HeaderValue::as_bytes);
                assert!(
                    sent.map(<[u8]>::trim_ascii)
                        .eq(values.iter().map(|value| value.trim_ascii()))
                );
            }
            for name in ["x-a", "x-b"] {
                assert_eq!(read.contains_key(name), sent.contains_key(name));
            }
        }
        (end, trailers) => panic!("{end:?}, {trailers:?}"),
    }
}
