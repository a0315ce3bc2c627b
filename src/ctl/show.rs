//! What the server says, for people.
//!
//! Names and reasons come from configurations and applications: nothing of them reaches the terminal
//! but printable text.

use std::fmt::Write;
use std::time::Duration;

use crate::control::words::{Answer, Command, News, Status, Who};

/// A text without what a terminal might obey.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// A line for an event; empty for one that only programs need.
pub(super) fn news(news: &News) -> String {
    let text = match news {
        News::Trying { program, pid, .. } => format!("trying {program} (pid {pid})"),
        News::Passed { seconds, .. } => format!("it can serve (after {seconds:.2} s)"),
        News::Executed { server, .. } => format!("executed (ferricorn {server})"),
        News::Rolling { generation, .. } => {
            format!("generation {generation}: replacing the workers")
        }
        News::ReloadWaits {} => "a reload is under way, or the start; this one follows".to_owned(),
        News::WorkerStarted { who, .. } => format!("{} boots", worker(who)),
        News::WorkerReady { who, seconds } => {
            format!("{} is ready (after {seconds:.2} s)", worker(who))
        }
        News::WorkerRetiring { who, cause } => format!("{} retires: {cause}", worker(who)),
        News::WorkerDraining { who, cause } => format!("{} drains: {cause}", worker(who)),
        News::WorkerLeaving { who, cause } => format!("{} is told to go: {cause}", worker(who)),
        News::WorkerSignalled { who, signal, cause } => {
            format!("{} is sent {signal}: {cause}", worker(who))
        }
        News::WorkerLeft {
            who,
            ending,
            counts,
            ..
        } => match counts {
            Some(counts) => format!("{} {ending}: {counts}", worker(who)),
            None => format!("{} {ending}", worker(who)),
        },
        News::BootFailed { slot, cause, retry } => {
            format!("worker {slot} cannot boot: {cause}; the next try is in {retry:.1} s")
        }
        News::Crashed { slot, retry } => {
            format!("worker {slot} lived briefly; its successor comes in {retry:.1} s")
        }
        News::TakenOver { generation } => {
            format!("generation {generation} serves alone; the old workers finish")
        }
        News::ReloadFailed { reload, cause, .. } => format!("reload {reload} failed: {cause}"),
        News::StopsSoon { seconds } => format!("serving on for pre-stop-delay ({seconds} s)"),
        News::Stopping { graceful: true, .. } => {
            "stopping: workers finish what they have".to_owned()
        }
        News::Stopping { .. } => "stopping at once".to_owned(),
        News::Started { listeners } => format!("serving at {listeners}"),
        // The answer says so.
        News::ReloadComplete { .. } | News::Stopped { .. } => return String::new(),
        News::Signal { .. }
        | News::Command { .. }
        | News::Wanted { .. }
        | News::Retired {}
        | News::Reopened {}
        | News::Unknown => return String::new(),
    };
    clean(&text) + "\n"
}

fn worker(who: &Who) -> String {
    let Who {
        slot,
        pid,
        generation,
    } = who;
    format!("worker {slot} (pid {pid}, generation {generation})")
}

/// What an answer says, beside whether it is one. A refusal is told apart.
pub(super) fn answer(command: &Command, answer: &Answer) -> String {
    if !answer.ok {
        return String::new();
    }
    let text = match answer {
        Answer {
            status: Some(state),
            ..
        } => status(state),
        Answer {
            reload: Some(reload),
            verdict: Some(verdict),
            ..
        } => format!(
            "reload {reload} is complete: generation {} serves; {verdict}\n",
            verdict.generation
        ),
        Answer {
            reload: Some(reload),
            ..
        } => format!("reload {reload} was asked for\n"),
        Answer {
            workers: Some(workers),
            ..
        } => format!("{workers} workers wanted\n"),
        _ => match command {
            Command::Stop { wait: true } | Command::Quit { wait: true } => "stopped\n".to_owned(),
            _ => String::new(),
        },
    };
    clean(&text)
}

fn status(status: &Status) -> String {
    let mut text = String::new();
    let name = status.name.as_deref().unwrap_or("ferricorn");
    let _ = writeln!(
        text,
        "{name} (ferricorn {}), pid {}, up {}: {}, generation {}",
        status.server,
        status.pid,
        time(status.uptime),
        status.phase,
        status.generation
    );
    let _ = writeln!(text, "listeners: {}", status.listeners.join(", "));
    let _ = writeln!(text, "workers: {} of {} ready", status.ready, status.wanted);
    if let Some(reload) = &status.reload {
        let _ = match (reload.target, reload.ready) {
            (Some(target), Some(ready)) => writeln!(
                text,
                "reload {}: replacing the workers, {ready} of generation {target} ready",
                reload.number
            ),
            _ => writeln!(text, "reload {}: trying the program on disk", reload.number),
        };
    }
    if let Some(failure) = &status.failure {
        let _ = writeln!(text, "last failure: {failure}");
    }
    let heads = [
        "SLOT",
        "PID",
        "GENERATION",
        "STAGE",
        "AGE",
        "REQUESTS",
        "CONNECTIONS",
        "IN FLIGHT",
    ];
    let rows = status.workers.iter().map(|worker| {
        [
            worker.slot.to_string(),
            worker.pid.to_string(),
            worker.generation.to_string(),
            worker.stage.clone(),
            time(worker.age),
            worker.requests.to_string(),
            worker.connections.to_string(),
            worker.in_flight.to_string(),
        ]
    });
    let rows: Vec<[String; 8]> = std::iter::once(heads.map(str::to_owned))
        .chain(rows)
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    text.push('\n');
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// "3 d 2 h", "5 min 3 s", "0.4 s".
fn time(seconds: f64) -> String {
    let Ok(time) = Duration::try_from_secs_f64(seconds) else {
        return "?".to_owned();
    };
    let whole = time.as_secs();
    let (days, hours) = (whole / 86_400, whole / 3600 % 24);
    let (minutes, rest) = (whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds:.1} s"),
        (0, 0, _) => format!("{minutes} min {rest} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (seconds, text) in [
            (0.42, "0.4 s"),
            (59.0, "59.0 s"),
            (63.0, "1 min 3 s"),
            (7384.0, "2 h 3 min"),
            (266_400.0, "3 d 2 h"),
            (-1.0, "?"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn what_a_terminal_obeys_is_shown_instead() {
        assert_eq!(
            clean("no \u{1b}[31mdatabase\u{9b}\r\n"),
            "no \\u{1b}[31mdatabase\\u{9b}\\r\n"
        );
    }
}
