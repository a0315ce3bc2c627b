//! What a program says on its standard error: lines for the log, not too many and not too long. No I/O.

/// Bytes of a line that are logged; the rest of it is not.
const LINE: usize = 1000;
/// Lines that one request may log, and how many more for each second that it lasts.
const LINES: u64 = 100;
/// Bytes that are kept of the end.
const TAIL: usize = 1000;

/// Lines in the making.
#[derive(Debug, Default)]
pub(super) struct Errors {
    line: Vec<u8>,
    /// What was said last, for who asks why.
    tail: Vec<u8>,
    /// Lines that were logged, and that were not.
    logged: u64,
    left_out: u64,
}

impl Errors {
    /// More was said, so many seconds after it began: hands over the lines that are complete.
    pub(super) fn push(&mut self, bytes: &[u8], seconds: u64, mut log: impl FnMut(&str)) {
        let last = &bytes[bytes.len().saturating_sub(TAIL)..];
        self.tail.extend_from_slice(last);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
        let mut lines = bytes.split(|&byte| byte == b'\n');
        // What is behind the last line end is of a line that is not complete.
        let rest = lines.next_back().unwrap_or_default();
        for piece in lines {
            self.append(piece);
            self.close(seconds, &mut log);
        }
        self.append(rest);
    }

    /// Nothing follows.
    pub(super) fn end(&mut self, mut log: impl FnMut(&str)) {
        if !self.line.is_empty() {
            self.close(u64::MAX / LINES - 1, &mut log);
        }
        if self.left_out > 0 {
            log(&format!("({} lines are left out)", self.left_out));
            self.left_out = 0;
        }
    }

    /// What was said last.
    pub(super) fn tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).trim().to_owned()
    }

    fn append(&mut self, piece: &[u8]) {
        let room = LINE - self.line.len().min(LINE);
        self.line.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn close(&mut self, seconds: u64, log: &mut impl FnMut(&str)) {
        if self.logged < (seconds + 1) * LINES {
            self.logged += 1;
            log(String::from_utf8_lossy(&self.line).trim_end());
        } else {
            self.left_out += 1;
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_counted() {
        let mut errors = Errors::default();
        let mut said: Vec<String> = vec![];
        errors.push(b"one\r\ntw", 0, |line| said.push(line.to_owned()));
        errors.push(b"o\n\nthree", 0, |line| said.push(line.to_owned()));
        assert_eq!(said, ["one", "two", ""]);
        assert_eq!(errors.tail(), "one\r\ntwo\n\nthree");
        errors.push(&[b'x'; 3000], 0, |_| unreachable!());
        assert_eq!(errors.tail(), "x".repeat(TAIL));
        errors.push(&b"\nspam".repeat(1000), 0, |line| {
            said.push(line.to_owned())
        });
        assert_eq!(said.len() as u64, LINES);
        assert_eq!(said[3].len(), LINE);
        // A second later there may be more.
        errors.push(b"\nlater\n", 1, |line| said.push(line.to_owned()));
        errors.push(b"last", 1, |line| said.push(line.to_owned()));
        errors.end(|line| said.push(line.to_owned()));
        assert_eq!(
            said[LINES as usize..],
            ["spam", "later", "last", "(903 lines are left out)"]
        );
    }
}
