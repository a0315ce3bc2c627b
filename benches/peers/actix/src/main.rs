//! actix-web with one worker: the routes that `app.rs` beside it has.

use std::time::Duration;

use actix_web::http::header::{CONTENT_TYPE, SERVER};
use actix_web::rt::time::sleep;
use actix_web::web::{self, Bytes, PayloadConfig};
use actix_web::{App, HttpResponse, HttpServer};
use socket2::{Domain, Protocol, Socket, Type};

static LARGE: [u8; 1 << 20] = [b'x'; 1 << 20];

fn text(content: impl Into<Bytes>) -> HttpResponse {
    typed("text/plain", content)
}

fn typed(kind: &'static str, content: impl Into<Bytes>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((SERVER, "actix"))
        .insert_header((CONTENT_TYPE, kind))
        .body(content.into())
}

async fn plaintext() -> HttpResponse {
    text("Hello, World!")
}

async fn json() -> HttpResponse {
    let value = serde_json::json!({ "message": "Hello, World!" });
    typed("application/json", value.to_string())
}

async fn ten_k() -> HttpResponse {
    text(Bytes::from_static(&LARGE[..10 << 10]))
}

async fn one_m() -> HttpResponse {
    text(Bytes::from_static(&LARGE))
}

async fn upload(content: Bytes) -> HttpResponse {
    text(content.len().to_string())
}

async fn slow() -> HttpResponse {
    sleep(Duration::from_millis(100)).await;
    text("Hello, World!")
}

fn main() -> std::io::Result<()> {
    let port: Option<u16> = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Connections inherit it: no call for each.
    socket.set_tcp_nodelay(true)?;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port.unwrap_or(8000)));
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    let server = HttpServer::new(|| {
        App::new()
            .app_data(PayloadConfig::new(2 << 20))
            .route("/plaintext", web::get().to(plaintext))
            .route("/json", web::get().to(json))
            .route("/10k", web::get().to(ten_k))
            .route("/1m", web::get().to(one_m))
            .route("/upload", web::post().to(upload))
            .route("/slow", web::get().to(slow))
    })
    .workers(1)
    .listen(socket.into())?
    .run();
    actix_web::rt::System::new().block_on(server)
}
