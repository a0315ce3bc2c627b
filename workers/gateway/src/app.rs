//! Applications that are a back end: what is asked goes there, what it answers comes back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ferricorn_base::http::StatusCode;
use ferricorn_base::{App, Begin, Error, Handler, IntoResponse, Request, Response, Seat};
use ferricorn_http::BodyLength;

use crate::asking::{Asking, BackEnd, Dialect};
use crate::codec::vars::decode_path;
use crate::forward::is_idempotent;
use crate::options::Options;
use crate::script::Script;
use crate::upstream::{Address, Pool};

/// The schemes of applications that are a back end.
pub const SCHEMES: &[(&str, Dialect)] = &[
    ("fastcgi", Dialect::FastCgi),
    ("scgi", Dialect::Scgi),
    ("uwsgi", Dialect::Uwsgi),
    ("http", Dialect::Http),
];

/// An application that is a back end: `fastcgi:ADDR`, `scgi:ADDR`, `uwsgi:ADDR`, `http:ADDR`.
#[derive(Clone, Debug)]
pub struct Gateway {
    dialect: Dialect,
    address: Address,
    options: Options,
}

impl Gateway {
    /// What is at `address`, spoken to in `dialect`. Nothing is opened before a request comes.
    #[must_use]
    pub fn new(dialect: Dialect, address: Address, options: Options) -> Gateway {
        Gateway {
            dialect,
            address,
            options,
        }
    }

    /// The one that `app` names, as `SCHEME:ADDR`; `None` when it is no back end.
    ///
    /// # Errors
    /// What is wrong with the address, for people.
    pub fn parse(app: &str) -> Option<Result<Gateway, String>> {
        let (scheme, address) = app.split_once(':')?;
        let (_, dialect) = SCHEMES.iter().find(|(name, _)| *name == scheme)?;
        let address = Address::parse(address).map_err(|error| format!("{scheme}: {error}"));
        Some(address.map(|address| Gateway::new(*dialect, address, Options::default())))
    }

    /// How it is asked.
    pub fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// How long it may take until its answer begins, and between two pieces; zero: for ever.
    pub fn set_timeout(&mut self, time: Duration) {
        self.options.timeout = time;
    }
}

impl App for Gateway {
    type Handler = GatewayHandler;

    fn boot(&self, _: &Seat) -> Result<GatewayHandler, Error> {
        let target = self.address.resolve().map_err(|error| {
            let address = &self.address;
            Error::msg(format!("{address}: {error}"))
        })?;
        let pool = match self.dialect {
            // One that is idle keeps a process of php-fpm, which may have few.
            Dialect::FastCgi => self.options.pool.unwrap_or(0),
            Dialect::Http => self.options.pool.unwrap_or(8),
            // One request, then the end.
            Dialect::Scgi | Dialect::Uwsgi => 0,
        };
        Ok(GatewayHandler(Arc::new(BackEnd {
            dialect: self.dialect,
            target,
            pool: Pool::new(pool, self.options.pool_time),
            software: concat!("ferricorn/", env!("CARGO_PKG_VERSION")).to_owned(),
            options: self.options.clone(),
        })))
    }
}

/// Asks the back end.
pub struct GatewayHandler(Arc<BackEnd>);

impl Handler for GatewayHandler {
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        let refuse = |status: StatusCode| Ok(Begin::Respond(status.into_response()?));
        let decoded = (
            decode_path(request.script_name()),
            decode_path(request.path_info()),
        );
        let (Ok(prefix), Ok(path)) = decoded else {
            return refuse(StatusCode::BAD_REQUEST);
        };
        let Some(script) = Script::of(&prefix, &path, &self.0.options) else {
            return refuse(StatusCode::NOT_FOUND);
        };
        let length = match request.head().body() {
            BodyLength::None => Some(0),
            BodyLength::Length(length) => Some(length),
            BodyLength::Chunked => None,
        };
        let idempotent = is_idempotent(request.head().method());
        let asking = Asking::new(Arc::clone(&self.0), script, length, idempotent);
        Ok(Begin::Task(Box::new(asking)))
    }

    fn handle(&mut self, _: &mut Request) -> Result<Response, Error> {
        // A request that has a task comes no further than `begin`.
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

impl fmt::Debug for GatewayHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GatewayHandler")
            .field(&self.0.target)
            .finish()
    }
}
