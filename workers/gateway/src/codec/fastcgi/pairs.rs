//! Name-value pairs (section 3.4): both lengths, the name, the value. Read across any cut, and written
//! so that none is divided.

use ferricorn_http::Reject;

use super::record::{HEADER_LEN, Header, Kind, PADDING};
use crate::codec::vars::{Unsendable, VarLimits, Vars, malformed, too_large};

/// A length is one byte below this, else four with the highest bit set.
const LONG: usize = 0x80;
/// Most bytes of the two lengths.
const LENGTHS: usize = 8;

/// Pairs being read. Sizes are judged before anything is kept for them, and what is kept has come.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// The lengths of the pair, as far as they have come.
    lengths: [u8; LENGTHS],
    have: u8,
    /// The pair whose lengths are known.
    pair: Option<Pair>,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    name: usize,
    /// Bytes of name and value that are to come.
    left: usize,
}

impl Pairs {
    /// Takes the next piece of the content, whatever ends in it.
    ///
    /// # Errors
    /// What to refuse the request with. Nothing may be fed after that.
    pub(super) fn feed(
        &mut self,
        mut input: &[u8],
        vars: &mut Vars,
        limits: VarLimits,
    ) -> Result<(), Reject> {
        loop {
            let pair = match self.pair {
                Some(pair) => pair,
                None => match self.lengths(&mut input) {
                    Some((name, value)) => check(name, value, vars, limits)?,
                    None => return Ok(()),
                },
            };
            let (some, rest) = input.split_at(input.len().min(pair.left));
            vars.append(some);
            let left = pair.left - some.len();
            if left > 0 {
                self.pair = Some(Pair { left, ..pair });
                return Ok(());
            }
            self.pair = None;
            input = rest;
            vars.seal(pair.name)?;
        }
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// What to refuse the request with, where it ended in the middle of a pair.
    pub(super) fn end(&self) -> Result<(), Reject> {
        match self.have == 0 && self.pair.is_none() {
            true => Ok(()),
            false => Err(malformed("the variables end in the middle of one")),
        }
    }

    /// Takes the lengths off the front of the input, once they are complete.
    fn lengths(&mut self, input: &mut &[u8]) -> Option<(usize, usize)> {
        loop {
            let known = &self.lengths[..self.have.into()];
            let both = length(known).and_then(|(name, rest)| Some((name, length(rest)?.0)));
            if both.is_some() {
                self.have = 0;
                return both;
            }
            let (&byte, rest) = input.split_first()?;
            // Eight bytes are two lengths, whatever they say.
            self.lengths[usize::from(self.have)] = byte;
            self.have += 1;
            *input = rest;
        }
    }
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if usize::from(first) < LONG {
        return Some((first.into(), rest));
    }
    let (&[a, b, c, d], rest) = bytes.split_first_chunk()?;
    let length = u32::from_be_bytes([a & 0x7f, b, c, d]);
    Some((length as usize, rest))
}

fn check(name: usize, value: usize, vars: &Vars, limits: VarLimits) -> Result<Pair, Reject> {
    // Neither length has more than 31 bits, which may still be all that there is.
    let left = name.saturating_add(value);
    if vars.len() >= limits.count || left > limits.bytes.saturating_sub(vars.taken()) {
        return Err(too_large());
    }
    Ok(Pair { name, left })
}

/// Writes pairs as records of this kind, without the empty one that ends a stream.
///
/// No pair is divided: php-fpm and uWSGI read each record by itself. So a record is as long as whole
/// pairs make it, one where all fit, as nginx sends them.
///
/// # Errors
/// [`Unsendable`]: a pair does not fit into one record of 65535 bytes. `out` is as it was.
pub fn write_pairs<'a>(
    out: &mut Vec<u8>,
    kind: Kind,
    id: u16,
    pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<(), Unsendable> {
    let start = out.len();
    let mut record = None;
    for (name, value) in pairs {
        let before = out.len();
        write_length(out, name.len());
        write_length(out, value.len());
        let len = out.len() - before + name.len() + value.len();
        if len > usize::from(u16::MAX) {
            out.truncate(start);
            return Err(Unsendable::new(name, "is too long for a record"));
        }
        let at = match record {
            Some(at) if before + len - (at + HEADER_LEN) <= usize::from(u16::MAX) => at,
            full => {
                // Into a new record, whose header is put in between.
                let lengths: [u8; LENGTHS] = first(&out[before..]);
                let written = out.len() - before;
                out.truncate(before);
                if let Some(at) = full {
                    close(out, kind, id, at);
                }
                let at = out.len();
                out.extend_from_slice(&[0; HEADER_LEN]);
                out.extend_from_slice(&lengths[..written]);
                at
            }
        };
        record = Some(at);
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
    if let Some(at) = record {
        close(out, kind, id, at);
    }
    Ok(())
}

fn first(bytes: &[u8]) -> [u8; LENGTHS] {
    let mut all = [0; LENGTHS];
    all[..bytes.len()].copy_from_slice(bytes);
    all
}

fn write_length(out: &mut Vec<u8>, length: usize) {
    if length < LONG {
        out.push(length as u8);
    } else {
        // What is longer than 31 bits can say is refused for its length.
        let length = u32::try_from(length).unwrap_or(u32::MAX) | 1 << 31;
        out.extend_from_slice(&length.to_be_bytes());
    }
}

/// Completes the record whose header is to be at `at`.
fn close(out: &mut Vec<u8>, kind: Kind, id: u16, at: usize) {
    let content = out.len() - at - HEADER_LEN;
    // Counted above.
    let header = Header::of(kind, id, content as u16);
    out[at..at + HEADER_LEN].copy_from_slice(&header.encode());
    out.extend_from_slice(&PADDING[..header.padding.into()]);
}
