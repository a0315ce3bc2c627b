//! What the server does, a line each, for the pane of events. Pure.

use super::text::Tone;
use crate::control::words::{News, Who};
use crate::ctl;

/// A line and how it is meant; none for what is no news.
pub(super) fn line(news: &News) -> Option<(String, Tone)> {
    let text = match news {
        News::Signal { name } => format!("{name} to the master"),
        News::Command { name, uid, pid } => format!("command {name} (pid {pid}, uid {uid})"),
        News::Wanted { workers } => format!("{workers} workers wanted"),
        News::Retired {} => "all workers retire".to_owned(),
        News::Reopened {} => "logs opened anew".to_owned(),
        News::ReloadComplete { reload, verdict } => format!(
            "reload {reload} is complete: generation {}; {verdict}",
            verdict.generation
        ),
        News::Stopped { code } => format!("stopped, with code {code}"),
        news => ctl::news(news),
    };
    // The table has the generations; a line has little room.
    let text = match who(news) {
        Some(who) => text.replacen(&format!(", generation {})", who.generation), ")", 1),
        None => text,
    };
    let text = ctl::clean(text.trim_end()).replace('\n', " ");
    (!text.is_empty()).then(|| (text, tone(news)))
}

fn who(news: &News) -> Option<&Who> {
    match news {
        News::WorkerStarted { who, .. }
        | News::WorkerReady { who, .. }
        | News::WorkerRetiring { who, .. }
        | News::WorkerDraining { who, .. }
        | News::WorkerLeaving { who, .. }
        | News::WorkerSignalled { who, .. }
        | News::WorkerStopped { who, .. }
        | News::WorkerContinued { who }
        | News::WorkerLeft { who, .. } => Some(who),
        _ => None,
    }
}

fn tone(news: &News) -> Tone {
    match news {
        News::WorkerLeft { well: false, .. }
        | News::WorkerSignalled { .. }
        | News::WorkerStopped { .. }
        | News::BootFailed { .. }
        | News::Crashed { .. }
        | News::ReloadFailed { .. }
        | News::Outage { .. }
        | News::Quarantined { .. } => Tone::Bad,
        News::Started { .. }
        | News::WorkerReady { .. }
        | News::WorkerContinued { .. }
        | News::Passed { .. }
        | News::TakenOver { .. }
        | News::ReloadComplete { .. }
        | News::Relieved { .. }
        | News::Recovered { .. } => Tone::Good,
        News::WorkerStarted { .. } | News::Trying { .. } | News::Rolling { .. } => Tone::Moving,
        News::Suspended { .. }
        | News::LimitTooSmall { .. }
        | News::MemoryShort { .. }
        | News::Overloaded {}
        | News::WorkerRetiring { .. }
        | News::Stopping { .. }
        | News::StopsSoon { .. } => Tone::Warning,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_one_line() {
        let who = Who {
            slot: 2,
            pid: 4711,
            generation: 1,
        };
        for (news, text, tone) in [
            (
                News::WorkerLeft {
                    who,
                    ending: "was killed\n\x1b[2J".to_owned(),
                    well: false,
                    counts: None,
                },
                "worker 2 (pid 4711) was killed \\u{1b}[2J",
                Tone::Bad,
            ),
            (News::Wanted { workers: 3 }, "3 workers wanted", Tone::Plain),
        ] {
            assert_eq!(line(&news), Some((text.to_owned(), tone)));
        }
        assert_eq!(line(&News::Unknown), None);
    }
}
