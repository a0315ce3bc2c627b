//! `/status`: how the server stands. A pure function of a [`Snapshot`].

use ferricorn_base::{Error, Request, Response, typed};

use crate::Snapshot;

/// What the control socket answers to `status`.
///
/// # Errors
/// None that is known: the status can be written.
pub(crate) fn answer(snapshot: &Snapshot, _: &Request) -> Result<Response, Error> {
    let mut text = serde_json::to_string(&*snapshot.status)?;
    text.push('\n');
    Ok(typed("application/json", text))
}
