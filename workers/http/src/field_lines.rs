//! The syntax of field lines: one state machine for the section of a head and for that of trailers.
//! Keeps offsets and no bytes, and looks at each byte once; what a field means is for others.

use crate::{
    limits::Limits,
    reject::Reject,
    syntax::{self, NAME},
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
    /// How many lines are complete.
    count: usize,
    /// A name holds `_`.
    underscores: bool,
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

impl FieldLines {
    /// Reads on, hands over each field once its line is complete, and returns where the section ends
    /// once that is here. `section` begins with the first field line, and has what there is behind
    /// it.
    #[inline(always)]
    pub(crate) fn read(
        &mut self,
        section: &[u8],
        bounds: Bounds,
        taker: &mut impl Taker,
    ) -> Result<Option<usize>, Reject> {
        // A copy, which need not be in memory.
        let mut state = *self;
        let stopped = loop {
            let line = match state.recalled(section, bounds, taker) {
                Some(field) => Line::Field(field),
                None => state.line(section, bounds),
            };
            match line {
                Line::Field(field) if state.count <= bounds.fields => taker.take(field)?,
                Line::Field(_) => return Err(too_many_fields()),
                Line::Empty => break Ok(Some(state.pos)),
                Line::Stopped(byte) => break state.stopped(byte, section.len(), bounds),
            }
        };
        *self = state;
        stopped
    }

    /// Skips a line that the taker knows, if the next is one.
    #[inline(always)]
    fn recalled(&mut self, section: &[u8], bounds: Bounds, taker: &impl Taker) -> Option<Field> {
        if self.pos != self.line {
            return None;
        }
        let (field, len) = taker.recall(section, self.line)?;
        let end = self.line + len;
        if end > bounds.of(self.line) {
            return None;
        }
        (self.pos, self.line) = (end, end);
        self.count += 1;
        Some(field)
    }

    /// Goes on to the end of a line.
    #[inline(always)]
    fn line(&mut self, section: &[u8], bounds: Bounds) -> Line {
        let line = section.get(..bounds.of(self.line)).unwrap_or(section);
        // In the order in which a line goes through the states, from the one where it was left.
        if self.at == At::Name {
            loop {
                self.pos = syntax::run(line, self.pos, NAME);
                if line.get(self.pos) != Some(&b'_') {
                    break;
                }
                self.underscores = true;
                self.pos += 1;
            }
            self.at = match line.get(self.pos) {
                Some(b':') if self.pos > self.line => At::Value { colon: self.pos },
                Some(b'\r') if self.pos == self.line => At::LastLf,
                other => return Line::Stopped(other.copied()),
            };
            self.pos += 1;
        }
        if let At::Value { colon } = self.at {
            self.pos = syntax::text(line, self.pos);
            match line.get(self.pos) {
                Some(b'\r') => self.at = At::Lf { colon },
                other => return Line::Stopped(other.copied()),
            }
            self.pos += 1;
        }
        match (self.at, line.get(self.pos)) {
            (At::Lf { colon }, Some(b'\n')) => {
                let field = Field::of(section, self.line, colon, self.pos - 1);
                self.at = At::Name;
                self.pos += 1;
                self.line = self.pos;
                self.count += 1;
                Line::Field(field)
            }
            (At::LastLf, Some(b'\n')) => {
                self.pos += 1;
                Line::Empty
            }
            (_, other) => Line::Stopped(other.copied()),
        }
    }

    /// Whether some name holds `_`.
    #[inline]
    pub(crate) fn underscores(&self) -> bool {
        self.underscores
    }

    /// Why a line does not go on behind the bytes that are here: there are no more, there may be no
    /// more, or the next is this one, which cannot stand here.
    #[cold]
    fn stopped(
        &self,
        byte: Option<u8>,
        len: usize,
        bounds: Bounds,
    ) -> Result<Option<usize>, Reject> {
        match byte {
            Some(byte) => Err(misplaced(self.at, byte, self.pos == self.line)),
            None if len < bounds.of(self.line) => Ok(None),
            None => Err(bounds.exceeded(self.line)),
        }
    }
}

/// Is handed fields over, one by one.
pub(crate) trait Taker {
    /// The next field.
    fn take(&mut self, field: Field) -> Result<(), Reject>;

    /// The field of the line that begins here, and the length of that, where it is known without reading:
    /// the same bytes were read before, under the same limits, and no name in them holds `_`.
    #[inline(always)]
    fn recall(&self, _section: &[u8], _line: usize) -> Option<(Field, usize)> {
        None
    }
}

impl<F: FnMut(Field) -> Result<(), Reject>> Taker for F {
    #[inline(always)]
    fn take(&mut self, field: Field) -> Result<(), Reject> {
        self(field)
    }
}

/// What came of a line.
enum Line {
    Field(Field),
    /// It ends the section.
    Empty,
    /// It is not complete. What stands where it stopped, if anything does.
    Stopped(Option<u8>),
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
fn too_many_fields() -> Reject {
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
        let value = syntax::trim_start(&section[colon + 1..end]);
        Self {
            name: offset(name),
            name_len: offset(colon - name),
            value: offset(end - value.len()),
            value_len: offset(syntax::trim_end(value).len()),
        }
    }

    /// Where its line begins.
    #[inline]
    pub(crate) fn line(self) -> usize {
        self.name as usize
    }

    /// The same field in a line that begins here.
    #[inline]
    pub(crate) fn at(self, line: usize) -> Self {
        let name = offset(line);
        Self {
            name,
            value: name + (self.value - self.name),
            ..self
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
    /// Lines, the empty one not counted.
    fields: usize,
}

impl Bounds {
    /// Lines as long as these limits permit, and a section of this many bytes.
    #[inline]
    pub(crate) fn new(limits: &Limits, section: usize) -> Self {
        Self {
            line: limits.longest_field(),
            section,
            fields: limits.most_fields(),
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
            let found = lines.read(&section[..end], bounds, &mut |field: Field| {
                fields.push((field.name(section).into(), field.value(section).into()));
                Ok(())
            })?;
            if let Some(end) = found {
                return Ok((fields, end));
            }
            assert_eq!(lines.pos, end, "no byte is looked at again");
        }
        panic!("{section:?} is waited for")
    }

    fn bounds(line: usize, section: usize) -> Bounds {
        Bounds {
            line,
            section,
            fields: 5,
        }
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
