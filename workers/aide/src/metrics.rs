//! `/metrics`: the numbers of the server for Prometheus. A pure function of a [`Snapshot`].

use ferricorn_base::{Request, Response, typed};

use crate::Snapshot;

/// The text format that Prometheus reads (version 0.0.4).
pub(crate) fn answer(snapshot: &Snapshot, _: &Request) -> Response {
    let status = &snapshot.status;
    let text = format!(
        "# HELP ferricorn_workers_ready Workers that serve.\n\
         # TYPE ferricorn_workers_ready gauge\n\
         ferricorn_workers_ready {}\n\
         # HELP ferricorn_workers_wanted Workers that there should be.\n\
         # TYPE ferricorn_workers_wanted gauge\n\
         ferricorn_workers_wanted {}\n",
        status.ready, status.wanted
    );
    typed("text/plain; version=0.0.4; charset=utf-8", text)
}
