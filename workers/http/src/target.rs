//! The request target (RFC 9112 §3.2). Checks, and says where the parts are; never
//! decodes, normalises or rewrites a byte.

use crate::{
    authority,
    field_lines::offset,
    kinds::TargetForm,
    reject::Reject,
    syntax::{self, PATH, QUERY},
};
use std::ops::Range;

/// A part of the target, as offsets from its first byte.
type Part = Range<u32>;

/// Where the parts of a request target are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) form: TargetForm,
    /// `https` in absolute-form.
    pub(crate) https: bool,
    /// Of absolute-form and authority-form.
    pub(crate) authority: Option<Part>,
    /// Empty for authority-form, and where absolute-form has none.
    pub(crate) path: Part,
    pub(crate) query: Option<Part>,
}

/// Checks a request target, and finds its parts (RFC 9112 §3.2).
pub(crate) fn parse(method: &[u8], target: &[u8]) -> Result<Target, Reject> {
    match target {
        _ if method == b"CONNECT" => authority_form(target),
        [b'/', ..] => {
            let (path, query) = path_and_query(target, 0)?;
            Ok(Target {
                path,
                query,
                ..Target::default()
            })
        }
        [] => Err(Reject::bad("request target is empty")), // RFC 9112 §3.2
        // RFC 9112 §3.2.4: only for a server-wide OPTIONS.
        b"*" if method == b"OPTIONS" => Ok(Target {
            form: TargetForm::Asterisk,
            path: 0..1,
            ..Target::default()
        }),
        _ => absolute_form(target),
    }
}

/// RFC 9112 §3.2.3: `uri-host ":" port`. An empty or invalid port MUST be refused (RFC 9110
/// §9.3.6), and without a host there is nobody to connect to.
fn authority_form(target: &[u8]) -> Result<Target, Reject> {
    match authority::check(target) {
        Some(found) if !found.empty_host && found.port.is_some_and(|port| port != 0) => {
            Ok(Target {
                form: TargetForm::Authority,
                authority: Some(0..offset(target.len())),
                ..Target::default()
            })
        }
        _ => Err(Reject::bad("CONNECT target is not host:port")),
    }
}

/// RFC 9112 §3.2.2: `http://authority/path?query`, which a server MUST accept.
fn absolute_form(target: &[u8]) -> Result<Target, Reject> {
    // The scheme is case-insensitive (RFC 3986 §3.1).
    let (scheme_len, https) = if begins(target, b"http://") {
        (7, false)
    } else if begins(target, b"https://") {
        (8, true)
    } else {
        // RFC 9112 §3.2: four forms, and authority-form is for CONNECT only (RFC 9110 §7.1).
        return Err(Reject::bad("request target is in no valid form"));
    };
    let rest = &target[scheme_len..];
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    // An empty host is invalid in an http URI and MUST be refused (RFC 9110 §4.2.1); userinfo is
    // taken for an error (§4.2.4).
    match authority::check(&rest[..end]) {
        Some(found) if !found.empty_host => {}
        _ => return Err(Reject::bad("authority of the request target is invalid")),
    }
    let authority = offset(scheme_len)..offset(scheme_len + end);
    let (path, query) = path_and_query(target, scheme_len + end)?;
    Ok(Target {
        form: TargetForm::Absolute,
        https,
        authority: Some(authority),
        path,
        query,
    })
}

fn begins(target: &[u8], with: &[u8]) -> bool {
    target
        .get(..with.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(with))
}

/// `path-abempty [ "?" query ]` from `start` to the end. A fragment is never sent (RFC 9112 §3.2),
/// and a `%` of the path stands before two digits (RFC 3986 §2.1): what decodes to nothing decodes
/// to two things.
fn path_and_query(target: &[u8], start: usize) -> Result<(Part, Option<Part>), Reject> {
    let mut i = start;
    while let Some(&byte) = target.get(i) {
        if syntax::is(byte, PATH) {
            i += 1;
        } else if byte == b'%' {
            match target.get(i + 1..i + 3) {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => i += 3,
                _ => return Err(Reject::bad("percent-encoding in the path is malformed")),
            }
        } else if byte == b'?' {
            let query = &target[i + 1..];
            if !syntax::all(query, QUERY) {
                // RFC 3986 §3.4, and what browsers send.
                return Err(Reject::bad("query holds a byte that none may"));
            }
            return Ok((
                offset(start)..offset(i),
                Some(offset(i + 1)..offset(target.len())),
            ));
        } else {
            // RFC 3986 §3.3, and what clients send.
            return Err(Reject::bad("request target holds a byte that none may"));
        }
    }
    Ok((offset(start)..offset(i), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = (
        TargetForm,
        Option<&'static str>,
        &'static str,
        Option<&'static str>,
    );

    fn parts(method: &str, target: &'static str) -> Option<Parts> {
        let found = parse(method.as_bytes(), target.as_bytes()).ok()?;
        let cut = |part: Part| &target[part.start as usize..part.end as usize];
        Some((
            found.form,
            found.authority.map(cut),
            cut(found.path),
            found.query.map(cut),
        ))
    }

    #[test]
    fn forms() {
        use TargetForm::{Absolute, Asterisk, Authority, Origin};
        for (method, target, expected) in [
            ("GET", "/", (Origin, None, "/", None)),
            (
                "GET",
                "/a//b;c=%2F?",
                (Origin, None, "/a//b;c=%2F", Some("")),
            ),
            ("GET", "//x/?a?b/c", (Origin, None, "//x/", Some("a?b/c"))),
            (
                "GET",
                "/?100%&a\\b`",
                (Origin, None, "/", Some("100%&a\\b`")),
            ),
            ("GET", "/{a}|[b]^", (Origin, None, "/{a}|[b]^", None)),
            ("get", "/", (Origin, None, "/", None)),
            ("GET", "http://h", (Absolute, Some("h"), "", None)),
            (
                "GET",
                "HTTP://h:80?x=1",
                (Absolute, Some("h:80"), "", Some("x=1")),
            ),
            ("GET", "https://h/", (Absolute, Some("h"), "/", None)),
            (
                "GET",
                "http://[::1]:8/p?q",
                (Absolute, Some("[::1]:8"), "/p", Some("q")),
            ),
            ("OPTIONS", "*", (Asterisk, None, "*", None)),
            ("OPTIONS", "/", (Origin, None, "/", None)),
            ("CONNECT", "h:443", (Authority, Some("h:443"), "", None)),
        ] {
            assert_eq!(parts(method, target), Some(expected), "{method} {target}");
        }
    }

    #[test]
    fn refused() {
        for (method, targets) in [
            (
                "GET",
                "  * x ?x \\x h:443 /#f /?q#f /a\"b /<b> /a\\b /` /% /%2 /%zz /%2g /%g2 /%%20 /%2? /caf\u{e9} /?\u{e9} /\u{7f} /\0 /?a\tb /?<",
            ),
            (
                "GET",
                "http:///x http:// http://u:p@h/ http://h\\@e/ http://h#f http:/h ftp://h/ https://h:x/",
            ),
            ("OPTIONS", "** x"),
            ("options", "*"),
            ("CONNECT", " / h h: h:0 :1 http://h:1/ u@h:1 *"),
        ] {
            for target in targets.split(' ') {
                let status = parse(method.as_bytes(), target.as_bytes())
                    .map_err(|reject| reject.status.as_u16());
                assert_eq!(status, Err(400), "{method} {target}");
            }
        }
    }
}
