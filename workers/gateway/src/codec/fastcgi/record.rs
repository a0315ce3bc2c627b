//! Records: eight bytes of header, content, padding (section 3.3). Knows how they are delimited and
//! what their numbers are called, and nothing of the order in which they come.

use std::fmt;

/// Length of a header.
pub const HEADER_LEN: usize = 8;

/// What most writers, ours included, put into one record of a stream at most: all of it but what would
/// need padding.
pub const LONGEST_CONTENT: usize = 65528;

/// What pads; a record has less than this of it where it was written here.
pub const PADDING: [u8; 8] = [0; 8];

/// `FCGI_VERSION_1`
const VERSION: u8 = 1;

/// What a record is (section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request begins.
    BeginRequest,
    /// The web server wants no answer any more.
    AbortRequest,
    /// The answer is complete.
    EndRequest,
    /// Some of the variables.
    Params,
    /// Some of the request's content.
    Stdin,
    /// Some of the answer.
    Stdout,
    /// Some of what is for the log.
    Stderr,
    /// Some of the file that a filter is given.
    Data,
    /// Which of some capabilities the application has.
    GetValues,
    /// These.
    GetValuesResult,
    /// A management record was of a type that is not known.
    UnknownType,
    /// One that the specification does not have.
    Other(u8),
}

impl From<u8> for Kind {
    fn from(number: u8) -> Kind {
        match number {
            1 => Kind::BeginRequest,
            2 => Kind::AbortRequest,
            3 => Kind::EndRequest,
            4 => Kind::Params,
            5 => Kind::Stdin,
            6 => Kind::Stdout,
            7 => Kind::Stderr,
            8 => Kind::Data,
            9 => Kind::GetValues,
            10 => Kind::GetValuesResult,
            11 => Kind::UnknownType,
            other => Kind::Other(other),
        }
    }
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> u8 {
        match kind {
            Kind::BeginRequest => 1,
            Kind::AbortRequest => 2,
            Kind::EndRequest => 3,
            Kind::Params => 4,
            Kind::Stdin => 5,
            Kind::Stdout => 6,
            Kind::Stderr => 7,
            Kind::Data => 8,
            Kind::GetValues => 9,
            Kind::GetValuesResult => 10,
            Kind::UnknownType => 11,
            Kind::Other(other) => other,
        }
    }
}

/// What the application is to be (section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// As a CGI program: it answers the request.
    Responder,
    /// It says whether the request may be answered.
    Authorizer,
    /// A responder that is given a file, too.
    Filter,
    /// One that the specification does not have.
    Other(u16),
}

impl From<u16> for Role {
    fn from(number: u16) -> Role {
        match number {
            1 => Role::Responder,
            2 => Role::Authorizer,
            3 => Role::Filter,
            other => Role::Other(other),
        }
    }
}

impl From<Role> for u16 {
    fn from(role: Role) -> u16 {
        match role {
            Role::Responder => 1,
            Role::Authorizer => 2,
            Role::Filter => 3,
            Role::Other(other) => other,
        }
    }
}

/// How a request ended (section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolStatus {
    /// It was answered.
    Complete,
    /// It was refused: there is another one on this connection, and no second at a time.
    CannotMultiplex,
    /// It was refused: the application has too much to do.
    Overloaded,
    /// It was refused: the application does not have this role.
    UnknownRole,
    /// A number that the specification does not have.
    Other(u8),
}

impl From<u8> for ProtocolStatus {
    fn from(number: u8) -> ProtocolStatus {
        match number {
            0 => ProtocolStatus::Complete,
            1 => ProtocolStatus::CannotMultiplex,
            2 => ProtocolStatus::Overloaded,
            3 => ProtocolStatus::UnknownRole,
            other => ProtocolStatus::Other(other),
        }
    }
}

impl From<ProtocolStatus> for u8 {
    fn from(status: ProtocolStatus) -> u8 {
        match status {
            ProtocolStatus::Complete => 0,
            ProtocolStatus::CannotMultiplex => 1,
            ProtocolStatus::Overloaded => 2,
            ProtocolStatus::UnknownRole => 3,
            ProtocolStatus::Other(other) => other,
        }
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Of which request; 0: of none, a management record.
    pub id: u16,
    /// Bytes of content.
    pub content: u16,
    /// Bytes behind that, which mean nothing.
    pub padding: u8,
}

impl Header {
    /// The header of a record of so many bytes, padded to a multiple of eight (section 3.3 recommends
    /// it). Send [`Header::encode`], the content, and as much of [`PADDING`] as `padding` says.
    #[must_use]
    pub fn of(kind: Kind, id: u16, content: u16) -> Header {
        let padding = (PADDING.len() - usize::from(content) % PADDING.len()) % PADDING.len();
        Header {
            kind,
            id,
            content,
            padding: padding as u8,
        }
    }

    /// The header as it is sent.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let ([id_high, id_low], [high, low]) = (self.id.to_be_bytes(), self.content.to_be_bytes());
        let kind = self.kind.into();
        [VERSION, kind, id_high, id_low, high, low, self.padding, 0]
    }

    /// The header that was sent. The last byte is reserved, and nobody looks at it.
    ///
    /// # Errors
    /// [`Error::Version`]
    pub fn decode(bytes: [u8; HEADER_LEN]) -> Result<Header, Error> {
        let [version, kind, id_high, id_low, high, low, padding, _] = bytes;
        if version != VERSION {
            return Err(Error::Version(version));
        }
        Ok(Header {
            kind: kind.into(),
            id: u16::from_be_bytes([id_high, id_low]),
            content: u16::from_be_bytes([high, low]),
            padding,
        })
    }

    /// Whether the record is about the connection (section 3.3: management records have no request).
    #[must_use]
    pub fn is_management(self) -> bool {
        self.id == 0
    }
}

/// Why nothing more can be read of a connection: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A record is of this version, and not of 1: perhaps it is no FastCGI at all.
    Version(u8),
    /// A record that this side does not send.
    Kind(Kind),
    /// A record of a request that there is not, or one that begins a request that there is.
    Id(u16),
    /// A record that does not have the length of its kind.
    Length(Kind),
    /// A record of a stream that was at its end, or whose turn it is not.
    Order(Kind),
    /// Capabilities that cannot be read, or more of them than anybody has.
    Values,
    /// The connection ended before the request did.
    End,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Version(version) => write!(f, "a record of FastCGI version {version}"),
            Error::Kind(kind) => write!(f, "a {kind:?} record from the wrong side"),
            Error::Id(id) => write!(f, "a record of request {id}, which is another"),
            Error::Length(kind) => write!(f, "a {kind:?} record of the wrong length"),
            Error::Order(kind) => write!(f, "a {kind:?} record out of turn"),
            Error::Values => f.write_str("capabilities that cannot be read"),
            Error::End => f.write_str("the connection ended in the middle of a request"),
        }
    }
}

impl std::error::Error for Error {}

/// What comes next of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing before more has come; so many bytes were of no more use.
    NeedMore { consumed: usize },
    /// A header, with what is in front of it. Content follows, if it says so.
    Header { consumed: usize, header: Header },
    /// Content, never none of it, and whether it is the last of its record.
    Content { len: usize, last: bool },
}

/// Tells records apart, however they are cut.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Bytes of content that are to come.
    content: u16,
    /// Bytes of padding that are to come, behind those.
    padding: u8,
}

impl Records {
    pub(super) fn next(&mut self, input: &[u8]) -> Result<Step, Error> {
        if self.content > 0 {
            let len = input.len().min(self.content.into());
            // At most what is left of it, 16 bits.
            self.content -= len as u16;
            return Ok(match len {
                0 => Step::NeedMore { consumed: 0 },
                _ => Step::Content {
                    len,
                    last: self.content == 0,
                },
            });
        }
        let padding = input.len().min(self.padding.into());
        self.padding -= padding as u8;
        let Some(&header) = input[padding..].first_chunk() else {
            return Ok(Step::NeedMore { consumed: padding });
        };
        let header = Header::decode(header)?;
        (self.content, self.padding) = (header.content, header.padding);
        Ok(Step::Header {
            consumed: padding + HEADER_LEN,
            header,
        })
    }

    /// Whether content is to come.
    pub(super) fn in_content(&self) -> bool {
        self.content > 0
    }

    /// Whether a record is under way, its padding included.
    pub(super) fn in_record(&self) -> bool {
        self.content > 0 || self.padding > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back() {
        for kind in 0..=255 {
            for (id, content) in [(0, 0), (1, 8), (256, 65535), (65535, 1), (7, 65528)] {
                let header = Header::of(Kind::from(kind), id, content);
                assert_eq!(u8::from(header.kind), kind);
                assert_eq!((usize::from(content) + usize::from(header.padding)) % 8, 0);
                assert!(header.padding < 8);
                assert_eq!(Header::decode(header.encode()), Ok(header));
            }
        }
        let sent = Header::of(Kind::Stdout, 0x0102, 0x0304).encode();
        assert_eq!(sent, [1, 6, 1, 2, 3, 4, 4, 0]);
        assert_eq!(Header::decode(*b"HTTP/1.1"), Err(Error::Version(b'H')));
        assert_eq!(Header::decode([0; 8]), Err(Error::Version(0)));
    }

    #[test]
    fn numbers_have_names() {
        for number in 0..=300 {
            assert_eq!(u16::from(Role::from(number)), number);
        }
        for number in 0..=255 {
            assert_eq!(u8::from(ProtocolStatus::from(number)), number);
        }
    }
}
