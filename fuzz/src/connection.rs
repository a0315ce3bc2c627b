//! A whole connection: the same bytes give the same events however they are cut, and a second reader
//! sees the same messages in them.

use super::{
    control::Control,
    reference::{self, ByName, Facts, Stop, Verdict},
};
use ferricorn_http::{BodyLength, Event, Head, Limits, Reader, Reject, TargetForm, Version};

/// All that a head tells.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    line: String,
    method: String,
    target: String,
    form: TargetForm,
    version: Version,
    path: String,
    query: Option<String>,
    https: bool,
    facts: Facts,
}

impl Told {
    fn by(head: &Head) -> Self {
        Self {
            line: head.request_line().into(),
            method: head.method().into(),
            target: head.target().into(),
            form: head.form(),
            version: head.version(),
            path: head.path().into(),
            query: head.query().map(Into::into),
            https: head.is_https_target(),
            facts: Facts::of(head),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Message {
    head: Told,
    content: Vec<u8>,
    trailers: ByName,
    complete: bool,
}

/// All that a connection brought.
#[derive(Debug, PartialEq, Eq)]
struct Story {
    messages: Vec<Message>,
    reject: Option<Reject>,
    idle: bool,
    /// Bytes to keep until there are more; 0 behind a reject.
    left: usize,
}

/// Reads the input as a connection: whole, byte by byte, and in pieces.
pub fn check(data: &[u8]) {
    let Some((control, input)) = Control::split(data) else {
        return;
    };
    let limits = &control.limits;
    let whole = read([input], limits);
    assert_eq!(read(control.cut(input), limits), whole, "in pieces");
    assert_eq!(read(input.chunks(1), limits), whole, "byte by byte");
    agrees(input, limits, &whole);
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Story {
    let mut reader = Reader::new();
    let mut head = Head::new();
    let mut pending: Vec<u8> = Vec::new();
    let mut messages: Vec<Message> = Vec::new();
    for piece in pieces {
        pending.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let input = &pending[at..];
            match reader.next(input, limits, &mut head) {
                Ok(Event::NeedMore { consumed }) => {
                    at += consumed;
                    let rest = &pending[at..];
                    assert!(rest.len() < limits.head, "a buffer of a head is too small");
                    let again = reader.next(rest, limits, &mut head);
                    assert_eq!(again, Ok(Event::NeedMore { consumed: 0 }), "asked again");
                    break;
                }
                Ok(Event::Head { consumed }) => {
                    assert!(consumed > 0);
                    at += consumed;
                    assert_eq!(reader.trailers(), None);
                    messages.push(Message {
                        head: Told::by(&head),
                        content: Vec::new(),
                        trailers: ByName::new(),
                        complete: head.body() == BodyLength::None,
                    });
                }
                Ok(Event::Data { skip, len }) => {
                    assert!(len > 0, "data without bytes");
                    let message = messages.last_mut().expect("data follows a head");
                    message.content.extend_from_slice(&input[skip..skip + len]);
                    at += skip + len;
                    let received = message.content.len() as u64;
                    match message.head.facts.body {
                        BodyLength::Length(length) => assert!(received <= length),
                        BodyLength::Chunked => {}
                        BodyLength::None => panic!("content of a message that has none"),
                    }
                }
                Ok(Event::End { consumed }) => {
                    assert!(consumed <= input.len());
                    at += consumed;
                    let message = messages.last_mut().expect("an end follows a head");
                    assert!(!message.complete, "a message ends once");
                    message.complete = true;
                    for (name, value) in reader.trailers().into_iter().flatten() {
                        let values = message.trailers.entry(name.to_string()).or_default();
                        values.push(value.as_bytes().to_vec());
                    }
                }
                Err(reject) => {
                    assert!(reject.status.is_client_error() || reject.status.is_server_error());
                    let again = reader.next(b"GET / HTTP/1.1\r\n", limits, &mut head);
                    assert_eq!(again, Err(reject), "a reject stays");
                    return Story {
                        messages,
                        reject: Some(reject),
                        idle: false,
                        left: 0,
                    };
                }
            }
        }
        pending.drain(..at);
    }
    Story {
        messages,
        reject: None,
        idle: reader.is_idle(&pending),
        left: pending.len(),
    }
}

/// Reads the messages again, with the reader that is written down whole.
fn agrees(input: &[u8], limits: &Limits, story: &Story) {
    let mut at = 0;
    for (index, message) in story.messages.iter().enumerate() {
        let Verdict::Accepted(facts, length) = reference::head(&input[at..], limits) else {
            panic!("message {index} has a head that is not to be accepted");
        };
        assert_eq!(message.head.facts, facts);
        at += length;
        let last = index + 1 == story.messages.len();
        let stop = match facts.body {
            BodyLength::None => None,
            BodyLength::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let content = &input[at..input.len().min(at.saturating_add(length))];
                assert_eq!(message.content, content);
                at += content.len();
                (content.len() < length).then_some(Stop::Incomplete)
            }
            BodyLength::Chunked => {
                let body = reference::chunked(&input[at..], limits);
                assert_eq!(message.content, body.content);
                match body.end {
                    Ok((_, length)) => {
                        at += length;
                        None
                    }
                    Err(stop) => Some(stop),
                }
            }
        };
        match stop {
            None => assert!(message.complete, "message {index} goes on behind its end"),
            Some(stop) => {
                assert!(last && !message.complete, "message {index} ends too early");
                let status = story.reject.map(|reject| reject.status.as_u16());
                assert_eq!(matches!(stop, Stop::Refused(_)), status.is_some());
                return;
            }
        }
        if !facts.keep_alive {
            assert!(last, "a message behind the last one");
            assert_eq!((story.reject, story.left), (None, 0));
            return;
        }
    }
    match reference::head(&input[at..], limits) {
        Verdict::Accepted(..) => panic!("a good message was not read: {story:?}"),
        Verdict::Refused => assert!(story.reject.is_some(), "a bad message is waited for"),
        Verdict::Incomplete => {}
    }
}
