//! What a handler or an application fails with.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// Any error, made from one by `?`. Before the head of a response is sent it becomes a 500 with a
/// generic body; its text goes to the log only.
pub struct Error(Box<dyn StdError + Send + Sync>);

impl Error {
    /// An error with this text.
    pub fn msg(text: impl Into<String>) -> Error {
        Error(text.into().into())
    }

    /// The error that this one was made from.
    #[must_use]
    pub fn source(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Error(Box::new(error))
    }
}

/// The error's own level; with `{:#}` its causes too, after colons.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source().filter(|_| f.alternate());
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// What [`is_clients`] looks for: an I/O error of a client's connection.
#[derive(Debug)]
struct ClientFault(io::Error);

/// Marks an error as the client's, so that the log can tell it from the handler's own; its kind and
/// its text stay.
#[doc(hidden)]
pub fn clients(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), ClientFault(error))
}

/// Whether it is, or was made from, an error marked by [`clients`].
#[doc(hidden)]
pub fn is_clients(error: &Error) -> bool {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error.source());
    while let Some(error) = next {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<ClientFault>()) {
            return true;
        }
        next = error.source();
    }
    false
}

impl fmt::Display for ClientFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for ClientFault {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
