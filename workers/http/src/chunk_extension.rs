//! The syntax of chunk extensions (RFC 9112 §7.1.1), byte by byte. Nobody uses them, so nothing of
//! them is kept; they are read because servers that skip them skip to different places.

use crate::syntax::{self, TCHAR, VALUE};

/// Where in an extension the next byte stands:
///
/// ```text
/// chunk-ext     = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )
/// chunk-ext-val = token / quoted-string
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Extension {
    /// Behind the size, or a blank behind a value: only `;` may follow.
    #[default]
    Before,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Token,
    /// In a quoted string (RFC 9110 §5.6.4).
    Quoted,
    /// Behind its backslash.
    Escaped,
    AfterQuoted,
}

impl Extension {
    /// Where the byte behind this one stands; `None` where this one cannot stand here.
    pub(crate) fn next(self, byte: u8) -> Option<Self> {
        let blank = syntax::is_blank(byte);
        let tchar = syntax::is(byte, TCHAR);
        Some(match (self, byte) {
            (
                Self::Before | Self::Name | Self::AfterName | Self::Token | Self::AfterQuoted,
                b';',
            ) => Self::BeforeName,
            (Self::Before | Self::Token | Self::AfterQuoted, _) if blank => Self::Before,
            (Self::BeforeName, _) if blank => Self::BeforeName,
            (Self::BeforeName | Self::Name, _) if tchar => Self::Name,
            (Self::Name | Self::AfterName, _) if blank => Self::AfterName,
            (Self::Name | Self::AfterName, b'=') => Self::BeforeValue,
            (Self::BeforeValue, _) if blank => Self::BeforeValue,
            (Self::BeforeValue, b'"') => Self::Quoted,
            (Self::BeforeValue | Self::Token, _) if tchar => Self::Token,
            (Self::Quoted, b'"') => Self::AfterQuoted,
            (Self::Quoted, b'\\') => Self::Escaped,
            (Self::Quoted | Self::Escaped, _) if syntax::is(byte, VALUE) => Self::Quoted,
            _ => return None,
        })
    }

    /// Whether the line may end here.
    pub(crate) fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Token | Self::AfterQuoted)
    }
}
