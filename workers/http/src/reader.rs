//! The request side of one connection: bytes in, events out.

use crate::{head::Head, limits::Limits, reject::Reject};
use http::HeaderMap;

/// What the reader made of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing more can be done with this input. Drop `consumed` bytes, keep the rest, and come
    /// back when there is more behind it.
    NeedMore {
        /// Bytes to drop from the front of the input.
        consumed: usize,
    },
    /// The head is complete.
    Head {
        /// Bytes to drop from the front of the input.
        consumed: usize,
    },
    /// Content: skip `skip` bytes of framing, then take `len` bytes. Drop `skip + len`.
    Data {
        /// Bytes of framing in front of the content.
        skip: usize,
        /// Bytes of content.
        len: usize,
    },
    /// The message is complete; trailers are there. The next call parses the next head.
    End {
        /// Bytes to drop from the front of the input.
        consumed: usize,
    },
}

/// The request side of one connection.
#[derive(Debug, Default)]
pub struct Reader {
    received: u64,
}

impl Reader {
    /// A reader at the start of a connection in clear text.
    pub fn new() -> Self {
        Self::default()
    }
    /// Makes one step. `input` begins with the first byte that was not consumed yet.
    pub fn next(
        &mut self,
        input: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> Result<Event, Reject> {
        let _ = (input, limits, head);
        Err(Reject::bad("not built yet"))
    }
    /// Whether the connection is between messages and nothing of a head has come.
    pub fn is_idle(&self, input: &[u8]) -> bool {
        input.is_empty()
    }
    /// The trailer fields of the message that just ended; `None` where it had none.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        None
    }
    /// Bytes of content handed out so far of this message.
    pub fn body_received(&self) -> u64 {
        self.received
    }
    /// Bytes of content still to come; `None` while a chunked body goes on.
    pub fn body_remaining(&self) -> Option<u64> {
        Some(0)
    }
}
