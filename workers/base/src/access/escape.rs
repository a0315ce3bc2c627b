//! Client bytes made harmless for one line of text.
//!
//! It must never pass a byte through that a terminal, a line reader or a parser of quoted fields
//! could take for something else than text.

/// What is shown as `\xHH`, `\"` or `\\`: controls, DEL, the quote, the backslash and everything
/// that is not ASCII (a line need not be UTF-8, and U+0080 to U+009F are controls too).
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        special[byte] = byte < 0x20 || byte >= 0x7F;
        byte += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special
};

/// Appends text that stands between quotes, or has no spaces.
pub(super) fn quoted(text: &[u8], out: &mut Vec<u8>) {
    escape(text, out, |byte| SPECIAL[byte as usize]);
}

/// Appends text that stands without quotes between spaces: a space is `\x20`.
pub(super) fn bare(text: &[u8], out: &mut Vec<u8>) {
    escape(text, out, |byte| byte == b' ' || SPECIAL[byte as usize]);
}

fn escape(text: &[u8], out: &mut Vec<u8>, special: impl Fn(u8) -> bool) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| special(byte)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => {
                let [high, low] = hex(byte);
                out.extend_from_slice(&[b'\\', b'x', high, low]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Two upper-case hexadecimal digits.
pub(super) fn hex(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [
        DIGITS[usize::from(byte >> 4)],
        DIGITS[usize::from(byte & 15)],
    ]
}
