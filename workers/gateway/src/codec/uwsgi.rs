//! The uwsgi protocol without I/O: a packet of variables, then the content, then the answer until the
//! connection closes. One request a connection. The answer is one of HTTP (`http_answer`), by some
//! plugins a CGI head (`cgi_head` reads both).
//!
//! ```text
//! packet   = modifier1 size modifier2 *( length key length value )
//! ```
//!
//! `size` and `length` are 16 bits, little-endian. What `modifier1` may be beside a request is a remote
//! control of uWSGI: it reads files, writes caches and runs code (22) for whoever reaches the port. None
//! of that is here, and the variables by which a request configures uWSGI are refused.

use ferricorn_base::Reject;
use ferricorn_base::http::StatusCode;

use super::vars::{Unsendable, VarLimits, Vars, malformed, too_large};

/// A request: WSGI, by uWSGI's documentation, and what nginx, Apache and lighttpd send.
pub const REQUEST: u8 = 0;

/// Length of the header of a packet.
const HEADER_LEN: usize = 4;
/// Length of a length.
const LENGTH_LEN: usize = 2;

/// What a packet may be and bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits<'a> {
    /// Which `modifier1` are taken. Default: [`REQUEST`] only. 30 and 9 may be others that mean a request.
    pub modifiers: &'a [u8],
    /// Variables. Default: as many bytes as a packet can have.
    pub vars: VarLimits,
}

impl Default for Limits<'_> {
    fn default() -> Self {
        Limits {
            modifiers: &[REQUEST],
            vars: VarLimits::default(),
        }
    }
}

/// What the reader made of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// All of the input was read, and can be dropped.
    NeedMore,
    /// The variables are complete; behind them comes the content, of CONTENT_LENGTH bytes
    /// ([`Asked::content_length`](super::vars::Asked::content_length)).
    Complete {
        /// Bytes to drop from the front of the input.
        consumed: usize,
        /// What kind of request it is: one of [`Limits::modifiers`].
        modifier: u8,
    },
}

/// Reads the packet of one connection. Resumable at every byte, linear in the input however it is cut;
/// keeps nothing but the variables that have come.
#[derive(Debug, Default)]
pub struct Reader {
    at: At,
    modifier: u8,
    /// Bytes of the packet that are to come.
    left: usize,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Header {
        bytes: [u8; HEADER_LEN],
        have: usize,
    },
    /// The length of a key, or of a value where the key's is known.
    Length {
        key: Option<usize>,
        low: Option<u8>,
    },
    /// In a key, or in a value where that is complete.
    Text {
        key: usize,
        left: usize,
        in_value: bool,
    },
    Complete,
    Refused(Reject),
}

const NEXT: At = At::Length {
    key: None,
    low: None,
};

impl Default for At {
    fn default() -> Self {
        At::Header {
            bytes: [0; HEADER_LEN],
            have: 0,
        }
    }
}

impl Reader {
    /// A reader at the start of a connection.
    #[must_use]
    pub fn new() -> Reader {
        Reader::default()
    }

    /// Reads on; `vars` is the same from call to call, and empty at first. Each byte is shown once.
    /// Behind the variables nothing is read any more.
    ///
    /// # Errors
    /// What to answer: 400 for what is no request or malformed, 403 for a variable that would configure
    /// uWSGI, 431. Every later call says the same.
    pub fn next(
        &mut self,
        input: &[u8],
        limits: &Limits<'_>,
        vars: &mut Vars,
    ) -> Result<Step, Reject> {
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            match self.at {
                At::Refused(reject) => return Err(reject),
                At::Complete => {
                    return Ok(Step::Complete {
                        consumed,
                        modifier: self.modifier,
                    });
                }
                _ if rest.is_empty() => return Ok(Step::NeedMore),
                _ => {}
            }
            match self.step(rest, limits, vars) {
                Ok(len) => consumed += len,
                Err(reject) => self.at = At::Refused(reject),
            }
        }
    }

    /// Reads some bytes, at least one, and says how many.
    fn step(
        &mut self,
        input: &[u8],
        limits: &Limits<'_>,
        vars: &mut Vars,
    ) -> Result<usize, Reject> {
        match self.at {
            At::Header { mut bytes, have } => {
                bytes[have] = input[0];
                self.at = match have + 1 {
                    HEADER_LEN => self.header(bytes, limits)?,
                    have => At::Header { bytes, have },
                };
                Ok(1)
            }
            At::Length { key, low: None } => {
                let low = Some(input[0]);
                self.at = At::Length { key, low };
                self.take(1)
            }
            At::Length {
                key,
                low: Some(low),
            } => {
                let length = usize::from(u16::from_le_bytes([low, input[0]]));
                self.take(1)?;
                self.at = self.text(key, length, limits, vars)?;
                Ok(1)
            }
            At::Text {
                key,
                left,
                in_value,
            } => {
                let some = &input[..input.len().min(left)];
                vars.append(some);
                self.take(some.len())?;
                self.at = match (left - some.len(), in_value) {
                    (0, false) => At::Length {
                        key: Some(key),
                        low: None,
                    },
                    (0, true) => self.end(key, vars)?,
                    (left, in_value) => At::Text {
                        key,
                        left,
                        in_value,
                    },
                };
                Ok(some.len())
            }
            At::Complete | At::Refused(_) => Ok(0),
        }
    }

    /// So many bytes of the packet were read.
    fn take(&mut self, len: usize) -> Result<usize, Reject> {
        let left = self.left.checked_sub(len);
        self.left = left.ok_or(malformed("the packet ends in the middle of a variable"))?;
        Ok(len)
    }

    fn header(&mut self, bytes: [u8; HEADER_LEN], limits: &Limits<'_>) -> Result<At, Reject> {
        let [modifier, low, high, _] = bytes;
        if !limits.modifiers.contains(&modifier) {
            return Err(malformed("modifier1 of the packet is not one of a request"));
        }
        self.modifier = modifier;
        self.left = u16::from_le_bytes([low, high]).into();
        match self.left {
            0 => Ok(At::Complete),
            left if left > limits.vars.bytes => Err(too_large()),
            _ => Ok(NEXT),
        }
    }

    /// A key, or the value of this key, has this length.
    fn text(
        &mut self,
        key: Option<usize>,
        length: usize,
        limits: &Limits<'_>,
        vars: &mut Vars,
    ) -> Result<At, Reject> {
        // Behind a key there is the length of its value.
        let behind = if key.is_none() { LENGTH_LEN } else { 0 };
        if length + behind > self.left {
            return Err(malformed("the packet ends in the middle of a variable"));
        }
        match (key, length) {
            (None, 0) => Err(malformed("a variable has no name")),
            (None, _) if vars.len() >= limits.vars.count => Err(too_large()),
            (None, key) => Ok(At::Text {
                key,
                left: key,
                in_value: false,
            }),
            (Some(key), 0) => self.end(key, vars),
            (Some(key), left) => Ok(At::Text {
                key,
                left,
                in_value: true,
            }),
        }
    }

    /// A variable is complete.
    fn end(&mut self, key: usize, vars: &mut Vars) -> Result<At, Reject> {
        vars.seal(key)?;
        let last = vars.iter().next_back();
        if last.is_some_and(|(name, _)| is_magic(name)) {
            let status = StatusCode::FORBIDDEN;
            return Err(Reject::new(status, "a variable would configure uWSGI"));
        }
        Ok(match self.left {
            0 => At::Complete,
            _ => NEXT,
        })
    }
}

/// Whether uWSGI would take a variable for an order: which code to load (UWSGI_FILE, UWSGI_SCRIPT,
/// UWSGI_MODULE, UWSGI_CALLABLE, UWSGI_APPID, UWSGI_POSTFILE), from where (UWSGI_CHDIR, UWSGI_PYHOME),
/// with which environment (UWSGI_SETENV), and more (UWSGI_TOUCH_RELOAD, UWSGI_CHECK_STATIC). Those that
/// are not known are refused with them; two only say something of the request.
fn is_magic(name: &[u8]) -> bool {
    name.starts_with(b"UWSGI_") && ![&b"UWSGI_SCHEME"[..], b"UWSGI_ROUTER"].contains(&name)
}

/// Writes the packet of a request. An uWSGI of default settings takes packets up to 4096 bytes
/// (`buffer-size`); none can be longer than 65535.
///
/// # Errors
/// [`Unsendable`]: this variable has no name, or with it the packet is too long. `out` is as it was.
pub fn write(out: &mut Vec<u8>, modifier: u8, vars: &Vars) -> Result<(), Unsendable> {
    let start = out.len();
    out.extend_from_slice(&[modifier, 0, 0, 0]);
    let front = out.len();
    for (name, value) in vars {
        let size = out.len() - front + LENGTH_LEN + name.len() + LENGTH_LEN + value.len();
        if name.is_empty() || size > usize::from(u16::MAX) {
            out.truncate(start);
            return Err(Unsendable::new(name, "has no name, or no room in a packet"));
        }
        for text in [name, value] {
            // Shorter than the packet.
            out.extend_from_slice(&(text.len() as u16).to_le_bytes());
            out.extend_from_slice(text);
        }
    }
    let size = (out.len() - front) as u16;
    out[start + 1..start + 3].copy_from_slice(&size.to_le_bytes());
    Ok(())
}
