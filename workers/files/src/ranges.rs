//! Which bytes a request wants of a representation (RFC 9110 section 14). Numbers only: reads nothing.

use std::ops::Range;

/// Ranges beyond so many are not looked at: the whole is sent (RFC 9110 section 14.2 allows to ignore
/// any).
const MOST: usize = 32;
/// Two ranges with so few bytes between them are sent as one: the head of a part is longer (RFC 9110
/// section 15.3.7.2).
const GAP: u64 = 128;

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: no range was asked for that can be understood.
    Whole,
    /// One range, which is not empty.
    One(Range<u64>),
    /// Several, none empty, no two of which touch, in the order in which they were asked for.
    Several(Vec<Range<u64>>),
    /// None of them is there: 416.
    Nothing,
}

/// What the value of a field Range asks of `len` bytes. One that is not well-formed, or of another unit,
/// is to be ignored (RFC 9110 section 14.2).
#[must_use]
pub fn wanted(value: &[u8], len: u64) -> Wanted {
    match parse(value, len) {
        None => Wanted::Whole,
        Some(mut ranges) => match ranges.len() {
            0 => Wanted::Nothing,
            1 => Wanted::One(ranges.swap_remove(0)),
            _ => Wanted::Several(ranges),
        },
    }
}

fn parse(value: &[u8], len: u64) -> Option<Vec<Range<u64>>> {
    // Units are case-insensitive (RFC 9110 section 14.1).
    let (unit, set) = value.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let mut ranges = Vec::new();
    let mut specs = 0;
    for spec in set.split(|byte| *byte == b',') {
        let spec = spec.trim_ascii();
        // A recipient takes a few empty elements of a list (RFC 9110 section 5.6.1.2).
        if spec.is_empty() {
            continue;
        }
        specs += 1;
        if specs > MOST {
            return None;
        }
        if let Some(range) = one(spec, len)? {
            join(&mut ranges, range);
        }
    }
    (specs > 0).then_some(ranges)
}

/// One range: `None` when it is malformed, `Some(None)` when there is nothing of it.
fn one(spec: &[u8], len: u64) -> Option<Option<Range<u64>>> {
    let dash = spec.iter().position(|byte| *byte == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    let range = match (first, last) {
        (b"", last) => len.saturating_sub(number(last)?)..len,
        (first, b"") => number(first)?..len,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..len.min(last.saturating_add(1))
        }
    };
    Some(Some(range).filter(|range| !range.is_empty()))
}

/// Digits only; what is larger than any file counts as the largest number.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        Some(number.saturating_mul(10).saturating_add(u64::from(digit)))
    })
}

/// Adds a range; those that it touches become one with it, where the first of them was.
fn join(ranges: &mut Vec<Range<u64>>, mut range: Range<u64>) {
    let mut place = None;
    let mut at = 0;
    while at < ranges.len() {
        let other = &ranges[at];
        let apart = other.start > range.end.saturating_add(GAP)
            || range.start > other.end.saturating_add(GAP);
        if apart {
            at += 1;
            continue;
        }
        range = range.start.min(other.start)..range.end.max(other.end);
        ranges.remove(at);
        place = Some(place.map_or(at, |place: usize| place.min(at)));
        // It may reach now what it did not reach before.
        at = 0;
    }
    ranges.insert(place.unwrap_or(ranges.len()), range);
}

#[cfg(test)]
mod tests {
    use super::Wanted::{Nothing, One, Several, Whole};
    use super::*;

    #[test]
    fn ranges_of_a_thousand_bytes() {
        for (value, expected) in [
            ("bytes=0-0", One(0..1)),
            ("bytes=0-499", One(0..500)),
            ("bytes=500-", One(500..1000)),
            ("bytes=-500", One(500..1000)),
            ("bytes=-5000", One(0..1000)),
            ("bytes=900-5000", One(900..1000)),
            ("bytes=999-", One(999..1000)),
            ("BYTES=1-2", One(1..3)),
            ("bytes= 1-2 ,", One(1..3)),
            ("bytes=0-99999999999999999999999999", One(0..1000)),
            ("bytes=1000-", Nothing),
            ("bytes=1000-2000", Nothing),
            ("bytes=-0", Nothing),
            ("bytes=99999999999999999999999999-", Nothing),
            ("bytes=2000-,3000-", Nothing),
            // What cannot be satisfied beside what can is left out.
            ("bytes=0-1,2000-", One(0..2)),
            ("bytes=0-9,500-509", Several(vec![0..10, 500..510])),
            ("bytes=500-509, 0-9", Several(vec![500..510, 0..10])),
            ("bytes=0-9,-10", Several(vec![0..10, 990..1000])),
            ("bytes=0-99,50-199", One(0..200)),
            ("bytes=0-9,20-29", One(0..30)),
            ("bytes=0-9,500-509,5-505", One(0..510)),
            (
                "bytes=0-9,900-999,400-409",
                Several(vec![0..10, 900..1000, 400..410]),
            ),
            ("bytes=", Whole),
            ("bytes=,", Whole),
            ("bytes", Whole),
            ("", Whole),
            ("bytes=5-2", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=1", Whole),
            ("bytes=1-2-3", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1 -2", Whole),
            ("bytes=0-1,x", Whole),
            ("bytes =0-1", Whole),
            ("items=0-1", Whole),
        ] {
            assert_eq!(wanted(value.as_bytes(), 1000), expected, "{value}");
        }
    }

    #[test]
    fn nothing_can_be_had_of_an_empty_file() {
        for value in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
            assert_eq!(wanted(value.as_bytes(), 0), Nothing, "{value}");
        }
    }

    #[test]
    fn too_many_ranges_are_no_ranges() {
        let of = |n: u64| (0..n).map(|at| format!("{}-{}", at * 1000, at * 1000));
        let value = |n: u64| format!("bytes={}", of(n).collect::<Vec<_>>().join(","));
        let many = wanted(value(MOST as u64).as_bytes(), 1 << 20);
        assert!(matches!(many, Several(ranges) if ranges.len() == MOST));
        assert_eq!(wanted(value(MOST as u64 + 1).as_bytes(), 1 << 20), Whole);
        let same = format!("bytes={}", vec!["0-"; 5000].join(","));
        assert_eq!(wanted(same.as_bytes(), 1000), Whole);
    }

    #[test]
    fn whatever_is_asked_for_the_ranges_are_apart_and_inside() {
        // Every list of three ranges with small bounds.
        let specs: Vec<String> = (0..8)
            .flat_map(|a| (a..8).map(move |b| format!("{}-{}", a * 100, b * 100)))
            .collect();
        for one in &specs {
            for two in &specs {
                for three in specs.iter().step_by(5) {
                    let value = format!("bytes={one},{two},{three}");
                    let ranges = match wanted(value.as_bytes(), 650) {
                        One(range) => vec![range],
                        Several(ranges) => ranges,
                        other => {
                            assert_eq!(other, Nothing, "{value}");
                            continue;
                        }
                    };
                    for (n, range) in ranges.iter().enumerate() {
                        assert!(range.start < range.end && range.end <= 650, "{value}");
                        let apart = |other: &Range<u64>| {
                            other.start > range.end + GAP || range.start > other.end + GAP
                        };
                        assert!(ranges[..n].iter().all(apart), "{value}");
                    }
                }
            }
        }
    }
}
