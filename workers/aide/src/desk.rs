//! What is answered at the aide's own listeners, path by path.

use std::io;
use std::time::Duration;

use ferricorn_base::board::Board;
use ferricorn_base::conf::Deadlines;
use ferricorn_base::rendezvous::Rendezvous;
use ferricorn_base::{Conf, Error, Handler, IntoResponse, Listener, Request, Response, typed};
use http::header::{ALLOW, CACHE_CONTROL, HeaderValue, LOCATION};
use http::{HeaderMap, StatusCode};

use crate::house::{House, Plan};
use crate::{Inquiry, health, metrics, page};

/// Connections at a time.
const CONNECTIONS: usize = 256;
/// What is answered to whoever asks for something else.
const PATHS: &str = "Not Found. There are /status, /metrics, /health/live and /health/ready.\n";

/// Begins to answer at these listeners.
///
/// # Errors
/// As [`House::open`].
pub(crate) fn open(listeners: Vec<Listener>, conf: &Conf, inquiry: Inquiry) -> io::Result<House> {
    let (fds, confs) = listeners.into_iter().map(|l| (l.fd, l.conf)).unzip();
    let plan = Plan {
        name: "desk",
        conf: Conf {
            listeners: confs,
            worker_connections: CONNECTIONS,
            server: conf.server.clone(),
            tmp_dir: conf.tmp_dir.clone(),
            deadlines: Deadlines {
                head: Duration::from_secs(10),
                body: Duration::from_secs(10),
                write: Duration::from_secs(10),
                graceful: Duration::from_secs(1),
                heartbeat: conf.deadlines.heartbeat,
                ..Deadlines::default()
            },
            ..Conf::default()
        },
        // It is nobody's business how busy this is.
        board: Board::create()?,
        seat: 0,
        listeners: fds,
        rendezvous: Rendezvous::new()?,
        access_log: Vec::new(),
    };
    House::open(plan, Desk { inquiry })
}

/// The handler.
#[derive(Debug)]
struct Desk {
    inquiry: Inquiry,
}

impl Handler for Desk {
    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        if !matches!(request.head().method(), "GET" | "HEAD") {
            let allow = HeaderMap::from_iter([(ALLOW, HeaderValue::from_static("GET, HEAD"))]);
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return (status, allow, "Method Not Allowed\n").into_response();
        }
        match request.path() {
            "/health/live" => Ok(health::live()),
            "/health/ready" => Ok(health::ready(&self.inquiry)),
            "/metrics" | "/status" | "/status.json" => self.look(request),
            "/" => {
                let mut response = StatusCode::FOUND.into_response()?;
                let status = HeaderValue::from_static("/status");
                response.headers_mut().insert(LOCATION, status);
                Ok(response)
            }
            _ => (StatusCode::NOT_FOUND, PATHS).into_response(),
        }
    }
}

impl Desk {
    /// What takes a look at the server.
    fn look(&self, request: &Request) -> Result<Response, Error> {
        let Some(snapshot) = self.inquiry.look() else {
            let mut response = typed("text/plain; charset=utf-8", "the master does not answer\n");
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(response);
        };
        let mut response = match request.path() {
            "/metrics" => metrics::answer(&snapshot, request),
            _ => page::answer(&snapshot, request)?,
        };
        let fields = response.headers_mut();
        let no_store = HeaderValue::from_static("no-store");
        fields.entry(CACHE_CONTROL).or_insert(no_store);
        if snapshot.is_silent {
            // RFC 9111 section 5.1: how old what is told may be.
            let age = HeaderValue::from(snapshot.age().as_secs());
            fields.insert(http::header::AGE, age);
        }
        Ok(response)
    }
}
