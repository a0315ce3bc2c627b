//! Whom to believe what a request says of itself: the fields by which proxies tell of the client, and
//! fields whose names hold `_`. Pure: a head and a peer in, a cleaned head and what is believed out.
//!
//! A handler never sees a forwarding field that nobody vouches for. From a peer that is not trusted
//! none is left; from a trusted one those are left which it is said to write. What it does not
//! write it passes on as the client sent it (nginx does so with `Forwarded`), so that goes too.

mod walk;

pub use walk::MOST_HOPS;

use ferricorn_http::{Head, Initials, Reject};
use http::StatusCode;

use crate::networks::Networks;
use crate::peer::Peer;
use crate::request::{Forwarded, Link, Request};

/// Whom to believe what. Immutable, part of [`crate::Conf`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Who may say whose request it is.
    pub proxies: Networks,
    /// In which fields they say it.
    pub fields: ForwardedFields,
    /// How many proxies there are at most, one behind the other; at least 1.
    pub hops: usize,
    /// Further fields that say whether the request came by `https`: name, and the value for yes. Any
    /// other value is no.
    pub schemes: Vec<(String, String)>,
    /// Fields with `_` in their names that the proxies may send: names, or `*`.
    pub forwarder: Vec<String>,
    /// What becomes of other names with `_`.
    pub underscores: Underscores,
}

/// In which fields proxies say whose request it is: of one family, since two could say two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedFields {
    /// Fields of the `X-Forwarded` family.
    X(XForwarded),
    /// `Forwarded` (RFC 7239).
    Rfc7239,
}

/// Which fields of the family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XForwarded {
    /// `X-Forwarded-For`
    pub client: bool,
    /// `X-Forwarded-Proto`
    pub proto: bool,
    /// `X-Forwarded-Host`
    pub host: bool,
    /// `X-Forwarded-Port`
    pub port: bool,
}

/// What becomes of fields whose names hold `_`, which CGI and WSGI cannot tell from `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underscores {
    /// They are removed.
    Drop,
    /// The request is answered 400.
    Refuse,
    /// They stay.
    Keep,
}

/// What becomes of one field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    Remove,
    Refuse,
}

const X_FORWARDED: &str = "x-forwarded-";
const PROTO: &str = "x-forwarded-proto";
const SCRIPT_NAME: &str = "script_name";
const PATH_INFO: &str = "path_info";

impl Trust {
    /// The initials of all fields that matter here: a head without them needs no [`Trust::judge`].
    #[must_use]
    pub fn concerns(&self) -> Initials {
        let common = Initials::UNDERSCORE | Initials::of("forwarded") | Initials::of(X_FORWARDED);
        let names = self.schemes.iter().map(|(name, _)| Initials::of(name));
        names.fold(common, |all, name| all | name)
    }

    /// Whether to believe who sends on this connection what it says of others.
    #[must_use]
    pub fn vouches(&self, peer: &Peer, link: Link) -> bool {
        !link.nameless && self.proxies.trusts(peer)
    }

    /// Removes from a request what nobody vouches for, and notes in it what trusted proxies say.
    ///
    /// # Errors
    /// 400: what a trusted proxy says is malformed or contradicts itself; a refused name.
    #[cold]
    pub fn judge(&self, request: &mut Request) -> Result<(), Reject> {
        let trusted = self.vouches(request.peer(), request.link());
        let mut clean = true;
        for (name, _) in request.head().fields() {
            match self.verdict(name, trusted) {
                Verdict::Keep => {}
                Verdict::Remove => clean = false,
                Verdict::Refuse => return Err(bad("field name with an underscore")),
            }
        }
        if !clean {
            let head = request.head_mut();
            head.retain(|name, _| self.verdict(name, trusted) == Verdict::Keep);
        }
        if trusted {
            let forwarded = self.believe(request.head(), request.peer())?;
            if forwarded != Forwarded::default() {
                request.set_forwarded(forwarded);
            }
        }
        Ok(())
    }

    fn verdict(&self, name: &str, trusted: bool) -> Verdict {
        if self.is_scheme(name) {
            return if trusted {
                Verdict::Keep
            } else {
                Verdict::Remove
            };
        }
        let underscore = name.contains('_');
        if underscore && !(trusted && self.is_forwarder(name)) {
            match self.underscores {
                Underscores::Drop => return Verdict::Remove,
                Underscores::Refuse => return Verdict::Refuse,
                // A twin of a forwarding field is read as one further on, and nobody wrote it for us.
                Underscores::Keep if is_forwarding(&name.replace('_', "-")) => {
                    return Verdict::Remove;
                }
                Underscores::Keep => return Verdict::Keep,
            }
        }
        if !is_forwarding(name) || trusted && self.fields.have(name) {
            Verdict::Keep
        } else {
            Verdict::Remove
        }
    }

    /// Whether a field of this name says whether it was `https`, beside the usual ones.
    fn is_scheme(&self, name: &str) -> bool {
        let mut names = self.schemes.iter().map(|(name, _)| name);
        names.any(|scheme| name.eq_ignore_ascii_case(scheme))
    }

    fn is_forwarder(&self, name: &str) -> bool {
        let mut names = self.forwarder.iter();
        names.any(|forwarder| forwarder == "*" || name.eq_ignore_ascii_case(forwarder))
    }

    /// What a trusted peer says in the fields that are left.
    fn believe(&self, head: &Head, peer: &Peer) -> Result<Forwarded, Reject> {
        let mut said = match self.fields {
            ForwardedFields::Rfc7239 => self.walk_forwarded(head, peer)?,
            ForwardedFields::X(fields) => self.walk_x_forwarded(fields, head, peer)?,
        };
        let by_field = matches!(
            self.fields,
            ForwardedFields::X(XForwarded { proto: true, .. })
        );
        for (name, value) in head.fields() {
            let scheme = self
                .schemes
                .iter()
                .find(|(scheme, _)| name.eq_ignore_ascii_case(scheme));
            let Some((_, yes)) = scheme else { continue };
            // That one is a list, and has been read.
            if by_field && name.eq_ignore_ascii_case(PROTO) {
                continue;
            }
            let https = value == yes.as_bytes();
            if said
                .https
                .replace(https)
                .is_some_and(|other| other != https)
            {
                return Err(bad("forwarding fields contradict each other on the scheme"));
            }
        }
        said.script_name = self.path(head, SCRIPT_NAME)?;
        said.path_info = self.path(head, PATH_INFO)?;
        Ok(said)
    }

    /// The path in a field of this name, where the proxies may send that.
    fn path(&self, head: &Head, name: &str) -> Result<Option<Vec<u8>>, Reject> {
        if !self.is_forwarder(name) {
            return Ok(None);
        }
        let mut values = values(head, name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(path), None) if path.is_empty() || path.starts_with(b"/") => {
                // The slash between the two belongs to PATH_INFO.
                let end = path
                    .iter()
                    .rposition(|&byte| byte != b'/' || name == PATH_INFO);
                Ok(Some(path[..end.map_or(0, |end| end + 1)].to_vec()))
            }
            _ => Err(bad(
                "SCRIPT_NAME or PATH_INFO is no path, or is there twice",
            )),
        }
    }
}

/// The values of all fields of this name, in order.
fn values<'a>(head: &'a Head, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    head.fields()
        .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn is_forwarding(name: &str) -> bool {
    let start = name.get(..X_FORWARDED.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(X_FORWARDED))
        || name.eq_ignore_ascii_case("forwarded")
}

fn bad(reason: &'static str) -> Reject {
    Reject::new(StatusCode::BAD_REQUEST, reason)
}

impl ForwardedFields {
    /// Gunicorn's, and what most proxies write.
    pub const USUAL: ForwardedFields = ForwardedFields::X(XForwarded {
        client: true,
        proto: true,
        host: true,
        port: true,
    });

    /// Whether this field is among them.
    fn have(self, name: &str) -> bool {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match self {
            ForwardedFields::Rfc7239 => is("forwarded"),
            ForwardedFields::X(x) => {
                x.client && is("x-forwarded-for")
                    || x.proto && is(PROTO)
                    || x.host && is("x-forwarded-host")
                    || x.port && is("x-forwarded-port")
            }
        }
    }
}

impl Default for Trust {
    /// Gunicorn's defaults.
    fn default() -> Self {
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Trust {
            proxies: Networks::loopback(),
            fields: ForwardedFields::USUAL,
            hops: 1,
            schemes: [
                ("X-FORWARDED-PROTO", "https"),
                ("X-FORWARDED-PROTOCOL", "ssl"),
                ("X-FORWARDED-SSL", "on"),
            ]
            .map(pair)
            .to_vec(),
            forwarder: vec!["SCRIPT_NAME".to_owned(), "PATH_INFO".to_owned()],
            underscores: Underscores::Drop,
        }
    }
}

#[cfg(test)]
mod tests;
