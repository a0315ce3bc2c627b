//! The application for HTTP cases: it answers with what it got.
//!
//! A body in memory goes back from memory. One that outgrew it goes back from its unlinked file,
//! by the loop, and is never loaded.

use ferricorn_base::{App, Body, Error, Handler, IntoResponse, Request, Response, Seat};
use http::StatusCode;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};

/// What Echo does for every path.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Sends the body back with its content type, or `OK` as plain text where there is none, whatever
/// the path.
///
/// Methods are those of RFC 9110 section 9.3 and PATCH. TRACE is known and not allowed (405): who
/// can send it could have fields shown that are not his to see (section 9.3.8). Any other is
/// unknown here (501, section 9.1): methods are case-sensitive, `Get` is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl App for Echo {
    type Handler = Echo;

    fn boot(&self, _: &Seat) -> Result<Echo, Error> {
        Ok(Echo)
    }
}

impl Handler for Echo {
    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        let method = request.head().method();
        if !METHODS.split(", ").any(|known| known == method) {
            let status = match method {
                "TRACE" => StatusCode::METHOD_NOT_ALLOWED,
                _ => StatusCode::NOT_IMPLEMENTED,
            };
            return refuse(status);
        }
        if request.body().is_empty() {
            let body = Body::from_static(b"OK").with_content_type("text/plain");
            return Ok(Response::new(body));
        }
        // Without a type the client should not guess one either (RFC 9110 section 8.3).
        let content_type = match request.head().field("content-type") {
            Some(value) => HeaderValue::from_bytes(value)?,
            None => HeaderValue::from_static("application/octet-stream"),
        };
        let len = request.body().len();
        let spooled = request.body().file().map(std::fs::File::try_clone);
        let body = match spooled.transpose()? {
            Some(file) => Body::file(file, 0, len),
            None => Body::from(request.body_mut().to_bytes()?),
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        Ok(response)
    }
}

/// A 405 names the methods that would be allowed (RFC 9110 section 15.5.6); a 501 may.
fn refuse(status: StatusCode) -> Result<Response, Error> {
    let mut response = status.into_response()?;
    let methods = HeaderValue::from_static(METHODS);
    response.headers_mut().insert(ALLOW, methods);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use ferricorn_base::Incoming;
    use ferricorn_base::body::Kind;

    use super::*;

    fn post(fields: &[(&str, &str)]) -> Request {
        let host = [("Host", "localhost")];
        let fields = host.iter().chain(fields).copied();
        Request::build("POST", "/any", fields).unwrap()
    }

    #[test]
    fn a_body_comes_back_with_its_type() {
        let mut request = post(&[("Content-Type", "text/x-toml")]).with_body("a = 1");
        let response = Echo.handle(&mut request).unwrap();
        assert_eq!(response.headers()["content-type"], "text/x-toml");
        assert_eq!(response.into_body().collect().unwrap(), "a = 1");
    }

    #[test]
    fn a_body_without_a_type_is_just_bytes() {
        let response = Echo.handle(&mut post(&[]).with_body("x")).unwrap();
        let content_type = &response.headers()["content-type"];
        assert_eq!(content_type, "application/octet-stream");
    }

    #[test]
    fn a_method_is_known_by_its_case() {
        for (method, status) in [
            ("PATCH", 200),
            ("Get", 501),
            ("GE", 501),
            ("FOOBAR", 501),
            ("TRACE", 405),
        ] {
            let mut request = Request::build(method, "/", [("Host", "localhost")]).unwrap();
            let response = Echo.handle(&mut request).unwrap();
            assert_eq!(response.status(), status, "{method}");
            assert_eq!(response.headers().contains_key(ALLOW), status != 200);
        }
    }

    #[test]
    fn no_body_is_ok() {
        let mut request = Request::build("GET", "/", [("Host", "localhost")]).unwrap();
        let response = Echo.handle(&mut request).unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.body().content_type(), Some("text/plain"));
        assert_eq!(response.into_body().collect().unwrap(), "OK");
    }

    #[test]
    fn a_spooled_body_goes_back_from_its_file() {
        let mut body = Incoming::default();
        let piece = [b'x'; 1000];
        for _ in 0..3 {
            body.push(&piece, 1500, &std::env::temp_dir()).unwrap();
        }
        body.complete(None).unwrap();
        let mut request = post(&[]).with_body(body);
        let response = Echo.handle(&mut request).unwrap();
        // The next request on the connection empties the request's body first.
        request.body_mut().clear();
        let body = response.into_body();
        assert_eq!(body.len(), Some(3000));
        let Kind::File { file, start, len } = body.into_kind() else {
            panic!("it was loaded");
        };
        let content = Body::file(file, start, len).collect().unwrap();
        assert_eq!(content, [b'x'; 3000].as_slice());
    }
}
