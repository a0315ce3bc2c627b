//! One request on the scoreboard: its words, how they are written and read.
//!
//! A sequence number that is odd while the words change tells a reader to look again. What is read
//! is bounded before it is used.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::layout::*;
use crate::peer::Peer;
use crate::request::RequestId;

/// One request as the board shows it.
#[derive(Clone, Debug)]
pub struct RequestView {
    /// Method and target as received, cut at [`LINE_MAX`] bytes. Escape before logging.
    pub line: Vec<u8>,
    /// Who asked.
    pub peer: Peer,
    /// What it is called ([`Request::id`](crate::Request::id)), cut at [`ID_MAX`] bytes; printable.
    pub id: String,
    /// When its handler started, in µs of CLOCK_MONOTONIC.
    pub started_us: u64,
    /// When it ended; 0 while in flight.
    pub ended_us: u64,
    /// The status sent; 0 while in flight.
    pub status: u16,
    /// When its handler may be taken for hung, in µs of CLOCK_MONOTONIC, where the worker says so.
    pub deadline_us: Option<u64>,
    /// The number of the thread that has it (gettid(2)), as the worker says; 0: its first one.
    pub tid: u32,
    /// Whether it is on a stream thread, where `timeout` does not count.
    pub streaming: bool,
}

/// Packs text into words, as much as there is room for; returns how many bytes of it.
pub(super) fn write_text(words: &[AtomicU64], line: &[u8]) -> usize {
    let line = &line[..line.len().min(words.len() * 8)];
    let mut chunks = line.chunks_exact(8);
    for (word, chunk) in words.iter().zip(chunks.by_ref()) {
        let chunk = chunk.try_into().unwrap_or([0; 8]);
        word.store(u64::from_le_bytes(chunk), Ordering::Relaxed);
    }
    if let Some(word) = words.get(line.len() / 8) {
        word.store(last_word(chunks.remainder()), Ordering::Relaxed);
    }
    line.len()
}

/// Fewer than eight bytes as a word: in halves that overlap where there are enough, as that is one step for
/// each length.
#[inline]
fn last_word(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return u64::from(first) | u64::from(last) << (8 * (bytes.len() - 4));
    }
    match *bytes {
        [a, b, c] => u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]),
        [a, b] => u64::from_le_bytes([a, b, 0, 0, 0, 0, 0, 0]),
        [a] => u64::from(a),
        _ => 0,
    }
}

/// Reads a cell, or nothing when it is empty or was being rewritten each time.
pub(super) fn read_cell(cell: &[AtomicU64]) -> Option<RequestView> {
    for _ in 0..8 {
        let before = cell[CELL_SEQUENCE].load(Ordering::Acquire);
        if before % 2 == 1 {
            continue;
        }
        let words: Vec<u64> = cell
            .iter()
            .map(|word| word.load(Ordering::Relaxed))
            .collect();
        fence(Ordering::Acquire);
        if cell[CELL_SEQUENCE].load(Ordering::Relaxed) != before {
            continue;
        }
        let (ended_us, status) = match words[CELL_ENDED] {
            FREE => return None,
            IN_FLIGHT => (0, 0),
            ended => ((ended - ENDED).max(1), words[CELL_STATUS] as u16),
        };
        let shape = words[CELL_SHAPE];
        let line = text(&words[CELL_LINE..], shape as u16);
        let id = match (shape >> 16) as u16 {
            0 => RequestId::Made(words[CELL_ID]).to_string(),
            len => text(&words[CELL_ID..CELL_LINE], len)
                .into_iter()
                .filter(u8::is_ascii_graphic)
                .map(char::from)
                .collect(),
        };
        let port = (shape >> 48) as u16;
        let peer = match (shape >> 32) as u16 {
            4 => Peer::Tcp(SocketAddr::new(
                (words[CELL_PEER] as u32).to_be_bytes().into(),
                port,
            )),
            6 => {
                let ip = u128::from(words[CELL_PEER + 1]) << 64 | u128::from(words[CELL_PEER]);
                Peer::Tcp(SocketAddr::new(Ipv6Addr::from(ip).into(), port))
            }
            _ => Peer::Unix,
        };
        return Some(RequestView {
            line,
            peer,
            id,
            started_us: words[CELL_STARTED],
            ended_us,
            status,
            deadline_us: Some(words[CELL_DEADLINE]).filter(|deadline| *deadline > 0),
            tid: words[CELL_THREAD] as u32,
            streaming: false,
        });
    }
    None
}

/// The first bytes of some words.
fn text(words: &[u64], len: u16) -> Vec<u8> {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    bytes.take(len.into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_length_is_read_as_it_was_written() {
        let line: Vec<u8> = (b'a'..=b'z').collect();
        for len in 0..line.len() {
            let words = [const { AtomicU64::new(0x7e7e_7e7e_7e7e_7e7e) }; 3];
            let written = write_text(&words, &line[..len]);
            assert_eq!(written, len.min(24));
            let words = words.map(AtomicU64::into_inner);
            assert_eq!(text(&words, written as u16), line[..written], "{len}");
        }
    }
}
