//! What the screen shows and what keys do, without a terminal: messages in, effects out. Pure.

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::news;
use super::rates::{Pace, Rates, is_after};
use super::table::{Row, Sort};
use super::text::{Glyphs, Tone};
use crate::control::words::{Answer, Command, News, Status, Worker};

/// Looks that are remembered: latencies are those of the time between the oldest and the newest.
const LOOKS: usize = 10;
/// Rates that are remembered, for the picture of them.
const RATES: usize = 400;
/// Events that are remembered.
const EVENTS: usize = 500;
/// Rows that a page has.
const PAGE: isize = 10;

/// What has happened.
#[derive(Debug)]
pub(super) enum Message {
    /// A key was pressed.
    Key(KeyEvent),
    /// The terminal has another size, which is seen when it is drawn.
    Resized,
    /// The server stands so.
    Status(Box<Status>),
    /// It does not answer, or is not there; it is looked for again.
    Lost(String),
    /// It does something.
    News {
        /// When, in seconds since 1970.
        at: f64,
        /// What.
        news: News,
    },
    /// What came of a command.
    Answer(Command, Result<Answer, String>),
    /// The terminal is gone.
    Hangup,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// Nothing but drawing.
    Draw,
    /// Say this to the server.
    Say(Command),
    /// Give the terminal to the shell until it wants us back.
    Suspend,
    /// End.
    Quit,
}

/// What lies over the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Nothing,
    /// The keys.
    Help,
    /// One worker in full.
    Worker,
    /// The server in full.
    Server,
    /// Whether this one is to be killed.
    Kill {
        pid: i32,
        slot: usize,
    },
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct Model {
    /// The oldest first.
    looks: VecDeque<Status>,
    /// Requests per second between looks, the oldest first.
    pub rates: Vec<f64>,
    /// When, what, how it is meant; the oldest first.
    pub events: VecDeque<(f64, String, Tone)>,
    /// Why there is no server.
    pub lost: Option<String>,
    /// What came of the last command.
    pub notice: Option<(String, Tone)>,
    pub over: Over,
    pub sort: Sort,
    pub paused: bool,
    pub glyphs: Glyphs,
    selected: Option<i32>,
}

impl Model {
    /// Nothing is known yet.
    pub(super) fn new(glyphs: Glyphs, sort: Sort) -> Model {
        Model {
            looks: VecDeque::new(),
            rates: Vec::new(),
            events: VecDeque::new(),
            lost: None,
            notice: None,
            over: Over::Nothing,
            sort,
            paused: false,
            glyphs,
            selected: None,
        }
    }

    /// Takes a message in, and says what is to be done.
    pub(super) fn heard(&mut self, message: Message) -> Effect {
        match message {
            Message::Key(key) if key.kind != KeyEventKind::Release => return self.pressed(key),
            Message::Key(_) | Message::Resized => {}
            Message::Status(status) => self.looked(*status),
            Message::Lost(reason) => self.lost = Some(reason),
            Message::News { at, news } => {
                if let Some((text, tone)) = news::line(&news) {
                    self.events.push_back((at, text, tone));
                    if self.events.len() > EVENTS {
                        self.events.pop_front();
                    }
                }
            }
            Message::Answer(command, answer) => self.notice = Some(noticed(&command, answer)),
            Message::Hangup => return Effect::Quit,
        }
        Effect::Draw
    }

    fn looked(&mut self, status: Status) {
        self.lost = None;
        if self.paused {
            return;
        }
        match self.looks.back() {
            Some(last) if is_after(last, &status) => {
                self.rates.push(Rates::between(last, &status).requests);
                if self.rates.len() > RATES {
                    self.rates.remove(0);
                }
            }
            // Another server, or the same one started anew.
            Some(_) => self.looks.clear(),
            None => {}
        }
        self.looks.push_back(status);
        if self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
    }

    /// How the server stands.
    pub(super) fn status(&self) -> Option<&Status> {
        self.looks.back()
    }

    /// The oldest look that is remembered.
    pub(super) fn long_ago(&self) -> Option<&Status> {
        self.looks.front()
    }

    /// What has happened per second since the look before.
    pub(super) fn rate(&self) -> Rates {
        let before = self.looks.iter().rev().nth(1);
        let pair = before.zip(self.status());
        pair.map_or(Rates::default(), |(before, now)| {
            Rates::between(before, now)
        })
    }

    /// The workers as they are sorted.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let Some(status) = self.status() else {
            return Vec::new();
        };
        let before = self.looks.iter().rev().nth(1);
        let pace = |worker: &Worker| {
            before.map_or(Pace::default(), |before| {
                Pace::between(before, status, worker)
            })
        };
        let workers = status.workers.iter();
        let mut rows: Vec<Row<'_>> = workers
            .map(|worker| Row {
                worker,
                pace: pace(worker),
            })
            .collect();
        rows.sort_by(|one, other| self.sort.compare(one, other));
        rows
    }

    /// Which row is selected: that of the process, as long as it is there.
    pub(super) fn selected(&self, rows: &[Row<'_>]) -> usize {
        let of = |pid: i32| rows.iter().position(|row| row.worker.pid == pid);
        self.selected.and_then(of).unwrap_or(0)
    }

    fn worker(&self) -> Option<Worker> {
        let rows = self.rows();
        let row = rows.get(self.selected(&rows));
        row.map(|row| row.worker.clone())
    }

    fn select(&mut self, by: isize) {
        let rows = self.rows();
        let last = rows.len().saturating_sub(1);
        let at = self.selected(&rows).saturating_add_signed(by).min(last);
        self.selected = rows.get(at).map(|row| row.worker.pid);
    }

    fn pressed(&mut self, key: KeyEvent) -> Effect {
        // It was read, or is no news any more.
        self.notice = None;
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Effect::Quit,
            KeyCode::Char('z') if control => return Effect::Suspend,
            // To be drawn anew.
            KeyCode::Char(_) if control => return Effect::Draw,
            _ => {}
        }
        match std::mem::replace(&mut self.over, Over::Nothing) {
            // Any other key is a no.
            Over::Kill { pid, .. } => match key.code {
                KeyCode::Char('y' | 'Y') => return Effect::Say(Command::Kill { pid }),
                _ => return Effect::Draw,
            },
            Over::Help | Over::Worker | Over::Server if !moves(key.code) => return Effect::Draw,
            over => self.over = over,
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Effect::Quit,
            KeyCode::Char('h' | '?') | KeyCode::F(1) => self.over = Over::Help,
            KeyCode::Char('i') => self.over = Over::Server,
            KeyCode::Enter => {
                // Whoever comes after it has another pid.
                if let Some(worker) = self.worker() {
                    self.selected = Some(worker.pid);
                    self.over = Over::Worker;
                }
            }
            KeyCode::Up => self.select(-1),
            KeyCode::Down => self.select(1),
            KeyCode::PageUp => self.select(-PAGE),
            KeyCode::PageDown => self.select(PAGE),
            KeyCode::Home => self.select(isize::MIN),
            KeyCode::End => self.select(isize::MAX),
            KeyCode::Char('s') => self.sort = next(self.sort),
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('d') => {
                if let Some(Worker { pid, .. }) = self.worker() {
                    return Effect::Say(Command::Drain { pid });
                }
            }
            KeyCode::Char('k') => {
                if let Some(Worker { pid, slot, .. }) = self.worker() {
                    self.over = Over::Kill { pid, slot };
                }
            }
            KeyCode::Char('r') => return Effect::Say(Command::Reload { wait: false }),
            KeyCode::Char('+' | '=') => return scale(1),
            KeyCode::Char('-') => return scale(-1),
            _ => {}
        }
        Effect::Draw
    }
}

fn moves(code: KeyCode) -> bool {
    matches!(
        code,
        KeyCode::Up
            | KeyCode::Down
            | KeyCode::PageUp
            | KeyCode::PageDown
            | KeyCode::Home
            | KeyCode::End
    )
}

/// The next one.
fn next(sort: Sort) -> Sort {
    let at = Sort::ALL.iter().position(|other| *other == sort);
    Sort::ALL[(at.unwrap_or(0) + 1) % Sort::ALL.len()]
}

fn scale(by: i64) -> Effect {
    Effect::Say(Command::Scale {
        workers: None,
        by: Some(by),
    })
}

/// What came of a command, in words.
fn noticed(command: &Command, answer: Result<Answer, String>) -> (String, Tone) {
    let answer = answer.unwrap_or_else(Answer::failed);
    if !answer.ok {
        let reason = answer.error.unwrap_or_default();
        let text = format!("{}: {reason}", command.name());
        return (crate::ctl::clean(&text).replace('\n', " "), Tone::Bad);
    }
    let text = match (command, answer) {
        (Command::Drain { pid }, _) => format!("worker process {pid} is being replaced"),
        (Command::Kill { pid }, _) => format!("worker process {pid} was killed"),
        (
            _,
            Answer {
                reload: Some(number),
                ..
            },
        ) => format!("reload {number} was asked for"),
        (
            _,
            Answer {
                workers: Some(workers),
                ..
            },
        ) => format!("{workers} workers wanted"),
        (command, _) => format!("{}: done", command.name()),
    };
    (text, Tone::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(pids: &[i32]) -> Model {
        let mut model = Model::new(Glyphs::Blocks, Sort::Slot);
        model.heard(status(1.0, pids));
        model
    }

    fn status(uptime: f64, pids: &[i32]) -> Message {
        let workers = pids.iter().enumerate().map(|(slot, pid)| Worker {
            slot,
            pid: *pid,
            stage: "serving".to_owned(),
            ..Worker::default()
        });
        Message::Status(Box::new(Status {
            pid: 1,
            uptime,
            workers: workers.collect(),
            ..Status::default()
        }))
    }

    fn press(model: &mut Model, code: KeyCode) -> Effect {
        model.heard(Message::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    #[test]
    fn keys_steer_the_selected_worker() {
        let mut model = model(&[10, 11, 12]);
        press(&mut model, KeyCode::Down);
        let drain = press(&mut model, KeyCode::Char('d'));
        assert_eq!(drain, Effect::Say(Command::Drain { pid: 11 }));
        // It stays selected where it goes, and the first is when it has gone.
        model.heard(status(2.0, &[12, 10, 11]));
        let drain = press(&mut model, KeyCode::Char('d'));
        assert_eq!(drain, Effect::Say(Command::Drain { pid: 11 }));
        model.heard(status(3.0, &[12, 10]));
        let drain = press(&mut model, KeyCode::Char('d'));
        assert_eq!(drain, Effect::Say(Command::Drain { pid: 12 }));
        for _ in 0..5 {
            press(&mut model, KeyCode::PageDown);
        }
        let drain = press(&mut model, KeyCode::Char('d'));
        assert_eq!(drain, Effect::Say(Command::Drain { pid: 10 }));
        for (key, by) in [('+', 1), ('=', 1), ('-', -1)] {
            assert_eq!(press(&mut model, KeyCode::Char(key)), scale(by));
        }
        let reload = Effect::Say(Command::Reload { wait: false });
        assert_eq!(press(&mut model, KeyCode::Char('r')), reload);
    }

    #[test]
    fn nobody_is_killed_without_a_yes() {
        let mut model = model(&[10]);
        for no in [
            KeyCode::Char('n'),
            KeyCode::Esc,
            KeyCode::Enter,
            KeyCode::Char('k'),
        ] {
            assert_eq!(press(&mut model, KeyCode::Char('k')), Effect::Draw);
            assert_eq!(model.over, Over::Kill { pid: 10, slot: 0 });
            assert_eq!(press(&mut model, no), Effect::Draw);
            assert_eq!(model.over, Over::Nothing);
        }
        press(&mut model, KeyCode::Char('k'));
        // Somebody else has its place now: the question was for the one that was shown.
        model.heard(status(2.0, &[20]));
        let kill = press(&mut model, KeyCode::Char('y'));
        assert_eq!(kill, Effect::Say(Command::Kill { pid: 10 }));
    }

    #[test]
    fn help_and_details_close_by_any_key_and_do_nothing_else() {
        let mut model = model(&[10, 11]);
        for open in [KeyCode::Char('h'), KeyCode::Char('i'), KeyCode::Enter] {
            press(&mut model, open);
            assert_ne!(model.over, Over::Nothing);
            assert_eq!(press(&mut model, KeyCode::Char('q')), Effect::Draw);
            assert_eq!(model.over, Over::Nothing);
        }
        press(&mut model, KeyCode::Enter);
        press(&mut model, KeyCode::Down);
        assert_eq!(model.over, Over::Worker);
        assert_eq!(model.selected(&model.rows()), 1);
        press(&mut model, KeyCode::Esc);
        assert_eq!(press(&mut model, KeyCode::Esc), Effect::Quit);
    }

    #[test]
    fn a_pause_holds_the_picture_and_a_new_server_begins_anew() {
        let mut model = model(&[10]);
        model.heard(status(2.0, &[10]));
        assert_eq!(model.rates.len(), 1);
        press(&mut model, KeyCode::Char('p'));
        model.heard(status(3.0, &[10, 11]));
        assert_eq!(model.rows().len(), 1);
        press(&mut model, KeyCode::Char('p'));
        model.heard(status(4.0, &[10, 11]));
        assert_eq!((model.rows().len(), model.rate().seconds), (2, 2.0));
        model.heard(Message::Lost("it has gone".to_owned()));
        assert!(model.lost.is_some() && model.rows().len() == 2);
        // The uptime begins anew.
        model.heard(status(0.5, &[30]));
        assert_eq!(
            (model.lost.as_deref(), model.rate()),
            (None, Rates::default())
        );
        assert_eq!(model.rows()[0].pace, Pace::default());
    }

    #[test]
    fn what_came_of_a_command_is_shown() {
        let mut model = model(&[10]);
        let failed = Ok(Answer::failed("there is\n\x1b[31mno room"));
        model.heard(Message::Answer(Command::Drain { pid: 10 }, failed));
        let text = "drain: there is \\u{1b}[31mno room".to_owned();
        assert_eq!(model.notice, Some((text, Tone::Bad)));
        let done = Ok(Answer {
            workers: Some(3),
            ..Answer::done()
        });
        let scale = Command::Scale {
            workers: None,
            by: Some(1),
        };
        model.heard(Message::Answer(scale, done));
        assert_eq!(
            model.notice,
            Some(("3 workers wanted".to_owned(), Tone::Good))
        );
    }
}
