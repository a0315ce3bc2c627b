//! hyper with tokio on one thread: the routes that `app.rs` beside it has.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, SERVER};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::LocalSet;

static LARGE: [u8; 1 << 20] = [b'x'; 1 << 20];

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, serve(port.unwrap_or(8000)))
}

async fn serve(port: u16) -> std::io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Connections inherit it: no call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    socket.listen(4096)?;
    let listener = tokio::net::TcpListener::from_std(socket.into())?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::task::spawn_local(
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service_fn(answer)),
        );
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain");
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let (kind, content) = match request.uri().path() {
        "/plaintext" => (TEXT, Bytes::from_static(b"Hello, World!")),
        "/json" => {
            let value = serde_json::json!({ "message": "Hello, World!" });
            (JSON, value.to_string().into())
        }
        "/10k" => (TEXT, Bytes::from_static(&LARGE[..10 << 10])),
        "/1m" => (TEXT, Bytes::from_static(&LARGE)),
        "/upload" => {
            let body = request.into_body().collect().await;
            let len = body.map_or(0, |body| body.to_bytes().len());
            (TEXT, len.to_string().into())
        }
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(100)).await;
            (TEXT, Bytes::from_static(b"Hello, World!"))
        }
        _ => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NOT_FOUND;
            return Ok(response);
        }
    };
    let mut response = Response::new(Full::new(content));
    let fields = response.headers_mut();
    fields.insert(SERVER, HeaderValue::from_static("hyper"));
    fields.insert(CONTENT_TYPE, kind);
    Ok(response)
}
