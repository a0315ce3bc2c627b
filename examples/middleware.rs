//! A handler around a handler: it times what it wraps and adds a field to every response.
//!
//!     cargo run --release --example middleware
//!     curl -i http://127.0.0.1:8000/          # Server-Timing: app;dur=0.004
//!
//! A response is a value, so wrapping is an ordinary call. Wrap as often as you like: the compiler
//! turns the layers into one handler.

use std::time::Instant;

use ferricorn::http::HeaderValue;
use ferricorn::{App, Begin, Error, Handler, Request, Response, Seat};

fn main() -> std::process::ExitCode {
    ferricorn::main(Timed(|_: &mut Request| "Hello, World!"))
}

/// Any application, timed.
struct Timed<A>(A);

impl<A: App> App for Timed<A> {
    type Handler = Timing<A::Handler>;

    fn load(&mut self) -> Result<(), Error> {
        self.0.load()
    }

    fn boot(&self, seat: &Seat) -> Result<Timing<A::Handler>, Error> {
        Ok(Timing(self.0.boot(seat)?))
    }
}

struct Timing<H>(H);

impl<H: Handler> Handler for Timing<H> {
    /// A wrapper hands `begin` on too, or what it wraps could not stream.
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        let start = Instant::now();
        match self.0.begin(request)? {
            Begin::Respond(response) => Ok(Begin::Respond(timed(response, start)?)),
            other => Ok(other),
        }
    }

    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        let start = Instant::now();
        timed(self.0.handle(request)?, start)
    }

    fn idle(&mut self) {
        self.0.idle();
    }
}

/// See <https://www.w3.org/TR/server-timing/>: browsers show it in their network panel.
fn timed(mut response: Response, start: Instant) -> Result<Response, Error> {
    let millis = start.elapsed().as_secs_f64() * 1000.0;
    let value = HeaderValue::try_from(format!("app;dur={millis:.3}"))?;
    response.headers_mut().append("server-timing", value);
    Ok(response)
}
