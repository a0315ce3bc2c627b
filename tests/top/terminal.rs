//! A program in a pseudo-terminal, and what a person in front of it would see.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::support::{PATIENCE, Server, proc};

/// `ferricorn top` for a server.
pub struct Top {
    child: Child,
    screen: Screen,
}

/// The terminal that it is in.
pub struct Screen {
    master: File,
    slave: OwnedFd,
    parser: Arc<Mutex<vt100::Parser>>,
}

impl Top {
    #[track_caller]
    pub fn start(server: &Server, rows: u16, columns: u16) -> Top {
        let screen = Screen::new(rows, columns);
        let end = || Stdio::from(screen.slave.try_clone().unwrap());
        let child = Command::new("setsid")
            .args([
                "--ctty",
                env!("CARGO_BIN_EXE_ferricorn"),
                "top",
                "-i",
                "0.2",
            ])
            .arg("--socket")
            .arg(server.control_socket())
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("NO_COLOR")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        Top { child, screen }
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.screen.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Gives the terminal another size.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.screen.parser.lock().unwrap().set_size(rows, columns);
        tcsetwinsize(&self.screen.master, size(rows, columns)).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, signal).unwrap();
    }

    /// Waits until this is to be seen.
    #[track_caller]
    pub fn wait(&self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    /// Waits until the screen is like this.
    #[track_caller]
    pub fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        let give_up = Instant::now() + PATIENCE;
        while !is_so(&self.text()) {
            assert!(Instant::now() < give_up, "no {what}:\n{}", self.text());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the system has stopped it.
    #[track_caller]
    pub fn until_stopped(&self) {
        let pid = self.child.id().try_into().unwrap();
        self.until("stop", |_| {
            proc::stat(pid).is_some_and(|stat| stat.state == 'T')
        });
    }

    /// Types this and waits for its end; what is left is its terminal.
    #[track_caller]
    pub fn end(mut self, keys: &str) -> (ExitStatus, Screen) {
        self.press(keys);
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // What it has written last may still be on its way.
                self.until("the end", |_| self.is_as_it_was());
                return (status, self.screen.share());
            }
            assert!(Instant::now() < give_up, "no end:\n{}", self.text());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl std::ops::Deref for Top {
    type Target = Screen;

    fn deref(&self) -> &Screen {
        &self.screen
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Screen {
    fn new(rows: u16, columns: u16) -> Screen {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).unwrap();
        tcsetwinsize(&master, size(rows, columns)).unwrap();
        let master = File::from(master);
        let parser = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let (mut reader, shown) = (master.try_clone().unwrap(), Arc::clone(&parser));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read) = reader.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..read]);
            }
        });
        Screen {
            master,
            slave,
            parser,
        }
    }

    fn share(&self) -> Screen {
        Screen {
            master: self.master.try_clone().unwrap(),
            slave: self.slave.try_clone().unwrap(),
            parser: Arc::clone(&self.parser),
        }
    }

    /// What is to be seen.
    pub fn screen(&self) -> vt100::Screen {
        self.parser.lock().unwrap().screen().clone()
    }

    pub fn text(&self) -> String {
        self.screen().contents()
    }

    pub fn line(&self, row: usize) -> String {
        self.text().lines().nth(row).unwrap_or_default().to_owned()
    }

    /// Whether the shell would find it as it has left it: the screen, the cursor, lines and their echo.
    pub fn is_as_it_was(&self) -> bool {
        let screen = self.screen();
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        let cooked = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        !screen.alternate_screen() && !screen.hide_cursor() && modes.contains(cooked)
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
