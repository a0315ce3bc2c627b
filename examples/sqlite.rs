//! A database connection per worker, as a plain field of the handler: no pool, no lock.
//!
//!     cargo run --release --example sqlite -- --workers 4
//!     curl http://127.0.0.1:8000/ -d 'I was here'
//!     curl http://127.0.0.1:8000/
//!
//! The file is ./guestbook.sqlite, or $DATABASE. Needs the dependency `rusqlite`.

use std::path::PathBuf;
use std::time::Duration;

use ferricorn::http::StatusCode;
use ferricorn::{App, Error, Handler, IntoResponse, Request, Response, Seat};
use rusqlite::Connection;

fn main() -> std::process::ExitCode {
    let file = std::env::var_os("DATABASE").unwrap_or("guestbook.sqlite".into());
    ferricorn::main(Guestbook { file: file.into() })
}

/// Made in `main`, before the workers are forked: only what they need to know goes in here.
struct Guestbook {
    file: PathBuf,
}

impl App for Guestbook {
    type Handler = Page;

    /// Runs in each worker. A connection must never be carried over a fork, so it is opened here.
    fn boot(&self, seat: &Seat) -> Result<Page, Error> {
        let connection = Connection::open(&self.file)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, worker INTEGER, text TEXT)",
        )?;
        let worker = seat.slot() as i64;
        Ok(Page { connection, worker })
    }
}

struct Page {
    connection: Connection,
    worker: i64,
}

impl Handler for Page {
    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        match request.head().method() {
            "GET" | "HEAD" => self.list(),
            "POST" => self.add(request),
            _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        }
    }
}

impl Page {
    fn list(&self) -> Result<Response, Error> {
        let sql = "SELECT id, worker, text FROM entry ORDER BY id DESC LIMIT 20";
        // The connection keeps prepared statements: the text is compiled once.
        let mut select = self.connection.prepare_cached(sql)?;
        let mut rows = select.query(())?;
        let mut page = String::new();
        while let Some(row) = rows.next()? {
            let (id, worker): (i64, i64) = (row.get(0)?, row.get(1)?);
            let text: String = row.get(2)?;
            page.push_str(&format!("{id}. {text} (worker {worker})\n"));
        }
        page.into_response()
    }

    fn add(&self, request: &mut Request) -> Result<Response, Error> {
        let body = request.body_mut().to_bytes()?;
        let Ok(text) = std::str::from_utf8(&body) else {
            return (StatusCode::BAD_REQUEST, "send text\n").into_response();
        };
        let sql = "INSERT INTO entry (worker, text) VALUES (?1, ?2)";
        let mut insert = self.connection.prepare_cached(sql)?;
        let id = insert.insert((self.worker, text))?;
        (StatusCode::CREATED, format!("entry {id}\n")).into_response()
    }
}
