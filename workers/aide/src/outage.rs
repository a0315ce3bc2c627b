//! The 503 of last resort, at the workers' listeners, while none of them can answer.
//!
//! Nothing but the head of a request is looked at. When somebody serves again, whoever has said nothing
//! yet, or half a head, is handed over and never knows.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ferricorn_base::board::Board;
use ferricorn_base::conf::PeerLimits;
use ferricorn_base::lifeline::Down;
use ferricorn_base::logs::Outlet;
use ferricorn_base::rendezvous::Rendezvous;
use ferricorn_base::{Begin, Conf, Error, Handler, Request, Response, typed};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONNECTION, HeaderValue, RETRY_AFTER};

use crate::house::{House, Plan, Said};

/// How long clients have that nobody took over when the outage is over.
const GRACE: Duration = Duration::from_secs(5);

/// What the answers are given with.
#[derive(Debug)]
pub(crate) struct Means {
    /// The workers' configuration.
    pub(crate) conf: Conf,
    /// A place on the scoreboard that no worker has.
    pub(crate) seat: usize,
    /// Their listeners, in the order of those in `conf`.
    pub(crate) listeners: Vec<OwnedFd>,
    /// Where connections are handed over.
    pub(crate) rendezvous: Rendezvous,
    /// Where their access log goes.
    pub(crate) access_log: Vec<Outlet>,
}

/// Answers, when it is told to.
#[derive(Debug)]
pub(crate) struct Outage {
    means: Means,
    house: Option<House>,
    /// What the house was told last: that it may go.
    closing: bool,
}

impl Outage {
    /// One that does nothing yet.
    pub(crate) fn new(means: Means) -> Outage {
        Outage {
            means,
            house: None,
            closing: false,
        }
    }

    /// What to wait on.
    pub(crate) fn house(&self) -> Option<&House> {
        self.house.as_ref()
    }

    /// Nobody can serve, or somebody can again. While the answers to the last outage are finished still,
    /// none are begun: whoever tells so is told of the end, and may tell again.
    pub(crate) fn turn(&mut self, on: bool, board: &Board) {
        match &self.house {
            Some(house) if !on && !self.closing => {
                self.closing = true;
                house.tell(
                    Down::Drain {
                        stop: false,
                        heirs: true,
                    },
                    &[],
                );
            }
            Some(_) => {}
            None if on => self.begin(board),
            None => {}
        }
    }

    /// The server stops: whoever waits is answered, and nobody after that.
    pub(crate) fn stop(&mut self) {
        self.closing = true;
        self.means.listeners.clear();
        let drain = Down::Drain {
            stop: true,
            heirs: false,
        };
        self.house.iter().for_each(|house| house.tell(drain, &[]));
    }

    /// New log files.
    pub(crate) fn reopen(&mut self, access_log: OwnedFd) {
        let news = Down::Logs {
            error: false,
            access: true,
        };
        self.house
            .iter()
            .for_each(|house| house.tell(news, &[access_log.as_fd()]));
        let mut outlets = self.means.access_log.iter_mut();
        if let Some(lines) = outlets.find(|outlet| outlet.takes_lines()) {
            lines.replace(access_log);
        }
    }

    /// Whether it has just ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        let house = self.house.as_ref();
        let ended = house.is_some_and(|house| house.hear() == Said::Gone);
        if ended {
            self.house = None;
            self.closing = false;
        }
        ended
    }

    fn begin(&mut self, board: &Board) {
        if let Err(error) = self.open(board) {
            log::error!("cannot answer 503: {error}");
        }
    }

    fn open(&mut self, board: &Board) -> io::Result<()> {
        let Means {
            conf,
            seat,
            listeners,
            rendezvous,
            access_log,
        } = &self.means;
        let mut conf = conf.clone();
        // Nobody is ready, whoever asks.
        conf.readiness_path = None;
        conf.peer_limits = PeerLimits::default();
        conf.max_requests = 0;
        conf.deadlines.graceful = GRACE.min(conf.deadlines.graceful);
        let answer = Unavailable {
            retry_after: conf.retry_after,
        };
        let listeners = listeners.iter().map(OwnedFd::try_clone);
        let access_log = access_log.iter().map(Outlet::try_clone);
        let plan = Plan {
            name: "outage",
            board: Board::attach(board.fd().try_clone_to_owned()?)?,
            seat: *seat,
            listeners: listeners.collect::<io::Result<_>>()?,
            rendezvous: rendezvous.try_clone()?,
            access_log: access_log.collect::<io::Result<_>>()?,
            conf,
        };
        self.house = Some(House::open(plan, answer)?);
        Ok(())
    }
}

/// Says that nobody can serve.
#[derive(Clone, Copy, Debug)]
struct Unavailable {
    /// In seconds.
    retry_after: u32,
}

impl Handler for Unavailable {
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        self.handle(request).map(Begin::Respond)
    }

    fn handle(&mut self, _: &mut Request) -> Result<Response, Error> {
        let text = "503 Service Unavailable: nobody can answer at the moment.\n";
        let mut response = typed("text/plain; charset=utf-8", text);
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let fields = response.headers_mut();
        fields.insert(RETRY_AFTER, HeaderValue::from(self.retry_after));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // The next request is for a worker.
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
        Ok(response)
    }
}
