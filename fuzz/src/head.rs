//! One request head: what is accepted is what the reference accepts, holds nothing that could be read
//! in another way, and comes back when it is written down again.

use super::{
    control::Control,
    reference::{self, Facts, Verdict},
};
use ferricorn_http::{
    BodyLength, Event, Head, Initials, Limits, Reader, Reject, TargetForm, Version, is_head_request,
};

/// Reads the input as a request head.
pub fn check(data: &[u8]) {
    let Some((control, input)) = Control::split(data) else {
        return;
    };
    let limits = &control.limits;
    let outcome = read(input, limits);
    match (outcome, reference::head(input, limits)) {
        (Ok(Some((head, consumed))), Verdict::Accepted(facts, length)) => {
            assert_eq!(consumed, length);
            assert_eq!(Facts::of(&head), facts);
            // What a refusal goes by is what a head would have said.
            assert_eq!(is_head_request(input), head.method() == "HEAD");
            sound(&head, &input[..consumed]);
            written_again(&head);
            some_taken_out(head, control.tune);
        }
        (Err(_), Verdict::Refused | Verdict::Incomplete) | (Ok(None), Verdict::Incomplete) => {}
        (outcome, verdict) => panic!("{outcome:?} where the reference says {verdict:?}"),
    }
}

type Outcome = Result<Option<(Head, usize)>, Reject>;

fn read(input: &[u8], limits: &Limits) -> Outcome {
    let mut head = Head::new();
    match Reader::new().next(input, limits, &mut head)? {
        Event::Head { consumed } => Ok(Some((head, consumed))),
        Event::NeedMore { consumed } => {
            assert!(consumed == 0 || &input[..consumed] == b"\r\n");
            Ok(None)
        }
        event => panic!("{event:?} before a head"),
    }
}

/// What must hold of every head that is handed out.
fn sound(head: &Head, bytes: &[u8]) {
    let line = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    assert!(line.starts_with(format!("{}\r\n", head.request_line()).as_bytes()));
    assert!(reference::is_token(head.method().as_bytes()));
    let line = format!("{} {}", head.method(), head.target());
    assert_eq!(head.method_and_target(), line.as_bytes());
    assert_eq!(&head.request_line()[..line.len()], line);
    assert!(head.target().bytes().all(|byte| byte.is_ascii_graphic()));
    let count = |name: &str| {
        let names = head.fields().map(|(name, _)| name);
        names
            .filter(|other| other.eq_ignore_ascii_case(name))
            .count()
    };
    for (name, value) in head.fields() {
        assert!(reference::is_token(name.as_bytes()), "{name:?}");
        assert!(reference::is_value(value), "{value:?}");
        assert!(head.field(name).is_some());
        assert!(head.initials().meets(Initials::of(name)), "{name:?}");
        assert!(!name.contains('_') || head.initials().meets(Initials::UNDERSCORE));
    }
    match head.version() {
        Version::Http11 => assert_eq!(count("host"), 1),
        Version::Http10 => assert!(count("host") <= 1),
    }
    let (length, coding) = (count("content-length"), count("transfer-encoding"));
    match head.body() {
        BodyLength::None => assert_eq!((length, coding), (0, 0)),
        BodyLength::Length(_) => assert_eq!((length, coding), (1, 0)),
        BodyLength::Chunked => assert_eq!((length, coding), (0, 1)),
    }
    parts(head);
}

/// The parts of the target are the target (RFC 9112 §3.2).
fn parts(head: &Head) {
    let mark = head
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let authority = head.authority().unwrap_or_default();
    match head.form() {
        TargetForm::Origin => assert_eq!(head.target(), format!("{}{mark}", head.path())),
        TargetForm::Asterisk => assert_eq!((head.target(), head.path()), ("*", "*")),
        TargetForm::Authority => {
            assert_eq!((head.target(), head.path(), &mark[..]), (authority, "", ""));
            assert_eq!(head.method(), "CONNECT");
        }
        TargetForm::Absolute => {
            let scheme = if head.is_https_target() { 8 } else { 7 };
            let rest = &head.target()[scheme..];
            let full = format!("{authority}{}{mark}", head.path());
            let made_up = matches!(head.path(), "/" | "*") && rest == format!("{authority}{mark}");
            assert!(rest == full || made_up, "{rest} is not {full}");
        }
    }
}

/// Written down again, it says the same.
fn written_again(head: &Head) {
    let mut text = format!("{}\r\n", head.request_line()).into_bytes();
    for (name, value) in head.fields() {
        text.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    text.extend_from_slice(b"\r\n");
    let limits = Limits {
        request_line: 0,
        fields: 0,
        field_size: 0,
        head: 1 << 20,
        body: 0,
        ..Limits::default()
    };
    let Ok(Some((again, length))) = read(&text, &limits) else {
        panic!("not accepted when written again: {head:?}");
    };
    assert_eq!(length, text.len());
    assert_eq!(again.request_line(), head.request_line());
    assert_eq!(Facts::of(&again), Facts::of(head));
}

/// Without some of its fields, chosen by the bits of `mask`, it is the head of the others.
fn some_taken_out(mut head: Head, mask: u8) {
    let is_kept = |index: usize| mask.rotate_right(index as u32 % 8) & 1 == 1;
    let first = |name: &str| {
        head.fields()
            .position(|(other, _)| other.eq_ignore_ascii_case(name))
    };
    let mut expected = Facts::of(&head);
    if !first("upgrade").is_some_and(is_kept) {
        expected.upgrade = None;
    }
    let asked = matches!(head.form(), TargetForm::Absolute | TargetForm::Authority);
    if !asked && !first("host").is_some_and(is_kept) {
        expected.authority = None;
    }
    let mut index = 0;
    expected.fields.retain(|_| {
        index += 1;
        is_kept(index - 1)
    });
    let mut index = 0;
    head.retain(|_, _| {
        index += 1;
        is_kept(index - 1)
    });
    assert_eq!(Facts::of(&head), expected);
}
