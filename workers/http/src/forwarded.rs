//! What proxies say in fields: `Forwarded` (RFC 7239) and the entries of `X-Forwarded-For`. Reads
//! values; whether they are to be believed is for the caller.

use crate::{
    authority,
    syntax::{self, TCHAR, VALUE},
};
use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Who is at one end of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedNode {
    /// An address; port 0 where none is given, or a made-up one. IPv4-mapped ones are IPv4 here.
    Address(SocketAddr),
    /// `unknown`, or a made-up identifier (RFC 7239 §6.2, §6.3).
    Hidden,
}

/// One hop as `Forwarded` describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardedElement<'a> {
    /// Who sent the request to the proxy (`for`).
    pub client: Option<ForwardedNode>,
    /// The authority that was asked (`host`): valid, with a host.
    pub host: Option<Cow<'a, str>>,
    /// The scheme of the request (`proto`), a valid one, in any case of letters.
    pub proto: Option<Cow<'a, str>>,
}

/// A field that is not as its specification has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// More parameters than any proxy writes: four are defined, and an extension adds one.
const MOST_PAIRS: usize = 16;

impl ForwardedNode {
    /// A node of `Forwarded`: `node = nodename [ ":" node-port ]` (RFC 7239 §6).
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (name, port) = match text.rfind(':') {
            Some(colon) if !text.ends_with(']') => (&text[..colon], Some(&text[colon + 1..])),
            _ => (text, None),
        };
        let port = port.map_or(Ok(0), node_port)?;
        let address = |ip: IpAddr| Self::Address(SocketAddr::new(ip.to_canonical(), port));
        if let Some(inner) = name.strip_prefix('[') {
            let ip = inner.strip_suffix(']').map(str::parse::<Ipv6Addr>);
            return match ip {
                Some(Ok(ip)) => Ok(address(ip.into())),
                _ => Err(Malformed),
            };
        }
        if let Ok(ip) = name.parse::<Ipv4Addr>() {
            return Ok(address(ip.into()));
        }
        if name.eq_ignore_ascii_case("unknown") || is_made_up(name) {
            return Ok(Self::Hidden);
        }
        Err(Malformed)
    }

    /// An entry of `X-Forwarded-For`, which nobody has specified: as above, and IPv6 without brackets.
    pub fn parse_entry(text: &str) -> Result<Self, Malformed> {
        match text.parse::<Ipv6Addr>() {
            Ok(ip) => {
                let ip = IpAddr::from(ip).to_canonical();
                Ok(Self::Address(SocketAddr::new(ip, 0)))
            }
            Err(_) => Self::parse(text),
        }
    }
}

/// `node-port = port / obfport`: at most five digits, or made up.
fn node_port(text: &str) -> Result<u16, Malformed> {
    if is_made_up(text) {
        return Ok(0);
    }
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits {
        return Err(Malformed);
    }
    text.parse().map_err(|_| Malformed)
}

/// `"_" 1*(ALPHA / DIGIT / "." / "_" / "-")`
fn is_made_up(text: &str) -> bool {
    let rest = text.strip_prefix('_').unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !rest.is_empty() && rest.bytes().all(plain)
}

/// The elements of one `Forwarded` line, the client's first (RFC 7239 §4); several lines are one
/// list. Behind an error nothing follows.
///
/// Stricter than the grammar in two ways: an empty element is malformed, since some would count it
/// as a hop; and there are at most 16 pairs to an element. Blanks around `;` mean nothing, and are
/// let pass.
pub fn parse_forwarded(
    line: &[u8],
) -> impl Iterator<Item = Result<ForwardedElement<'_>, Malformed>> {
    let mut rest = Some(syntax::trim(line)).filter(|line| !line.is_empty());
    std::iter::from_fn(move || {
        let mut reader = Pairs { rest: rest.take()? };
        let element = reader.element();
        if element.is_ok() {
            rest = reader.after_comma();
        }
        Some(element)
    })
}

/// A line, read from the front.
struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// `[ forwarded-pair ] *( ";" [ forwarded-pair ] )`, up to a comma or the end.
    fn element(&mut self) -> Result<ForwardedElement<'a>, Malformed> {
        let mut element = ForwardedElement::default();
        let mut names: Vec<&[u8]> = Vec::new();
        loop {
            self.skip_blanks();
            if !matches!(self.rest.first(), None | Some(b',' | b';')) {
                let name = self.token()?;
                self.byte(b'=')?;
                let value = self.value()?;
                let again = names.iter().any(|other| other.eq_ignore_ascii_case(name));
                if again || names.len() == MOST_PAIRS {
                    return Err(Malformed); // RFC 7239 §4: MUST NOT occur more than once
                }
                names.push(name);
                element.take(name, value)?;
                self.skip_blanks();
            }
            match self.rest.first() {
                None | Some(b',') if names.is_empty() => return Err(Malformed),
                None | Some(b',') => return Ok(element),
                Some(b';') => self.rest = &self.rest[1..],
                Some(_) => return Err(Malformed),
            }
        }
    }

    /// What follows an element, where something does: an element has to.
    fn after_comma(&self) -> Option<&'a [u8]> {
        self.rest.strip_prefix(b",")
    }

    fn skip_blanks(&mut self) {
        while let [byte, rest @ ..] = self.rest {
            if !syntax::is_blank(*byte) {
                break;
            }
            self.rest = rest;
        }
    }

    fn byte(&mut self, byte: u8) -> Result<(), Malformed> {
        self.rest = self.rest.strip_prefix(&[byte]).ok_or(Malformed)?;
        Ok(())
    }

    fn token(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.rest.iter().position(|&byte| !syntax::is(byte, TCHAR));
        let (token, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        Some(token)
            .filter(|token| !token.is_empty())
            .ok_or(Malformed)
    }

    /// `token / quoted-string`
    fn value(&mut self) -> Result<Cow<'a, str>, Malformed> {
        if self.rest.first() != Some(&b'"') {
            let token = self.token()?;
            return Ok(std::str::from_utf8(token).map_err(|_| Malformed)?.into());
        }
        self.byte(b'"')?;
        let mut bytes = Vec::new();
        loop {
            let (byte, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            let byte = match byte {
                b'"' => break,
                b'\\' => {
                    let (escaped, rest) = self.rest.split_first().ok_or(Malformed)?;
                    self.rest = rest;
                    escaped
                }
                byte => byte,
            };
            if !syntax::is(*byte, VALUE) {
                return Err(Malformed);
            }
            bytes.push(*byte);
        }
        // All that we read is ASCII; of the rest nothing but its being there is known.
        Ok(String::from_utf8_lossy(&bytes).into_owned().into())
    }
}

impl<'a> ForwardedElement<'a> {
    fn take(&mut self, name: &[u8], value: Cow<'a, str>) -> Result<(), Malformed> {
        if name.eq_ignore_ascii_case(b"for") {
            self.client = Some(ForwardedNode::parse(&value)?);
        } else if name.eq_ignore_ascii_case(b"by") {
            ForwardedNode::parse(&value)?;
        } else if name.eq_ignore_ascii_case(b"host") {
            if !is_host(&value) {
                return Err(Malformed);
            }
            self.host = Some(value);
        } else if name.eq_ignore_ascii_case(b"proto") {
            if !is_scheme(&value) {
                return Err(Malformed);
            }
            self.proto = Some(value);
        }
        Ok(())
    }
}

/// Whether this is the authority of a request: a valid Host (RFC 9110 §7.2) that is not empty.
pub fn is_host(text: &str) -> bool {
    authority::check(text.as_bytes()).is_some_and(|found| !found.empty_host)
}

/// `ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )` (RFC 3986 §3.1)
fn is_scheme(text: &str) -> bool {
    let of_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(of_scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Vec<String>> {
        let show = |element: ForwardedElement<'_>| {
            let client = match element.client {
                None => "-".to_owned(),
                Some(ForwardedNode::Hidden) => "hidden".to_owned(),
                Some(ForwardedNode::Address(address)) => address.to_string(),
            };
            let text = |value: Option<Cow<'_, str>>| value.map_or("-".into(), Cow::into_owned);
            format!("{client} {} {}", text(element.host), text(element.proto))
        };
        parse_forwarded(line.as_bytes())
            .map(|element| element.ok().map(show))
            .collect()
    }

    #[test]
    fn elements() {
        for (line, elements) in [
            ("", &[][..]),
            ("for=192.0.2.60", &["192.0.2.60:0 - -"]),
            (
                "for=192.0.2.60;proto=http;by=203.0.113.43",
                &["192.0.2.60:0 - http"],
            ),
            (
                "For=\"[2001:db8:cafe::17]:4711\"",
                &["[2001:db8:cafe::17]:4711 - -"],
            ),
            (
                "for=192.0.2.43, for=198.51.100.17",
                &["192.0.2.43:0 - -", "198.51.100.17:0 - -"],
            ),
            (
                "for=\"_gazonk\",for=unknown,FOR=_SEVKISEK",
                &["hidden - -", "hidden - -", "hidden - -"],
            ),
            ("for=\"1.2.3.4:80\"", &["1.2.3.4:80 - -"]),
            ("for=\"1.2.3.4:_port\"", &["1.2.3.4:0 - -"]),
            ("for=\"unknown:80\"", &["hidden - -"]),
            ("for=\"[::ffff:1.2.3.4]\"", &["1.2.3.4:0 - -"]),
            (
                "proto=https ; host=\"a.example:8443\";x=\"\\\"q,;\\\\\"",
                &["- a.example:8443 https"],
            ),
            (";for=1.2.3.4;;", &["1.2.3.4:0 - -"]),
            ("host=a;proto=\"h\\ttp\"", &["- a http"]),
        ] {
            let expected = elements.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(read(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn malformed() {
        for line in [
            ",",
            "for=1.2.3.4,",
            ",for=1.2.3.4",
            "for=1.2.3.4,,for=1.2.3.4",
            ";",
            "for",
            "for=",
            "=1.2.3.4",
            "for =1.2.3.4",
            "for= 1.2.3.4",
            "for=1.2.3.4:80",
            "for=[::1]",
            "for=\"::1\"",
            "for=1.2.3",
            "for=1.2.3.04",
            "for=\"1.2.3.4",
            "for=\"1.2.3.4\"x",
            "for=\"[::1\"",
            "for=\"[::1]x\"",
            "for=\"[::1%25eth0]\"",
            "for=\"1.2.3.4:\"",
            "for=\"1.2.3.4:123456\"",
            "for=\"1.2.3.4:65536\"",
            "for=\"1.2.3.4:+80\"",
            "for=_",
            "for=_a|b",
            "for=\"_a b\"",
            "for=\"1.2.3.4:_p~\"",
            "for=name",
            "for=1.2.3.4;for=1.2.3.4",
            "FOR=1.2.3.4;for=_x",
            "a=1;A=2",
            "by=name",
            "host=\"a/b\"",
            "host=\"\"",
            "host=\":80\"",
            "host=\"a@b\"",
            "proto=\"1http\"",
            "proto=\"ht tp\"",
            "for=1.2.3.4 for=1.2.3.4",
            "for=\"\u{7f}\"",
            "for=\"\\",
            "for=1.2.3.4;x=\"\\\u{1}\"",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
        let many = |pairs: usize| {
            let pairs = (0..pairs).map(|n| format!("a{n}=b"));
            read(&pairs.collect::<Vec<_>>().join(";")).is_some()
        };
        assert!(many(MOST_PAIRS) && !many(MOST_PAIRS + 1));
    }

    #[test]
    fn entries() {
        for (text, address) in [
            ("1.2.3.4", Some("1.2.3.4:0")),
            ("1.2.3.4:80", Some("1.2.3.4:80")),
            ("2001:db8::1", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]:80", Some("[2001:db8::1]:80")),
            ("::ffff:1.2.3.4", Some("1.2.3.4:0")),
        ] {
            let node = address.map(|text| ForwardedNode::Address(text.parse().expect("valid")));
            assert_eq!(ForwardedNode::parse_entry(text).ok(), node, "{text}");
        }
        for text in ["unknown", "Unknown", "_hidden"] {
            let node = ForwardedNode::parse_entry(text);
            assert_eq!(node, Ok(ForwardedNode::Hidden), "{text}");
        }
        for text in [
            "",
            "a",
            "1.2.3.4 ",
            "1.2.3.4:",
            "1.2.3.4.5",
            "::1:x",
            "\"1.2.3.4\"",
            "1.2.3.4:x",
        ] {
            assert_eq!(ForwardedNode::parse_entry(text), Err(Malformed), "{text}");
        }
    }
}
