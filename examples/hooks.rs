//! Code of one's own at the turns of a server's life: all hooks, under Gunicorn's names.
//!
//!     cargo run --release --example hooks -- --workers 2 --timeout 2
//!     curl http://127.0.0.1:8000/        # what happens is in the log; reload it, scale it, stop it
//!     curl http://127.0.0.1:8000/hang    # a worker past its timeout, and how it ends
//!
//! Each line of the log has the pid of the process that wrote it: the master's, or a worker's. What a
//! hook leaves in `self` is there for the next one in the same process; workers begin with a copy.

use std::time::Instant;

use ferricorn::{Ended, Error, Exit, Hooks, Request, Response, Server, Whom};

fn main() -> std::process::ExitCode {
    let app = |request: &mut Request| {
        if request.path() == "/hang" {
            loop {
                std::thread::park();
            }
        }
        "Hello, World!"
    };
    Server::builder()
        .app(app)
        .hooks(Diary::default())
        .build()
        .run()
}

/// Writes down what happens.
#[derive(Default)]
struct Diary {
    /// In the master: workers that have ended otherwise than they should.
    lost: u32,
    /// In a worker: requests, and when the one under way began.
    served: u64,
    began: Option<Instant>,
}

impl Hooks for Diary {
    fn on_starting(&mut self) {
        log::info!("on_starting: the place for what must be there before anybody listens");
    }

    fn on_reload(&mut self) {
        log::info!("on_reload: this is the new program");
    }

    fn when_ready(&mut self) {
        log::info!("when_ready: listening");
    }

    fn pre_fork(&mut self, worker: Whom) {
        log::info!("pre_fork: worker {} comes next", worker.slot);
    }

    fn post_fork(&mut self, worker: Whom) {
        log::info!("post_fork: worker {} is pid {}", worker.slot, worker.pid);
    }

    fn post_worker_init(&mut self, worker: Whom) {
        log::info!("post_worker_init: worker {} serves", worker.slot);
    }

    fn worker_int(&mut self, worker: Whom) {
        log::info!("worker_int: worker {} ends at once", worker.slot);
    }

    fn worker_abort(&mut self, worker: Whom, why: &str) {
        log::info!("worker_abort: worker {} {why}", worker.slot);
    }

    fn pre_exec(&mut self) {
        log::info!("pre_exec: another program follows");
    }

    fn pre_request(&mut self, _: &mut Request) {
        self.began = Some(Instant::now());
    }

    fn post_request(&mut self, request: &Request, answer: Result<&Response, &Error>) {
        self.served += 1;
        let took = self.began.take().map(|began| began.elapsed());
        let status = answer.map_or(500, |response| response.status().as_u16());
        log::info!(
            "post_request: {} {status} in {:.0?}",
            request.path(),
            took.unwrap_or_default()
        );
    }

    fn child_exit(&mut self, worker: Whom, how: Ended<'_>) {
        self.lost += u32::from(!how.expected);
        let (pid, reason) = (worker.pid, how.reason);
        log::info!("child_exit: pid {pid} {reason}; {} lost so far", self.lost);
    }

    fn worker_exit(&mut self, worker: Whom, why: &Exit) {
        let (slot, served) = (worker.slot, self.served);
        log::info!("worker_exit: worker {slot} after {served} requests: {why:?}");
    }

    fn nworkers_changed(&mut self, new: usize, old: Option<usize>) {
        match old {
            Some(old) => log::info!("nworkers_changed: {new} instead of {old}"),
            None => log::info!("nworkers_changed: {new}"),
        }
    }

    fn on_exit(&mut self) {
        log::info!("on_exit: nobody is left");
    }
}
