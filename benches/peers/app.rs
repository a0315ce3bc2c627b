//! The application that `benches/run` measures: every workload's route, in blocking code.
//!
//!     cargo run --release --example bench_app
//!
//! The peers beside it have the same routes.

use std::thread::sleep;
use std::time::Duration;

use ferricorn::http::StatusCode;
use ferricorn::{Body, Error, IntoResponse, Request, Response, typed};
use serde_json::json;

static LARGE: [u8; 1 << 20] = [b'x'; 1 << 20];

fn main() -> std::process::ExitCode {
    ferricorn::main(answer)
}

fn answer(request: &mut Request) -> Result<Response, Error> {
    match request.path() {
        "/plaintext" => text("Hello, World!".as_bytes()),
        "/json" => {
            let value = json!({ "message": "Hello, World!" });
            Ok(typed("application/json", value.to_string()))
        }
        "/10k" => text(&LARGE[..10 << 10]),
        "/1m" => text(&LARGE),
        "/upload" => {
            let len = request.body().len();
            Ok(typed("text/plain", len.to_string()))
        }
        "/slow" => {
            sleep(Duration::from_millis(100));
            text("Hello, World!".as_bytes())
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn text(content: &'static [u8]) -> Result<Response, Error> {
    Ok(Response::new(
        Body::from_static(content).with_content_type("text/plain"),
    ))
}
