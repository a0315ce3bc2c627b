//! Clients that ask all the time while something happens to the server.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::http::{Answer, Client, Who};

/// Clients that ask until they are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    ending: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    report: Arc<Mutex<Report>>,
    threads: Vec<JoinHandle<()>>,
}

/// What the clients saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Answers of status 200.
    pub good: usize,
    /// What else came, and when.
    pub bad: Vec<String>,
    /// How often who answered, where the application says so.
    pub by: BTreeMap<Who, usize>,
    /// How often which text was the answer, where that is none of these.
    pub texts: BTreeMap<String, usize>,
    /// How often the server ended a connection that was to be kept.
    pub ended: usize,
    /// Connections that could not be made at all.
    pub refused: usize,
}

/// How the clients use their connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// One after the other on one connection, as long as the server keeps it.
    KeepAlive,
    /// Each on a connection of its own.
    OneShot,
}

impl Load {
    /// Starts `clients` clients that ask for `path`; half of them keep their connections.
    pub fn start(address: SocketAddr, clients: usize, path: &str) -> Load {
        let load = Load {
            stop: Arc::default(),
            ending: Arc::default(),
            sent: Arc::default(),
            report: Arc::default(),
            threads: Vec::new(),
        };
        let style = |n: usize| match n % 2 {
            0 => Style::KeepAlive,
            _ => Style::OneShot,
        };
        (0..clients).fold(load, |load, n| load.add(address, path, style(n)))
    }

    /// Starts `clients` clients that all keep their connections.
    pub fn keep_alive(address: SocketAddr, clients: usize, path: &str) -> Load {
        let load = Load::start(address, 0, path);
        (0..clients).fold(load, |load, _| load.add(address, path, Style::KeepAlive))
    }

    /// Starts `clients` clients that make a connection for each request.
    pub fn one_shot(address: SocketAddr, clients: usize, path: &str) -> Load {
        let load = Load::start(address, 0, path);
        (0..clients).fold(load, |load, _| load.add(address, path, Style::OneShot))
    }

    fn add(mut self, address: SocketAddr, path: &str, style: Style) -> Load {
        let (stop, sent) = (Arc::clone(&self.stop), Arc::clone(&self.sent));
        let ending = Arc::clone(&self.ending);
        let (report, path) = (Arc::clone(&self.report), path.to_owned());
        self.threads.push(std::thread::spawn(move || {
            let mut kept = None;
            while !stop.load(Ordering::Relaxed) {
                sent.fetch_add(1, Ordering::Relaxed);
                // A connection that is made when the server is about to close its doors.
                let late = kept.is_none() && ending.load(Ordering::SeqCst);
                let answer = ask(address, &path, style, &mut kept);
                let mut report = report.lock().expect("nobody panics with it");
                report.ended += usize::from(style == Style::KeepAlive && kept.is_none());
                let failed = answer.is_err();
                match answer {
                    Err(_) if late => report.refused += 1,
                    answer => report.count(answer),
                }
                drop(report);
                if failed {
                    // A server that is gone is not to be asked a million times.
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }));
        self
    }

    /// From now on a new connection may be refused or reset: the server is told to stop next.
    pub fn may_end(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    /// How many requests were sent by now.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    pub fn report(&self) -> Report {
        self.report.lock().expect("nobody panics with it").clone()
    }

    /// Waits until so many more requests were answered well.
    #[track_caller]
    pub fn wait_good(&self, number: usize) {
        let goal = self.report().good + number;
        let give_up = Instant::now() + PATIENCE;
        while self.report().good < goal {
            let report = self.report();
            assert!(Instant::now() < give_up, "no {number} answers: {report:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends it, when every request has its answer.
    pub fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("it does not panic");
        }
        let report = self.report.lock().expect("nobody panics with it");
        report.clone()
    }
}

impl Report {
    fn count(&mut self, answer: io::Result<Answer>) {
        match answer {
            Ok(answer) if answer.status == 200 => {
                self.good += 1;
                let Ok(text) = String::from_utf8(answer.body) else {
                    return;
                };
                match Who::parse(&text) {
                    Some(who) => *self.by.entry(who).or_default() += 1,
                    None => *self.texts.entry(text).or_default() += 1,
                }
            }
            Ok(answer) => self.bad.push(format!("status {}", answer.status)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.refused += 1,
            Err(error) => self.bad.push(error.to_string()),
        }
    }

    /// Every request was answered as it should be.
    #[track_caller]
    pub fn assert_nothing_lost(&self) {
        assert!(self.bad.is_empty() && self.refused == 0, "{self:?}");
        assert!(self.good > 0, "nothing was asked");
    }

    /// And no connection that was to be kept was ended.
    #[track_caller]
    pub fn assert_nobody_noticed(&self) {
        self.assert_nothing_lost();
        assert_eq!(self.ended, 0, "{self:?}");
    }

    pub fn generations(&self) -> Vec<u64> {
        let mut generations: Vec<u64> = self.by.keys().map(|who| who.generation).collect();
        generations.sort_unstable();
        generations.dedup();
        generations
    }
}

fn ask(
    address: SocketAddr,
    path: &str,
    style: Style,
    kept: &mut Option<Client<TcpStream>>,
) -> io::Result<Answer> {
    let mut client = match kept.take() {
        Some(client) => client,
        None => Client::connect(address)?,
    };
    if style == Style::OneShot {
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))?;
        return client.answer();
    }
    let answer = client.get(path)?;
    if !answer.closes() {
        *kept = Some(client);
    }
    Ok(answer)
}
