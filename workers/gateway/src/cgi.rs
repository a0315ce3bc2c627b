//! Programs that are started for one request each: the application `cgi:DIR_OR_PROGRAM` (RFC 3875).
//!
//! - `place`: which program a path names. [`Options`]: how they are run.
//! - `run`: the exchange with one, driven by the worker's loop. `errors`: what it says on the side.
//! - `keeper`: who starts them, and ends them with all their children.
//!
//! In a worker only. It starts programs by `ferricorn_base::sys::spawn` and in no other way.

mod errors;
mod keeper;
mod options;
mod place;
mod run;

use std::path::PathBuf;
use std::time::Duration;

use ferricorn_base::http::{HeaderValue, StatusCode, header};
use ferricorn_base::{App, Begin, Error, Handler, IntoResponse, Request, Response, Seat};
use ferricorn_http::BodyLength;

pub use options::{OPTIONS, Options};

use crate::codec::vars::{Given, Vars, decode_path};
use keeper::Places;
use place::{Found, Place};

/// What of the worker's own environment a program is given, and what else.
const INHERITED: [(&str, Option<&str>); 4] = [
    ("PATH", Some("/usr/local/bin:/usr/bin:/bin")),
    ("LD_LIBRARY_PATH", None),
    ("TZ", None),
    ("LANG", None),
];

/// The application `cgi:DIR_OR_PROGRAM`.
#[derive(Debug)]
pub struct Cgi {
    path: PathBuf,
    options: Options,
    timeout: Option<Duration>,
    places: Places,
}

impl Cgi {
    /// The programs of a directory, or one program for every path. `timeout` is how long a program may
    /// take until its head, and then from one piece to the next; `None`: as the server's, zero: no
    /// limit.
    pub fn new(path: impl Into<PathBuf>, options: Options, timeout: Option<Duration>) -> Cgi {
        Cgi {
            path: path.into(),
            places: Places::new(options.max_processes),
            options,
            timeout,
        }
    }
}

impl App for Cgi {
    type Handler = CgiHandler;

    fn boot(&self, seat: &Seat) -> Result<CgiHandler, Error> {
        let place = Place::of(&self.path);
        let place = place.map_err(|error| {
            let path = self.path.display();
            Error::msg(format!("cannot serve {path}: {error}"))
        })?;
        let conf = seat.conf();
        let time = self.timeout.unwrap_or(conf.deadlines.request);
        Ok(CgiHandler {
            place,
            environment: environment(&self.options),
            options: self.options.clone(),
            timeout: (!time.is_zero()).then_some(time),
            places: self.places.clone(),
            software: conf.server.clone().unwrap_or("ferricorn".to_owned()),
            retry_after: conf.retry_after,
            vars: Vars::new(),
        })
    }
}

/// What a program has beside the variables of its request.
fn environment(options: &Options) -> Vec<(String, String)> {
    let inherited = INHERITED.iter().filter_map(|(name, default)| {
        let value = std::env::var(name).ok();
        let value = value.or_else(|| default.map(str::to_owned))?;
        Some(((*name).to_owned(), value))
    });
    // Of two of one name the last is taken.
    inherited.chain(options.env.iter().cloned()).collect()
}

/// The handler of [`Cgi`].
#[derive(Debug)]
pub struct CgiHandler {
    place: Place,
    options: Options,
    environment: Vec<(String, String)>,
    timeout: Option<Duration>,
    places: Places,
    software: String,
    retry_after: u32,
    vars: Vars,
}

impl Handler for CgiHandler {
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        let path = match decode_path(request.path_info()) {
            Ok(path) => path.into_owned(),
            Err(reject) => return refuse(reject.status),
        };
        let found = match self.place.find(&path) {
            Ok(found) => found,
            Err(status) => return refuse(status),
        };
        let Some(place) = self.places.take() else {
            log::warn!("{} programs run already", self.options.max_processes);
            let mut response = StatusCode::SERVICE_UNAVAILABLE.into_response()?;
            let after = HeaderValue::from(self.retry_after);
            response.headers_mut().insert(header::RETRY_AFTER, after);
            return Ok(Begin::Respond(response));
        };
        let length = match request.head().body() {
            BodyLength::None => Some(0),
            BodyLength::Length(length) => Some(length),
            BodyLength::Chunked => None,
        };
        let content_length = length.filter(|_| request.head().body() != BodyLength::None);
        self.fill(request, &path, &found, content_length);
        let order = run::Order {
            found,
            vars: &self.vars,
            limits: self.options.limits.clone(),
            timeout: self.timeout,
            length,
            place,
        };
        Ok(Begin::Task(Box::new(order.prepare()?)))
    }

    /// Every request has a task.
    fn handle(&mut self, _: &mut Request) -> Result<Response, Error> {
        StatusCode::NOT_FOUND.into_response()
    }
}

impl CgiHandler {
    fn fill(&mut self, request: &Request, path: &[u8], found: &Found, length: Option<u64>) {
        use std::os::unix::ffi::OsStrExt;
        let (script, path_info) = path.split_at(found.script);
        // A prefix holds nothing that could not be decoded.
        let mut script_name = decode_path(request.script_name())
            .map(std::borrow::Cow::into_owned)
            .unwrap_or_default();
        script_name.extend_from_slice(script);
        let given = Given {
            script_name: &script_name,
            path_info,
            document_root: Some(found.root.as_os_str().as_bytes()),
            script_filename: Some(found.path.as_os_str().as_bytes()),
            content_length: length,
            server_software: &self.software,
            authorization: self.options.pass_authorization,
            environment: &self.environment,
        };
        self.vars.fill(request, &given);
    }
}

fn refuse(status: StatusCode) -> Result<Begin, Error> {
    Ok(Begin::Respond(status.into_response()?))
}
