//! A second reader, written from the RFCs and not from ours: slow, over the whole input, one rule
//! after the other, without a state between calls. What it says is what ours must say.

use ferricorn_http::{BodyLength, Head, Limits};
use std::{collections::BTreeMap, net::Ipv6Addr};

/// What became of a part of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// Whole and good; so many bytes of the input are it.
    Accepted(T, usize),
    /// Not good, whatever comes behind.
    Refused,
    /// Nothing wrong so far as these rules look, and not whole.
    Incomplete,
}

/// What a head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// How its content is delimited.
    pub body: BodyLength,
    /// Whether the connection persists.
    pub keep_alive: bool,
    /// Whether the client waits for 100 (Continue).
    pub expects_continue: bool,
    /// The protocols that the client would switch to.
    pub upgrade: Option<Vec<u8>>,
    /// The authority asked.
    pub authority: Option<Vec<u8>>,
    /// Names as sent, values trimmed.
    pub fields: Vec<(String, Vec<u8>)>,
}

impl Facts {
    /// What a head says, as ours tells it.
    pub fn of(head: &Head) -> Self {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Self {
            body: head.body(),
            keep_alive: head.keep_alive(),
            expects_continue: head.expects_continue(),
            upgrade: head.upgrade().map(bytes),
            authority: head.authority().map(bytes),
            fields: head
                .fields()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }
}

/// Fields by name in lower case; the values of one name in their order.
pub type ByName = BTreeMap<String, Vec<Vec<u8>>>;

/// `tchar`, RFC 9110 §5.6.2
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `token`, RFC 9110 §5.6.2
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_tchar)
}

/// `field-vchar`, SP and HTAB, RFC 9110 §5.5
pub fn is_value(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .all(|&byte| byte == b'\t' || (byte >= 0x20 && byte != 0x7f))
}

/// Without OWS at both ends, RFC 9110 §5.6.3.
fn trim(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(first) = bytes.iter().position(|byte| !blank(byte)) else {
        return &[];
    };
    let last = bytes.iter().rposition(|byte| !blank(byte)).unwrap_or(first);
    &bytes[first..=last]
}

/// Whether every `%` stands before two digits, and every other byte is one of these or a letter or
/// a digit.
fn is_encoded(bytes: &[u8], others: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        rest = match rest {
            [] => return true,
            [b'%', a, b, tail @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => tail,
            [b'%', ..] => return false,
            [byte, tail @ ..] if byte.is_ascii_alphanumeric() || others.contains(byte) => tail,
            _ => return false,
        }
    }
}

/// The head in front of `input` (RFC 9112 §2 to §3, §5, §6, §9).
///
/// Of an incomplete one only the line ends are looked at: that ours refuses one early is its right.
pub fn head(input: &[u8], limits: &Limits) -> Verdict<Facts> {
    let skip = if input.starts_with(b"\r\n") { 2 } else { 0 };
    let mut lines: Vec<&[u8]> = Vec::new();
    let mut end = skip;
    loop {
        let Some(lf) = input[end..].iter().position(|&byte| byte == b'\n') else {
            return Verdict::Incomplete;
        };
        let Some(line) = input[end..end + lf].strip_suffix(b"\r") else {
            return Verdict::Refused;
        };
        end += lf + 1;
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let Some((request_line, field_lines)) = lines.split_first() else {
        return Verdict::Refused;
    };
    let most = match limits.fields {
        0 => 32_768,
        some => some,
    };
    let within = |length: usize, limit: usize| limit == 0 || length <= limit;
    if end - skip > limits.head
        || !within(request_line.len(), limits.request_line)
        || request_line.len() > 65_534
        || field_lines.len() > most
        || field_lines
            .iter()
            .any(|line| !within(line.len() + 2, limits.field_size))
    {
        return Verdict::Refused;
    }
    match facts(request_line, field_lines, limits) {
        Some(facts) => Verdict::Accepted(facts, end),
        None => Verdict::Refused,
    }
}

fn facts(line: &[u8], field_lines: &[&[u8]], limits: &Limits) -> Option<Facts> {
    let parts: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let &[method, target, version] = &parts[..] else {
        return None;
    };
    let http10 = version == b"HTTP/1.0";
    let known = matches!(version, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit());
    if !is_token(method) || !known || !is_target(method, target) {
        return None;
    }
    let mut fields = Vec::new();
    for line in field_lines {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        if !is_token(name) || !is_value(value) {
            return None;
        }
        fields.push((String::from_utf8(name.to_vec()).ok()?, value.to_vec()));
    }
    let values = |name: &str| -> Vec<&[u8]> {
        fields
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| &value[..])
            .collect()
    };
    // The members of a list field over all of its lines (RFC 9110 §5.3, §5.6.1).
    let members = |name: &str| -> Vec<String> {
        let joined = values(name).join(&b","[..]);
        let members = joined.split(|&byte| byte == b',').map(trim);
        members
            .map(|member| String::from_utf8_lossy(member).to_ascii_lowercase())
            .collect()
    };
    // RFC 9112 §3.2
    let host = match values("host")[..] {
        [] if http10 => None,
        [host] => authority(host).map(|_| Some(host))?,
        _ => return None,
    };
    if values("content-type").len() > 1 {
        return None;
    }
    // RFC 9112 §6.3
    let body = match (
        &values("transfer-encoding")[..],
        &values("content-length")[..],
    ) {
        ([], []) => BodyLength::None,
        ([], [length]) => {
            if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
                return None;
            }
            let length: u64 = std::str::from_utf8(length).ok()?.parse().ok()?;
            if limits.body != 0 && length > limits.body {
                return None;
            }
            BodyLength::Length(length)
        }
        (_, []) if !http10 && members("transfer-encoding") == ["chunked"] => BodyLength::Chunked,
        _ => return None,
    };
    let content = !matches!(body, BodyLength::None | BodyLength::Length(0));
    if content && matches!(method, b"CONNECT" | b"TRACE") {
        return None;
    }
    // RFC 9110 §10.1.1
    let expected = members("expect");
    if !http10
        && expected
            .iter()
            .any(|member| !matches!(&member[..], "" | "100-continue"))
    {
        return None;
    }
    // RFC 9112 §9.3
    let options = members("connection");
    let option = |name: &str| options.iter().any(|option| option == name);
    let keep_alive = !option("close") && (!http10 || option("keep-alive"));
    // RFC 9110 §7.8
    let upgrade = match values("upgrade").first() {
        // A protocol that is no text is none.
        Some(first) if !http10 && option("upgrade") && std::str::from_utf8(first).is_ok() => {
            Some(first.to_vec())
        }
        _ => None,
    };
    // RFC 9112 §3.3
    let text = std::str::from_utf8(target).ok()?;
    let authority = match text.split_once("://") {
        Some((_, rest)) if !text.starts_with('/') => rest.split(['/', '?']).next(),
        _ if method == b"CONNECT" => Some(text),
        _ => None,
    };
    let authority = authority.map(str::as_bytes).or(host);
    Some(Facts {
        body,
        keep_alive,
        expects_continue: !http10 && content && expected.iter().any(|it| it == "100-continue"),
        upgrade,
        authority: authority
            .filter(|authority| !authority.is_empty())
            .map(<[u8]>::to_vec),
        fields,
    })
}

/// RFC 9112 §3.2, and what browsers and curl leave unencoded.
fn is_target(method: &[u8], target: &[u8]) -> bool {
    if method == b"CONNECT" {
        return matches!(authority(target), Some((true, Some(1..))));
    }
    if target == b"*" {
        return method == b"OPTIONS";
    }
    if target.starts_with(b"/") {
        return is_path_and_query(target);
    }
    let lower = target.to_ascii_lowercase();
    let length = match &lower[..] {
        lower if lower.starts_with(b"http://") => 7,
        lower if lower.starts_with(b"https://") => 8,
        _ => return false,
    };
    let rest = &target[length..];
    let end = rest
        .iter()
        .position(|byte| b"/?".contains(byte))
        .unwrap_or(rest.len());
    matches!(authority(&rest[..end]), Some((true, _))) && is_path_and_query(&rest[end..])
}

fn is_path_and_query(text: &[u8]) -> bool {
    let mark = text.iter().position(|&byte| byte == b'?');
    let (path, query) = text.split_at(mark.unwrap_or(text.len()));
    is_encoded(path, b"-._~!$&'()*+,;=:@/[]^{|}")
        && query
            .iter()
            .all(|byte| byte.is_ascii_graphic() && !b"\"#<>".contains(byte))
}

/// Whether this is `uri-host [ ":" port ]` with a host that is not empty.
pub fn is_authority(text: &[u8]) -> bool {
    matches!(authority(text), Some((true, _)))
}

/// `uri-host [ ":" port ]`: whether there is a host, and the port where it has digits.
fn authority(text: &[u8]) -> Option<(bool, Option<u16>)> {
    let (host, rest) = if text.starts_with(b"[") {
        let end = text.iter().position(|&byte| byte == b']')?;
        let literal = std::str::from_utf8(&text[1..end]).ok()?;
        literal.parse::<Ipv6Addr>().ok()?;
        text.split_at(end + 1)
    } else {
        let end = text.iter().position(|&byte| byte == b':');
        let (host, rest) = text.split_at(end.unwrap_or(text.len()));
        if !is_encoded(host, b"-._~!$&'()*+;=") {
            return None;
        }
        (host, rest)
    };
    let port = match rest {
        [] | [b':'] => None,
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
            match &digits[zeros..] {
                [] => Some(0),
                digits => Some(std::str::from_utf8(digits).ok()?.parse().ok()?),
            }
        }
        _ => return None,
    };
    Some((!host.is_empty(), port))
}

/// How a chunked body ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The input ends before the body does.
    Incomplete,
    /// Refused, with this status.
    Refused(u16),
}

/// A chunked body, as far as it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The content up to its end, the end of the input, or what is wrong.
    pub content: Vec<u8>,
    /// The trailers and where the body ends, or why it does not.
    pub end: Result<(ByName, usize), Stop>,
}

/// The chunked body in front of `input` (RFC 9112 §7.1), by recursive descent.
pub fn chunked(input: &[u8], limits: &Limits) -> Body {
    let mut decoder = Decoder {
        input,
        at: 0,
        limits,
        extensions: 0,
    };
    let mut content = Vec::new();
    let end = decoder.body(&mut content);
    Body { content, end }
}

struct Decoder<'a> {
    input: &'a [u8],
    at: usize,
    limits: &'a Limits,
    /// Bytes of all extensions.
    extensions: usize,
}

const BAD: Stop = Stop::Refused(400);

impl Decoder<'_> {
    fn peek(&self) -> Result<u8, Stop> {
        self.input.get(self.at).copied().ok_or(Stop::Incomplete)
    }

    fn expect(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        for &byte in bytes {
            if self.peek()? != byte {
                return Err(BAD);
            }
            self.at += 1;
        }
        Ok(())
    }

    fn body(&mut self, content: &mut Vec<u8>) -> Result<(ByName, usize), Stop> {
        loop {
            let size = self.size()?;
            self.extension()?;
            self.expect(b"\r\n")?;
            let total = size.checked_add(content.len() as u64);
            let limit = match self.limits.body {
                0 => u64::MAX,
                some => some,
            };
            if total.is_none_or(|total| total > limit) {
                return Err(Stop::Refused(413));
            }
            if size == 0 {
                return Ok((self.trailers()?, self.at));
            }
            for _ in 0..size {
                content.push(self.peek()?);
                self.at += 1;
            }
            self.expect(b"\r\n")?;
        }
    }

    /// `1*HEXDIG`, no more of them than 64 bits have.
    fn size(&mut self) -> Result<u64, Stop> {
        let (mut size, mut digits) = (0u64, 0);
        loop {
            let byte = self.peek();
            match byte
                .as_ref()
                .ok()
                .and_then(|&byte| char::from(byte).to_digit(16))
            {
                Some(_) if digits == 16 => return Err(BAD),
                Some(digit) => size = size * 16 + u64::from(digit),
                None if digits == 0 => return byte.and(Err(BAD)),
                None => return byte.map(|_| size),
            }
            digits += 1;
            self.at += 1;
        }
    }

    /// `*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )`, up to the CR.
    fn extension(&mut self) -> Result<(), Stop> {
        let start = self.at;
        let syntax = self.extension_syntax();
        // The byte that is one too many is refused, be it good or bad: 400 either way.
        let length = self.at - start;
        self.extensions += length;
        if length > self.limits.chunk_extension
            || self.extensions > self.limits.chunk_extensions_total
        {
            return Err(BAD);
        }
        syntax
    }

    fn extension_syntax(&mut self) -> Result<(), Stop> {
        if self.peek()? == b'\r' {
            return Ok(());
        }
        self.blanks()?;
        loop {
            self.expect(b";")?;
            self.blanks()?;
            self.token()?;
            let blanks = self.blanks()?;
            if self.peek()? == b'=' {
                self.at += 1;
                self.blanks()?;
                match self.peek()? {
                    b'"' => self.quoted()?,
                    _ => self.token()?,
                }
                if self.blanks()? > 0 {
                    continue;
                }
            } else if blanks > 0 {
                continue;
            }
            if self.peek()? == b'\r' {
                return Ok(());
            }
        }
    }

    fn blanks(&mut self) -> Result<usize, Stop> {
        let start = self.at;
        while matches!(self.peek()?, b' ' | b'\t') {
            self.at += 1;
        }
        Ok(self.at - start)
    }

    fn token(&mut self) -> Result<(), Stop> {
        if !is_tchar(self.peek()?) {
            return Err(BAD);
        }
        while is_tchar(self.peek()?) {
            self.at += 1;
        }
        Ok(())
    }

    fn quoted(&mut self) -> Result<(), Stop> {
        self.expect(b"\"")?;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Ok(()),
                b'\\' => {
                    if !is_value(&[self.peek()?]) {
                        return Err(BAD);
                    }
                    self.at += 1;
                }
                byte if is_value(&[byte]) => {}
                _ => return Err(BAD),
            }
        }
    }

    /// `*( field-line CRLF ) CRLF` (RFC 9112 §7.1.2). All lines, the empty one aside, are as long as
    /// the limit of trailers, and each as long as that of fields.
    fn trailers(&mut self) -> Result<ByName, Stop> {
        let (mut fields, mut lines) = (ByName::new(), 0);
        let or = |limit: usize, most: usize| if limit == 0 { most } else { limit };
        let most = or(self.limits.fields, 32_768);
        let longest = or(self.limits.field_size, usize::MAX).min(self.limits.head);
        let end = self.at + self.limits.trailers + 2;
        loop {
            let bound = end.min(self.at + longest);
            let start = self.at;
            if self.within(bound)? == b'\r' {
                self.at += 1;
                self.line_end(bound)?;
                return Ok(fields);
            }
            while is_tchar(self.within(bound)?) {
                self.at += 1;
            }
            let colon = self.at;
            if colon == start || self.within(bound)? != b':' {
                return Err(BAD);
            }
            self.at += 1;
            while is_value(&[self.within(bound)?]) {
                self.at += 1;
            }
            let value = trim(&self.input[colon + 1..self.at]).to_vec();
            if self.within(bound)? != b'\r' {
                return Err(BAD);
            }
            self.at += 1;
            self.line_end(bound)?;
            lines += 1;
            if lines > most {
                return Err(Stop::Refused(431));
            }
            let name = String::from_utf8_lossy(&self.input[start..colon]).to_ascii_lowercase();
            fields.entry(name).or_default().push(value);
        }
    }

    /// The next byte of a line that has to end before `bound`.
    fn within(&self, bound: usize) -> Result<u8, Stop> {
        if self.at == bound {
            return Err(Stop::Refused(431));
        }
        self.peek()
    }

    fn line_end(&mut self, bound: usize) -> Result<(), Stop> {
        if self.within(bound)? != b'\n' {
            return Err(BAD);
        }
        self.at += 1;
        Ok(())
    }
}
