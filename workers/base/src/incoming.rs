//! The body of a request, complete before the handler sees it.
//!
//! In memory up to a bound, beyond it in an unlinked temporary file that the kernel frees with its
//! last descriptor, however the worker ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::Bytes;
use http::HeaderMap;

/// A request body: [`Read`], [`BufRead`], or taken whole by [`Incoming::to_bytes`].
#[derive(Debug, Default)]
pub struct Incoming {
    memory: Vec<u8>,
    at: usize,
    file: Option<BufReader<File>>,
    len: u64,
    trailers: Option<Box<HeaderMap>>,
}

impl Incoming {
    /// The length of the whole body in bytes, after decoding.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no content.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The whole body, if it is in memory, whatever was read of it already.
    #[must_use]
    pub fn as_slice(&self) -> Option<&[u8]> {
        self.file.is_none().then_some(&self.memory)
    }

    /// The file that holds the whole body, if it outgrew memory. It has no name.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        self.file.as_ref().map(BufReader::get_ref)
    }

    /// The whole body as one piece of memory, whatever was read of it already.
    ///
    /// # Errors
    /// What reading the temporary file answers.
    pub fn to_bytes(&mut self) -> io::Result<Bytes> {
        match &mut self.file {
            None => Ok(Bytes::copy_from_slice(&self.memory)),
            Some(file) => {
                let mut all = Vec::with_capacity(usize::try_from(self.len).unwrap_or(0));
                file.rewind()?;
                file.read_to_end(&mut all)?;
                Ok(all.into())
            }
        }
    }

    /// The trailer fields that came behind a chunked body (RFC 9110 section 6.5).
    #[must_use]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }

    /// Whether a body could go to a file in `directory`: makes one that nobody sees.
    ///
    /// # Errors
    /// What making it answers.
    pub fn try_directory(directory: &Path) -> io::Result<()> {
        tempfile::tempfile_in(directory).map(drop)
    }

    /// Appends content as it arrives; beyond `buffer` bytes it goes to a file in `directory`.
    ///
    /// # Errors
    /// What making or writing the file answers.
    pub fn push(&mut self, content: &[u8], buffer: usize, directory: &Path) -> io::Result<()> {
        if self.file.is_none() && self.memory.len() + content.len() > buffer {
            let mut file = tempfile::tempfile_in(directory)?;
            file.write_all(&self.memory)?;
            self.memory = Vec::new();
            self.file = Some(BufReader::new(file));
        }
        match &mut self.file {
            Some(file) => file.get_mut().write_all(content)?,
            None => self.memory.extend_from_slice(content),
        }
        self.len += content.len() as u64;
        Ok(())
    }

    /// The body is complete: reading starts at its first byte.
    ///
    /// # Errors
    /// What lseek(2) answers.
    pub fn complete(&mut self, trailers: Option<&HeaderMap>) -> io::Result<()> {
        self.trailers = trailers
            .filter(|trailers| !trailers.is_empty())
            .cloned()
            .map(Box::new);
        self.at = 0;
        match &mut self.file {
            Some(file) => file.seek(SeekFrom::Start(0)).map(drop),
            None => Ok(()),
        }
    }

    /// Empties the body for the next request; small memory is kept for it.
    #[inline]
    pub fn clear(&mut self) {
        if self.len != 0 || self.trailers.is_some() {
            self.drop_content();
        }
        self.at = 0;
    }

    fn drop_content(&mut self) {
        const KEEP: usize = 16 * 1024;
        if self.memory.capacity() > KEEP {
            self.memory = Vec::new();
        }
        self.memory.clear();
        self.file = None;
        self.len = 0;
        self.trailers = None;
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.read(buffer),
            None => {
                let n = (&self.memory[self.at..]).read(buffer)?;
                self.at += n;
                Ok(n)
            }
        }
    }
}

impl BufRead for Incoming {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match &mut self.file {
            Some(file) => file.fill_buf(),
            None => Ok(&self.memory[self.at..]),
        }
    }

    fn consume(&mut self, n: usize) {
        match &mut self.file {
            Some(file) => file.consume(n),
            None => self.at = (self.at + n).min(self.memory.len()),
        }
    }
}

impl From<Vec<u8>> for Incoming {
    fn from(memory: Vec<u8>) -> Self {
        Incoming {
            len: memory.len() as u64,
            memory,
            ..Incoming::default()
        }
    }
}

impl From<&str> for Incoming {
    fn from(text: &str) -> Self {
        text.as_bytes().to_vec().into()
    }
}

impl From<&[u8]> for Incoming {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<Bytes> for Incoming {
    fn from(bytes: Bytes) -> Self {
        Vec::from(bytes).into()
    }
}

impl From<String> for Incoming {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<()> for Incoming {
    fn from((): ()) -> Self {
        Incoming::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_stays_in_memory_up_to_the_bound_and_goes_to_a_file_beyond_it() {
        let directory = std::env::temp_dir();
        let mut body = Incoming::default();
        body.push(b"hello", 8, &directory).unwrap();
        assert_eq!(body.as_slice(), Some(&b"hello"[..]));
        body.push(b" world", 8, &directory).unwrap();
        assert!(body.as_slice().is_none() && body.file().is_some());
        body.complete(None).unwrap();
        let mut text = String::new();
        body.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), body.len()), ("hello world", 11));
        assert_eq!(&body.to_bytes().unwrap()[..], b"hello world");
        body.clear();
        assert!(body.is_empty() && body.as_slice() == Some(&[]));
    }

    #[test]
    fn lines_can_be_read() {
        let body = Incoming::from("one\ntwo\n");
        let lines: Vec<String> = body.lines().map(Result::unwrap).collect();
        assert_eq!(lines, ["one", "two"]);
    }
}
