//! Lines `NAME=VALUE` as the variables of a request, and a request as variables: what is accepted is a
//! request that HTTP could have brought, and becomes the same again by way of variables.

use super::control::Control;
use ferricorn_base::Request;
use ferricorn_gateway::codec::vars::{Asked, Content, Given, Vars, decode_path};
use ferricorn_http::{BodyLength, Head, Limits};

/// Reads the input as variables, a line each.
pub fn check(data: &[u8]) {
    let Some((control, input)) = Control::split(data) else {
        return;
    };
    let mut vars = Vars::new();
    for line in input.split(|&byte| byte == b'\n') {
        let at = line.iter().position(|&byte| byte == b'=');
        let (name, value) = line.split_at(at.unwrap_or(line.len()));
        vars.push(name, value.get(1..).unwrap_or_default());
    }
    let Ok(asked) = Asked::of(&vars) else {
        return;
    };
    let content = match asked.content_length {
        Some(length) => Content::Length(length),
        None if control.tune & 1 == 1 => Content::Streamed,
        None => Content::None,
    };
    let (mut head, mut text) = (Head::new(), Vec::new());
    if asked
        .fill(content, &control.limits, &mut head, &mut text)
        .is_err()
    {
        return;
    }
    assert_eq!(Some(head.method().as_bytes()), vars.get("REQUEST_METHOD"));
    let expected = match content {
        Content::None => BodyLength::None,
        Content::Length(length) => BodyLength::Length(length),
        Content::Streamed => BodyLength::Chunked,
    };
    assert_eq!(head.body(), expected);
    for (name, value) in head.fields() {
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        assert!(!name.contains('_') && !name.eq_ignore_ascii_case("proxy"));
    }
    let script_name = asked.script_name(&head);
    let path = decode_path(head.path()).unwrap_or_default();
    assert!(path.is_empty() || path.starts_with(script_name));
    there_and_back(&head);
}

/// By HTTP, as variables, and by variables.
fn there_and_back(head: &Head) {
    let request = Request::build(head.method(), head.target(), head.fields());
    let Ok(request) = request else { return };
    let Ok(path) = decode_path(head.path()) else {
        return;
    };
    let mut vars = Vars::new();
    let length = match head.body() {
        BodyLength::Length(length) => Some(length),
        _ => None,
    };
    let given = Given {
        path_info: &path,
        content_length: length,
        authorization: true,
        ..Given::default()
    };
    vars.fill(&request, &given);
    let names: Vec<&[u8]> = vars.iter().map(|(name, _)| name).collect();
    for (index, name) in names.iter().enumerate() {
        assert!(!names[..index].contains(name), "twice");
        assert_ne!(*name, b"HTTP_PROXY");
    }
    let asked = Asked::of(&vars).expect("made by us");
    assert_eq!(asked.content_length, length);
    let (mut again, mut text) = (Head::new(), Vec::new());
    let limits = Limits {
        request_line: 0,
        fields: 0,
        field_size: 0,
        body: 0,
        head: 1 << 20,
        ..Limits::default()
    };
    let filled = asked.fill(Content::None, &limits, &mut again, &mut text);
    filled.expect("what was a request is one");
    assert_eq!(again.method(), head.method());
    assert_eq!((again.path(), again.query()), (head.path(), head.query()));
    assert_eq!(again.authority(), head.authority().or(Some("localhost")));
}
