//! What a load balancer asks: may more connections be sent here? The loop answers by itself, so that
//! neither the application nor a limit per peer has a say in it.
//!
//! Yes, unless the server was told to stop, which the master says on the scoreboard, or this worker
//! drains and nobody serves on. A worker that is replaced says yes: its successors take what comes.

use ferricorn_base::{Body, Response};
use http::{HeaderValue, StatusCode, header};

use crate::conn::Active;
use crate::core::Core;
use crate::protocol::Protocol;

impl<P: Protocol> Core<P> {
    /// The answer to a request that asks for readiness, if this is one: GET or HEAD of just that path.
    pub(crate) fn readiness(&self, active: &Active<P>) -> Option<Response> {
        let path = self.conf.readiness_path.as_deref()?;
        let head = active.request.head();
        if head.path() != path || !matches!(head.method(), "GET" | "HEAD") {
            return None;
        }
        let drain = self.drain.as_ref();
        let last = drain.is_some_and(|drain| !drain.giving.has_heirs());
        let stops = last || self.context.board.is_stopping();
        let (status, text) = if stops {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
        } else {
            (StatusCode::OK, "ready\n")
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        // It is true now, and perhaps not a moment later.
        let fresh = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, fresh);
        Some(response)
    }
}
