//! What a back end has said, made into steps. No I/O.

use bytes::Bytes;
use ferricorn_base::{Error, Request, Step};
use http::{StatusCode, header};

use super::{Asking, Dialect};
use crate::codec::http_answer::{AnswerHead, Body, Event};
use crate::codec::{HeadLimits, fastcgi};

impl Asking {
    /// Makes steps of what was read.
    pub(super) fn understand(&mut self, request: &Request, ended: bool) -> Result<(), Error> {
        if self.back_end.dialect == Dialect::Http {
            return self.understand_http(ended);
        }
        if self.back_end.dialect != Dialect::FastCgi {
            self.answer.push(&self.input)?;
            self.input.clear();
            if ended && !self.over {
                self.over = true;
                self.answer.end()?;
            }
            return Ok(());
        }
        let mut at = 0;
        loop {
            let input = &self.input[at..];
            match self.records.next(input)? {
                fastcgi::client::Event::NeedMore { consumed } => {
                    at += consumed;
                    break;
                }
                fastcgi::client::Event::Stdout { skip, len } => {
                    self.answer.push(&input[skip..skip + len])?;
                    at += skip + len;
                }
                fastcgi::client::Event::Stderr { skip, len } => {
                    let said = &input[skip..skip + len];
                    self.stderr.push(said, &self.back_end.target, request);
                    at += skip + len;
                }
                fastcgi::client::Event::End {
                    consumed, status, ..
                } => {
                    at += consumed;
                    self.over = true;
                    self.stderr.end(&self.back_end.target, request);
                    if status != fastcgi::ProtocolStatus::Complete {
                        return Err(Error::msg(format!("it refuses the request: {status:?}")));
                    }
                    self.answer.end()?;
                    break;
                }
                fastcgi::client::Event::Values { consumed, .. } => at += consumed,
            }
        }
        self.input.drain(..at);
        if ended && !self.over {
            self.stderr.end(&self.back_end.target, request);
            return Err(Error::msg(
                "it closed the connection before its answer was complete",
            ));
        }
        Ok(())
    }

    /// Makes steps of what an HTTP server said.
    fn understand_http(&mut self, ended: bool) -> Result<(), Error> {
        let (mut at, mut head) = (0, AnswerHead::default());
        while !self.over {
            let input = &self.input[at..];
            match self.http.next(input, HeadLimits::default(), &mut head)? {
                Event::NeedMore { consumed } => {
                    at += consumed;
                    break;
                }
                Event::Interim { consumed } => {
                    at += consumed;
                    // The body is sent without being asked for.
                    if head.status != StatusCode::CONTINUE {
                        let fields = std::mem::take(&mut head.fields);
                        self.answer.give(Step::Inform(head.status, fields));
                    }
                }
                Event::Head { consumed } => {
                    at += consumed;
                    let mut fields = std::mem::take(&mut head.fields);
                    let said = fields.remove(header::CONTENT_LENGTH);
                    let length = match head.body {
                        Body::Length(length) => Some(length),
                        // To HEAD, the length that the content would have.
                        Body::None => Some(
                            said.and_then(|said| said.to_str().ok()?.parse().ok())
                                .unwrap_or(0),
                        ),
                        _ => None,
                    };
                    self.answer.give(Step::Head(head.status, fields, length));
                    if head.body == Body::None {
                        self.over = true;
                        self.answer.give(Step::End);
                    }
                }
                Event::Data { skip, len } => {
                    let content = Bytes::copy_from_slice(&input[skip..skip + len]);
                    self.answer.give(Step::Content(content));
                    at += skip + len;
                }
                Event::End { consumed } => {
                    at += consumed;
                    self.over = true;
                    self.answer.give(Step::End);
                }
            }
        }
        self.input.drain(..at);
        if ended && !self.over {
            self.http.end()?;
            self.over = true;
            self.answer.give(Step::End);
        }
        Ok(())
    }
}
