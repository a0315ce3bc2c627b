//! The lines of a response head, shared by what programs and what HTTP servers answer: where the head
//! ends, and which fields are in it. What they mean is for others.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// How large the head of an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes, with the empty line. Default: 64 KiB.
    pub size: usize,
    /// Field lines. Default: 256.
    pub fields: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits {
            size: 64 * 1024,
            fields: 256,
        }
    }
}

/// Why what a back end answers is no answer. For the log, and the client is told 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAnswer(pub &'static str);

impl std::fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadAnswer {}

/// Finds the end of a head, looking at each byte once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeadEnd {
    /// Bytes that were looked at.
    looked: usize,
    /// Where the line that they end in begins.
    line: usize,
    lines: usize,
}

impl HeadEnd {
    /// The length of the head, with its empty line, once that is there. `input` begins with the head
    /// each time.
    pub(super) fn next(
        &mut self,
        input: &[u8],
        limits: HeadLimits,
    ) -> Result<Option<usize>, BadAnswer> {
        let some = &input[..input.len().min(limits.size)];
        while let Some(more) = some[self.looked..].iter().position(|&byte| byte == b'\n') {
            let end = self.looked + more;
            let line = &some[self.line..end];
            (self.looked, self.line) = (end + 1, end + 1);
            if matches!(line, b"" | b"\r") {
                return Ok(Some(end + 1));
            }
            self.lines += 1;
            // Perhaps with a status line.
            if self.lines > limits.fields.saturating_add(1) {
                return Err(BadAnswer("the head has too many lines"));
            }
        }
        self.looked = some.len();
        match some.len() < limits.size {
            true => Ok(None),
            false => Err(BadAnswer("the head is too long")),
        }
    }
}

/// The lines of a head that is complete, each without its end.
pub(super) fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .take_while(|line| !line.is_empty())
}

/// Reads one field line.
pub(super) fn field(line: &[u8]) -> Result<(HeaderName, HeaderValue), BadAnswer> {
    let colon = line.iter().position(|&byte| byte == b':');
    let (name, value) = line.split_at(colon.ok_or(BadAnswer("a line of the head has no colon"))?);
    // No blank in front of the colon (RFC 9112 section 5.1), nor of a line, which would go on the last.
    let name = HeaderName::from_bytes(name);
    let name = name.map_err(|_| BadAnswer("the name of a field is not valid"))?;
    let value = HeaderValue::from_bytes(value[1..].trim_ascii());
    let value = value.map_err(|_| BadAnswer("the value of a field is not valid"))?;
    Ok((name, value))
}

/// Adds a field, where there is room.
pub(super) fn add(
    fields: &mut HeaderMap,
    (name, value): (HeaderName, HeaderValue),
    limits: HeadLimits,
) -> Result<(), BadAnswer> {
    let full = fields.len() >= limits.fields || fields.try_append(name, value).is_err();
    match full {
        true => Err(BadAnswer("the head has too many lines")),
        false => Ok(()),
    }
}

/// The code of a status: three digits, of a class that there is (RFC 9110 section 15).
pub(super) fn status(digits: &[u8]) -> Option<http::StatusCode> {
    match digits {
        [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'] => http::StatusCode::from_bytes(digits).ok(),
        _ => None,
    }
}

/// Takes out what is about one connection only (RFC 9110 section 7.6.1): the fields that have always
/// been, and those that Connection names. Content-Length, which says how long the content is, stays.
pub fn strip_hop_by_hop(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> = options(fields)
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| name != header::CONTENT_LENGTH)
        .collect();
    for name in named {
        fields.remove(name);
    }
    for name in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ] {
        fields.remove(name);
    }
}

/// What Connection says, element by element.
pub(super) fn options(fields: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = fields.get_all(header::CONNECTION).iter();
    let options = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    options.map(<[u8]>::trim_ascii)
}

/// What the Content-Length fields say; equal ones say it once (RFC 9110 section 8.6).
pub(super) fn content_length(fields: &HeaderMap) -> Result<Option<u64>, BadAnswer> {
    let mut length = None;
    let lines = fields.get_all(header::CONTENT_LENGTH).iter();
    for value in lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')) {
        let value = super::vars::decimal(value.trim_ascii());
        let value = value.ok_or(BadAnswer("Content-Length is not a number"))?;
        if length.replace(value).is_some_and(|other| other != value) {
            return Err(BadAnswer("Content-Length has two values"));
        }
    }
    Ok(length)
}
