//! Paths with parameters, by a router of one's own: 404 for an unknown path, 405 with `Allow` for a
//! known one with another method. Its handlers are tested without a server, below.
//!
//!     cargo run --release --example router
//!     curl -i http://127.0.0.1:8000/displaynews/sports

use ferricorn::http::{HeaderMap, HeaderValue, StatusCode, header};
use ferricorn::{Error, IntoResponse, Request, Response};

fn main() -> std::process::ExitCode {
    let router = Router::default()
        .route("GET", "/", |_, _| {
            "Try /displaynews/sports\n".into_response()
        })
        .route("GET", "/displaynews/{category}", display_news)
        .route("POST", "/displaynews/{category}", add_news);
    ferricorn::main(move |request: &mut Request| router.answer(request))
}

fn display_news(_: &mut Request, parameters: &[String]) -> Result<Response, Error> {
    format!("News about {}\n", parameters[0]).into_response()
}

fn add_news(request: &mut Request, parameters: &[String]) -> Result<Response, Error> {
    let len = request.body().len();
    let text = format!("{len} bytes of news about {}\n", parameters[0]);
    (StatusCode::CREATED, text).into_response()
}

type Page = fn(&mut Request, &[String]) -> Result<Response, Error>;

/// Routes in the order in which they are tried.
#[derive(Clone, Default)]
struct Router(Vec<(&'static str, &'static str, Page)>);

impl Router {
    fn route(mut self, method: &'static str, pattern: &'static str, page: Page) -> Router {
        self.0.push((method, pattern, page));
        self
    }

    fn answer(&self, request: &mut Request) -> Result<Response, Error> {
        let mut allow = Vec::new();
        for (method, pattern, page) in &self.0 {
            let Some(parameters) = fit(pattern, request.path()) else {
                continue;
            };
            let asked = request.head().method();
            // HEAD is GET without the content, which the server leaves out by itself.
            if asked == *method || (asked == "HEAD" && *method == "GET") {
                return page(request, &parameters);
            }
            allow.push(*method);
        }
        if allow.is_empty() {
            return StatusCode::NOT_FOUND.into_response();
        }
        let allow = HeaderValue::try_from(allow.join(", "))?;
        let fields = HeaderMap::from_iter([(header::ALLOW, allow)]);
        (StatusCode::METHOD_NOT_ALLOWED, fields, "Method Not Allowed").into_response()
    }
}

/// The parameters of `path`, percent-encoding and all, if it fits `pattern` segment by segment.
fn fit(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut parameters = Vec::new();
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(parameters),
            (Some(name), Some(value)) if name.starts_with('{') && !value.is_empty() => {
                parameters.push(value.to_owned());
            }
            (Some(name), Some(value)) if name == value => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_is_a_function_of_a_request() -> Result<(), Error> {
        let router = Router::default().route("GET", "/displaynews/{category}", display_news);
        for (method, path, status) in [
            ("GET", "/displaynews/sports", 200),
            ("HEAD", "/displaynews/sports", 200),
            ("POST", "/displaynews/sports", 405),
            ("GET", "/displaynews/", 404),
            ("GET", "/displaynews/sports/1", 404),
        ] {
            let mut request = Request::build(method, path, [("Host", "localhost")])?;
            let response = router.answer(&mut request)?;
            assert_eq!(response.status(), status, "{method} {path}");
            if status == 200 {
                assert_eq!(response.into_body().collect()?, "News about sports\n");
            }
        }
        Ok(())
    }
}
