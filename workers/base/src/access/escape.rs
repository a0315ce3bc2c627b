//! Client bytes made harmless for one line of text.
//!
//! It must never pass a byte through that a terminal, a line reader or a parser of quoted fields
//! could take for something else than text.

/// What is shown as `\xHH`, `\"` or `\\`: controls, DEL, the quote, the backslash and everything
/// that is not ASCII (a line need not be UTF-8, and U+0080 to U+009F are controls too). Without a
/// branch, so that the compiler looks at many bytes at once.
#[inline]
pub(super) fn is_special(byte: u8) -> bool {
    !(b' '..=b'~').contains(&byte) | (byte == b'"') | (byte == b'\\')
}

/// Whether nothing in the text is special.
#[inline]
pub(super) fn is_plain(text: &[u8]) -> bool {
    !text
        .iter()
        .fold(false, |found, &byte| found | is_special(byte))
}

/// Appends text that stands between quotes, or has no spaces.
#[inline]
pub(super) fn quoted(text: &[u8], out: &mut Vec<u8>) {
    if is_plain(text) {
        out.extend_from_slice(text);
    } else {
        escape(text, out, is_special);
    }
}

/// Appends text that stands without quotes between spaces: a space is `\x20`.
pub(super) fn bare(text: &[u8], out: &mut Vec<u8>) {
    escape(text, out, |byte| byte == b' ' || is_special(byte));
}

fn escape(text: &[u8], out: &mut Vec<u8>, special: impl Fn(u8) -> bool) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            byte if special(byte) => {
                let [high, low] = hex(byte);
                out.extend_from_slice(&[b'\\', b'x', high, low]);
            }
            byte => out.push(byte),
        }
    }
}

/// Two upper-case hexadecimal digits.
pub(super) fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}
