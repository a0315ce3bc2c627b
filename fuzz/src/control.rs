//! The front of an input: how what stands behind it is to be read. Limits, the kind of connection,
//! and where the rest is cut, so that the fuzzer can try these too.

use ferricorn_http::Limits;

/// How to read the rest of an input.
#[derive(Debug)]
pub struct Control {
    /// The limits.
    pub limits: Limits,
    /// What tuned the small limits; for a choice besides.
    pub tune: u8,
    /// Lengths of the pieces, less one, over and over.
    sizes: [u8; 4],
}

impl Control {
    /// Takes the control bytes off the front: kind, tuning of the small limits, four sizes.
    pub fn split(data: &[u8]) -> Option<(Self, &[u8])> {
        let (&[kind, tune, a, b, c, d], rest) = data.split_first_chunk()?;
        let limits = match kind & 3 {
            0 => Limits::default(),
            1 => Limits {
                request_line: 0,
                fields: 0,
                field_size: 0,
                body: 0,
                ..Limits::default()
            },
            2 => Limits {
                head: 512,
                ..small(usize::from(tune))
            },
            _ => small(usize::from(tune)),
        };
        let control = Self {
            limits,
            tune,
            sizes: [a, b, c, d],
        };
        Some((control, rest))
    }

    /// The input in pieces.
    pub fn cut<'a>(&self, mut input: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        for size in self.sizes.iter().cycle() {
            if input.is_empty() {
                break;
            }
            let (piece, rest) = input.split_at(input.len().min(usize::from(*size) + 1));
            pieces.push(piece);
            input = rest;
        }
        pieces
    }
}

/// Limits that short inputs meet, in many combinations.
fn small(tune: usize) -> Limits {
    Limits {
        request_line: 14 + tune % 23,
        fields: 1 + tune % 5,
        field_size: 9 + tune % 29,
        head: 40 + tune % 67,
        chunk_extension: tune % 7,
        chunk_extensions_total: tune % 13,
        trailers: tune % 31,
        body: 1 + tune as u64 % 19,
    }
}
