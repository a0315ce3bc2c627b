//! What a back end says to the log, line by line, with the request that it is about.

use ferricorn_base::{Request, logs};

use crate::upstream::Target;

/// Lines that a back end may have logged for one request, and how long each is.
const LINES: usize = 100;
const LINE: usize = 2048;

/// What a back end says to the log, line by line.
#[derive(Debug, Default)]
pub(crate) struct Stderr {
    line: Vec<u8>,
    lines: usize,
}

impl Stderr {
    pub(crate) fn push(&mut self, said: &[u8], target: &Target, request: &Request) {
        for &byte in said {
            if byte == b'\n' {
                self.end(target, request);
            } else if self.line.len() < LINE {
                self.line.push(byte);
            }
        }
    }

    pub(crate) fn end(&mut self, target: &Target, request: &Request) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() || self.lines > LINES {
            return;
        }
        self.lines += 1;
        let head = request.head();
        let (method, path) = (head.method(), head.path());
        logs::enter(request.request_id());
        if self.lines > LINES {
            log::warn!("{target} says more of {method} {path} than is logged");
        } else {
            let text = String::from_utf8_lossy(&line);
            log::warn!("{target} says of {method} {path}: {}", text.trim_end());
        }
        logs::leave();
    }
}
