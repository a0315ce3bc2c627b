//! What `ferricorn` alone serves: a page that shows what is running.
//!
//! The page tells about the server what its operator wants to see on a new installation, and of the
//! request only what the client itself sent.

use std::os::unix::process::parent_id;

use ferricorn_base::{App, Error, Handler, IntoResponse, Request, Response, Seat, typed};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::page::Page;

/// A page about the running server at `/`, and one that says "not found" at every other path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Welcome;

impl App for Welcome {
    type Handler = WelcomeHandler;

    fn boot(&self, seat: &Seat) -> Result<WelcomeHandler, Error> {
        Ok(WelcomeHandler { seat: seat.clone() })
    }
}

/// The handler of [`Welcome`].
#[derive(Clone, Debug)]
pub struct WelcomeHandler {
    seat: Seat,
}

impl Handler for WelcomeHandler {
    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        if !matches!(request.head().method(), "GET" | "HEAD") {
            let allow = HeaderMap::from_iter([(ALLOW, HeaderValue::from_static("GET, HEAD"))]);
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return (status, allow, "Method Not Allowed").into_response();
        }
        let (status, page) = match request.path() {
            "/" => (StatusCode::OK, self.welcome(request)),
            _ => (StatusCode::NOT_FOUND, not_found(request)),
        };
        let mut response = typed("text/html; charset=utf-8", page);
        *response.status_mut() = status;
        let fields = response.headers_mut();
        // It shows the moment and the client's own fields: nobody else's business, nor later's.
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert(
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
        );
        Ok(response)
    }
}

impl WelcomeHandler {
    fn welcome(&self, request: &Request) -> String {
        let conf = self.seat.conf();
        let binds: Vec<&str> = conf.listeners.iter().map(|l| l.bind.as_str()).collect();
        let master = parent_id();
        let mut page = Page::new("Ferricorn is running");
        page.text("This is the built-in welcome application. Put your own in its place.");
        page.table(
            "The server",
            [
                ("Version", env!("CARGO_PKG_VERSION").to_owned()),
                ("Listening on", binds.join(", ")),
                ("Workers", conf.workers.to_string()),
                ("Worker class", conf.worker_class.clone()),
                ("This worker", format!("number {}", self.seat.slot())),
                ("Its process", std::process::id().to_string()),
                ("Its master", master.to_string()),
                ("Generation", self.seat.generation().to_string()),
            ],
        );
        page.code(
            "Go on",
            &format!(
                "ferricorn --bind 127.0.0.1:8000 --workers 4   # more workers\n\
                 ferricorn hello                               # the smallest application\n\
                 ferricorn --help                              # every setting\n\
                 kill -TTIN {master:<34} # one worker more\n\
                 kill -HUP {master:<35} # read the configuration again\n\
                 kill -TERM {master:<34} # finish what is open, then stop"
            ),
        );
        page.code(
            "An application of your own",
            "use ferricorn::Request;\n\n\
             fn main() -> std::process::ExitCode {\n    \
             ferricorn::main(|_: &mut Request| \"Hello, World!\")\n}",
        );
        page.code("Your request", &as_received(request));
        page.finish()
    }
}

fn not_found(request: &Request) -> String {
    let mut page = Page::new("Not found");
    page.text(&format!("There is nothing at {} here.", request.path()));
    page.finish()
}

fn as_received(request: &Request) -> String {
    let mut text = format!("{}\n", request.head().request_line());
    for (name, value) in request.head().fields() {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(&String::from_utf8_lossy(value));
        text.push('\n');
    }
    text.push_str(&format!("\nfrom {}", request.peer()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, target: &str, fields: &[(&str, &str)]) -> (u16, String) {
        let host = [("Host", "localhost")];
        let fields = host.iter().chain(fields).copied();
        let mut request = Request::build(method, target, fields).unwrap();
        let mut handler = Welcome.boot(&Seat::default()).unwrap();
        let response = handler.handle(&mut request).unwrap();
        let status = response.status().as_u16();
        let content = response.into_body().collect().unwrap();
        (status, String::from_utf8(content.to_vec()).unwrap())
    }

    #[test]
    fn the_root_shows_server_worker_and_request() {
        let (status, page) = ask("GET", "/", &[("User-Agent", "test/1")]);
        assert_eq!(status, 200);
        assert!(page.starts_with("<!doctype html>"));
        for text in [
            env!("CARGO_PKG_VERSION"),
            &std::process::id().to_string(),
            "sync",
            "GET / HTTP/1.1",
            "test/1",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert_eq!(ask("HEAD", "/?x", &[]).0, 200);
    }

    #[test]
    fn other_paths_are_not_found_and_other_methods_not_allowed() {
        let (status, page) = ask("GET", "/nothing", &[]);
        assert_eq!(status, 404);
        assert!(page.contains("/nothing"));
        assert_eq!(ask("POST", "/", &[]).0, 405);
    }

    #[test]
    fn what_the_client_sent_is_escaped() {
        let script = "<script>alert('&')</script>";
        let (_, page) = ask("GET", "/", &[("X-Test", script)]);
        assert!(!page.contains("<script>"));
        assert!(page.contains("&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;"));
        let (_, page) = ask("GET", "/'&a", &[]);
        assert!(page.contains("/&#39;&amp;a"), "{page}");
    }
}
