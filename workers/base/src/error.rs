//! What a handler or an application fails with.

use std::error::Error as StdError;
use std::fmt;

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

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
