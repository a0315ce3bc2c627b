//! A connection that speaks another protocol now.
//!
//! It is used on a stream thread, so it may block. It knows nothing of the protocol; when the worker
//! retires, it wakes whoever reads.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::closing::Closing;
use crate::transport::{AnyTransport, Ready, Transport, wait, wait_or};

/// A connection that speaks another protocol now: what [`crate::Body::upgrade`] gives.
///
/// Reads and writes block. A write waits for `write-timeout` at most, a read without a deadline
/// unless [`Upgraded::set_read_timeout`] sets one: how long silence is well is the protocol's to say.
/// A peer that is gone without a word is noticed by the system, over TCP
/// ([`Transport::watch_peer`]); behind a proxy that peer is the proxy.
///
/// **When the worker retires** (a reload, a stop), the next read fails with
/// [`WouldBlock`](io::ErrorKind::WouldBlock), at once and also if it waits already; that happens
/// once, and no byte is lost. It is the time to say goodbye as the protocol has it, and to read on
/// for the answer with a deadline. Code that knows nothing of this ends with the error, and so the
/// worker does not wait for it until `graceful-timeout`.
///
/// Dropping it closes the connection, in order: what was written arrives even if the peer still
/// sends (`linger-timeout`).
pub struct Upgraded {
    /// Gone only while it is dropped.
    wire: Option<AnyTransport>,
    early: Vec<u8>,
    at: usize,
    read_limit: Option<Duration>,
    write_limit: Option<Duration>,
    closing: Arc<Closing>,
    told: bool,
    back: Weak<Returned>,
}

/// Where a connection lies when its code is done with it.
#[doc(hidden)]
pub type Returned = Mutex<Option<AnyTransport>>;

impl Upgraded {
    /// Over `wire`, behind the bytes of it that were read already. Given up, it goes to `back`.
    #[doc(hidden)]
    pub fn new(
        wire: AnyTransport,
        early: Vec<u8>,
        write_limit: Duration,
        closing: Arc<Closing>,
        back: Weak<Returned>,
    ) -> Upgraded {
        let mut upgraded = Upgraded {
            wire: Some(wire),
            early,
            at: 0,
            read_limit: None,
            write_limit: None,
            closing,
            told: false,
            back,
        };
        upgraded.set_write_timeout(Some(write_limit));
        upgraded
    }

    /// How long one read may wait; it fails with `TimedOut` then. `None`, as at first: for ever.
    pub fn set_read_timeout(&mut self, limit: Option<Duration>) {
        self.read_limit = limit;
    }

    /// How long one write may wait; it fails with `TimedOut` then. Over TCP the connection also
    /// fails when the peer acknowledges nothing for so long. At first `write-timeout`; `None`: for
    /// ever.
    pub fn set_write_timeout(&mut self, limit: Option<Duration>) {
        self.write_limit = limit;
        self.wire_mut().watch_peer(limit);
    }

    /// Whether the worker retires: say goodbye soon.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.has_begun()
    }

    fn wire(&self) -> &dyn Transport {
        self.wire.as_deref().expect("it is there until the drop")
    }

    fn wire_mut(&mut self) -> &mut dyn Transport {
        self.wire
            .as_deref_mut()
            .expect("it is there until the drop")
    }

    /// Whether the worker retires and the code was not told of it; it is now.
    fn is_news(&mut self) -> bool {
        let news = !self.told && self.closing.has_begun();
        self.told |= news;
        news
    }
}

impl Read for Upgraded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.is_news() {
                let retires = io::Error::new(io::ErrorKind::WouldBlock, "the worker retires");
                return Err(crate::clients(retires));
            }
            if self.at < self.early.len() {
                let n = (&self.early[self.at..]).read(buffer)?;
                self.at += n;
                return Ok(n);
            }
            match self.wire_mut().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let news = (!self.told).then(|| self.closing.as_fd());
                    wait_or(self.wire().as_fd(), Ready::Readable, self.read_limit, news)
                        .map_err(crate::clients)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map_err(crate::clients),
            }
        }
    }
}

impl Write for Upgraded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.wire_mut().write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(self.wire().as_fd(), Ready::Writable, self.write_limit)
                        .map_err(crate::clients)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map_err(crate::clients),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Upgraded {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire().as_fd()
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        // A panic leaves the connection in an unknown state: it just closes then.
        let back = (!std::thread::panicking()).then(|| self.back.upgrade());
        if let Some(back) = back.flatten() {
            *back.lock().unwrap_or_else(PoisonError::into_inner) = self.wire.take();
        }
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgraded")
            .field("wire", &self.wire)
            .finish()
    }
}
