//! Bytes between a socket and its parser.
//!
//! A worker has one large buffer that every connection reads into; only what a connection leaves
//! unparsed moves into a buffer of its own.

use std::io;
use std::ops::Range;

use ferricorn_base::transport::Transport;

/// Bytes read and not yet consumed.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    data: Vec<u8>,
    start: usize,
    end: usize,
    /// What it grows to at once when a read has filled it.
    most: usize,
}

/// Bytes that the first read of a shared buffer brings at most: a worker whose clients ask for little needs
/// no more memory.
const FIRST: usize = 8 * 1024;

/// What one read brought.
#[derive(Debug)]
pub(crate) enum Filled {
    /// That many bytes; `true` when it surely was all there is now.
    Bytes(usize, bool),
    /// Nothing now.
    Nothing,
    /// The client will send no more.
    End,
}

impl Buffer {
    /// A buffer that reads up to `most` bytes at a time, once somebody sends so much.
    pub(crate) fn shared(most: usize) -> Buffer {
        Buffer {
            most,
            ..Buffer::sized(FIRST.min(most))
        }
    }

    fn sized(size: usize) -> Buffer {
        Buffer {
            data: vec![0; size],
            ..Buffer::default()
        }
    }

    /// A buffer of its own for what a connection left unparsed.
    pub(crate) fn holding(bytes: &[u8]) -> Buffer {
        let mut buffer = Buffer::sized((bytes.len() * 2).next_power_of_two().max(1024));
        buffer.data[..bytes.len()].copy_from_slice(bytes);
        buffer.end = bytes.len();
        buffer
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Some of [`Buffer::bytes`].
    #[inline]
    pub(crate) fn range(&self, range: Range<usize>) -> &[u8] {
        &self.bytes()[range]
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    #[inline]
    pub(crate) fn consume(&mut self, n: usize) {
        self.start = (self.start + n).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Somebody sends much at a time.
    #[cold]
    fn widen(&mut self) {
        if self.data.len() < self.most {
            self.data.resize(self.most, 0);
        }
    }

    /// Reads once. The buffer doubles when it is full of unparsed bytes; the parser's limits bound it.
    pub(crate) fn fill(&mut self, wire: &mut dyn Transport) -> io::Result<Filled> {
        if self.end == self.data.len() {
            if self.start > 0 {
                self.data.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else {
                let size = (self.data.len() * 2).max(1024);
                self.data.resize(size, 0);
            }
        }
        let room = &mut self.data[self.end..];
        let size = room.len();
        loop {
            match wire.read(room) {
                Ok(0) => return Ok(Filled::End),
                Ok(n) => {
                    self.end += n;
                    if n == size {
                        self.widen();
                    }
                    return Ok(Filled::Bytes(n, n < size));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Filled::Nothing);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use ferricorn_base::transport::Socket;

    use super::*;

    /// Bytes that were moved in memory while so many came one at a time, of which `consume` took some.
    fn moved(bytes: usize, consume: impl Fn(usize) -> usize) -> usize {
        let (mut sender, receiver) = UnixStream::pair().unwrap();
        let mut wire = Socket::unix(receiver.into());
        let (mut buffer, mut moved) = (Buffer::default(), 0);
        for n in 0..bytes {
            sender.write_all(b"x").unwrap();
            let (start, size, held) = (buffer.start, buffer.data.len(), buffer.bytes().len());
            let filled = buffer.fill(&mut wire).unwrap();
            assert!(matches!(filled, Filled::Bytes(1, _)));
            if buffer.data.len() != size || buffer.start != start {
                moved += held;
            }
            buffer.consume(consume(n));
        }
        moved
    }

    #[test]
    fn a_shared_buffer_grows_for_who_sends_much_and_another_only_for_what_it_holds() {
        let (mut sender, receiver) = UnixStream::pair().unwrap();
        let mut wire = Socket::unix(receiver.into());
        let reads = |buffer: &mut Buffer, wire: &mut Socket| -> Vec<usize> {
            let mut brought = vec![];
            while brought.iter().sum::<usize>() < 48 * 1024 {
                let Filled::Bytes(n, _) = buffer.fill(wire).unwrap() else {
                    panic!("there is more");
                };
                brought.push(n);
                buffer.clear();
            }
            brought
        };
        let mut shared = Buffer::shared(64 * 1024);
        sender.write_all(&[b'x'; 48 * 1024]).unwrap();
        assert_eq!(reads(&mut shared, &mut wire), [FIRST, 48 * 1024 - FIRST]);
        let mut own = Buffer::holding(b"GET ");
        own.clear();
        sender.write_all(&[b'x'; 48 * 1024]).unwrap();
        assert_eq!(reads(&mut own, &mut wire), [1024; 48]);
    }

    #[test]
    fn bytes_that_come_one_at_a_time_are_moved_a_constant_number_of_times() {
        const BYTES: usize = 64 * 1024;
        // A head, of which nothing is consumed before its end; lines; content.
        for (name, consume) in [
            ("a head", (|_| 0) as fn(usize) -> usize),
            ("lines", |n| if n % 100 == 99 { 100 } else { 0 }),
            ("content", |_| 1),
        ] {
            let moved = moved(BYTES, consume);
            assert!(moved <= 2 * BYTES, "{name}: {moved}");
        }
    }
}
