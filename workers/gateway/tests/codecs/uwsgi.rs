//! uwsgi packets as web servers send them, and the orders that nobody may give.

use ferricorn_gateway::codec::uwsgi::{Limits, REQUEST, Reader, Step, write};
use ferricorn_gateway::codec::vars::{VarLimits, Vars};

fn packet(modifier: u8, pairs: &[(&str, &str)]) -> Vec<u8> {
    let vars: Vars = pairs.iter().copied().collect();
    let mut out = Vec::new();
    write(&mut out, modifier, &vars).expect("short");
    out
}

fn read(input: &[u8], limits: &Limits) -> Result<String, String> {
    let mut vars = Vars::new();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    match Reader::new().next(input, limits, &mut vars) {
        Ok(Step::NeedMore) => Ok("more".into()),
        Ok(Step::Complete { consumed, modifier }) => {
            let pairs = vars.iter().map(|(name, value)| (text(name), text(value)));
            let pairs: Vec<_> = pairs
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            Ok(format!(
                "{modifier}: {} {:?}",
                pairs.join(" "),
                text(&input[consumed..])
            ))
        }
        Err(reject) => Err(reject.to_string()),
    }
}

#[test]
fn packets_are_as_the_protocol_has_them() {
    let pairs = [("A", "b"), ("EMPTY", ""), ("KEY", "value"), ("LAST", "")];
    let sent = packet(REQUEST, &pairs);
    assert_eq!(&sent[..9], b"\0\x23\0\0\x01\0A\x01\0");
    let input = [&sent[..], b"content"].concat();
    let expected = "0: A=b EMPTY= KEY=value LAST= \"content\"";
    assert_eq!(read(&input, &Limits::default()).as_deref(), Ok(expected));
    for end in 0..sent.len() {
        assert_eq!(
            read(&sent[..end], &Limits::default()).as_deref(),
            Ok("more"),
            "{end}"
        );
    }
    assert_eq!(
        read(b"\0\0\0\0rest", &Limits::default()).as_deref(),
        Ok("0:  \"rest\"")
    );
}

#[test]
fn only_requests_are_taken() {
    let not_one = "400: modifier1 of the packet is not one of a request";
    for modifier in 1..=255 {
        let input = packet(modifier, &[("A", "b")]);
        assert_eq!(
            read(&input, &Limits::default()),
            Err(not_one.into()),
            "{modifier}"
        );
    }
    let limits = Limits {
        modifiers: &[0, 30, 9],
        ..Limits::default()
    };
    assert_eq!(
        read(&packet(30, &[("A", "b")]), &limits).as_deref(),
        Ok("30: A=b \"\"")
    );
    assert_eq!(
        read(&packet(22, &[("A", "b")]), &limits),
        Err(not_one.into())
    );
    assert_eq!(read(b"HTTP/1.1 200 OK", &limits), Err(not_one.into()));
}

#[test]
fn a_request_cannot_configure_the_server() {
    for name in [
        "UWSGI_FILE",
        "UWSGI_SCRIPT",
        "UWSGI_MODULE",
        "UWSGI_CALLABLE",
        "UWSGI_APPID",
        "UWSGI_CHDIR",
        "UWSGI_TOUCH_RELOAD",
        "UWSGI_PYHOME",
        "UWSGI_SETENV",
        "UWSGI_CHECK_STATIC",
        "UWSGI_POSTFILE",
        "UWSGI_WHATEVER_COMES_NEXT",
    ] {
        for value in ["", "x"] {
            let input = packet(0, &[("A", "b"), (name, value), ("C", "d")]);
            let expected = "403: a variable would configure uWSGI";
            assert_eq!(
                read(&input, &Limits::default()),
                Err(expected.into()),
                "{name}"
            );
        }
    }
    let said = [("UWSGI_SCHEME", "https"), ("HTTP_UWSGI_FILE", "x")];
    assert!(read(&packet(0, &said), &Limits::default()).is_ok());
}

#[test]
fn what_is_malformed_or_too_large_is_refused() {
    let middle = "400: the packet ends in the middle of a variable";
    let large = "431: too many or too large variables";
    let limits = Limits {
        vars: VarLimits {
            bytes: 30,
            count: 2,
        },
        ..Limits::default()
    };
    for (input, expected) in [
        (&b"\0\x01\0\0\x01\0"[..], middle),
        (b"\0\x02\0\0\x01\0", middle),
        (b"\0\x03\0\0\x01\0A", middle),
        (b"\0\x04\0\0\x01\0A\x01", middle),
        (b"\0\x04\0\0\x01\0A\x01\0", middle),
        (b"\0\x05\0\0\x01\0A\x01\0", middle),
        (b"\0\x05\0\0\xff\xff", middle),
        (b"\0\x06\0\0\x01\0A\x01\0b\0", ""),
        (b"\0\x04\0\0\0\0\0\0", "400: a variable has no name"),
        (b"\0\x06\0\0\x01\0A\x01\0\0", "400: a variable holds a NUL"),
        (b"\0\x1f\0\0", large),
        (b"\0\xff\xff\0", large),
        (b"\0\x0f\0\0\x01\0A\0\0\x01\0B\0\0\x01\0C\0\0", large),
    ] {
        let read = read(input, &limits);
        match expected {
            "" => assert!(read.is_ok(), "{input:?}"),
            expected => assert_eq!(read, Err(expected.into()), "{input:?}"),
        }
    }
}

#[test]
fn a_packet_that_is_too_long_is_not_sent() {
    for (len, fits) in [
        (65535 - 6 - 2 - 2 - 3, true),
        (65535 - 6 - 2 - 2 - 3 + 1, false),
    ] {
        let vars: Vars = [("A", "b"), ("BIG", &"x".repeat(len))]
            .into_iter()
            .collect();
        let mut out = b"before".to_vec();
        let written = write(&mut out, 0, &vars);
        assert_eq!(written.is_ok(), fits);
        match written {
            Ok(()) => assert!(read(&out[6..], &Limits::default()).is_ok()),
            Err(error) => {
                assert_eq!((error.name.as_str(), &out[..]), ("BIG", &b"before"[..]));
            }
        }
    }
    let nameless: Vars = [("", "x")].into_iter().collect();
    assert!(write(&mut Vec::new(), 0, &nameless).is_err());
}
