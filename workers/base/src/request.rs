//! A request as a handler sees it.
//!
//! What a handler does not look at costs nothing: the `http` crate's types are made when first
//! asked for, and the memory of one request serves the next on the same worker.

use std::cell::{Cell, OnceCell};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ferricorn_http::{Head, Reject, TargetForm, Version, encode_interim};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use crate::board::{self, Limit, Page};
use crate::conf::LocalAddr;
use crate::incoming::Incoming;
use crate::peer::Peer;
use crate::transport::AnyTransport;

mod id;
mod origin;
mod trace;

pub use id::{RequestId, RequestIds};
pub use origin::{Client, Forwarded, Link};
pub use trace::Trace;

/// One request: its head as received, its complete body, and who sent it.
#[derive(Debug)]
pub struct Request {
    head: Head,
    body: Incoming,
    peer: Peer,
    /// Where the connection came in.
    local: Option<Arc<LocalAddr>>,
    link: Link,
    forwarded: Option<Box<Forwarded>>,
    /// Whether some of what is made when somebody asks for it was made.
    made: Cell<bool>,
    /// How much of the path leads to the application; 0 unless `made`.
    script: usize,
    method: OnceCell<Method>,
    uri: OnceCell<Uri>,
    headers: OnceCell<Box<HeaderMap>>,
    /// What the worker calls it; 0 when nobody has numbered it.
    number: u64,
    id: OnceCell<String>,
    trace: OnceCell<Trace>,
    extensions: Option<Box<Extensions>>,
    wire: Option<AnyTransport>,
    interim: Vec<u8>,
    /// How long its handler may take.
    limit: Option<Limit>,
}

impl Request {
    /// A request made by hand, to test a handler without a server:
    ///
    /// ```
    /// use ferricorn_base::{Handler, Request};
    /// # use ferricorn_base::{App, Seat};
    /// # let app = |_: &mut Request| "Hello, World!";
    /// let mut handler = app.boot(&Seat::default())?;
    /// let mut request = Request::build("GET", "/hello?name=you", [("Host", "localhost")])?;
    /// let response = handler.handle(&mut request)?;
    /// assert_eq!(response.status(), 200);
    /// assert_eq!(response.into_body().collect()?, "Hello, World!");
    /// # Ok::<(), ferricorn_base::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the server would refuse: the status and the reason.
    pub fn build<N: AsRef<str>, V: AsRef<[u8]>>(
        method: &str,
        target: &str,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Request, Reject> {
        Ok(Request {
            head: Head::build(method, target, fields)?,
            ..Request::default()
        })
    }

    /// Gives a request made by hand a body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Incoming>) -> Request {
        self.body = body.into();
        self
    }

    /// The method.
    pub fn method(&self) -> &Method {
        self.make(&self.method, || self.head.http_method())
    }

    /// The target as a URI. An origin-form target gives one with a path and a query only.
    pub fn uri(&self) -> &Uri {
        self.make(&self.uri, || parse_uri(&self.head))
    }

    /// The path of the target as received, percent-encoding and all; `*` for `OPTIONS *`.
    #[inline]
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// What of [`Request::path`] leads to the application, as the client spelled it: the prefix of its
    /// mount. Empty at the root.
    #[must_use]
    pub fn script_name(&self) -> &str {
        self.path().get(..self.script).unwrap_or_default()
    }

    /// What of [`Request::path`] is the application's own, as received: empty, or from a `/` on.
    #[must_use]
    pub fn path_info(&self) -> &str {
        self.path().get(self.script..).unwrap_or_default()
    }

    /// The first `len` bytes of the path lead to the application that is called next.
    pub fn set_script_name(&mut self, len: usize) {
        self.script = len;
        // It is forgotten with what is made of this request.
        self.made.set(true);
    }

    /// What follows the `?` of the target.
    #[inline]
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.head.query()
    }

    /// The version of the message.
    #[must_use]
    pub fn version(&self) -> http::Version {
        match self.head.version() {
            Version::Http10 => http::Version::HTTP_10,
            Version::Http11 => http::Version::HTTP_11,
        }
    }

    /// The fields as a map. [`Request::head`] has them as received, in order, for nothing.
    ///
    /// `Host` is what the request is for: where the target is in absolute-form, its host and not the
    /// field's (RFC 9112 section 3.2.2); [`Request::header`] agrees.
    pub fn headers(&self) -> &HeaderMap {
        self.make::<Box<_>>(&self.headers, || {
            let mut map = HeaderMap::with_capacity(16);
            for (name, value) in self.head.fields() {
                // The parser admits tokens and field values only, and both types accept those.
                if let (Ok(name), Ok(value)) = (
                    HeaderName::from_bytes(name.as_bytes()),
                    HeaderValue::from_bytes(value),
                ) {
                    let _ = map.try_append(name, value);
                }
            }
            let host = self.target_host().map(HeaderValue::from_str);
            if let Some(Ok(host)) = host {
                map.insert(header::HOST, host);
            }
            Box::new(map)
        })
    }

    /// The first field of this name (in any case) as text, without making a map.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let host = self.target_host();
        if host.is_some() && name.eq_ignore_ascii_case("host") {
            return host;
        }
        self.head
            .field(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The host that a target in absolute-form names, whatever Host says.
    fn target_host(&self) -> Option<&str> {
        match self.head.form() {
            TargetForm::Absolute => self.head.authority(),
            _ => None,
        }
    }

    /// The head as received.
    #[inline]
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The body.
    #[inline]
    #[must_use]
    pub fn body(&self) -> &Incoming {
        &self.body
    }

    /// The body, to read.
    #[inline]
    pub fn body_mut(&mut self) -> &mut Incoming {
        &mut self.body
    }

    /// A name for this request in logs: the `X-Request-Id` that came with it, if the peer is a
    /// trusted proxy (`forwarded-allow-ips`) and it is a plain one of at most 128 characters, else 16 hexadecimal digits that hardly any other request has.
    /// The line about a worker that died while it served the request has it, too.
    pub fn id(&self) -> &str {
        self.make::<String>(&self.id, || self.request_id().to_string())
    }

    /// As [`Request::id`], but no text is made of a number. A request that was made by hand is
    /// numbered anew each time.
    #[inline]
    #[must_use]
    pub fn request_id(&self) -> RequestId<'_> {
        match self.vouched().and_then(id::given) {
            Some(text) => RequestId::Given(text),
            None if self.number != 0 => RequestId::Made(self.number),
            None => RequestId::Made(RequestIds::new().next_number()),
        }
    }

    /// The trace that this request belongs to: the one of the `traceparent` that came with it from
    /// a trusted proxy, else one that begins with it. The request's own span in it is new.
    pub fn trace(&self) -> Trace {
        *self.make(&self.trace, || {
            let number = match self.number {
                0 => RequestIds::new().next_number(),
                number => number,
            };
            Trace::new(number, self.vouched().and_then(trace::given))
        })
    }

    /// The trace, if the request came with one or somebody has looked at it.
    #[must_use]
    pub fn known_trace(&self) -> Option<Trace> {
        let known = self.trace.get().copied();
        known.or_else(|| {
            let given = self.vouched().and_then(trace::given);
            given.map(|_| self.trace())
        })
    }

    /// What is made when somebody first asks for it.
    fn make<'a, T>(&self, place: &'a OnceCell<T>, make: impl FnOnce() -> T) -> &'a T {
        self.made.set(true);
        place.get_or_init(make)
    }

    /// The head, where what it says of the request itself is to be believed.
    #[inline]
    fn vouched(&self) -> Option<&Head> {
        (!self.link.stranger).then_some(&self.head)
    }

    /// Lets the handler take at least `time` from now on, where it could not else: up to
    /// `timeout-cap` after the request came to it, whatever it asks for. To be called again and
    /// again by a handler that makes progress. On a stream thread it has no meaning, as `timeout` has
    /// none there.
    pub fn extend_timeout(&mut self, time: Duration) {
        if let Some(limit) = &self.limit {
            limit.extend(time);
        }
    }

    /// Values that wrapping handlers hand on.
    #[must_use]
    pub fn extensions(&self) -> Option<&Extensions> {
        self.extensions.as_deref()
    }

    /// Values for the handlers that this one wraps.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions.get_or_insert_default()
    }

    /// Sends an interim response at once, such as 103 Early Hints (RFC 8297); to a client of
    /// HTTP/1.0, which knows none, nothing (RFC 9110 section 15.2). 101 is not an interim response:
    /// see [`crate::Body::upgrade`].
    ///
    /// # Errors
    /// What writing answers; `InvalidInput` for a status that is not interim.
    pub fn inform(&mut self, status: StatusCode, fields: &HeaderMap) -> io::Result<()> {
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            let text = format!("{status} is not an interim response");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if self.head.version() == Version::Http10 {
            return Ok(());
        }
        encode_interim(&mut self.interim, status, fields).map_err(io::Error::other)?;
        // What cannot go now goes in front of the response.
        if let Some(wire) = &mut self.wire {
            match wire.write(&self.interim) {
                Ok(n) => drop(self.interim.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(crate::clients(error)),
            }
            if !self.interim.is_empty() {
                // Nothing else may be written before the rest.
                crate::sys::breath::cover();
            }
        }
        Ok(())
    }

    /// The request as the `http` crate has it, for code that wants that.
    #[must_use]
    pub fn into_http(mut self) -> http::Request<Incoming> {
        let client = Client(self.client().clone());
        let mut request = http::Request::new(self.body);
        *request.method_mut() = self
            .method
            .take()
            .unwrap_or_else(|| self.head.http_method());
        *request.uri_mut() = self.uri.take().unwrap_or_else(|| parse_uri(&self.head));
        *request.version_mut() = match self.head.version() {
            Version::Http10 => http::Version::HTTP_10,
            Version::Http11 => http::Version::HTTP_11,
        };
        if let Some(extensions) = self.extensions.take() {
            *request.extensions_mut() = *extensions;
        }
        request.extensions_mut().insert(self.peer.clone());
        request.extensions_mut().insert(client);
        let empty = Request {
            head: self.head,
            ..Request::default()
        };
        *request.headers_mut() = match self.headers.take() {
            Some(headers) => *headers,
            None => empty.headers().clone(),
        };
        request
    }
}

/// For the worker classes: how a request is filled and used again.
#[doc(hidden)]
impl Request {
    #[inline]
    pub fn head_mut(&mut self) -> &mut Head {
        &mut self.head
    }

    /// Drops what the request holds of the system or of the application: the file of its body and
    /// the values that handlers left. Until its memory serves another, neither must live on.
    #[inline]
    pub fn release(&mut self) {
        self.body.clear();
        if self.extensions.is_some() {
            self.drop_extensions();
        }
    }

    #[cold]
    fn drop_extensions(&mut self) {
        self.extensions = None;
    }

    /// Forgets the last request; its head is overwritten by the next. The connection is from `peer`
    /// to `local`, and the worker calls the request `number`.
    #[inline]
    pub fn renew(&mut self, peer: &Peer, local: &Arc<LocalAddr>, link: Link, number: u64) {
        self.release();
        self.number = number;
        self.link = link;
        // Nearly always the same listener: no count of references is touched then.
        if !matches!(&self.local, Some(own) if Arc::ptr_eq(own, local)) {
            self.set_local(local);
        }
        if self.made.get() || self.forwarded.is_some() {
            self.forget();
        }
        self.interim.clear();
        self.peer.clone_from(peer);
    }

    /// Becomes a request with another head, for which the handler is asked anew.
    pub fn redirect(&mut self, head: Head) {
        self.head = head;
        self.script = 0;
        self.method.take();
        self.uri.take();
        self.headers.take();
        self.body.clear();
    }

    #[inline(never)]
    fn set_local(&mut self, local: &Arc<LocalAddr>) {
        self.local = Some(Arc::clone(local));
    }

    /// Forgets what was made, and what proxies said.
    #[inline(never)]
    fn forget(&mut self) {
        self.made.set(false);
        self.script = 0;
        self.forwarded = None;
        self.method.take();
        self.uri.take();
        self.headers.take();
        self.id.take();
        self.trace.take();
    }

    pub fn link(&self) -> Link {
        self.link
    }

    /// Notes what trusted proxies say.
    pub fn set_forwarded(&mut self, forwarded: Forwarded) {
        self.forwarded = Some(Box::new(forwarded));
    }

    /// The request of `cell` is this one, for which the handler's time begins to count.
    #[inline]
    pub fn limit(&mut self, page: &Page, cell: board::Cell) {
        page.limit(cell, &mut self.limit);
    }

    /// The handler's time counts no longer.
    pub fn unlimit(&mut self) {
        self.limit = None;
    }

    /// Gives the handler another time than `timeout`; zero: no limit.
    pub fn set_timeout(&mut self, time: Duration) {
        if let Some(limit) = &self.limit {
            limit.set(time);
        }
    }

    /// Lends the connection to the request while its handler runs, for [`Request::inform`].
    #[inline]
    pub fn lend(&mut self, wire: AnyTransport) {
        self.wire = Some(wire);
    }

    /// Takes the connection back, with what could not be sent of interim responses.
    #[inline]
    pub fn reclaim(&mut self) -> (Option<AnyTransport>, &mut Vec<u8>) {
        (self.wire.take(), &mut self.interim)
    }
}

impl Default for Request {
    fn default() -> Self {
        Request {
            head: Head::new(),
            body: Incoming::default(),
            peer: Peer::Unix,
            local: None,
            link: Link::default(),
            forwarded: None,
            made: Cell::new(false),
            script: 0,
            method: OnceCell::new(),
            uri: OnceCell::new(),
            headers: OnceCell::new(),
            number: 0,
            id: OnceCell::new(),
            trace: OnceCell::new(),
            extensions: None,
            wire: None,
            interim: Vec::new(),
            limit: None,
        }
    }
}

impl<B: Into<Incoming>> TryFrom<http::Request<B>> for Request {
    type Error = Reject;

    fn try_from(request: http::Request<B>) -> Result<Self, Reject> {
        let (parts, body) = request.into_parts();
        let target = parts.uri.to_string();
        // RFC 9110 section 7.2: host and port, without userinfo.
        let authority = parts.uri.authority().map(http::uri::Authority::as_str);
        let host = authority.and_then(|text| text.rsplit('@').next());
        let host = host.unwrap_or("localhost").to_owned();
        let fields = parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        let head = if parts.headers.contains_key(header::HOST) {
            Head::build(parts.method.as_str(), &target, fields)?
        } else {
            let host = [("host", host.as_bytes())];
            Head::build(
                parts.method.as_str(),
                &target,
                host.into_iter().chain(fields),
            )?
        };
        let peer = parts
            .extensions
            .get::<Peer>()
            .cloned()
            .unwrap_or(Peer::Unix);
        let client = parts.extensions.get::<Client>().cloned();
        let forwarded = client
            .filter(|Client(client)| *client != peer)
            .map(|client| {
                Box::new(Forwarded {
                    client: Some(client.0),
                    ..Forwarded::default()
                })
            });
        Ok(Request {
            head,
            body: body.into(),
            peer,
            forwarded,
            extensions: Some(Box::new(parts.extensions)),
            ..Request::default()
        })
    }
}

/// A target that the strict parser admitted, as a URI. Characters that RFC 3986 has but the `http`
/// crate does not are percent-encoded; an authority that it does not take (`a%20b`) is left out, so
/// that path and query are always those of the request.
fn parse_uri(head: &Head) -> Uri {
    let parse = |text: &str| text.parse().or_else(|_| encoded(text).parse());
    parse(head.target())
        .or_else(|_| match head.query() {
            Some(query) => parse(&[head.path(), "?", query].concat()),
            None => parse(head.path()),
        })
        .unwrap_or_default()
}

fn encoded(target: &str) -> String {
    let mut encoded = String::with_capacity(target.len() + 16);
    for byte in target.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
