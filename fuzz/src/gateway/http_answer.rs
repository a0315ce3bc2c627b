//! The answers of an HTTP server, one after the other on a connection: however it is cut, the same heads,
//! content, ends and errors; content is where the head says, and nothing is read behind a doubt.

use super::control::Control;
use ferricorn_gateway::codec::HeadLimits;
use ferricorn_gateway::codec::http_answer::{AnswerHead, AnswerReader, Body, Event, Question};

/// What was said, whichever cuts there were.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Interim(u16),
    Head(u16, Body, Vec<(String, Vec<u8>)>),
    Content(Vec<u8>),
    End,
    Failed(&'static str),
    Closed(bool),
}

/// Reads the input as all that a server says.
pub fn check(data: &[u8]) {
    let Some((control, input)) = Control::split(data) else {
        return;
    };
    let limits = HeadLimits {
        size: [60, 300, 65536][usize::from(control.tune) % 3],
        fields: [2, 5, 256][usize::from(control.tune >> 2) % 3],
    };
    let question = Question {
        head: control.tune & 0x40 != 0,
        upgrade: control.tune & 0x80 != 0,
    };
    let whole = read(&[input], limits, question);
    assert_eq!(read(&control.cut(input), limits, question), whole);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(read(&bytes, limits, question), whole);
}

fn read(pieces: &[&[u8]], limits: HeadLimits, question: Question) -> Vec<Said> {
    let (mut reader, mut head) = (AnswerReader::new(), AnswerHead::default());
    let (mut said, mut buffer) = (Vec::new(), Vec::new());
    reader.begin(question);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let consumed = match reader.next(&buffer, limits, &mut head) {
                Err(error) => {
                    assert_eq!(reader.next(b"x", limits, &mut head), Err(error));
                    assert!(!reader.is_reusable(b""));
                    said.push(Said::Failed(error.0));
                    return said;
                }
                Ok(Event::NeedMore { consumed }) => {
                    buffer.drain(..consumed);
                    assert!(buffer.len() < limits.size, "more than a head is kept");
                    break;
                }
                Ok(Event::Interim { consumed }) => {
                    said.push(Said::Interim(head.status.as_u16()));
                    consumed
                }
                Ok(Event::Head { consumed }) => {
                    said.push(told(&head, question));
                    if head.body == Body::None && !again(&mut reader, question) {
                        return said;
                    }
                    consumed
                }
                Ok(Event::Data { skip, len }) => {
                    assert!(len > 0);
                    let some = &buffer[skip..skip + len];
                    match said.last_mut() {
                        Some(Said::Content(content)) => content.extend(some),
                        _ => said.push(Said::Content(some.to_vec())),
                    }
                    skip + len
                }
                Ok(Event::End { consumed }) => {
                    said.push(Said::End);
                    if !again(&mut reader, question) {
                        return said;
                    }
                    consumed
                }
            };
            buffer.drain(..consumed);
        }
    }
    said.push(Said::Closed(reader.end().is_ok()));
    said
}

/// Asks once more, where the connection may be used.
fn again(reader: &mut AnswerReader, question: Question) -> bool {
    let reusable = reader.is_reusable(b"");
    assert!(!reader.is_reusable(b"x"));
    if reusable {
        reader.begin(question);
    }
    reusable
}

fn told(head: &AnswerHead, question: Question) -> Said {
    let personal = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
    ];
    for name in personal.into_iter().chain(["transfer-encoding"]) {
        assert!(!head.fields.contains_key(name), "{name}");
    }
    let lengths: Vec<_> = head.fields.get_all("content-length").iter().collect();
    match head.body {
        Body::Length(length) => assert_eq!(lengths, [length.to_string().as_str()]),
        Body::Chunked | Body::Close => assert!(lengths.is_empty()),
        Body::Upgraded => assert!(question.upgrade && head.status == 101),
        Body::None => assert!(question.head || matches!(head.status.as_u16(), 204 | 304)),
    }
    assert!(question.upgrade || !head.status.is_informational());
    let fields = head.fields.iter();
    let fields = fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    Said::Head(head.status.as_u16(), head.body, fields.collect())
}
