//! Server-sent events: a response that goes on until the reader leaves or the server stops.
//!
//!     cargo run --release --example sse
//!     curl -N http://127.0.0.1:8000/events        # or open http://127.0.0.1:8000/ in a browser

use std::io::Write;
use std::time::Duration;

use ferricorn::http::{StatusCode, header};
use ferricorn::{Body, Error, Exchange, IntoResponse, Request, Response, typed};

const PAGE: &str = r#"<!doctype html>
<title>Events</title>
<pre id="log"></pre>
<script>
  new EventSource("/events").onmessage = event => log.textContent += event.data + "\n"
</script>
"#;

fn main() -> std::process::ExitCode {
    ferricorn::main(|request: &mut Request| match request.path() {
        "/" => Ok(typed("text/html; charset=utf-8", PAGE)),
        "/events" => events(),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
}

fn events() -> Result<Response, Error> {
    let fields = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    // The stream runs on a thread of its own: it may sleep, and no other request waits for it.
    (fields, Body::stream(count)).into_response()
}

fn count(exchange: &mut Exchange) -> Result<(), Error> {
    let mut number = 0u64;
    // Without this a stream without an end would hold up every reload and stop until its deadline.
    while !exchange.is_closing() {
        number += 1;
        write!(exchange, "id: {number}\ndata: event {number}\n\n")?;
        // What was written so far goes out now. It fails when the reader is gone.
        exchange.flush()?;
        std::thread::sleep(Duration::from_millis(500));
    }
    // The browser comes back to another worker by itself, after so many milliseconds.
    write!(exchange, "retry: 100\n\n")?;
    Ok(())
}
