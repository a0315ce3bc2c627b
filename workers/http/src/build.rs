//! Heads made by hand. Writes a request and reads it back; makes no exception for anybody.

use crate::{
    head::Head,
    limits::Limits,
    reader::{Event, Reader},
    reject::Reject,
    syntax,
};
use http::StatusCode;

impl Head {
    /// A head made by hand: for tests of handlers, and for requests that came by another protocol.
    ///
    /// It is put together as HTTP/1.1 and goes through the very checks of a received one, with the
    /// default [`Limits`] (the content's aside). Where no field is `Host`, `Host: localhost` is
    /// added.
    ///
    /// ```
    /// let head = ferricorn_http::Head::build("GET", "/a?b", [("Accept", "*/*")])?;
    /// assert_eq!((head.path(), head.query()), ("/a", Some("b")));
    /// # Ok::<(), ferricorn_http::Reject>(())
    /// ```
    ///
    /// # Errors
    /// What a client would be answered for the same request.
    pub fn build<N: AsRef<str>, V: AsRef<[u8]>>(
        method: &str,
        target: &str,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, Reject> {
        let mut text = [method.as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\n"].concat();
        let (mut host, mut lines) = (false, Vec::new());
        for (name, value) in fields {
            let (name, value) = (name.as_ref(), value.as_ref());
            // What would end up as more, or as other lines than were given.
            if !syntax::is_token(name.as_bytes()) || !syntax::all(value, syntax::VALUE) {
                return Err(Reject::bad("field name or value is invalid"));
            }
            host |= name.eq_ignore_ascii_case("host");
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                lines.extend_from_slice(part);
            }
        }
        if !host {
            text.extend_from_slice(b"Host: localhost\r\n");
        }
        text.extend_from_slice(&lines);
        text.extend_from_slice(b"\r\n");
        let mut head = Self::new();
        match Reader::new().next(
            &text,
            &Limits {
                body: 0,
                ..Limits::default()
            },
            &mut head,
        )? {
            // A blank or a line end in a method or target would have shifted the parts.
            Event::Head { .. } if (head.method(), head.target()) == (method, target) => Ok(head),
            Event::Head { .. } => Err(Reject::bad("method or target holds a blank")),
            // The empty line is there, so nothing else can come first.
            _ => Err(Reject::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head is too long",
            )),
        }
    }
}
