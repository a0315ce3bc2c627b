//! The trace that a request belongs to (W3C Trace Context): what came with it, and its own part.
//!
//! Pure, and nothing is kept of a request for it but its number: whoever looks has it made, and the same
//! each time.

use std::fmt;

use ferricorn_http::{Head, Initials};

use super::id::scattered;

const FIELD: &str = "traceparent";
/// `00-`, the trace, `-`, the span, `-`, the flags.
const LENGTH: usize = 55;
/// The caller may have recorded the trace (section 3.2.2.5.1).
const SAMPLED: u8 = 1;

/// The trace that a request belongs to, and the request's own span in it.
///
/// As text it is the `traceparent` for requests that the handler makes on behalf of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    id: u128,
    span: u64,
    parent: Option<u64>,
    sampled: bool,
}

impl Trace {
    /// The trace's id; never 0. Written with 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> u128 {
        self.id
    }

    /// The id of this request's own span, which is new; never 0. Written with 16 hexadecimal digits.
    #[must_use]
    pub fn span(&self) -> u64 {
        self.span
    }

    /// The id of the caller's span, if the request came with one.
    #[must_use]
    pub fn parent(&self) -> Option<u64> {
        self.parent
    }

    /// Whether the caller may have recorded the trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The part of the request with this number in a trace that begins with it, or goes on.
    pub(super) fn new(number: u64, given: Option<Trace>) -> Trace {
        // Other bijections of the number than that of the request's id.
        let part = |salt: u64| scattered(scattered(number).wrapping_add(salt)).max(1);
        let span = part(0x9e37_79b9_7f4a_7c15);
        match given {
            Some(given) => Trace { span, ..given },
            None => Trace {
                id: u128::from(part(0x3c6e_f372_fe94_f82a)) << 64
                    | u128::from(part(0xdaa6_6d2c_7ddf_743f)),
                span,
                parent: None,
                sampled: false,
            },
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, span, flags) = (self.id, self.span, u8::from(self.sampled));
        write!(f, "00-{id:032x}-{span:016x}-{flags:02x}")
    }
}

/// What came with a request, if it is as it should be; its span is the caller's still.
pub(super) fn given(head: &Head) -> Option<Trace> {
    if !head.initials().meets(Initials::of(FIELD)) {
        return None;
    }
    let mut fields = head
        .fields()
        .filter(|(name, _)| name.eq_ignore_ascii_case(FIELD));
    match (fields.next(), fields.next()) {
        (Some((_, value)), None) => parse(value),
        // Two would be two callers.
        _ => None,
    }
}

/// Reads the field (section 3.2.2): version 00, or what a later one has in its place.
fn parse(value: &[u8]) -> Option<Trace> {
    let (known, rest) = value.split_at_checked(LENGTH)?;
    let version = hex(&known[0..2])?;
    let ends = rest.is_empty() || version > 0 && rest[0] == b'-';
    let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
    let (id, parent) = (hex(&known[3..35])?, hex(&known[36..52])?);
    let flags = hex(&known[53..55])?;
    if version == 0xff || !ends || !dashes || id == 0 || parent == 0 {
        return None;
    }
    Some(Trace {
        id,
        span: parent as u64,
        parent: Some(parent as u64),
        sampled: flags as u8 & SAMPLED != 0,
    })
}

/// At most 32 digits, in lower case as the specification has them.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_goes_on_with_a_span_of_its_own() {
        let given = parse(GOOD.as_bytes());
        let trace = Trace::new(7, given);
        assert_eq!(trace.id(), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(trace.parent(), Some(0xb7ad_6b71_6920_3331));
        assert!(trace.is_sampled() && trace.span() != 0xb7ad_6b71_6920_3331);
        assert_eq!(trace, Trace::new(7, given), "the same whenever one looks");
        let next = parse(trace.to_string().as_bytes()).expect("what we write can be read");
        assert_eq!((next.id(), next.parent()), (trace.id(), Some(trace.span())));
        assert_ne!(Trace::new(8, given).span(), trace.span());
    }

    #[test]
    fn what_is_not_as_it_should_be_is_no_trace() {
        for (text, good) in [
            (GOOD.to_owned(), true),
            (GOOD.replace("-01", "-00"), true),
            (GOOD.replace("-01", "-ff"), true),
            (GOOD.replacen("00", "01", 1), true),
            (format!("{}-more", GOOD.replacen("00", "cc", 1)), true),
            (format!("{}more", GOOD.replacen("00", "cc", 1)), false),
            (format!("{GOOD}-more"), false),
            (GOOD.replacen("00", "ff", 1), false),
            (GOOD.to_uppercase(), false),
            (GOOD[..54].to_owned(), false),
            (GOOD.replace('-', "_"), false),
            (
                "00-00000000000000000000000000000000-b7ad6b7169203331-01".to_owned(),
                false,
            ),
            (
                "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01".to_owned(),
                false,
            ),
            (String::new(), false),
        ] {
            assert_eq!(parse(text.as_bytes()).is_some(), good, "{text}");
        }
    }
}
