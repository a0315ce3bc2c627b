//! The application for benchmarks: the same 13 bytes for every request, without an allocation.

use ferricorn_base::{App, Body, Error, Handler, Request, Response, Seat};

/// Answers `Hello, World!` to every method at every path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hello;

impl App for Hello {
    type Handler = Hello;

    fn boot(&self, _: &Seat) -> Result<Hello, Error> {
        Ok(Hello)
    }
}

impl Handler for Hello {
    #[inline]
    fn handle(&mut self, _: &mut Request) -> Result<Response, Error> {
        Ok(Response::new(
            Body::from_static(b"Hello, World!").with_content_type("text/plain"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_answers_13_bytes_of_plain_text_at_every_path() {
        for (method, target) in [("GET", "/"), ("POST", "/any/where?x=y"), ("HEAD", "/")] {
            let mut request = Request::build(method, target, [("Host", "localhost")]).unwrap();
            let response = Hello.handle(&mut request).unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.body().content_type(), Some("text/plain"));
            assert_eq!(response.body().len(), Some(13));
            let content = response.into_body().collect().unwrap();
            assert_eq!(content, "Hello, World!");
        }
    }
}
