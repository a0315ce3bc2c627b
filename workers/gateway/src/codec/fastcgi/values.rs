//! What an application can do at once, asked and answered (section 4.1). Each record stands by itself.

use super::pairs::{Pairs, write_pairs};
use super::record::{Error, Kind};
use crate::codec::vars::{VarLimits, Vars};

const MAX_CONNS: &[u8] = b"FCGI_MAX_CONNS";
const MAX_REQS: &[u8] = b"FCGI_MAX_REQS";
const MPXS_CONNS: &[u8] = b"FCGI_MPXS_CONNS";

/// Capabilities of an application; `None`: it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Connections that it takes at once.
    pub max_conns: Option<u32>,
    /// Requests that it takes at once.
    pub max_reqs: Option<u32>,
    /// Whether it takes several requests on one connection at once.
    pub multiplexes: Option<bool>,
}

impl Values {
    /// Writes the question of a web server.
    pub fn ask(out: &mut Vec<u8>) {
        let names = [MAX_CONNS, MAX_REQS, MPXS_CONNS].map(|name| (name, &b""[..]));
        // Three short names.
        let _ = write_pairs(out, Kind::GetValues, 0, names);
    }

    /// Writes the answer to a question: what was asked and is known. A question with nothing in it, or
    /// nothing that is known, has an answer with nothing in it.
    pub(super) fn answer(&self, asked: &Vars, out: &mut Vec<u8>) {
        let digits = |number: Option<u32>| number.map(|number| number.to_string());
        let known = [
            (MAX_CONNS, digits(self.max_conns)),
            (MAX_REQS, digits(self.max_reqs)),
            (MPXS_CONNS, digits(self.multiplexes.map(u32::from))),
        ];
        let known = known
            .iter()
            .filter(|(name, _)| asked.get(name).is_some())
            .filter_map(|(name, value)| Some((*name, value.as_ref()?.as_bytes())));
        let before = out.len();
        let _ = write_pairs(out, Kind::GetValuesResult, 0, known);
        if out.len() == before {
            super::end_stream(out, Kind::GetValuesResult, 0);
        }
    }

    /// The answer of an application. What it says that is no number it has not said.
    pub(super) fn read(said: &Vars) -> Values {
        let number = |name| {
            let text = std::str::from_utf8(said.get(name)?).ok()?;
            text.parse::<u32>().ok()
        };
        Values {
            max_conns: number(MAX_CONNS),
            max_reqs: number(MAX_REQS),
            multiplexes: number(MPXS_CONNS).map(|number| number > 0),
        }
    }
}

/// The content of one such record, being read.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pairs: Pairs,
    pub(super) vars: Vars,
}

/// There are three names.
const LIMITS: VarLimits = VarLimits {
    bytes: 1024,
    count: 32,
};

impl Asked {
    pub(super) fn feed(&mut self, content: &[u8]) -> Result<(), Error> {
        let fed = self.pairs.feed(content, &mut self.vars, LIMITS);
        fed.map_err(|_| Error::Values)
    }

    pub(super) fn end(&self) -> Result<(), Error> {
        self.pairs.end().map_err(|_| Error::Values)
    }
}
