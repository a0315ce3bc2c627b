//! `Forwarded` lines and entries of `X-Forwarded-For`: what a second reader says, bounded, and the same
//! when written down again.

use super::reference;
use ferricorn_http::{
    ForwardedElement, ForwardedNode, Malformed, is_host, parse_forwarded, split_authority,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Pairs of one element at most.
const MOST_PAIRS: usize = 16;

/// An element, as both readers tell it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    client: Option<ForwardedNode>,
    host: Option<String>,
    proto: Option<String>,
}

/// Elements up to the first that is malformed, and whether there is one.
type Line = (Vec<Told>, bool);

/// Reads the input as a line of `Forwarded`, and the parts between its commas as entries.
pub fn check(data: &[u8]) {
    let line = read(data);
    assert_eq!(line, elements(data));
    assert!(line.0.len() <= data.iter().filter(|&&byte| byte == b',').count() + 1);
    written_again(&line.0);
    for entry in data.split(|&byte| byte == b',') {
        if let Ok(text) = std::str::from_utf8(entry) {
            node(text.trim_matches([' ', '\t']));
        }
    }
}

fn read(line: &[u8]) -> Line {
    let (mut told, mut malformed) = (Vec::new(), false);
    for element in parse_forwarded(line) {
        assert!(!malformed, "something behind an error");
        match element {
            Ok(ForwardedElement {
                client,
                host,
                proto,
            }) => told.push(Told {
                client,
                host: host.map(Into::into),
                proto: proto.map(Into::into),
            }),
            Err(Malformed) => malformed = true,
        }
    }
    (told, malformed)
}

/// RFC 7239 §4, by splitting where no quotes are.
fn elements(line: &[u8]) -> Line {
    let mut told = Vec::new();
    let line = trim(line);
    if line.is_empty() {
        return (told, false);
    }
    for element in unquoted_split(line, b',') {
        match pairs(element) {
            Some(element) => told.push(element),
            None => return (told, true),
        }
    }
    (told, false)
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn unquoted_split(text: &[u8], at: u8) -> Vec<&[u8]> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (index, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if byte == at && !quoted => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn pairs(element: &[u8]) -> Option<Told> {
    let mut told = Told::default();
    let mut names: Vec<String> = Vec::new();
    for pair in unquoted_split(element, b';') {
        let pair = trim(pair);
        if pair.is_empty() {
            continue;
        }
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (&pair[..equals], &pair[equals + 1..]);
        if !reference::is_token(name) {
            return None;
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let value = unquoted(value)?;
        if names.contains(&name) || names.len() == MOST_PAIRS {
            return None;
        }
        match &name[..] {
            "for" => told.client = Some(plain_node(&value)?),
            "by" => drop(plain_node(&value)?),
            "host" if reference::is_authority(value.as_bytes()) => told.host = Some(value),
            "proto" if is_scheme(&value) => told.proto = Some(value),
            "host" | "proto" => return None,
            _ => {}
        }
        names.push(name);
    }
    (!names.is_empty()).then_some(told)
}

/// A token, or what a quoted string holds.
fn unquoted(value: &[u8]) -> Option<String> {
    let inner = match value {
        [b'"', inner @ .., b'"'] => inner,
        _ if reference::is_token(value) => return String::from_utf8(value.to_vec()).ok(),
        _ => return None,
    };
    let (mut bytes, mut rest) = (Vec::new(), inner.iter());
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'"' => return None,
            b'\\' => *rest.next()?,
            byte => byte,
        });
    }
    reference::is_value(&bytes).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

fn is_scheme(text: &str) -> bool {
    let mut chars = text.chars();
    chars
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// RFC 7239 §6, the name and the port in every way to part them.
fn plain_node(text: &str) -> Option<ForwardedNode> {
    let made_up = |text: &str| {
        let rest = text.strip_prefix('_')?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        (!rest.is_empty() && rest.chars().all(plain)).then_some(())
    };
    let ip = |text: &str| -> Option<IpAddr> {
        match text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
        {
            Some(v6) => v6.parse::<Ipv6Addr>().ok().map(|v6| v6.to_canonical()),
            None => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        }
    };
    let number = |text: &str| -> Option<u16> {
        if made_up(text).is_some() {
            return Some(0);
        }
        let digits = text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse().ok() } else { None }
    };
    let whole = Some((text, Some(0)));
    let parted = text
        .match_indices(':')
        .map(|(at, _)| Some((&text[..at], number(&text[at + 1..]))));
    let mut readings = parted.chain([whole]).flatten().filter_map(|(name, port)| {
        let port = port?;
        match ip(name) {
            Some(ip) => Some(ForwardedNode::Address((ip, port).into())),
            None if name.eq_ignore_ascii_case("unknown") => Some(ForwardedNode::Hidden),
            None => made_up(name).map(|()| ForwardedNode::Hidden),
        }
    });
    let reading = readings.next();
    assert_eq!(readings.next(), None, "{text} has two readings");
    reading
}

/// One entry of `X-Forwarded-For`, a node, an authority: all that may stand between commas.
fn node(text: &str) {
    let expected = match text.parse::<Ipv6Addr>() {
        Ok(ip) => Some(ForwardedNode::Address((ip.to_canonical(), 0).into())),
        Err(_) => plain_node(text),
    };
    assert_eq!(ForwardedNode::parse_entry(text).ok(), expected);
    assert_eq!(ForwardedNode::parse(text).ok(), plain_node(text));
    if let Some(ForwardedNode::Address(address)) = expected {
        let again = Ok(ForwardedNode::Address(address));
        assert_eq!(ForwardedNode::parse_entry(&address.to_string()), again);
        assert_eq!(ForwardedNode::parse(&address.to_string()), again);
        let bare = Ok(ForwardedNode::Address(SocketAddr::new(address.ip(), 0)));
        assert_eq!(ForwardedNode::parse_entry(&address.ip().to_string()), bare);
    }
    assert_eq!(is_host(text), reference::is_authority(text.as_bytes()));
    match split_authority(text) {
        Some((host, port)) => {
            assert_eq!(is_host(text), !host.is_empty());
            let rest = text[host.len()..]
                .trim_start_matches(':')
                .trim_start_matches('0');
            let number = port.filter(|port| *port != 0).map(|port| port.to_string());
            assert_eq!(rest, number.unwrap_or_default());
        }
        None => assert!(!is_host(text)),
    }
}

fn written_again(line: &[Told]) {
    let texts: Vec<String> = line.iter().map(written).collect();
    let (again, malformed) = read(texts.join(", ").as_bytes());
    assert_eq!((&again[..], malformed), (line, false));
    // Several lines are one list.
    let apart: Vec<Told> = texts
        .iter()
        .flat_map(|text| read(text.as_bytes()).0)
        .collect();
    assert_eq!(apart, line);
}

fn written(told: &Told) -> String {
    // There is nothing without a pair.
    let mut text = String::from("Ext=\"a,\\\";\"");
    match told.client {
        Some(ForwardedNode::Address(address)) => text.push_str(&format!(";FOR=\"{address}\"")),
        Some(ForwardedNode::Hidden) => text.push_str("; for=_hidden"),
        None => {}
    }
    for (name, value) in [("Host", &told.host), ("proto", &told.proto)] {
        if let Some(value) = value {
            text.push_str(&format!(";{name}=\"{value}\" "));
        }
    }
    text
}
