//! Drives a reader as an event loop would, without a socket: pieces of input in, messages out.

#![allow(dead_code)] // each test file uses its part

use ferricorn_http::{BodyLength, Event, Head, Limits, Reader, Reject, Version};

/// One message as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub line: String,
    pub version: Version,
    pub authority: Option<String>,
    pub path: String,
    pub fields: Vec<(String, Vec<u8>)>,
    pub keep_alive: bool,
    pub expects_continue: bool,
    pub content: Vec<u8>,
    pub trailers: Vec<(String, Vec<u8>)>,
    pub complete: bool,
}

/// All that a connection brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub messages: Vec<Message>,
    pub reject: Option<Reject>,
    /// Nothing of a next message is there.
    pub idle: bool,
    /// Bytes never consumed.
    pub left: usize,
}

impl Outcome {
    /// How many messages are complete.
    pub fn complete(&self) -> usize {
        self.messages
            .iter()
            .filter(|message| message.complete)
            .count()
    }

    /// The status of the reject.
    pub fn status(&self) -> Option<u16> {
        self.reject.map(|reject| reject.status.as_u16())
    }
}

/// Feeds these pieces, one after the other, to a new reader.
pub fn drive<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Outcome {
    let mut reader = Reader::new();
    let mut head = Head::new();
    let mut outcome = Outcome {
        messages: Vec::new(),
        reject: None,
        idle: true,
        left: 0,
    };
    let mut pending: Vec<u8> = Vec::new();
    for piece in pieces {
        pending.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let input = &pending[at..];
            match reader.next(input, limits, &mut head) {
                Ok(Event::NeedMore { consumed }) => {
                    at += consumed;
                    break;
                }
                Ok(Event::Head { consumed }) => {
                    at += consumed;
                    let head: &Head = &head;
                    outcome.messages.push(Message {
                        line: head.request_line().into(),
                        version: head.version(),
                        authority: head.authority().map(Into::into),
                        path: head.path().into(),
                        fields: head
                            .fields()
                            .map(|(name, value)| (name.into(), value.into()))
                            .collect(),
                        keep_alive: head.keep_alive(),
                        expects_continue: head.expects_continue(),
                        content: Vec::new(),
                        trailers: Vec::new(),
                        complete: head.body() == BodyLength::None,
                    });
                }
                Ok(Event::Data { skip, len }) => {
                    assert!(len > 0, "data without bytes");
                    let message = outcome.messages.last_mut().expect("data follows a head");
                    message.content.extend_from_slice(&input[skip..skip + len]);
                    at += skip + len;
                }
                Ok(Event::End { consumed }) => {
                    at += consumed;
                    let message = outcome.messages.last_mut().expect("an end follows a head");
                    assert!(!message.complete, "a message ends once");
                    message.complete = true;
                    let trailers = reader.trailers().into_iter().flatten();
                    message.trailers = trailers
                        .map(|(name, value)| (name.to_string(), value.as_bytes().into()))
                        .collect();
                }
                Err(reject) => {
                    assert_eq!(
                        reader.next(b"GET / HTTP/1.1\r\n", limits, &mut head),
                        Err(reject),
                        "a reject stays"
                    );
                    outcome.reject = Some(reject);
                    outcome.idle = false;
                    return outcome;
                }
            }
        }
        pending.drain(..at);
    }
    outcome.idle = reader.is_idle(&pending);
    outcome.left = pending.len();
    outcome
}

/// Drives the input whole, then cut in two at every position (at most `most` of them, evenly
/// spread), then one byte at a time, and returns what all of these agree on.
pub fn drive_every_way(input: &[u8], limits: &Limits, most: usize) -> Outcome {
    let whole = drive([input], limits);
    let step = input.len().div_ceil(most).max(1);
    for cut in (1..input.len()).step_by(step) {
        let (front, back) = input.split_at(cut);
        assert_eq!(
            drive([front, back], limits),
            whole,
            "cut at {cut} of {}",
            input.len()
        );
    }
    assert_eq!(drive(input.chunks(1), limits), whole, "byte by byte");
    assert_eq!(drive(input.chunks(7), limits), whole, "seven by seven");
    whole
}
