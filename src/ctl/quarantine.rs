//! The requests in quarantine, for people: a table, and a line of what was cleared.

use std::fmt::Write;

use crate::control::words::Quarantined;
use crate::control::words::human::time;

/// "FINGERPRINT  DEATHS  AGE  LEFT  REQUEST" and a line for each; a sentence if there is none.
pub(super) fn table(held: &[Quarantined]) -> String {
    if held.is_empty() {
        return "nothing is in quarantine\n".to_owned();
    }
    let mut text = format!(
        "{:<16}  {:>6}  {:<12}  {:<12}  REQUEST\n",
        "FINGERPRINT", "DEATHS", "AGE", "LEFT"
    );
    for one in held {
        let left = one.left.map_or_else(|| "until cleared".to_owned(), time);
        let (fingerprint, deaths, age) = (&one.fingerprint, one.deaths, time(one.age));
        let request = &one.request;
        let _ = writeln!(
            text,
            "{fingerprint:<16}  {deaths:>6}  {age:<12}  {left:<12}  {request}"
        );
    }
    text
}

/// "GET /a is served again".
pub(super) fn cleared(gone: &[Quarantined]) -> String {
    let lines = gone
        .iter()
        .map(|one| format!("{} is served again\n", one.request));
    lines.collect()
}
