//! What a datagram to the service manager says. Pure: what was told, how things stand, the next one.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::state::{Moment, Standing, Step};

/// The longest status in bytes. A manager ignores a datagram of more than 4096 (PIPE_BUF).
const LONGEST: usize = 1024;

/// What the manager was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    ready: bool,
    stopping: bool,
    /// The number of the last reload that it knows of.
    reload: u64,
    /// It waits for the end of that one.
    reloading: bool,
    status: String,
    /// The master that leads, if it is another one.
    leader: Option<i32>,
}

/// This master.
#[derive(Clone, Copy, Debug)]
pub struct Us {
    /// Its pid.
    pub pid: u32,
    /// The manager has started it, and knows that.
    pub known: bool,
}

impl Told {
    /// That another master leads.
    pub fn of(leader: i32) -> Told {
        Told {
            leader: Some(leader),
            ..Told::default()
        }
    }

    /// The master that leads, if it is another one.
    pub fn leader(&self) -> Option<i32> {
        self.leader
    }
}

/// The next datagram and what is told by it; `None` when the manager knows all.
pub fn next(told: &Told, standing: &Standing<'_>, us: Us, now: Moment) -> Option<(String, Told)> {
    if let Some(leader) = standing.main {
        // All else is for that one to say.
        let next = Told {
            leader: standing.main,
            ..told.clone()
        };
        return (*told != next).then(|| (format!("MAINPID={leader}"), next));
    }
    let mut next = Told {
        status: status(standing),
        leader: None,
        ..told.clone()
    };
    let mut message = String::new();
    if told.leader.is_some() {
        // Whatever the other one has told last, this is how it stands.
        next.ready = standing.announced;
        next.reloading = false;
        next.reload = standing.reloads - u64::from(standing.reload.is_some());
        if standing.announced && !standing.stopping {
            let _ = writeln!(message, "READY=1\nMAINPID={}", us.pid);
        }
    } else if standing.stopping {
        if !told.stopping {
            next.stopping = true;
            message.push_str("STOPPING=1\n");
        }
    } else if standing.announced && !told.ready {
        next.ready = true;
        message.push_str("READY=1\n");
        if !us.known {
            let _ = writeln!(message, "MAINPID={}", us.pid);
        }
    } else if told.reloading && (standing.reload.is_none() || standing.reloads != told.reload) {
        next.reloading = false;
        message.push_str("READY=1\n");
    } else if standing.reloads != told.reload {
        // In one datagram, or the manager does not know which reload it is (sd_notify(3)).
        next.reload = standing.reloads;
        next.reloading = true;
        let _ = writeln!(message, "RELOADING=1\nMONOTONIC_USEC={}", now.as_micros());
    }
    if message.is_empty() && next == *told {
        return None;
    }
    message.push_str("STATUS=");
    message.push_str(&next.status);
    Some((message, next))
}

/// Whether the manager waits for an end of what is going on.
pub fn takes_time(standing: &Standing<'_>) -> bool {
    !standing.announced || standing.stopping || standing.reload.is_some()
}

/// A start that has come to nothing.
pub fn failed(reason: &str) -> String {
    format!(
        "STATUS={}",
        line(format!("Cannot start: {reason}"), LONGEST)
    )
}

/// What `systemctl status` shows.
fn status(standing: &Standing<'_>) -> String {
    let Standing {
        ready,
        wanted,
        generation,
        alive,
        ..
    } = *standing;
    let workers = format!("{ready} of {wanted} workers ready");
    line(
        match (standing.reload, standing.failure) {
            (_, Some(reason)) if standing.stopping && !standing.announced => {
                format!("Cannot start: {reason}")
            }
            _ if standing.stopping => format!("Stopping; workers left: {alive}"),
            _ if !standing.announced => format!("Starting: {workers}"),
            (Some(Step::Trying), _) => {
                format!("Reloading: trying the program; {workers}, generation {generation}")
            }
            (Some(Step::Rolling { target, ready }), _) => {
                format!("Reloading: {ready} of {wanted} workers ready in generation {target}")
            }
            (None, _) if standing.outage.is_some() => {
                let trouble = standing.trouble.unwrap_or("no worker is ready");
                format!("Nobody serves: {trouble}; {workers}, generation {generation}")
            }
            (None, Some(reason)) => {
                let reason = line(reason.to_owned(), LONGEST / 2);
                format!("Reload failed: {reason}; {workers}, generation {generation} serves on")
            }
            (None, None) => format!("Serving: {workers}, generation {generation}"),
        },
        LONGEST,
    )
}

/// One line of bounded length: a line break would begin another assignment.
fn line(text: String, longest: usize) -> String {
    let mut line = text.replace(char::is_control, " ");
    let end = (0..=longest.min(line.len()))
        .rev()
        .find(|end| line.is_char_boundary(*end));
    line.truncate(end.unwrap_or(0));
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Moment = Duration::from_micros(1_234_567);

    const SERVING: Standing<'_> = Standing {
        announced: true,
        main: None,
        stopping: false,
        reloads: 0,
        reload: None,
        failure: None,
        generation: 1,
        ready: 3,
        wanted: 3,
        alive: 3,
        stuck: false,
        outage: None,
        trouble: None,
    };
    const STARTING: Standing<'_> = Standing {
        announced: false,
        ready: 1,
        ..SERVING
    };
    const TRYING: Standing<'_> = Standing {
        reloads: 1,
        reload: Some(Step::Trying),
        ..SERVING
    };
    const ROLLING: Standing<'_> = Standing {
        reload: Some(Step::Rolling {
            target: 2,
            ready: 1,
        }),
        ..TRYING
    };
    const RELOADED: Standing<'_> = Standing {
        reloads: 1,
        generation: 2,
        ..SERVING
    };
    const FAILED: Standing<'_> = Standing {
        reloads: 1,
        failure: Some("no database"),
        ..SERVING
    };
    const STOPPING: Standing<'_> = Standing {
        stopping: true,
        alive: 2,
        ..RELOADED
    };

    /// All that is told while things stand so, one after another; and that it is told once.
    fn tell(standings: &[Standing<'_>], known: bool) -> Vec<String> {
        let mut told = Told::default();
        let mut messages = Vec::new();
        for standing in standings {
            while let Some((message, after)) = next(&told, standing, Us { pid: 42, known }, NOW) {
                messages.push(message.replace('\n', "|"));
                told = after;
                assert!(messages.len() < 20, "{messages:?}");
            }
        }
        messages
    }

    #[test]
    fn a_life_is_told_in_order_and_nothing_twice() {
        let life = [
            STARTING, STARTING, SERVING, SERVING, TRYING, ROLLING, RELOADED, STOPPING, STOPPING,
        ];
        assert_eq!(
            tell(&life, true),
            [
                "STATUS=Starting: 1 of 3 workers ready",
                "READY=1|STATUS=Serving: 3 of 3 workers ready, generation 1",
                "RELOADING=1|MONOTONIC_USEC=1234567|STATUS=Reloading: trying the program; \
                 3 of 3 workers ready, generation 1",
                "STATUS=Reloading: 1 of 3 workers ready in generation 2",
                "READY=1|STATUS=Serving: 3 of 3 workers ready, generation 2",
                "STOPPING=1|STATUS=Stopping; workers left: 2",
            ]
        );
    }

    #[test]
    fn a_daemon_says_which_process_it_is() {
        let messages = tell(&[SERVING, FAILED], false);
        assert_eq!(
            messages[0],
            "READY=1|MAINPID=42|STATUS=Serving: 3 of 3 workers ready, generation 1"
        );
        assert!(!messages[2].contains("MAINPID"), "{messages:?}");
    }

    /// A trial that cannot even begin has failed before anybody looked.
    #[test]
    fn a_reload_that_nobody_saw_has_its_beginning_and_its_end() {
        let failed =
            "STATUS=Reload failed: no database; 3 of 3 workers ready, generation 1 serves on";
        assert_eq!(
            tell(&[SERVING, FAILED], true)[1..],
            [
                format!("RELOADING=1|MONOTONIC_USEC=1234567|{failed}"),
                format!("READY=1|{failed}"),
            ]
        );
    }

    #[test]
    fn a_reload_right_after_another_is_one_of_its_own() {
        let second = Standing {
            reloads: 2,
            ..TRYING
        };
        let messages = tell(&[SERVING, TRYING, second], true);
        let words: Vec<&str> = messages
            .iter()
            .map(|message| message.split('=').next().unwrap())
            .collect();
        assert_eq!(words, ["READY", "RELOADING", "READY", "RELOADING"]);
    }

    #[test]
    fn a_stop_ends_a_reload_without_another_word_of_it() {
        let messages = tell(&[SERVING, TRYING, STOPPING], true);
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(messages[2].starts_with("STOPPING=1|"), "{messages:?}");
    }

    #[test]
    fn a_start_that_fails_says_why() {
        let failed = Standing {
            announced: false,
            failure: Some("no\ndatabase"),
            ..STOPPING
        };
        assert_eq!(
            tell(&[failed], true),
            ["STOPPING=1|STATUS=Cannot start: no database"]
        );
        let early = super::failed("a\nREADY=1");
        assert_eq!(early, "STATUS=Cannot start: a READY=1");
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let cut = line("ä".repeat(LONGEST), LONGEST);
        assert_eq!(cut.len(), LONGEST);
        assert_eq!(line(format!("a{cut}"), LONGEST).len(), LONGEST - 1);
    }

    #[test]
    fn more_time_is_for_what_the_manager_waits_for() {
        for (standing, takes) in [
            (STARTING, true),
            (SERVING, false),
            (TRYING, true),
            (ROLLING, true),
            (RELOADED, false),
            (FAILED, false),
            (STOPPING, true),
        ] {
            assert_eq!(takes_time(&standing), takes, "{standing:?}");
        }
    }

    #[test]
    fn who_does_not_lead_says_who_does_and_nothing_else() {
        const BESIDE: Standing<'_> = Standing {
            main: Some(43),
            ..SERVING
        };
        let reloaded = Standing {
            main: None,
            ..RELOADED
        };
        let quiet = Standing {
            main: Some(43),
            ..STOPPING
        };
        let messages = tell(&[SERVING, BESIDE, BESIDE, quiet], true);
        assert_eq!(messages[1..], ["MAINPID=43"]);
        let messages = tell(&[SERVING, BESIDE, reloaded, ROLLING, STOPPING], true);
        assert_eq!(
            messages[1..3],
            [
                "MAINPID=43",
                "READY=1|MAINPID=42|STATUS=Serving: 3 of 3 workers ready, generation 2"
            ]
        );
        assert!(messages[4].starts_with("STOPPING=1"), "{messages:?}");
    }

    #[test]
    fn a_second_master_begins_when_it_leads() {
        let mut told = Told::of(7);
        let quiet = Standing {
            main: Some(7),
            ..STARTING
        };
        let us = Us {
            pid: 42,
            known: false,
        };
        assert_eq!(next(&told, &quiet, us, NOW), None);
        let (message, after) = next(&told, &SERVING, us, NOW).unwrap();
        assert!(message.starts_with("READY=1\nMAINPID=42\nSTATUS="));
        told = after;
        assert_eq!(next(&told, &SERVING, us, NOW), None);
        // And ends with whom it was before.
        let (message, _) = next(&told, &quiet, us, NOW).unwrap();
        assert_eq!(message, "MAINPID=7");
        // The first one has died before anybody led.
        let (message, after) = next(&Told::of(7), &STARTING, us, NOW).unwrap();
        assert!(message.starts_with("STATUS=Starting"), "{message}");
        let (message, _) = next(&after, &SERVING, us, NOW).unwrap();
        assert!(message.starts_with("READY=1\nMAINPID=42\n"), "{message}");
    }
}
