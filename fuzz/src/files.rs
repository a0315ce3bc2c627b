//! What has to hold of every path and every Range that files are asked for by. Called by the targets of
//! cargo-fuzz, and by the tests of `ferricorn-files`, which include this file and replay the corpora on
//! stable Rust; so nothing here may need libFuzzer, nor more of `ferricorn-files` than is public.

use ferricorn_files::Dotfiles;
use ferricorn_files::path::{Refused, decode};
use ferricorn_files::ranges::{Wanted, wanted};

/// A property: panics where the input breaks it.
pub type Check = fn(&[u8]);

/// Every target with its property.
pub const TARGETS: [(&str, Check); 2] = [("file_name", file_name), ("ranges", ranges)];

/// The most ranges that are looked at.
const MOST: usize = 32;

/// Reads the input, behind its first byte, as a path.
pub fn file_name(data: &[u8]) {
    let Some((kind, path)) = data.split_first() else {
        return;
    };
    let Ok(path) = std::str::from_utf8(path) else {
        return;
    };
    let dotfiles = [Dotfiles::Hidden, Dotfiles::WellKnown, Dotfiles::Shown][usize::from(kind % 3)];
    let mut name = b"left over".to_vec();
    let decoded = decode(path, dotfiles, &mut name);
    let plain: Vec<Option<Vec<u8>>> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(plainly)
        .collect();
    let refused = |segment: &Option<Vec<u8>>| match segment {
        None => true,
        Some(bytes) => bytes.contains(&0) || bytes == b"." || bytes == b"..",
    };
    match decoded {
        // It may have been refused for another segment first.
        Err(Refused::Bad) => assert!(plain.iter().any(refused), "{path:?}"),
        Err(Refused::None) => {
            let odd = |bytes: &Vec<u8>| bytes.contains(&b'/') || bytes[0] == b'.';
            assert!(plain.iter().flatten().any(odd), "{path:?}");
        }
        Ok(()) => {
            assert!(!plain.iter().any(refused), "{path:?}");
            let plain: Vec<Vec<u8>> = plain.into_iter().flatten().collect();
            assert!(
                plain.iter().all(|segment| !segment.contains(&b'/')),
                "{path:?}"
            );
            let mut expected = plain.join(&b'/');
            if path.ends_with('/') && !expected.is_empty() {
                expected.push(b'/');
            }
            assert_eq!(name, expected, "{path:?}");
            let hidden = plain.iter().enumerate().any(|(at, segment)| {
                let known = plain[0] == b".well-known" && dotfiles == Dotfiles::WellKnown;
                segment[0] == b'.' && !(known && (at > 0 || segment == b".well-known"))
            });
            assert!(!hidden || dotfiles == Dotfiles::Shown, "{path:?}");
        }
    }
}

/// A segment, decoded; `None` where a `%` is not before two digits.
fn plainly(segment: &str) -> Option<Vec<u8>> {
    let mut pieces = segment.as_bytes().split(|byte| *byte == b'%');
    let mut bytes = pieces.next()?.to_vec();
    for piece in pieces {
        let digits = std::str::from_utf8(piece.get(..2)?).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&piece[2..]);
    }
    Some(bytes)
}

/// Reads the input, behind a length in its first eight bytes, as the value of a Range.
pub fn ranges(data: &[u8]) {
    let Some((len, value)) = data.split_first_chunk() else {
        return;
    };
    let len = u64::from_be_bytes(*len);
    let asked = asked(value, len);
    let found = match wanted(value, len) {
        Wanted::Whole => {
            assert!(asked.is_none(), "{value:?}");
            return;
        }
        Wanted::Nothing => Vec::new(),
        Wanted::One(range) => vec![range],
        Wanted::Several(ranges) => {
            assert!(ranges.len() > 1);
            ranges
        }
    };
    let asked = asked.expect("it is not well-formed");
    assert_eq!(found.is_empty(), asked.is_empty());
    for (at, range) in found.iter().enumerate() {
        assert!(range.start < range.end && range.end <= len);
        for other in &found[..at] {
            assert!(
                other.end < range.start || range.end < other.start,
                "{found:?}"
            );
        }
        // Nothing is at its ends that was not asked for.
        assert!(asked.iter().any(|(first, _)| *first == range.start));
        assert!(asked.iter().any(|(_, end)| *end == range.end));
    }
    for (first, end) in asked {
        let inside = |range: &std::ops::Range<u64>| range.start <= first && end <= range.end;
        assert_eq!(found.iter().filter(|range| inside(range)).count(), 1);
    }
}

/// What is asked for of `len` bytes, as plainly as RFC 9110 section 14.1.1 has it: first bytes, and those
/// behind the last. `None` where it is to be ignored.
fn asked(value: &[u8], len: u64) -> Option<Vec<(u64, u64)>> {
    let text = std::str::from_utf8(value).ok()?;
    if !text.get(..6)?.eq_ignore_ascii_case("bytes=") {
        return None;
    }
    let white = |c: char| c.is_ascii_whitespace();
    let specs = text[6..].split(',').map(|spec| spec.trim_matches(white));
    let specs: Vec<&str> = specs.filter(|spec| !spec.is_empty()).collect();
    if specs.is_empty() || specs.len() > MOST {
        return None;
    }
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let mut asked = Vec::new();
    for spec in specs {
        let (first, last) = spec.split_once('-')?;
        let (first, end) = match (first, last) {
            ("", last) => (len - number(last)?.min(len), len),
            (first, "") => (number(first)?, len),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if last < first {
                    return None;
                }
                (first, last.saturating_add(1).min(len))
            }
        };
        if first < end {
            asked.push((first, end));
        }
    }
    Some(asked)
}
