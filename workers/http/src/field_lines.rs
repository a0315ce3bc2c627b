//! The syntax of field lines: one state machine for the section of a head and for that of trailers.
//! Keeps offsets and no bytes, and looks at each byte once; what a field means is for others.

use crate::{
    limits::Limits,
    reject::Reject,
    syntax::{self, TCHAR},
};
use http::StatusCode;

/// A field section being read:
///
/// ```text
/// section    = *( field-line CRLF ) CRLF                   ; RFC 9112 §2.1, §7.1.2
/// field-line = field-name ":" OWS field-value OWS          ; RFC 9112 §5
/// ```
///
/// The first byte that cannot stand where it does decides, so that a section is refused for the
/// same reason however it arrives.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FieldLines {
    at: At,
    /// Where the line in progress begins.
    line: usize,
    /// Where the next byte stands.
    pos: usize,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// The name of a field, or the empty line.
    #[default]
    Name,
    /// The value, and the white space around it.
    Value { colon: usize },
    /// The LF of a field line.
    Lf { colon: usize },
    /// The LF of the empty line.
    LastLf,
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The end of the section is still to come.
    NeedMore,
    /// A field line is complete.
    Field(Field),
    /// The section is complete; it ends before this offset.
    End(usize),
}

impl FieldLines {
    /// Goes on to the end of a line. `section` begins with the first field line, and has what there
    /// is behind it.
    #[inline(always)]
    pub(crate) fn next(&mut self, section: &[u8], bounds: Bounds) -> Result<Step, Reject> {
        let bound = bounds.of(self.line);
        let line = section.get(..bound).unwrap_or(section);
        loop {
            let rest = line.get(self.pos..).unwrap_or_default();
            self.pos += match self.at {
                At::Name => syntax::run(rest, TCHAR),
                At::Value { .. } => syntax::text(rest),
                At::Lf { .. } | At::LastLf => 0,
            };
            let Some(&byte) = line.get(self.pos) else {
                return if line.len() < bound {
                    Ok(Step::NeedMore)
                } else {
                    Err(bounds.exceeded(self.line))
                };
            };
            self.at = match (self.at, byte) {
                (At::Name, b':') if self.pos > self.line => At::Value { colon: self.pos },
                (At::Name, b'\r') if self.pos == self.line => At::LastLf,
                (At::Value { colon }, b'\r') => At::Lf { colon },
                (At::Lf { colon }, b'\n') => {
                    let field = Field::of(section, self.line, colon, self.pos - 1);
                    *self = Self {
                        at: At::Name,
                        line: self.pos + 1,
                        pos: self.pos + 1,
                    };
                    return Ok(Step::Field(field));
                }
                (At::LastLf, b'\n') => return Ok(Step::End(self.pos + 1)),
                (at, byte) => return Err(misplaced(at, byte, self.pos == self.line)),
            };
            self.pos += 1;
        }
    }
}

/// Why no field line has this byte here.
#[cold]
fn misplaced(at: At, byte: u8, first: bool) -> Reject {
    Reject::bad(match (at, byte) {
        (At::Lf { .. } | At::LastLf, _) => BARE_CR,
        (_, b'\n') => BARE_LF,
        // RFC 9112 §5.2: obs-fold MUST be refused, or replaced; two readings of one line.
        (At::Name, b' ' | b'\t') if first => "field line is folded",
        // RFC 9112 §5.1: white space between name and colon MUST be refused.
        (At::Name, b' ' | b'\t') => "field name ends with a blank",
        (At::Name, b'\r') => "field line has no colon",
        (At::Name, _) => "field name is invalid", // RFC 9110 §5.1, §5.6.2
        (At::Value { .. }, _) => "field value is invalid", // RFC 9110 §5.5
    })
}

/// RFC 9112 §2.2: a recipient MAY take a single LF for a line end, and we do not.
pub(crate) const BARE_LF: &str = "line ends without CR";
/// RFC 9112 §2.2: a bare CR is invalid, or a blank; two readings again.
pub(crate) const BARE_CR: &str = "CR without LF";

/// RFC 6585 §5.
#[cold]
pub(crate) fn too_many_fields() -> Reject {
    Reject::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "too many fields",
    )
}

/// Where one field is in its section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    name: u32,
    name_len: u32,
    value: u32,
    value_len: u32,
}

impl Field {
    /// The field of the line from `name` up to its CR at `end`; the white space around the value is
    /// no part of it (RFC 9112 §5.1).
    #[inline(always)]
    fn of(section: &[u8], name: usize, colon: usize, end: usize) -> Self {
        let (mut value, mut end) = (colon + 1, end);
        while value < end && syntax::is_blank(section[value]) {
            value += 1;
        }
        while value < end && syntax::is_blank(section[end - 1]) {
            end -= 1;
        }
        Self {
            name: offset(name),
            name_len: offset(colon - name),
            value: offset(value),
            value_len: offset(end - value),
        }
    }

    /// Its name, as received.
    #[inline]
    pub(crate) fn name(self, section: &[u8]) -> &[u8] {
        part(section, self.name, self.name_len)
    }

    /// Its value.
    #[inline]
    pub(crate) fn value(self, section: &[u8]) -> &[u8] {
        part(section, self.value, self.value_len)
    }
}

#[inline]
fn part(section: &[u8], at: u32, len: u32) -> &[u8] {
    section
        .get(at as usize..at as usize + len as usize)
        .unwrap_or_default()
}

/// An offset into a head, which never reaches 4 GiB: `Limits::longest_head` says so. Into a trailer
/// section, neither.
#[inline]
pub(crate) fn offset(at: usize) -> u32 {
    at as u32
}

/// How long a section may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of one line, its CRLF included.
    line: usize,
    /// Bytes of all lines, the empty one included.
    section: usize,
}

impl Bounds {
    /// Lines as long as these limits permit, and a section of this many bytes.
    #[inline]
    pub(crate) fn new(limits: &Limits, section: usize) -> Self {
        Self {
            line: limits.longest_field(),
            section,
        }
    }

    /// Where a line that begins here must have ended.
    #[inline]
    fn of(self, line: usize) -> usize {
        (line + self.line).min(self.section)
    }

    /// RFC 6585 §5.
    #[cold]
    fn exceeded(self, line: usize) -> Reject {
        Reject::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            if line + self.line <= self.section {
                "field line is too long"
            } else {
                "field section is too long"
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and values of a section, and where it ends; or the reject.
    type Outcome = Result<(Vec<(Vec<u8>, Vec<u8>)>, usize), Reject>;

    /// Reads a section that comes in pieces which end at these places.
    fn read(section: &[u8], ends: impl IntoIterator<Item = usize>, bounds: Bounds) -> Outcome {
        let (mut lines, mut fields) = (FieldLines::default(), Vec::new());
        for end in ends {
            loop {
                match lines.next(&section[..end], bounds)? {
                    Step::NeedMore => break,
                    Step::Field(field) => {
                        fields.push((field.name(section).into(), field.value(section).into()));
                    }
                    Step::End(end) => return Ok((fields, end)),
                }
            }
            assert_eq!(lines.pos, end, "no byte is looked at again");
        }
        panic!("{section:?} is waited for")
    }

    fn bounds(line: usize, section: usize) -> Bounds {
        Bounds { line, section }
    }

    #[test]
    fn fields_without_the_blanks_around_them() {
        let section = b"A:b\r\nc-D: \te f\t\r\ng:\r\nh: \t \r\n!~: \xff\r\n\r\nX: y\r\n";
        let expected: Vec<(&[u8], &[u8])> = vec![
            (b"A", b"b"),
            (b"c-D", b"e f"),
            (b"g", b""),
            (b"h", b""),
            (b"!~", b"\xff"),
        ];
        let whole = read(section, [section.len()], bounds(99, 99)).expect("valid");
        assert_eq!(whole, read(section, 1..99, bounds(99, 99)).expect("valid"));
        let (fields, end) = whole;
        assert_eq!(end, section.len() - 6);
        let fields = fields.iter().map(|(name, value)| (&name[..], &value[..]));
        assert_eq!(fields.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_first_byte_that_does_not_fit_decides() {
        for (section, reason) in [
            (&b" "[..], "field line is folded"),
            (b"A:b\r\n\t", "field line is folded"),
            (b"A ", "field name ends with a blank"),
            (b":", "field name is invalid"),
            (b"A\x80", "field name is invalid"),
            (b"A\r", "field line has no colon"),
            (b"A\n", BARE_LF),
            (b"\n", BARE_LF),
            (b"A:\n", BARE_LF),
            (b"A:b\0", "field value is invalid"),
            (b"A:0123456789\x7f", "field value is invalid"),
            (b"A:b\rc", BARE_CR),
            (b"\rA", BARE_CR),
        ] {
            let expected = Err(Reject::bad(reason));
            let all = 1..=section.len();
            assert_eq!(read(section, all, bounds(99, 99)), expected, "{section:?}");
            let more = [section, b"\r\n\0\r\n\r\n"].concat();
            assert_eq!(read(&more, [more.len()], bounds(99, 99)), expected);
        }
    }

    #[test]
    fn bounds_are_met_to_the_byte() {
        let section = b"A:b\r\nC:d\r\n\r\n";
        for (line, all, reason) in [
            (5, 12, None),
            (4, 12, Some("field line is too long")),
            (5, 11, Some("field section is too long")),
            (5, 9, Some("field section is too long")),
            (99, 0, Some("field section is too long")),
        ] {
            let whole = read(section, [section.len()], bounds(line, all));
            let cut = read(section, 0..=section.len(), bounds(line, all));
            assert_eq!(whole, cut);
            assert_eq!(whole.err().map(|reject| reject.reason), reason);
        }
    }
}
