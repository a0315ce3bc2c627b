//! An event loop in a thread of the aide, which is to it what the master is to a worker.
//!
//! The loop is the workers' own, so that whatever clients do to it was done to it before. It gets a
//! life-line like theirs; its end of file is the end of the thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ferricorn_base::board::Board;
use ferricorn_base::lifeline::{self, Down, MasterEnd, Up, WorkerEnd};
use ferricorn_base::logs::Outlet;
use ferricorn_base::rendezvous::Rendezvous;
use ferricorn_base::sys::monotonic;
use ferricorn_base::{Conf, Context, Exit, Handler, Hooked, Parts};
use ferricorn_loop::{Http1, Loop};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What a loop is made from, beside its handler.
pub(crate) struct Plan {
    /// The name of the thread.
    pub(crate) name: &'static str,
    /// What it is told.
    pub(crate) conf: Conf,
    /// The scoreboard that it writes to.
    pub(crate) board: Board,
    /// Its pages there.
    pub(crate) seat: usize,
    /// Its listeners, in the order of those in `conf`.
    pub(crate) listeners: Vec<OwnedFd>,
    /// Where it hands connections over.
    pub(crate) rendezvous: Rendezvous,
    /// Where its access log goes; nowhere: it writes none.
    pub(crate) access_log: Vec<Outlet>,
}

/// A loop that runs.
#[derive(Debug)]
pub(crate) struct House {
    name: &'static str,
    lifeline: MasterEnd,
    /// To see that it turns.
    board: Board,
    seat: usize,
    began: Duration,
}

/// What a loop has said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing that matters.
    Nothing,
    /// It has ended.
    Gone,
    /// A page has panicked, so that it wants to be replaced.
    Broken,
}

impl House {
    /// Begins to serve; returns when it accepts.
    ///
    /// # Errors
    /// What the system answers, or that it ended at once, which it has logged.
    pub(crate) fn open<H: Handler + Send>(plan: Plan, handler: H) -> io::Result<House> {
        let (ours, theirs) = lifeline::pair()?;
        let (name, seat) = (plan.name, plan.seat);
        let board = Board::attach(plan.board.fd().try_clone_to_owned()?)?;
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn(move || {
            if let Exit::Broken(text) = serve(plan, theirs, handler) {
                log::error!("the aide cannot serve: {text}");
            }
        })?;
        let house = House {
            name,
            lifeline: ours,
            board,
            seat,
            began: monotonic(),
        };
        loop {
            let mut fds = [PollFd::new(house.lifeline.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::NONE);
            match house.lifeline.receive()? {
                Some(Up::Ready) => return Ok(house),
                _ => continue,
            }
        }
    }

    /// Tells it something. One that is gone is noticed by [`House::hear`].
    pub(crate) fn tell(&self, command: Down, fds: &[BorrowedFd<'_>]) {
        if let Err(error) = self.lifeline.send(command, fds) {
            log::debug!("cannot tell a loop of the aide {command:?}: {error}");
        }
    }

    /// What is the matter with it: it has not turned for longer than `patience`.
    pub(crate) fn hangs(&self, patience: Duration) -> Option<String> {
        let beat = Duration::from_micros(self.board.view(self.seat).heartbeat_us);
        let silent = monotonic().saturating_sub(beat.max(self.began));
        let (name, seconds) = (self.name, silent.as_secs_f64());
        (silent > patience).then(|| format!("its thread {name} hangs, for {seconds:.1} s"))
    }

    /// Takes all that it has said.
    pub(crate) fn hear(&self) -> Said {
        loop {
            match self.lifeline.receive() {
                Ok(None) => return Said::Nothing,
                Ok(Some(Up::Retiring(_) | Up::Failed { .. })) => return Said::Broken,
                Ok(Some(_)) => {}
                Err(_) => return Said::Gone,
            }
        }
    }
}

impl AsFd for House {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lifeline.as_fd()
    }
}

fn serve(plan: Plan, lifeline: WorkerEnd, handler: impl Handler) -> Exit {
    let context = Context::new(Parts {
        conf: Arc::new(plan.conf),
        slot: 0,
        generation: 0,
        seat: plan.seat,
        board: plan.board,
        lifeline,
        listeners: plan.listeners,
        rendezvous: plan.rendezvous,
        doors: Vec::new(),
        access_log: plan.access_log,
        // The program's own are for workers.
        hooks: Hooked::default(),
    });
    let event_loop = context.and_then(|context| Loop::<Http1, _>::new(context, handler));
    match event_loop {
        Ok(event_loop) => event_loop.run(),
        Err(error) => Exit::Broken(format!("cannot make the event loop: {error}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::{Receiver, channel};

    use ferricorn_base::conf::{Deadlines, ListenerConf, LocalAddr};
    use ferricorn_base::{Error, IntoResponse, Request, Response};

    use super::*;

    /// Hangs until it is let go.
    struct Stuck(Receiver<()>);

    impl Handler for Stuck {
        fn handle(&mut self, _: &mut Request) -> Result<Response, Error> {
            let _ = self.0.recv();
            "free".into_response()
        }
    }

    #[test]
    fn a_loop_that_hangs_is_told_from_one_that_turns() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let conf = Conf {
            listeners: vec![ListenerConf {
                bind: address.to_string(),
                local: LocalAddr::Tcp(address),
                proxy: None,
            }],
            deadlines: Deadlines {
                heartbeat: Duration::from_millis(300),
                ..Deadlines::default()
            },
            ..Conf::default()
        };
        let plan = Plan {
            name: "stuck",
            conf,
            board: Board::create().unwrap(),
            seat: 0,
            listeners: vec![listener.into()],
            rendezvous: Rendezvous::new().unwrap(),
            access_log: Vec::new(),
        };
        let (let_go, held) = channel();
        let house = House::open(plan, Stuck(held)).unwrap();
        let patience = Duration::from_secs(1);
        assert_eq!(house.hangs(patience), None);
        let mut client = TcpStream::connect(address).unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let what = loop {
            match house.hangs(patience) {
                Some(what) => break what,
                None => thread::sleep(Duration::from_millis(20)),
            }
        };
        assert!(what.starts_with("its thread stuck hangs, for 1."), "{what}");
        let_go.send(()).unwrap();
        while house.hangs(patience).is_some() {
            thread::sleep(Duration::from_millis(20));
        }
        house.tell(Down::Quit, &[]);
    }
}
