//! Several ranges of a file as one body: `multipart/byteranges` (RFC 9110 section 14.6).

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;

use ferricorn_base::{Body, sys};

use crate::variant::Content;

/// Bodies up to so many bytes are put together in memory; larger ones are read while they are sent, on a
/// thread that may wait for the client.
const SMALL: u64 = 64 * 1024;

/// The value of Content-Range.
pub(crate) fn content_range(range: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", range.start, range.end - 1)
}

/// The boundary and the body with these ranges of `len` bytes of the type `kind`.
///
/// # Errors
/// What reading the file answers.
pub(crate) fn body(
    content: &Content,
    ranges: &[Range<u64>],
    len: u64,
    kind: &[u8],
) -> io::Result<(String, Body)> {
    // Nobody who writes files can know it beforehand.
    let boundary = format!("{:032x}", u128::from_ne_bytes(sys::random()));
    let mut pieces = VecDeque::with_capacity(2 * ranges.len() + 1);
    let mut total = 0;
    let mut before = "";
    for range in ranges {
        let mut head = format!("{before}--{boundary}\r\nContent-Type: ").into_bytes();
        head.extend_from_slice(kind);
        let content_range = content_range(range, len);
        head.extend_from_slice(format!("\r\nContent-Range: {content_range}\r\n\r\n").as_bytes());
        total += head.len() as u64 + range.end - range.start;
        pieces.push_back(Piece::Text(head));
        pieces.push_back(Piece::Content(range.clone()));
        before = "\r\n";
    }
    let end = format!("\r\n--{boundary}--\r\n");
    total += end.len() as u64;
    pieces.push_back(Piece::Text(end.into_bytes()));
    let mut parts = Parts {
        content: content.clone(),
        pieces,
        ready: Vec::new(),
        at: 0,
    };
    let body = if total <= SMALL {
        let mut all = Vec::with_capacity(total as usize);
        parts.read_to_end(&mut all)?;
        Body::from(all)
    } else {
        Body::reader(parts, Some(total))
    };
    Ok((boundary, body))
}

enum Piece {
    Text(Vec<u8>),
    Content(Range<u64>),
}

/// Reads the pieces one after the other.
struct Parts {
    content: Content,
    pieces: VecDeque<Piece>,
    ready: Vec<u8>,
    at: usize,
}

impl Parts {
    fn fill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.at = 0;
        match self.pieces.pop_front() {
            None => {}
            Some(Piece::Text(text)) => self.ready = text,
            Some(Piece::Content(range)) => {
                let now = (range.end - range.start).min(SMALL);
                self.content
                    .read(range.start, now as usize, &mut self.ready)?;
                let rest = range.start + now..range.end;
                if !rest.is_empty() {
                    self.pieces.push_front(Piece::Content(rest));
                }
            }
        }
        Ok(())
    }
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() {
            self.fill()?;
        }
        let n = (&self.ready[self.at..]).read(buffer)?;
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What the parts of a body say and hold.
    fn parts(boundary: &str, body: &[u8]) -> Vec<(String, Vec<u8>)> {
        let text: String = body.iter().map(|byte| char::from(*byte)).collect();
        let text = text.strip_prefix(&format!("--{boundary}\r\n")).unwrap();
        let text = text
            .strip_suffix(&format!("\r\n--{boundary}--\r\n"))
            .unwrap();
        let between = format!("\r\n--{boundary}\r\n");
        let parts = text.split(&between).map(|part| {
            let (head, content) = part.split_once("\r\n\r\n").unwrap();
            let content = content.chars().map(|c| c as u8).collect();
            (head.to_owned(), content)
        });
        parts.collect()
    }

    #[test]
    fn each_part_says_where_it_is_from() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &bytes).unwrap();
        let (file, memory) = (
            Content::File(Arc::new(file)),
            Content::Memory(bytes.clone().into()),
        );
        for ranges in [vec![0..10, 500..501], vec![150_000..200_000, 0..100_000]] {
            for content in [&file, &memory] {
                let len = bytes.len() as u64;
                let (boundary, body) = body(content, &ranges, len, b"text/plain").unwrap();
                let promised = body.len();
                let body = body.collect().unwrap();
                assert_eq!(promised, Some(body.len() as u64));
                let parts = parts(&boundary, &body);
                assert_eq!(parts.len(), ranges.len());
                for ((head, content), range) in parts.iter().zip(&ranges) {
                    let expected = format!(
                        "Content-Type: text/plain\r\nContent-Range: bytes {}-{}/200000",
                        range.start,
                        range.end - 1
                    );
                    assert_eq!(*head, expected);
                    assert!(content[..] == bytes[range.start as usize..range.end as usize]);
                }
            }
        }
    }
}
