//! Before a handler sees a request: whether the loop answers it instead.
//!
//! In this order: readiness, which nothing may stand in the way of; what workers die of; what has waited
//! too long, when all do; a peer that has its share.

use ferricorn_base::Response;
use ferricorn_base::board::Counter;
use ferricorn_http::RETRY_AFTER;
use http::{HeaderValue, StatusCode, header};

use crate::conn::Active;
use crate::core::Core;
use crate::protocol::Protocol;
use crate::respond::error_response;

/// When to ask again for what is in quarantine, in seconds: that takes an operator, or minutes.
const QUARANTINE: &str = "60";

impl<P: Protocol> Core<P> {
    /// The answer of the loop to a request whose head is here, if it has one. One that waits for a handler
    /// first is judged by its wait when that is over.
    pub(crate) fn screen(&mut self, active: &Active<P>, waits: bool) -> Option<Response> {
        let answer = self.readiness(active);
        let answer = answer.or_else(|| self.quarantined(active));
        let answer = answer.or_else(|| if waits { None } else { self.overloaded() });
        answer.or_else(|| self.over_rate(active))
    }

    /// The answer to a request that has waited too long, when all do. Meanwhile nothing is run for who
    /// has closed the connection, or half of it: most of those have gone.
    pub(crate) fn overloaded(&mut self) -> Option<Response> {
        let codel = self.codel.as_mut()?;
        let now = self.clock.now();
        let waited = self.late.waited(now)?;
        let refused = codel.refuses(waited, now) || codel.is_refusing() && self.late.ended;
        if !refused {
            return None;
        }
        self.context.page.add(Counter::Shed, 1);
        self.log_shed(waited);
        Some(unavailable(RETRY_AFTER))
    }

    /// The answer to a request that workers have died of.
    fn quarantined(&self, active: &Active<P>) -> Option<Response> {
        let line = active.request.head().method_and_target();
        if !self.conf.poison || !self.context.board.is_poison(line) {
            return None;
        }
        self.context.page.add(Counter::Poisoned, 1);
        Some(unavailable(QUARANTINE))
    }
}

/// 503, and when to ask again, in seconds.
fn unavailable(retry_after: &'static str) -> Response {
    let mut response = error_response(StatusCode::SERVICE_UNAVAILABLE);
    let after = HeaderValue::from_static(retry_after);
    response.headers_mut().insert(header::RETRY_AFTER, after);
    response
}
