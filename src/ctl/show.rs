//! What the server says, for people.
//!
//! Names and reasons come from configurations and applications: nothing of them reaches the terminal
//! but printable text.

use super::quarantine;
use super::status::status;
use crate::control::words::{Answer, Command, News, Who};
use crate::memory::mebibytes;

/// A text without what a terminal might obey.
pub(crate) fn clean(text: &str) -> String {
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
pub(crate) fn news(news: &News) -> String {
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
        News::WorkerStopped { who, signal } => format!("{} was stopped by {signal}", worker(who)),
        News::WorkerContinued { who } => format!("{} goes on", worker(who)),
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
        News::Suspended { slot, seconds } => format!(
            "worker {slot} fails again and again while others serve: its place stays vacant for \
             {seconds:.0} s"
        ),
        News::LimitTooSmall { limit, slot, bytes } => format!(
            "{limit} is too small (worker {slot} has {} as soon as it has booted) and is ignored",
            mebibytes(*bytes)
        ),
        News::MemoryShort { free, worker } => format!(
            "no memory for an extra worker ({} free, a worker has {})",
            mebibytes(*free),
            mebibytes(*worker)
        ),
        News::Scaled {
            from,
            workers,
            busy,
            waiting,
        } => format!(
            "{workers} workers wanted after {from}: {:.0} % busy, {waiting} connections wait",
            busy * 100.0
        ),
        News::NoMemoryForMore {} => "no memory for the further workers that are wanted".to_owned(),
        News::TakenOver { generation } => {
            format!("generation {generation} serves alone; the old workers finish")
        }
        News::ReloadFailed { reload, cause, .. } => format!("reload {reload} failed: {cause}"),
        News::Outage { seconds, .. } => {
            format!("nobody serves for {seconds} s: requests are answered 503")
        }
        News::Recovered { seconds } => format!("somebody serves again, after {seconds:.1} s"),
        News::Overloaded {} => "overloaded: requests are refused, as all wait too long".to_owned(),
        News::Relieved { requests, seconds } => {
            format!("the overload is over: {requests} requests refused in {seconds:.1} s")
        }
        News::SlowRequest { who, requests } => {
            format!("{} serves slowly: {requests}", worker(who))
        }
        News::Quarantined {
            fingerprint,
            request,
            deaths,
            ..
        } => format!("{request} is in quarantine after {deaths} deaths ({fingerprint})"),
        News::Released {
            fingerprint,
            request,
            cause,
        } => format!("{request} is served again: {cause} ({fingerprint})"),
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
        Answer {
            quarantine: Some(held),
            ..
        } => match command {
            Command::Quarantine { clear: Some(_) } => quarantine::cleared(held),
            _ => quarantine::table(held),
        },
        Answer {
            log_level: Some(level),
            ..
        } => format!("{level}\n"),
        _ => match command {
            Command::Stop { wait: true } | Command::Quit { wait: true } => "stopped\n".to_owned(),
            _ => String::new(),
        },
    };
    clean(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_instead() {
        assert_eq!(
            clean("no \u{1b}[31mdatabase\u{9b}\r\n"),
            "no \\u{1b}[31mdatabase\\u{9b}\\r\n"
        );
    }
}
