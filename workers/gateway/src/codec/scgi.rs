//! SCGI without I/O: a netstring of variables, then the content, then the answer until the connection
//! closes. One request a connection. The answer is a CGI head (`cgi_head`) and content.
//!
//! ```text
//! request = length ":" 1*( name NUL value NUL ) "," content        (python.ca/scgi/protocol.txt)
//! ```

use ferricorn_base::Reject;
use ferricorn_base::http::StatusCode;

use super::vars::{Unsendable, VarLimits, Vars, decimal, malformed, too_large};

const CONTENT_LENGTH: &[u8] = b"CONTENT_LENGTH";
const SCGI: &[u8] = b"SCGI";

/// Most digits of the length: what anybody would take is shorter, and nothing is kept for one.
const MOST_DIGITS: u8 = 7;

/// What the reader made of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// All of the input was read, and can be dropped.
    NeedMore,
    /// The variables are complete; behind them comes the content.
    Complete {
        /// Bytes to drop from the front of the input.
        consumed: usize,
        /// Bytes of content.
        content_length: u64,
    },
}

/// Reads the variables of one connection. Resumable at every byte, linear in the input however it is
/// cut; keeps nothing but the variables that have come.
#[derive(Debug, Default)]
pub struct Reader {
    at: At,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Length {
        length: usize,
        digits: u8,
    },
    /// In a name, or in the value of a name of this length; so many bytes are left, the NUL behind the
    /// value included.
    Variables {
        left: usize,
        name: Option<usize>,
    },
    Comma,
    Complete {
        content_length: u64,
    },
    Refused(Reject),
}

impl Default for At {
    fn default() -> Self {
        At::Length {
            length: 0,
            digits: 0,
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
    /// What to answer: the status is 411 where the length of the content is not known, which the
    /// protocol has no way to do without, else 400 or 431. Every later call says the same.
    pub fn next(
        &mut self,
        input: &[u8],
        limits: VarLimits,
        vars: &mut Vars,
    ) -> Result<Step, Reject> {
        let mut consumed = 0;
        loop {
            let rest = &input[consumed..];
            self.at = match self.at {
                At::Refused(reject) => return Err(reject),
                At::Complete { content_length } => {
                    return Ok(Step::Complete {
                        consumed,
                        content_length,
                    });
                }
                _ if rest.is_empty() => return Ok(Step::NeedMore),
                at => match step(at, rest, limits, vars) {
                    Ok((len, at)) => {
                        consumed += len;
                        at
                    }
                    Err(reject) => At::Refused(reject),
                },
            };
        }
    }
}

/// Reads some bytes, at least one; how many, and what comes next.
fn step(at: At, input: &[u8], limits: VarLimits, vars: &mut Vars) -> Result<(usize, At), Reject> {
    match at {
        At::Length { length, digits } => length_digit(length, digits, input[0], limits),
        At::Variables { left, name } => {
            let some = &input[..input.len().min(left)];
            let text = some.iter().position(|&byte| byte == 0);
            let text = text.unwrap_or(some.len());
            vars.append(&some[..text]);
            if text == some.len() {
                // It would end in the middle of a name or value.
                return match left - text {
                    0 => Err(malformed("the variables do not end with a NUL")),
                    left => Ok((text, At::Variables { left, name })),
                };
            }
            let len = text + 1;
            let left = left - len;
            match name {
                None => {
                    let name = Some(vars.pending());
                    if left == 0 {
                        return Err(malformed("the last variable has no value"));
                    }
                    Ok((len, At::Variables { left, name }))
                }
                Some(name) => {
                    vars.seal(name)?;
                    check_count(vars, limits)?;
                    let next = match left {
                        0 => At::Comma,
                        left => At::Variables { left, name: None },
                    };
                    Ok((len, next))
                }
            }
        }
        At::Comma if input[0] == b',' => {
            let content_length = check(vars)?;
            Ok((1, At::Complete { content_length }))
        }
        At::Comma => Err(malformed("there is no comma behind the variables")),
        done => Ok((0, done)),
    }
}

fn length_digit(
    length: usize,
    digits: u8,
    byte: u8,
    limits: VarLimits,
) -> Result<(usize, At), Reject> {
    match byte {
        // No zeros in front: a length has one form.
        b'0'..=b'9' if digits == 0 || length > 0 => {
            if digits == MOST_DIGITS {
                return Err(too_large());
            }
            let length = length * 10 + usize::from(byte - b'0');
            let digits = digits + 1;
            Ok((1, At::Length { length, digits }))
        }
        b':' if length > limits.bytes => Err(too_large()),
        b':' if length > 0 => {
            let (left, name) = (length, None);
            Ok((1, At::Variables { left, name }))
        }
        b':' if digits > 0 => Err(malformed("there are no variables")),
        _ => Err(malformed("the length of the variables is not a number")),
    }
}

fn check_count(vars: &Vars, limits: VarLimits) -> Result<(), Reject> {
    match vars.len() > limits.count {
        true => Err(too_large()),
        false => Ok(()),
    }
}

/// What all variables together must be: CONTENT_LENGTH first, SCGI, none twice; but that nginx before 1.23
/// sends the field lines of one name each by itself, and a client cannot be blamed for that.
fn check(vars: &mut Vars) -> Result<u64, Reject> {
    if vars.repeats() {
        return Err(malformed("a variable is there more than once"));
    }
    if vars.get(SCGI) != Some(b"1") {
        return Err(malformed("the variable SCGI is not 1"));
    }
    match vars.iter().next() {
        // So lighttpd and Apache may say that they do not know.
        Some((CONTENT_LENGTH, b"" | b"-1")) => {
            let status = StatusCode::LENGTH_REQUIRED;
            Err(Reject::new(status, "CONTENT_LENGTH is not known"))
        }
        Some((CONTENT_LENGTH, digits)) => {
            decimal(digits).ok_or(malformed("CONTENT_LENGTH is not a number"))
        }
        _ => Err(malformed("CONTENT_LENGTH is not the first variable")),
    }
}

/// Writes the variables of a request whose content has this length: CONTENT_LENGTH and SCGI first,
/// whatever `vars` say of them.
///
/// # Errors
/// [`Unsendable`]: a variable has no name, or holds a NUL. `out` is as it was.
pub fn write(out: &mut Vec<u8>, vars: &Vars, content_length: u64) -> Result<(), Unsendable> {
    let mut number = itoa::Buffer::new();
    let digits = number.format(content_length).as_bytes();
    let front = [(CONTENT_LENGTH, digits), (SCGI, b"1")];
    let others = || {
        vars.iter()
            .filter(|(name, _)| ![CONTENT_LENGTH, SCGI].contains(name))
    };
    for (name, value) in others() {
        if name.is_empty() || name.contains(&0) || value.contains(&0) {
            return Err(Unsendable::new(name, "holds a NUL, or has no name"));
        }
    }
    let all = || front.into_iter().chain(others());
    let length: usize = all()
        .map(|(name, value)| name.len() + 1 + value.len() + 1)
        .sum();
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.push(b':');
    for (name, value) in all() {
        for part in [name, &[0], value, &[0]] {
            out.extend_from_slice(part);
        }
    }
    out.push(b',');
    Ok(())
}
