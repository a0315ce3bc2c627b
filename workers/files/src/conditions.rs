//! What a request asks under conditions, and what becomes of it (RFC 9110 sections 13 and 14.2). Values
//! only: reads no file and no clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferricorn_base::Head;

use crate::ranges::{self, Wanted};

/// What there is to compare a representation by.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// The entity tag as it is sent, quotes and `W/` and all.
    pub etag: &'a [u8],
    /// When it was modified last, in whole seconds since 1970.
    pub modified: u64,
    /// Whether two versions could have the same: it was modified only just now (RFC 9110 section
    /// 8.8.2.2).
    pub weak: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Perform,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// The fields of a request that say which version of which part of a file is wanted, in what encoding.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    head: &'a Head,
    if_match: bool,
    if_none_match: bool,
    if_modified_since: Field<'a>,
    if_unmodified_since: Field<'a>,
    if_range: Field<'a>,
    range: Field<'a>,
    /// Whether the request says what encodings it takes.
    pub accept_encoding: bool,
}

/// A field that may be there once.
#[derive(Clone, Copy, Debug, Default)]
enum Field<'a> {
    #[default]
    Absent,
    Once(&'a [u8]),
    /// Two are as good as a malformed one.
    Repeated,
}

impl<'a> Asked<'a> {
    /// Looks once through the fields.
    #[must_use]
    pub fn of(head: &'a Head) -> Asked<'a> {
        let mut asked = Asked {
            head,
            if_match: false,
            if_none_match: false,
            if_modified_since: Field::Absent,
            if_unmodified_since: Field::Absent,
            if_range: Field::Absent,
            range: Field::Absent,
            accept_encoding: false,
        };
        for (name, value) in head.fields() {
            // Few names are as long as one of these.
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            match name.len() {
                5 if is("range") => asked.range.note(value),
                8 if is("if-match") => asked.if_match = true,
                8 if is("if-range") => asked.if_range.note(value),
                13 if is("if-none-match") => asked.if_none_match = true,
                15 if is("accept-encoding") => asked.accept_encoding = true,
                17 if is("if-modified-since") => asked.if_modified_since.note(value),
                19 if is("if-unmodified-since") => asked.if_unmodified_since.note(value),
                _ => {}
            }
        }
        asked
    }

    /// What becomes of a GET or HEAD of a representation, by the order of RFC 9110 section 13.2.2.
    #[must_use]
    pub fn verdict(&self, own: &Validators<'_>) -> Verdict {
        if self.if_match {
            // Strong comparison (section 13.1.1).
            if !self.names("if-match", |tag| tag == own.etag && is_strong(tag)) {
                return Verdict::Failed;
            }
        } else if self
            .if_unmodified_since
            .date()
            .is_some_and(|date| own.modified > date)
        {
            return Verdict::Failed;
        }
        if self.if_none_match {
            // Weak comparison (section 13.1.2).
            if self.names("if-none-match", |tag| opaque(tag) == opaque(own.etag)) {
                return Verdict::NotModified;
            }
        } else if self
            .if_modified_since
            .date()
            .is_some_and(|date| own.modified <= date)
        {
            return Verdict::NotModified;
        }
        Verdict::Perform
    }

    /// Which bytes a GET wants of `len`.
    #[must_use]
    pub fn wanted(&self, own: &Validators<'_>, len: u64) -> Wanted {
        match self.range {
            Field::Once(range) if self.range_applies(own) => ranges::wanted(range, len),
            _ => Wanted::Whole,
        }
    }

    /// Whether the client has, as it says, a part of this very version (section 13.1.5).
    fn range_applies(&self, own: &Validators<'_>) -> bool {
        match self.if_range {
            Field::Absent => true,
            Field::Repeated => false,
            Field::Once(value) if value.ends_with(b"\"") => value == own.etag && is_strong(value),
            // Exactly the date, and one by which the version can be told.
            Field::Once(value) => !own.weak && seconds(value) == Some(own.modified),
        }
    }

    /// Whether some tag in the fields of this name is fitting; `*` always is, as there is a
    /// representation.
    fn names(&self, field: &str, fits: impl Fn(&[u8]) -> bool) -> bool {
        let values = self.head.fields();
        let mut values = values.filter(|(name, _)| name.eq_ignore_ascii_case(field));
        values.any(|(_, value)| value.trim_ascii() == b"*" || Tags(value).any(&fits))
    }

    /// The values of Accept-Encoding.
    pub fn encodings(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let fields = self.head.fields();
        fields
            .filter(|(name, _)| name.eq_ignore_ascii_case("accept-encoding"))
            .map(|(_, value)| value)
    }
}

impl<'a> Field<'a> {
    fn note(&mut self, value: &'a [u8]) {
        *self = match self {
            Field::Absent => Field::Once(value),
            _ => Field::Repeated,
        };
    }

    /// The date; `None` also when it is none, as then the field is to be ignored.
    fn date(self) -> Option<u64> {
        match self {
            Field::Once(value) => seconds(value),
            _ => None,
        }
    }
}

/// An HTTP date in seconds since 1970, all three forms of RFC 9110 section 5.6.7.
fn seconds(value: &[u8]) -> Option<u64> {
    let date = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// The date of so many seconds since 1970.
pub(crate) fn date(seconds: u64) -> String {
    // Four digits of a year are all that there is room for (RFC 9110 section 5.6.7).
    const LAST: u64 = 253_402_300_799;
    let time: SystemTime = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST));
    httpdate::fmt_http_date(time)
}

fn is_strong(tag: &[u8]) -> bool {
    tag.starts_with(b"\"")
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The entity tags of a list, up to the first thing that is none. A comma may be in a tag.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|byte| !b" \t,".contains(byte))?;
        let rest = &self.0[start..];
        let before = rest.len() - opaque(rest).len();
        let inner = rest[before..].strip_prefix(b"\"")?;
        let len = before + 2 + inner.iter().position(|byte| *byte == b'"')?;
        self.0 = &rest[len..];
        Some(&rest[..len])
    }
}

#[cfg(test)]
mod tests {
    use ferricorn_base::Request;

    use super::*;

    const DAY: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const STRONG: Validators<'_> = Validators {
        etag: b"\"a,b\"",
        modified: 784_111_777,
        weak: false,
    };
    const WEAK: Validators<'_> = Validators {
        etag: b"W/\"a,b\"",
        weak: true,
        ..STRONG
    };

    fn request(fields: &[(&str, &str)]) -> Request {
        let host = [("Host", "localhost")];
        Request::build("GET", "/", host.iter().chain(fields).copied()).unwrap()
    }

    #[test]
    fn conditions() {
        use Verdict::{Failed, NotModified, Perform};
        let none_match = "If-None-Match";
        let since = "If-Modified-Since";
        let unmodified = "If-Unmodified-Since";
        for (fields, strong, weak) in [
            (&[][..], Perform, Perform),
            (&[(none_match, "\"a,b\"")], NotModified, NotModified),
            (&[(none_match, "W/\"a,b\"")], NotModified, NotModified),
            (
                &[(none_match, "\"x\", \"a,b\" ,\"y\"")],
                NotModified,
                NotModified,
            ),
            (&[(none_match, ", ,\"a,b\"")], NotModified, NotModified),
            (
                &[(none_match, "\"x\""), (none_match, "\"a,b\"")],
                NotModified,
                NotModified,
            ),
            (&[(none_match, " * ")], NotModified, NotModified),
            (&[(none_match, "\"a\", \"b\"")], Perform, Perform),
            (&[(none_match, "a,b")], Perform, Perform),
            (&[(none_match, "\"a,b")], Perform, Perform),
            (&[(none_match, "w/\"a,b\"")], Perform, Perform),
            // The date counts only without the other (section 13.1.3).
            (&[(none_match, "\"x\""), (since, AFTER)], Perform, Perform),
            (&[(since, DAY)], NotModified, NotModified),
            (&[(since, AFTER)], NotModified, NotModified),
            (
                &[(since, "Sunday, 06-Nov-94 08:49:37 GMT")],
                NotModified,
                NotModified,
            ),
            (
                &[(since, "Sun Nov  6 08:49:37 1994")],
                NotModified,
                NotModified,
            ),
            (&[(since, BEFORE)], Perform, Perform),
            (&[(since, "yesterday")], Perform, Perform),
            (&[(since, "")], Perform, Perform),
            (&[(since, DAY), (since, DAY)], Perform, Perform),
            (&[("If-Match", "\"a,b\"")], Perform, Failed),
            (&[("If-Match", "W/\"a,b\"")], Failed, Failed),
            (&[("If-Match", "\"x\", \"a,b\"")], Perform, Failed),
            (&[("If-Match", "*")], Perform, Perform),
            (&[("If-Match", "\"x\"")], Failed, Failed),
            (&[("If-Match", "")], Failed, Failed),
            (&[(unmodified, DAY)], Perform, Perform),
            (&[(unmodified, BEFORE)], Failed, Failed),
            (&[(unmodified, "never")], Perform, Perform),
            (&[("If-Match", "*"), (unmodified, BEFORE)], Perform, Perform),
            (
                &[("If-Match", "\"x\""), (none_match, "\"a,b\"")],
                Failed,
                Failed,
            ),
            (&[(unmodified, DAY), (since, DAY)], NotModified, NotModified),
        ] {
            let request = request(fields);
            let asked = Asked::of(request.head());
            assert_eq!(asked.verdict(&STRONG), strong, "{fields:?}");
            assert_eq!(asked.verdict(&WEAK), weak, "{fields:?}, weak");
        }
    }

    #[test]
    fn a_range_is_given_of_the_version_that_the_client_has_a_part_of() {
        let part = ("Range", "bytes=0-4");
        for (fields, strong, weak) in [
            (&[part][..], true, true),
            (&[part, ("If-Range", "\"a,b\"")], true, false),
            (&[part, ("If-Range", "W/\"a,b\"")], false, false),
            (&[part, ("If-Range", "\"x\"")], false, false),
            (&[part, ("If-Range", DAY)], true, false),
            (&[part, ("If-Range", AFTER)], false, false),
            (&[part, ("If-Range", BEFORE)], false, false),
            (&[part, ("If-Range", "x")], false, false),
            (
                &[part, ("If-Range", "\"a,b\""), ("If-Range", "\"a,b\"")],
                false,
                false,
            ),
            (&[part, part], false, false),
            (&[], false, false),
        ] {
            let request = request(fields);
            let asked = Asked::of(request.head());
            let given = |own| asked.wanted(own, 9) != Wanted::Whole;
            assert_eq!(given(&STRONG), strong, "{fields:?}");
            assert_eq!(given(&WEAK), weak, "{fields:?}, weak");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(date(784_111_777), DAY);
        assert_eq!(date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
