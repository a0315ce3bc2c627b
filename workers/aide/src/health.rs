//! `/health/live` and `/health/ready`, for whoever has to decide about restarts and traffic.
//!
//! Both are answered from the scoreboard, so that neither a busy worker nor a busy master can keep an
//! answer waiting. Only the reason why not is asked for.

use ferricorn_base::board::Board;
use ferricorn_base::{Response, typed};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue};

use crate::Inquiry;

/// The master lives: the aide has no life of its own.
pub(crate) fn live() -> Response {
    answer(StatusCode::OK, "live\n".to_owned())
}

/// Whether to send requests here.
pub(crate) fn ready(server: &Inquiry) -> Response {
    match obstacle(server.board()) {
        None => answer(StatusCode::OK, "ready\n".to_owned()),
        Some(obstacle) => {
            let snapshot = server.look();
            let trouble = snapshot.and_then(|snapshot| snapshot.status.trouble.clone());
            let why = trouble.map(|trouble| format!(" ({trouble})"));
            let text = format!("not ready: {obstacle}{}\n", why.unwrap_or_default());
            answer(StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

/// Why requests had better go elsewhere.
fn obstacle(board: &Board) -> Option<&'static str> {
    if board.is_stopping() {
        return Some("the server stops");
    }
    let serves = (0..board.high()).any(|seat| board.is_serving(seat));
    (!serves).then_some("no worker is ready")
}

fn answer(status: StatusCode, text: String) -> Response {
    let mut response = typed("text/plain; charset=utf-8", text);
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use ferricorn_base::board::State;

    #[test]
    fn ready_is_who_has_a_worker_that_serves_and_does_not_stop() {
        let board = Board::create().unwrap();
        assert_eq!(obstacle(&board), Some("no worker is ready"));
        let fd = board.fd().try_clone_to_owned().unwrap();
        let page = Board::attach(fd).unwrap().take_seat(3, 0, 1).unwrap();
        board.set_alive(3, true);
        assert_eq!(obstacle(&board), Some("no worker is ready"));
        page.set_state(State::Serving);
        assert_eq!(obstacle(&board), None);
        board.set_stopping();
        assert_eq!(obstacle(&board), Some("the server stops"));
    }
}
