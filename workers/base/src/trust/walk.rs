//! From the peer to the client, proxy by proxy. Each one writes behind what it was given whom it was
//! given it by, so the way begins at the right; it ends where the word of one not trusted would count.

use std::borrow::Cow;
use std::collections::VecDeque;

use ferricorn_http::{ForwardedElement, ForwardedNode, Head, Reject, is_host, parse_forwarded};

use super::{PROTO, Trust, XForwarded, bad, values};
use crate::peer::Peer;
use crate::request::Forwarded;

/// The most proxies one behind the other.
pub const MOST_HOPS: usize = 32;

const MALFORMED_CLIENT: &str = "X-Forwarded-For is malformed";
const MALFORMED_PROTO: &str = "forwarded scheme is neither http nor https";
const MALFORMED_HOST: &str = "X-Forwarded-Host is malformed";
const MALFORMED_PORT: &str = "X-Forwarded-Port is malformed";

impl Trust {
    /// From peer to client over these nodes, the nearest first: how many of them were believed, and
    /// who that makes the client.
    fn walk<N>(&self, peer: &Peer, nodes: N) -> Result<(usize, Option<Peer>), Reject>
    where
        N: Iterator<Item = Result<ForwardedNode, Reject>>,
    {
        let (mut walked, mut client) = (0, None);
        for node in nodes.take(self.hops) {
            if !self.proxies.trusts(client.as_ref().unwrap_or(peer)) {
                break;
            }
            match node? {
                ForwardedNode::Address(address) => client = Some(Peer::Tcp(address)),
                ForwardedNode::Hidden => break,
            }
            walked += 1;
        }
        Ok((walked, client))
    }

    /// What the fields of the `X-Forwarded` family say.
    pub(super) fn walk_x_forwarded(
        &self,
        fields: XForwarded,
        head: &Head,
        peer: &Peer,
    ) -> Result<Forwarded, Reject> {
        let list = |name: &'static str, wanted: bool| wanted.then(|| List::of(head, name));
        let clients = list("x-forwarded-for", fields.client).unwrap_or_default();
        let nodes = clients.backwards().map(|entry| {
            let node = text(entry).and_then(|text| ForwardedNode::parse_entry(text).ok());
            node.ok_or(bad(MALFORMED_CLIENT))
        });
        let (walked, client) = self.walk(peer, nodes)?;
        let entry = |name, wanted| list(name, wanted).and_then(|list| list.at(walked));
        let https = entry(PROTO, fields.proto).map(|value| self.is_https(value));
        let host = entry("x-forwarded-host", fields.host).map(|value| {
            let host = text(value).filter(|host| is_host(host));
            host.map(str::to_owned).ok_or(bad(MALFORMED_HOST))
        });
        let port = entry("x-forwarded-port", fields.port).map(|value| {
            let digits = text(value).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let port = digits.and_then(|digits| digits.parse().ok());
            port.filter(|port| *port > 0).ok_or(bad(MALFORMED_PORT))
        });
        Ok(Forwarded {
            client,
            https: https.transpose()?,
            host: host.transpose()?,
            port: port.transpose()?,
            ..Forwarded::default()
        })
    }

    /// What `Forwarded` says. All of it is read: who could write a part that is malformed could make the
    /// rest mean anything.
    pub(super) fn walk_forwarded(&self, head: &Head, peer: &Peer) -> Result<Forwarded, Reject> {
        let mut nearest: VecDeque<ForwardedElement<'_>> = VecDeque::new();
        for element in values(head, "forwarded").flat_map(parse_forwarded) {
            nearest.truncate(MOST_HOPS - 1);
            nearest.push_front(element.map_err(|_| bad("Forwarded is malformed"))?);
        }
        // Who is not named is as good as hidden.
        let node =
            |element: &ForwardedElement<'_>| Ok(element.client.unwrap_or(ForwardedNode::Hidden));
        let (walked, client) = self.walk(peer, nearest.iter().map(node))?;
        let element = nearest.get(walked.saturating_sub(1));
        let proto = element.and_then(|element| element.proto.as_ref());
        let https = proto.map(|proto| is_https(proto).ok_or(bad(MALFORMED_PROTO)));
        let host = element.and_then(|element| element.host.clone());
        Ok(Forwarded {
            client,
            https: https.transpose()?,
            host: host.map(Cow::into_owned),
            ..Forwarded::default()
        })
    }

    /// An entry of `X-Forwarded-Proto`. The value that `secure-scheme-headers` has for it counts too.
    fn is_https(&self, value: &[u8]) -> Result<bool, Reject> {
        let mut schemes = self.schemes.iter();
        let own =
            schemes.any(|(name, yes)| name.eq_ignore_ascii_case(PROTO) && yes.as_bytes() == value);
        let https = text(value).and_then(is_https);
        if own { Some(true) } else { https }.ok_or(bad(MALFORMED_PROTO))
    }
}

/// Whether a scheme is that of a connection with TLS; proxies name those of WebSockets too.
fn is_https(scheme: &str) -> Option<bool> {
    let is = |other: &str| scheme.eq_ignore_ascii_case(other);
    match () {
        () if is("https") || is("wss") => Some(true),
        () if is("http") || is("ws") => Some(false),
        () => None,
    }
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| !text.is_empty())
}

/// The lines of a field that is a list, in order; empty ones say nothing.
#[derive(Default)]
struct List<'a>(Vec<&'a [u8]>);

impl<'a> List<'a> {
    fn of(head: &'a Head, name: &'static str) -> List<'a> {
        let lines = values(head, name);
        List(lines.filter(|line| !line.is_empty()).collect())
    }

    /// The entries, the last first.
    fn backwards(&self) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.0.iter().rev();
        lines.flat_map(|line| line.rsplit(|&byte| byte == b',').map(trim))
    }

    /// The only entry; of several that of the last proxy which was believed. Where those in front of
    /// it wrote none, the first.
    fn at(&self, walked: usize) -> Option<&'a [u8]> {
        self.backwards().take(walked.max(1)).last()
    }
}

/// Without blanks around it (RFC 9110 section 5.6.1).
fn trim(entry: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = entry.iter().position(|byte| !blank(byte));
    let end = entry.iter().rposition(|byte| !blank(byte));
    match (start, end) {
        (Some(start), Some(end)) => &entry[start..=end],
        _ => &[],
    }
}
