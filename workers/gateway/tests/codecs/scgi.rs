//! SCGI as each web server speaks it, and what nobody may say.

use ferricorn_gateway::codec::scgi::{Reader, Step, write};
use ferricorn_gateway::codec::vars::{VarLimits, Vars};

fn netstring(pairs: &[(&str, &str)]) -> String {
    let text: String = pairs
        .iter()
        .map(|(name, value)| format!("{name}\0{value}\0"))
        .collect();
    format!("{}:{text},", text.len())
}

/// The variables in words, and the length of the content; or the status and reason of the refusal.
fn read(input: &str, limits: VarLimits) -> Result<String, String> {
    let mut vars = Vars::new();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    match Reader::new().next(input.as_bytes(), limits, &mut vars) {
        Ok(Step::NeedMore) => Ok("more".into()),
        Ok(Step::Complete {
            consumed,
            content_length,
        }) => {
            let pairs = vars.iter().map(|(name, value)| (text(name), text(value)));
            let pairs: Vec<_> = pairs
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let rest = &input[consumed..];
            Ok(format!("{} {content_length} {rest:?}", pairs.join(" ")))
        }
        Err(reject) => Err(reject.to_string()),
    }
}

#[test]
fn the_example_of_the_specification() {
    let input = "70:CONTENT_LENGTH\x0027\0SCGI\x001\0REQUEST_METHOD\0POST\0REQUEST_URI\0/deepthought\0,What is the answer to life?";
    let expected = "CONTENT_LENGTH=27 SCGI=1 REQUEST_METHOD=POST REQUEST_URI=/deepthought 27 \"What is the answer to life?\"";
    assert_eq!(read(input, VarLimits::default()).as_deref(), Ok(expected));
    for end in 0..70 {
        let read = read(&input[..end], VarLimits::default());
        assert_eq!(read.as_deref(), Ok("more"), "{end}");
    }
}

#[test]
fn web_servers_differ_in_what_comes_last_and_twice() {
    let limits = VarLimits::default();
    // lighttpd says SCGI last; values may be empty, the last as well.
    let lighttpd = netstring(&[
        ("CONTENT_LENGTH", "0"),
        ("QUERY_STRING", ""),
        ("SCGI", "1"),
        ("X", ""),
    ]);
    let expected = "CONTENT_LENGTH=0 QUERY_STRING= SCGI=1 X= 0 \"\"";
    assert_eq!(read(&lighttpd, limits).as_deref(), Ok(expected));
    // nginx before 1.23 sends each line of a field.
    let nginx = netstring(&[
        ("CONTENT_LENGTH", "0"),
        ("SCGI", "1"),
        ("HTTP_X", "1"),
        ("HTTP_X", "2"),
    ]);
    let expected = "CONTENT_LENGTH=0 SCGI=1 HTTP_X=1 HTTP_X=2 0 \"\"";
    assert_eq!(read(&nginx, limits).as_deref(), Ok(expected));
}

#[test]
fn what_is_malformed_is_refused_at_once() {
    let (length, scgi) = (("CONTENT_LENGTH", "0"), ("SCGI", "1"));
    let not_a_number = "400: the length of the variables is not a number";
    let limits = VarLimits {
        bytes: 100,
        count: 3,
    };
    for (input, expected) in [
        (":", not_a_number),
        ("GET / HTTP/1.1", not_a_number),
        (" 5:", not_a_number),
        ("5 :", not_a_number),
        ("-5:", not_a_number),
        ("05:", not_a_number),
        ("00", not_a_number),
        ("0:,", "400: there are no variables"),
        ("101:", "431: too many or too large variables"),
        ("99999999", "431: too many or too large variables"),
        ("3:abc", "400: the variables do not end with a NUL"),
        ("4:a\0bc", "400: the variables do not end with a NUL"),
        ("2:a\0", "400: the last variable has no value"),
        ("4:\0ab\0", "400: a variable has no name"),
        (&netstring(&[length]), "400: the variable SCGI is not 1"),
        (
            &netstring(&[length, ("SCGI", "2")]),
            "400: the variable SCGI is not 1",
        ),
        (
            &netstring(&[scgi, length]),
            "400: CONTENT_LENGTH is not the first variable",
        ),
        (
            &netstring(&[scgi]),
            "400: CONTENT_LENGTH is not the first variable",
        ),
        (
            &netstring(&[length, scgi, scgi]),
            "400: a variable is there more than once",
        ),
        (
            &netstring(&[length, scgi, length]),
            "400: a variable is there more than once",
        ),
        (
            &netstring(&[("CONTENT_LENGTH", ""), scgi]),
            "411: CONTENT_LENGTH is not known",
        ),
        (
            &netstring(&[("CONTENT_LENGTH", "-1"), scgi]),
            "411: CONTENT_LENGTH is not known",
        ),
        (
            &netstring(&[("CONTENT_LENGTH", "1x"), scgi]),
            "400: CONTENT_LENGTH is not a number",
        ),
        (
            &netstring(&[("CONTENT_LENGTH", "+1"), scgi]),
            "400: CONTENT_LENGTH is not a number",
        ),
        (
            &netstring(&[length, scgi]).replace(',', ";"),
            "400: there is no comma behind the variables",
        ),
        (
            &netstring(&[length, scgi, ("A", ""), ("B", "")]),
            "431: too many or too large variables",
        ),
    ] {
        assert_eq!(read(input, limits), Err(expected.into()), "{input:?}");
    }
}

#[test]
fn what_we_write_begins_with_the_length() {
    let vars: Vars = [
        ("A", "b"),
        ("SCGI", "9"),
        ("CONTENT_LENGTH", "9"),
        ("C", ""),
    ]
    .into_iter()
    .collect();
    let mut out = Vec::new();
    write(&mut out, &vars, 12).expect("valid");
    assert_eq!(out, b"32:CONTENT_LENGTH\x0012\0SCGI\x001\0A\0b\0C\0\0,");
    for pair in [("", "x"), ("A", "x\0y"), ("A\0B", "x")] {
        let vars: Vars = [pair].into_iter().collect();
        assert!(write(&mut out, &vars, 0).is_err());
    }
    assert_eq!(out.len(), 36);
}
