//! Our reading of heads beside that of another parser, httparse: what both accept they read alike,
//! and what one of them refuses alone it refuses for a reason that stands here.

use ferricorn_http::{Event, Head, Limits, Reader, Version};
use proptest::prelude::*;

/// What a head is: method, target, minor version is 0, fields, length.
type Reading = (String, String, bool, Vec<(String, Vec<u8>)>, usize);

fn ours(input: &[u8]) -> Option<Reading> {
    let mut head = Head::new();
    let event = Reader::new().next(input, &Limits::default(), &mut head);
    let Ok(Event::Head { consumed }) = event else {
        return None;
    };
    let fields = head
        .fields()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let http10 = head.version() == Version::Http10;
    let (method, target) = (head.method().into(), head.target().into());
    Some((method, target, http10, fields, consumed))
}

fn theirs(input: &[u8]) -> Option<Reading> {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(consumed)) = request.parse(input) else {
        return None;
    };
    let fields = request
        .headers
        .iter()
        .map(|field| (field.name.to_owned(), field.value.to_owned()))
        .collect();
    let (method, target) = (request.method?.into(), request.path?.into());
    Some((method, target, request.version? == 0, fields, consumed))
}

/// Whether a head that httparse reads is one of those that we refuse: what it leaves to its caller.
fn left_to_us(input: &[u8], (method, target, http10, fields, len): &Reading) -> bool {
    let head = &input[..*len];
    let bare_lf = (0..head.len()).any(|at| head[at] == b'\n' && (at == 0 || head[at - 1] != b'\r'));
    // RFC 9112 §2.2: it skips any number of empty lines.
    let empty_lines = head.starts_with(b"\n") || head.starts_with(b"\r\n\r\n");
    let named = |name: &str| {
        fields
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .count()
    };
    // Everything about the meaning of fields and targets; `tests/requests.rs` has the rules.
    let meaning = named("Host") != 1 && !(*http10 && named("Host") == 0)
        || named("Content-Length") + named("Transfer-Encoding") > 0
        || named("Expect") > 0
        || named("Content-Type") > 1
        || fields
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("Host") && value != b"h");
    let target = !target.starts_with('/') || method == "CONNECT" || target.bytes().any(odd);
    bare_lf || empty_lines || meaning || target
}

/// What no path of ours holds, or only in the right place (RFC 3986 §3.3).
fn odd(byte: u8) -> bool {
    !(byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte))
}

/// Whether a head that we read is one of those that httparse refuses: a higher minor version
/// (RFC 9110 §2.5).
fn left_to_them(input: &[u8]) -> bool {
    let line = input
        .split(|&byte| byte == b'\n')
        .find(|line| line.len() > 1);
    line.is_some_and(|line| (b'2'..=b'9').contains(&line[line.len() - 2]))
}

/// Heads that are right but for some bytes.
fn head() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![5 => "[A-Z]{1,8}", 1 => "[!-~]{0,4}"];
    let target = prop_oneof![5 => "/[a-z/.?=&]{0,20}", 2 => "[!-~]{0,12}"];
    let version =
        prop_oneof![8 => Just("1.1"), 2 => Just("1.0"), 1 => Just("1.7"), 1 => Just("2.0")];
    let name = prop_oneof![4 => "[A-Za-z-]{1,12}", 1 => "[!-~]{0,5}", 1 => Just("Host".to_owned())];
    let value = prop_oneof![
        4 => "[ -~\t]{0,40}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ];
    let end = prop_oneof![30 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\n ")];
    let blank = prop_oneof![9 => Just(" "), 3 => Just(""), 2 => Just("\t "), 1 => Just("  \t")];
    let field = (name, blank, value, end.clone());
    let damage = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2);
    (
        prop_oneof![9 => Just(""), 1 => Just("\r\n"), 1 => Just("\n")],
        (method, target, version, end),
        prop_oneof![9 => Just("Host: h\r\n"), 1 => Just("")],
        proptest::collection::vec(field, 0..6),
        damage,
    )
        .prop_map(
            |(front, (method, target, version, end), host, fields, damage)| {
                let mut text =
                    format!("{front}{method} {target} HTTP/{version}{end}{host}").into_bytes();
                for (name, blank, value, end) in fields {
                    for part in [
                        name.as_bytes(),
                        b":",
                        blank.as_bytes(),
                        &value,
                        end.as_bytes(),
                    ] {
                        text.extend_from_slice(part);
                    }
                }
                text.extend_from_slice(b"\r\nabc");
                for (index, byte) in damage {
                    let at = index.index(text.len());
                    text[at] = byte;
                }
                text
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_parsers_agree(input in head()) {
        match (ours(&input), theirs(&input)) {
            (Some(ours), Some(theirs)) => prop_assert_eq!(ours, theirs),
            (None, Some(theirs)) => prop_assert!(left_to_us(&input, &theirs), "only we refuse it"),
            (Some(_), None) => prop_assert!(left_to_them(&input), "only httparse refuses it"),
            (None, None) => {}
        }
    }
}
