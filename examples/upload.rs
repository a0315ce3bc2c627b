//! Uploads that go to disk as they come, however large: nothing is kept in memory, and a slow client
//! holds a thread for streams, not the worker.
//!
//!     cargo run --release --example upload
//!     curl -T photo.jpg http://127.0.0.1:8000/photo.jpg
//!
//! Files land in ./uploads, or in $UPLOADS. Needs the development dependency `tempfile`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ferricorn::http::StatusCode;
use ferricorn::{
    App, Begin, Body, Error, Exchange, Handler, IntoResponse, Request, Response, Seat,
};

fn main() -> std::process::ExitCode {
    let directory = std::env::var_os("UPLOADS").unwrap_or("uploads".into());
    ferricorn::main(Uploads(directory.into()))
}

struct Uploads(PathBuf);

impl App for Uploads {
    type Handler = Uploads;

    fn boot(&self, _: &Seat) -> Result<Uploads, Error> {
        std::fs::create_dir_all(&self.0)?;
        Ok(Uploads(self.0.clone()))
    }
}

impl Handler for Uploads {
    /// Sees the head before the body is read, and decides what to do with the body.
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        if request.head().method() != "PUT" {
            return Ok(Begin::Buffer);
        }
        let Some(name) = safe_name(request.path()) else {
            let answer = (StatusCode::BAD_REQUEST, "that is no name for a file\n");
            return Ok(Begin::Respond(answer.into_response()?));
        };
        let (directory, name) = (self.0.clone(), name.to_owned());
        let stream = Body::stream(move |exchange| save(exchange, &directory, &name));
        Ok(Begin::Respond(
            (StatusCode::CREATED, stream).into_response()?,
        ))
    }

    fn handle(&mut self, _: &mut Request) -> Result<Response, Error> {
        let usage = "curl -T FILE http://.../NAME\n";
        (StatusCode::METHOD_NOT_ALLOWED, usage).into_response()
    }
}

/// Reads the rest of the request and writes the response. A file appears under its name when it is
/// complete; one that is cut short disappears with its last owner.
fn save(exchange: &mut Exchange, directory: &Path, name: &str) -> Result<(), Error> {
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    let size = io::copy(exchange, &mut file)?;
    file.as_file().sync_all()?;
    file.persist(directory.join(name))?;
    writeln!(exchange, "{name}: {size} bytes")?;
    Ok(())
}

/// The last segment of a path, if it is harmless as a file name everywhere.
fn safe_name(path: &str) -> Option<&str> {
    let name = path.strip_prefix('/')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let good = (1..=100).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain);
    good.then_some(name)
}
