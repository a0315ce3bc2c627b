//! The terminal, and the threads that bring what happens: keys, signals, how the server stands, its
//! events. Whatever ends this, the terminal is as it was.

use std::io::{self, IsTerminal, Stdout, stdin, stdout};
use std::panic;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::low_level::emulate_default_handler;

use super::Call;
use super::link::Link;
use super::model::{Effect, Message, Model};
use super::table::Sort;
use super::text::Glyphs;
use super::view::{self, Palette};
use crate::control::words::{Command, Said};

/// How long a signal may wait, and how often the ages of events are drawn anew.
const TICK: Duration = Duration::from_millis(200);
/// Before a server that is not there is looked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// Messages that are taken in before the next picture, so that many events are not many pictures.
const TOGETHER: usize = 256;

/// The exit code after a panic, as any program in Rust has it.
const PANICKED: i32 = 101;

/// Shows the server until the user has seen enough.
///
/// # Errors
/// There is no terminal, or it cannot be used.
pub(super) fn run(call: &Call) -> Result<(), String> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        return Err("top needs a terminal; --once prints a table".to_owned());
    }
    // Before anything is touched it is said why there is nothing to see.
    Link::open(call)?;
    let failed = |error: io::Error| format!("cannot use the terminal: {error}");
    let ended = Arc::new(AtomicUsize::new(0));
    for signal in [SIGTERM, SIGINT, SIGQUIT, SIGHUP] {
        let flag = Arc::clone(&ended);
        signal_hook::flag::register_usize(signal, flag, signal as usize).map_err(failed)?;
    }
    let (sender, messages) = mpsc::channel();
    let (commands, orders) = mpsc::channel();
    {
        let (call, sender) = (call.clone(), sender.clone());
        thread::spawn(move || watch(&call, &sender, &orders));
    }
    {
        let (call, sender) = (call.clone(), sender.clone());
        thread::spawn(move || listen(&call, &sender));
    }
    end_on_panic();
    let mut screen = Screen::enter().map_err(failed)?;
    thread::spawn(move || keys(&sender));
    let shown = show(&mut screen, &messages, &commands, &ended, call.sort);
    drop(screen);
    match ended.load(Ordering::Relaxed) {
        0 => shown.map_err(failed),
        // As it would have ended without us.
        signal => emulate_default_handler(signal as i32).map_err(failed),
    }
}

fn show(
    screen: &mut Screen,
    messages: &Receiver<Message>,
    commands: &Sender<Command>,
    ended: &AtomicUsize,
    sort: Sort,
) -> io::Result<()> {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let palette = Palette {
        colours: !set("NO_COLOR"),
    };
    let mut model = Model::new(Glyphs::here(), sort);
    while ended.load(Ordering::Relaxed) == 0 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs_f64();
        screen
            .0
            .draw(|frame| view::draw(frame, &model, palette, now))?;
        let first = match messages.recv_timeout(TICK) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let rest = messages.try_iter().take(TOGETHER);
        for message in std::iter::once(first).chain(rest) {
            match model.heard(message) {
                Effect::Draw => {}
                Effect::Quit => return Ok(()),
                Effect::Suspend => screen.suspend()?,
                Effect::Say(command) => {
                    // Its thread lives as long as this one.
                    let _ = commands.send(command);
                }
            }
        }
    }
    Ok(())
}

/// The terminal in our hands.
#[derive(Debug)]
struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    fn enter() -> io::Result<Screen> {
        take()?;
        match Terminal::new(CrosstermBackend::new(stdout())) {
            Ok(terminal) => Ok(Screen(terminal)),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // It returns when the shell wants us back.
        emulate_default_handler(SIGTSTP)?;
        take()?;
        self.0.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, Hide)
}

fn give_back() {
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// A panic of any thread ends the program, and what it says is to be read on the screen that stays.
fn end_on_panic() {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        give_back();
        hook(info);
        process::exit(PANICKED);
    }));
}

/// Brings keys and sizes.
fn keys(sender: &Sender<Message>) {
    loop {
        let message = match event::read() {
            Ok(Event::Key(key)) => Message::Key(key),
            Ok(Event::Resize(..)) => Message::Resized,
            Ok(_) => continue,
            Err(_) => Message::Hangup,
        };
        let hangup = matches!(message, Message::Hangup);
        if sender.send(message).is_err() || hangup {
            return;
        }
    }
}

/// Asks how the server stands, again and again, and says to it what the user wants.
fn watch(call: &Call, sender: &Sender<Message>, orders: &Receiver<Command>) {
    let mut link: Option<Link> = None;
    loop {
        let status = match &mut link {
            Some(link) => link.status(),
            None => Link::open(call).and_then(|open| link.insert(open).status()),
        };
        let wait = match status {
            Ok(status) => {
                if sender.send(Message::Status(Box::new(status))).is_err() {
                    return;
                }
                call.interval
            }
            Err(reason) => {
                link = None;
                if sender.send(Message::Lost(reason)).is_err() {
                    return;
                }
                AGAIN
            }
        };
        let order = match orders.recv_timeout(wait) {
            Ok(order) => order,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let none = || Err("there is no server".to_owned());
        let answer = link.as_mut().map_or_else(none, |link| link.ask(&order));
        if sender.send(Message::Answer(order, answer)).is_err() {
            return;
        }
    }
}

/// Brings what the server does.
fn listen(call: &Call, sender: &Sender<Message>) {
    loop {
        // That there is no server, the other thread says.
        if let Ok(mut link) = Link::open(call) {
            let begun = link.say(&Command::Events {});
            let mut bring = || -> Result<(), String> {
                begun.clone()?;
                link.wait_for_ever()?;
                while let Said::Event { at, news } = link.hear()? {
                    let sent = sender.send(Message::News { at, news });
                    sent.map_err(|error| error.to_string())?;
                }
                Ok(())
            };
            // Whatever it is, it is connected to again.
            let _ = bring();
        }
        thread::sleep(AGAIN);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::process::{Command, Stdio};

    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};

    use super::*;

    /// This very test is what is run in a terminal.
    #[test]
    fn whichever_thread_panics_the_terminal_is_as_it_was_and_shows_why() {
        const INSIDE: &str = "FERRICORN_TEST_IN_A_TERMINAL";
        if std::env::var_os(INSIDE).is_some() {
            end_on_panic();
            let _screen = Screen::enter().unwrap();
            thread::spawn(|| panic!("the test wants a panic"));
            loop {
                thread::park();
            }
        }
        let mut terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)
            .map(File::from)
            .unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let inside = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).unwrap();
        let end = || Stdio::from(inside.try_clone().unwrap());
        let mut child = Command::new("setsid")
            .arg("--ctty")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1"])
            .arg("top::screen::tests::whichever_thread_panics_the_terminal_is_as_it_was_and_shows_why")
            .env(INSIDE, "yes")
            .env_remove("RUST_BACKTRACE")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let reader = thread::spawn(move || {
            let mut text = Vec::new();
            // It ends in EIO.
            let _ = terminal.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let status = child.wait().unwrap();
        let modes = tcgetattr(&inside).unwrap().local_modes;
        drop(inside);
        let text = reader.join().unwrap();
        assert_eq!(status.code(), Some(PANICKED), "{text}");
        assert!(
            modes.contains(LocalModes::ICANON | LocalModes::ECHO),
            "{text}"
        );
        let at = |part: &str| {
            text.find(part)
                .unwrap_or_else(|| panic!("no {part:?}: {text:?}"))
        };
        let (taken, given_back) = (at("\x1b[?1049h"), at("\x1b[?1049l"));
        assert!(
            taken < given_back && given_back < at("the test wants a panic"),
            "{text:?}"
        );
        assert!(given_back < at("\x1b[?25h"), "{text:?}");
    }
}
