//! What a program answers, as the steps of a task: bytes in, steps out. Reads the head, then passes the content
//! on. No I/O.

use std::collections::VecDeque;

use bytes::Bytes;
use ferricorn_base::Step;
use http::header;

use crate::codec::cgi_head::{HeadReader, Kind};
use crate::codec::{BadAnswer, HeadLimits};

/// An answer as far as it has come.
#[derive(Debug, Default)]
pub struct Answer {
    reader: HeadReader,
    /// The bytes of a head that is not complete.
    head: Vec<u8>,
    limits: HeadLimits,
    stage: Stage,
    /// What is to be given.
    steps: VecDeque<Step>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Head,
    Content,
    /// The answer is that to another request; what else comes is dropped.
    Elsewhere,
    Over,
}

impl Answer {
    /// A step of an answer that is understood elsewhere.
    pub fn give(&mut self, step: Step) {
        self.steps.push_back(step);
    }

    /// The next step, if there is one.
    pub fn step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// More has come.
    ///
    /// # Errors
    /// It is no answer.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), BadAnswer> {
        match self.stage {
            Stage::Head => {}
            Stage::Content => {
                if !bytes.is_empty() {
                    let content = Bytes::copy_from_slice(bytes);
                    self.steps.push_back(Step::Content(content));
                }
                return Ok(());
            }
            Stage::Elsewhere | Stage::Over => return Ok(()),
        }
        // Most heads come in one piece.
        let whole = self.head.is_empty();
        if !whole {
            self.head.extend_from_slice(bytes);
        }
        let input = if whole { bytes } else { &self.head[..] };
        let Some((end, mut answer)) = self.reader.next(input, self.limits)? else {
            if whole {
                self.head.extend_from_slice(bytes);
            }
            return Ok(());
        };
        let content = Bytes::copy_from_slice(&input[end..]);
        self.head = Vec::new();
        if let Kind::LocalRedirect(path) = answer.kind {
            self.stage = Stage::Elsewhere;
            self.steps.push_back(Step::Redirect(path));
            return Ok(());
        }
        self.stage = Stage::Content;
        answer.fields.remove(header::CONTENT_LENGTH);
        let head = Step::Head(answer.status, answer.fields, answer.length);
        self.steps.push_back(head);
        if !content.is_empty() {
            self.steps.push_back(Step::Content(content));
        }
        Ok(())
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// It is no answer.
    pub fn end(&mut self) -> Result<(), BadAnswer> {
        match self.stage {
            Stage::Head if self.head.is_empty() => Err(BadAnswer("it answers nothing")),
            Stage::Head => Err(BadAnswer("the head of its answer is not complete")),
            Stage::Content => {
                self.stage = Stage::Over;
                self.steps.push_back(Step::End);
                Ok(())
            }
            Stage::Elsewhere | Stage::Over => Ok(()),
        }
    }
}
