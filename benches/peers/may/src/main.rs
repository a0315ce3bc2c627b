//! may_minihttp with one worker: the routes that `app.rs` beside it has.

use std::io::{self, Read};
use std::time::Duration;

use bytes::BufMut;
use may_minihttp::{HttpServer, HttpService, Request, Response};

#[derive(Clone)]
struct Routes {
    ten_k: &'static str,
    one_m: &'static str,
}

impl HttpService for Routes {
    fn call(&mut self, request: Request, response: &mut Response) -> io::Result<()> {
        let mut kind = "Content-Type: text/plain";
        match request.path() {
            "/plaintext" => response.body("Hello, World!"),
            "/json" => {
                kind = "Content-Type: application/json";
                let value = serde_json::json!({ "message": "Hello, World!" });
                serde_json::to_writer(response.body_mut().writer(), &value)?;
            }
            "/10k" => response.body(self.ten_k),
            "/1m" => response.body(self.one_m),
            "/upload" => {
                let mut content = Vec::new();
                request.body().read_to_end(&mut content)?;
                response.body_vec(content.len().to_string().into_bytes());
            }
            "/slow" => {
                may::coroutine::sleep(Duration::from_millis(100));
                response.body("Hello, World!");
            }
            _ => {
                response.status_code(404, "Not Found");
            }
        }
        response.header(kind);
        Ok(())
    }
}

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or("8000".into());
    may::config().set_workers(1);
    let large: &str = "x".repeat(1 << 20).leak();
    let routes = Routes {
        ten_k: &large[..10 << 10],
        one_m: large,
    };
    let server = HttpServer(routes).start(format!("127.0.0.1:{port}"))?;
    let _ = server.join();
    Ok(())
}
