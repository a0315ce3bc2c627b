//! The character classes of the grammar, one table. Looks at single bytes and nothing else.

/// `tchar` (RFC 9110 §5.6.2): methods, field names, chunk extension names.
pub(crate) const TCHAR: u8 = 1;
/// What a path may hold beside `%` and two digits: `pchar` and `/` (RFC 3986 §3.3), and
/// `[ ] ^ { | }`, which clients send as they are (curl, and the URL standard's path state).
pub(crate) const PATH: u8 = 1 << 1;
/// What a query may hold: `pchar`, `/`, `?` (RFC 3986 §3.4), and what browsers leave as it is
/// there by the URL standard's query state: `[ \ ] ^ { | }`, the backtick, and a lone `%`. None of
/// these can end a request target, so nobody reads the message in another way for them.
pub(crate) const QUERY: u8 = 1 << 2;
/// `reg-name` beside `%` and two digits (RFC 3986 §3.2.2), without the comma: no name has one, and who
/// takes it for the end of a list element sees another host.
pub(crate) const REG_NAME: u8 = 1 << 3;
/// `field-vchar`, SP and HTAB (RFC 9110 §5.5): no CTL, no DEL; obs-text passes.
pub(crate) const VALUE: u8 = 1 << 4;
/// `VCHAR` (RFC 5234 §B.1): what a request target may hold before its form is known.
pub(crate) const VISIBLE: u8 = 1 << 5;
/// `tchar` but for `_`, which a name shares with no other byte when it becomes a meta-variable.
pub(crate) const NAME: u8 = 1 << 6;

const UNRESERVED: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
const SUB_DELIMS: &[u8] = b"!$&'()*+,;=";

static CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    mark(&mut table, TCHAR, b"_");
    mark(&mut table, TCHAR | NAME, b"!#$%&'*+-.^`|~0123456789");
    mark(
        &mut table,
        TCHAR | NAME,
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    );
    mark(&mut table, PATH | QUERY | REG_NAME, UNRESERVED);
    mark(&mut table, PATH | QUERY | REG_NAME, SUB_DELIMS);
    table[b',' as usize] &= !REG_NAME;
    mark(&mut table, PATH | QUERY, b":@/[]^{|}");
    mark(&mut table, QUERY, b"?\\`%");
    table[b'\t' as usize] |= VALUE;
    let mut byte = b' ' as usize;
    while byte < 256 {
        if byte != 0x7f {
            table[byte] |= VALUE;
        }
        if byte > b' ' as usize && byte < 0x7f {
            table[byte] |= VISIBLE;
        }
        byte += 1;
    }
    table
};

const fn mark(table: &mut [u8; 256], class: u8, bytes: &[u8]) {
    let mut i = 0;
    while i < bytes.len() {
        table[bytes[i] as usize] |= class;
        i += 1;
    }
}

/// Whether this byte is of one of these classes.
#[inline]
pub(crate) fn is(byte: u8, class: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

/// Where, from `at` on, the first byte is that is of none of these classes.
#[inline]
pub(crate) fn run(bytes: &[u8], mut at: usize, class: u8) -> usize {
    // Eight at a time, so that most bytes cost a look at the table and nothing else.
    while let Some(eight) = eight(bytes, at) {
        for (index, &byte) in eight.iter().enumerate() {
            if !is(byte, class) {
                return at + index;
            }
        }
        at += eight.len();
    }
    while bytes.get(at).is_some_and(|&byte| is(byte, class)) {
        at += 1;
    }
    at
}

#[inline(always)]
fn eight(bytes: &[u8], at: usize) -> Option<&[u8; 8]> {
    #[cfg(test)]
    crate::work::looked(8);
    bytes.get(at..)?.first_chunk()
}

/// Where, from `at` on, the first byte is that is not [`VALUE`].
#[inline]
pub(crate) fn text(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at = until(bytes, at, VALUE, |word| {
            below(word, b' ') | equal(word, 0x7f)
        });
        if bytes.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
}

/// Where, from `at` on, the first byte is that is not [`VISIBLE`].
#[inline]
pub(crate) fn visible(bytes: &[u8], at: usize) -> usize {
    until(bytes, at, VISIBLE, |word| {
        below(word, b'!') | equal(word, 0x7f) | word & HIGH
    })
}

/// The lowest bit, and the highest, of each of eight bytes.
const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// As [`run`], eight bytes at once: `others` marks, by the highest bit of each byte of a word, those
/// that may be of another class, and is right about the first.
#[inline(always)]
fn until(bytes: &[u8], mut at: usize, class: u8, others: impl Fn(u64) -> u64) -> usize {
    while let Some(eight) = eight(bytes, at) {
        let found = others(u64::from_le_bytes(*eight));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += eight.len();
    }
    while bytes.get(at).is_some_and(|&byte| is(byte, class)) {
        at += 1;
    }
    at
}

/// Marks the bytes of a word that are below this one, which is at most 0x80. What is borrowed can
/// mark bytes above the first that is, and none before it.
#[inline(always)]
fn below(word: u64, byte: u8) -> u64 {
    word.wrapping_sub(LOW * u64::from(byte)) & !word & HIGH
}

/// Marks the bytes of a word that are this one, and perhaps some above the first of them.
#[inline(always)]
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (LOW * u64::from(byte)), 1)
}

/// Whether all of these bytes are; true of none.
pub(crate) fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().all(|&byte| is(byte, class))
}

/// `token = 1*tchar`
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TCHAR)
}

/// SP or HTAB: OWS, BWS (RFC 9110 §5.6.3).
#[inline]
pub(crate) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Without SP and HTAB at both ends. Never a wider notion of white space: trimming VT, NBSP or NEL
/// is how `chunked\x0b` became `chunked` elsewhere.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

#[inline]
pub(crate) fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

#[inline]
pub(crate) fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The elements of a comma list (RFC 9110 §5.6.1), trimmed; empty ones too. Fields whose elements
/// may hold quoted strings are none of ours.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim)
}

/// `1*DIGIT`; `None` for anything else, and for what does not fit. Never `str::parse`, which takes
/// `+5`.
pub(crate) fn decimal(bytes: &[u8]) -> Result<u64, NotDecimal> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return Err(NotDecimal::Syntax);
    }
    bytes
        .iter()
        .try_fold(0u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .ok_or(NotDecimal::Overflow)
}

/// Why it is no number of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotDecimal {
    /// It is not made of digits, or of none.
    Syntax,
    /// It is at least 2^64.
    Overflow,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tchar_is_the_rfc_set() {
        let set: Vec<u8> = (0..=255).filter(|&byte| is(byte, TCHAR)).collect();
        let rfc = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert_eq!(
            set,
            (0..=255).filter(|&byte| rfc(byte)).collect::<Vec<u8>>()
        );
    }

    #[test]
    fn no_class_holds_a_delimiter_of_the_line() {
        for byte in [b'\r', b'\n', 0, 0x7f, 0x0b, 0x0c] {
            assert!(
                !is(byte, TCHAR | PATH | QUERY | REG_NAME | VALUE),
                "{byte:#x}"
            );
        }
        for byte in [b' ', b'\t', b'#', b'"', b'<', b'>', 0x80, 0xff] {
            assert!(!is(byte, PATH | QUERY | REG_NAME), "{byte:#x}");
        }
    }

    #[test]
    fn runs_end_at_the_first_byte_of_another_class() {
        for byte in 0..=255 {
            for len in 0..20 {
                for tail in [&b""[..], b"abcdefghi", b"\0\x7f\xff \t\r\n\0\0"] {
                    for fill in [b'a', b'!', b'~'] {
                        let mut bytes = vec![fill; len];
                        bytes.push(byte);
                        bytes.extend_from_slice(tail);
                        for at in [0, len / 2, len] {
                            let plain = |class| {
                                at + bytes[at..]
                                    .iter()
                                    .take_while(|&&byte| is(byte, class))
                                    .count()
                            };
                            assert_eq!(run(&bytes, at, TCHAR), plain(TCHAR), "{bytes:?}");
                            assert_eq!(text(&bytes, at), plain(VALUE), "{bytes:?}");
                            assert_eq!(visible(&bytes, at), plain(VISIBLE), "{bytes:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn decimals() {
        assert_eq!(decimal(b"010"), Ok(10));
        assert_eq!(decimal(b"18446744073709551615"), Ok(u64::MAX));
        // Over by the last digit, and by the one before it.
        for large in [&b"18446744073709551616"[..], b"99999999999999999999"] {
            assert_eq!(decimal(large), Err(NotDecimal::Overflow));
        }
        for odd in [&b""[..], b"+5", b"-0", b"5 ", b"0x5", b"5,5", b"\xd9\xa5"] {
            assert_eq!(decimal(odd), Err(NotDecimal::Syntax), "{odd:?}");
        }
    }

    #[test]
    fn trimming_knows_two_bytes() {
        assert_eq!(trim(b" \ta b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
        assert_eq!(trim(b"\x0ba\xa0"), b"\x0ba\xa0");
    }
}
