//! Files that another application answers with: it names one in `X-Sendfile` or `X-Accel-Redirect`, and the
//! file goes out instead of what it wrote. Only beneath directories that the operator names.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ferricorn_base::task::{Step, Task, Turn};
use ferricorn_base::{App, Begin, Error, Handler, IntoResponse, Request, Response, Seat};
use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, LAST_MODIFIED,
};

use crate::conditions::Asked;
use crate::options::Options;
use crate::path::{self, Dotfiles};
use crate::root::{Closed, Root, Symlinks, What};
use crate::variant::Variant;

const SENDFILE: HeaderName = HeaderName::from_static("x-sendfile");
const ACCEL: HeaderName = HeaderName::from_static("x-accel-redirect");
/// What is the file's to say, whatever the application says.
const OURS: [HeaderName; 5] = [
    ACCEPT_RANGES,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    ETAG,
    LAST_MODIFIED,
];

/// Where files are that an application may answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// How it is called in X-Accel-Redirect, without slashes at its end; `None`: the directory itself is
    /// named, in X-Sendfile.
    pub uri: Option<String>,
    /// The directory, an absolute path.
    pub directory: PathBuf,
}

impl Place {
    /// `DIR`, or `URI=DIR`.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Place, String> {
        let wrong = || format!("expected DIR or /URI=DIR, found \"{text}\"");
        let (uri, directory) = match text.split_once('=') {
            Some((uri, directory)) if uri.starts_with('/') => (Some(uri), directory),
            Some(_) => return Err(wrong()),
            None => (None, text),
        };
        if directory.is_empty() || directory.contains('\0') {
            return Err(wrong());
        }
        Ok(Place {
            uri: uri.map(|uri| uri.trim_end_matches('/').to_owned()),
            directory: directory.into(),
        })
    }
}

/// An application around another one, which may answer with files of these places.
#[derive(Debug)]
pub struct Sendfile<A> {
    app: A,
    places: Vec<Place>,
}

impl<A> Sendfile<A> {
    /// Around `app`.
    pub fn new(app: A, places: Vec<Place>) -> Sendfile<A> {
        Sendfile { app, places }
    }
}

impl<A: App> App for Sendfile<A> {
    type Handler = SendfileHandler<A::Handler>;

    fn load(&mut self) -> Result<(), Error> {
        self.app.load()
    }

    fn boot(&self, seat: &Seat) -> Result<Self::Handler, Error> {
        let open = |place: &Place| {
            let root = Root::open(&place.directory, Symlinks::Inside)?;
            Ok((place.clone(), root))
        };
        let places = Places {
            places: self.places.iter().map(open).collect::<Result<_, Error>>()?,
            // What is sent by request of an application is as likely to be sent once as twice.
            options: Options {
                memory: 0,
                ..Options::default()
            },
        };
        Ok(SendfileHandler {
            places: Arc::new(Mutex::new(places)),
            inner: self.app.boot(seat)?,
        })
    }
}

/// The handler of [`Sendfile`].
#[derive(Debug)]
pub struct SendfileHandler<H> {
    inner: H,
    /// Shared with the tasks that its handler began.
    places: Arc<Mutex<Places>>,
}

/// The places, and how their files are sent.
#[derive(Debug)]
struct Places {
    places: Vec<(Place, Root)>,
    options: Options,
}

/// A task whose answer may name a file.
struct SendfileTask {
    inner: Box<dyn Task>,
    places: Arc<Mutex<Places>>,
}

impl<H: Handler> Handler for SendfileHandler<H> {
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        match self.inner.begin(request)? {
            Begin::Respond(response) => {
                let response = replace(&self.places, request, response)?;
                Ok(Begin::Respond(response))
            }
            Begin::Task(inner) => {
                let places = Arc::clone(&self.places);
                Ok(Begin::Task(Box::new(SendfileTask { inner, places })))
            }
            begun => Ok(begun),
        }
    }

    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        let response = self.inner.handle(request)?;
        replace(&self.places, request, response)
    }

    fn idle(&mut self) {
        self.inner.idle();
    }
}

impl Task for SendfileTask {
    fn needs_whole_body(&self) -> bool {
        self.inner.needs_whole_body()
    }

    fn step(&mut self, turn: &mut Turn<'_>) -> Result<Step, Error> {
        let response = match self.inner.step(turn)? {
            Step::Respond(response) => *response,
            Step::Head(status, fields, _) if names_a_file(&fields) => {
                // Whatever content follows is not asked for.
                let mut head = Response::default();
                *head.status_mut() = status;
                *head.headers_mut() = fields;
                head
            }
            step => return Ok(step),
        };
        let response = replace(&self.places, turn.request, response)?;
        Ok(Step::Respond(Box::new(response)))
    }
}

fn names_a_file(fields: &HeaderMap) -> bool {
    !fields.is_empty() && (fields.contains_key(SENDFILE) || fields.contains_key(ACCEL))
}

/// The file that a response names instead of the response, if it names one.
fn replace(
    places: &Mutex<Places>,
    request: &Request,
    response: Response,
) -> Result<Response, Error> {
    if !names_a_file(response.headers()) {
        return Ok(response);
    }
    // Nothing in there is left half done.
    let mut places = places.lock().unwrap_or_else(PoisonError::into_inner);
    places.replace(request, response)
}

impl Places {
    fn replace(&mut self, request: &Request, mut response: Response) -> Result<Response, Error> {
        let fields = response.headers_mut();
        let (sendfile, accel) = (fields.remove(SENDFILE), fields.remove(ACCEL));
        let found = match (&sendfile, &accel) {
            (Some(path), _) => self.by_path(path.as_bytes()),
            (None, Some(uri)) => self.by_uri(uri.as_bytes()),
            (None, None) => return Ok(response),
        };
        let named = sendfile.or(accel);
        let named = named.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
        let named = String::from_utf8_lossy(named);
        let Some((at, name)) = found else {
            let text = format!("{named:?} is in no place of x-sendfile");
            return Err(Error::msg(text));
        };
        let root = &mut self.places[at].1;
        root.has_moved();
        let opened = match root.read(&name) {
            Ok(opened) if opened.kind == What::File => opened,
            Ok(_) | Err(Closed::Missing | Closed::Forbidden) => {
                log::error!("the application answered with {named:?}, which cannot be sent");
                return StatusCode::NOT_FOUND.into_response();
            }
            Err(Closed::Failed(error)) => {
                return Err(Error::msg(format!("cannot open {named:?}: {error}")));
            }
        };
        let mut file = Variant::load(opened, &name, None, &self.options)?;
        let (parts, _) = response.into_parts();
        let mut fields = parts.headers;
        OURS.iter().for_each(|name| drop(fields.remove(name)));
        if let Some(kind) = fields.remove(CONTENT_TYPE) {
            file.set_content_type(kind);
        }
        let asked = Asked::of(request.head());
        let mut answer = match request.head().method() {
            "GET" if parts.status == StatusCode::OK => file.respond(&asked, true)?,
            "HEAD" if parts.status == StatusCode::OK => file.respond(&asked, false)?,
            _ => {
                let mut whole = file.whole();
                *whole.status_mut() = parts.status;
                whole
            }
        };
        if answer.status().is_client_error() {
            return Ok(answer);
        }
        for name in fields.keys() {
            answer.headers_mut().remove(name);
        }
        answer.headers_mut().extend(fields);
        Ok(answer)
    }

    /// The place of an absolute path, and what it is there.
    fn by_path(&self, path: &[u8]) -> Option<(usize, Vec<u8>)> {
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let places = self.places.iter().enumerate();
        let mut places = places.filter(|(_, (place, _))| place.uri.is_none());
        places.find_map(|(at, (place, _))| {
            let name = path.strip_prefix(&place.directory).ok()?;
            Some((at, name.as_os_str().as_bytes().to_vec()))
        })
    }

    /// The place of a URI, the one with the longest, and what its decoded rest is there.
    fn by_uri(&self, uri: &[u8]) -> Option<(usize, Vec<u8>)> {
        let uri = std::str::from_utf8(uri).ok()?;
        let uri = uri.split(['?', '#']).next()?;
        let places = self.places.iter().enumerate();
        let rests = places.filter_map(|(at, (place, _))| {
            let rest = uri.strip_prefix(place.uri.as_deref()?)?;
            rest.starts_with('/').then_some((at, rest))
        });
        let (at, rest) = rests.min_by_key(|(_, rest)| rest.len())?;
        let mut name = Vec::new();
        path::decode(rest, Dotfiles::Shown, &mut name).ok()?;
        Some((at, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (text, uri, directory) in [
            ("/srv/a", None, "/srv/a"),
            ("/x/=/srv/a", Some("/x"), "/srv/a"),
            ("/=/srv", Some(""), "/srv"),
        ] {
            let place = Place {
                uri: uri.map(str::to_owned),
                directory: directory.into(),
            };
            assert_eq!(Place::parse(text), Ok(place), "{text}");
        }
        for text in ["", "x=/srv", "/x=", "a\0"] {
            assert!(Place::parse(text).is_err(), "{text:?}");
        }
    }

    /// What becomes of a response with these fields; `@` is a directory with `out/x.txt`, of which
    /// `out` is the place.
    fn answer(status: u16, named: (&str, &str), field: (&str, &str)) -> Result<Response, Error> {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        std::fs::create_dir_all(out.join("sub")).unwrap();
        std::fs::write(out.join("x.txt"), "0123456789").unwrap();
        std::fs::write(directory.path().join("canary"), "outside").unwrap();
        std::os::unix::fs::symlink("../canary", out.join("link")).unwrap();
        let at = directory.path().to_str().unwrap();
        let value = named.1.replace('@', at);
        let field_name = named.0.to_owned();
        let app = move |_: &mut Request| {
            http::Response::builder()
                .status(status)
                .header(&field_name, &value)
                .header("content-type", "text/x-own")
                .header("content-length", "3")
                .header("etag", "\"own\"")
                .header("set-cookie", "a=b")
                .body(ferricorn_base::Body::from("own"))
                .map_err(Error::from)
        };
        let places = [format!("{at}/out"), format!("/in/={at}/out")];
        let places = places.map(|place| Place::parse(&place).unwrap());
        let mut handler = Sendfile::new(app, places.to_vec()).boot(&Seat::default())?;
        let mut request = Request::build("GET", "/", [("Host", "localhost"), field])?;
        handler.handle(&mut request)
    }

    #[test]
    fn the_file_goes_out_with_the_fields_of_the_application() {
        for named in [
            ("X-Sendfile", "@/out/x.txt"),
            ("X-Accel-Redirect", "/in/%78.txt?a"),
        ] {
            let response = answer(200, named, ("Range", "bytes=2-3")).unwrap();
            assert_eq!(response.status(), 206);
            let fields = response.headers();
            assert!(!fields.contains_key(SENDFILE) && !fields.contains_key(ACCEL));
            assert_eq!(fields["content-type"], "text/x-own");
            assert_eq!(fields["content-range"], "bytes 2-3/10");
            assert_eq!(fields["set-cookie"], "a=b");
            assert!(fields["etag"] != "\"own\"" && !fields.contains_key(CONTENT_LENGTH));
            assert_eq!(response.into_body().collect().unwrap(), "23");
        }
        let named = ("X-Sendfile", "@/out/x.txt");
        let response = answer(403, named, ("Range", "bytes=2-3")).unwrap();
        assert_eq!(response.status(), 403);
        assert_eq!(response.into_body().collect().unwrap(), "0123456789");
        let response = answer(200, ("X-Other", "y"), ("Range", "bytes=0-1")).unwrap();
        assert_eq!(response.into_body().collect().unwrap(), "own");
    }

    #[test]
    fn a_task_answers_with_files_as_well() {
        use ferricorn_base::task::{Intake, Watch, Watcher};
        use std::io;
        use std::os::fd::BorrowedFd;

        struct Named(String);
        impl Task for Named {
            fn step(&mut self, _: &mut Turn<'_>) -> Result<Step, Error> {
                let mut fields = HeaderMap::new();
                fields.insert(SENDFILE, HeaderValue::from_str(&self.0)?);
                Ok(Step::Head(StatusCode::OK, fields, None))
            }
        }
        struct Nobody;
        impl Watcher for Nobody {
            fn watch(&mut self, _: BorrowedFd<'_>) -> io::Result<Watch> {
                Ok(Watch::unfollowed())
            }

            fn look_after(&mut self, _: std::sync::Weak<dyn ferricorn_base::task::Beat>) {}
        }
        struct Gate(String);
        impl Handler for Gate {
            fn begin(&mut self, _: &mut Request) -> Result<Begin, Error> {
                Ok(Begin::Task(Box::new(Named(self.0.clone()))))
            }
            fn handle(&mut self, _: &mut Request) -> Result<Response, Error> {
                Err(Error::msg("it is a task"))
            }
        }
        struct Gates(String);
        impl App for Gates {
            type Handler = Gate;
            fn boot(&self, _: &Seat) -> Result<Gate, Error> {
                Ok(Gate(self.0.clone()))
            }
        }
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("x.txt"), "0123456789").unwrap();
        let at = directory.path().to_str().unwrap();
        for (path, sent) in [
            (format!("{at}/x.txt"), true),
            ("/etc/passwd".to_owned(), false),
        ] {
            let places = vec![Place::parse(at).unwrap()];
            let app = Sendfile::new(Gates(path), places);
            let mut handler = app.boot(&Seat::default()).unwrap();
            let mut request = Request::build("GET", "/", [("Host", "localhost")]).unwrap();
            let Begin::Task(mut task) = handler.begin(&mut request).unwrap() else {
                panic!("it was no task any more");
            };
            let (mut intake, mut watcher, mut due) = (Intake::streamed(), Nobody, 0);
            let mut turn = Turn::new(&mut request, &mut intake, &mut watcher, (0, 0), &mut due);
            match task.step(&mut turn) {
                Ok(Step::Respond(response)) => {
                    assert!(sent && !response.headers().contains_key(SENDFILE));
                    let content = response.into_body().collect().unwrap();
                    assert_eq!(content, "0123456789");
                }
                other => assert!(!sent, "{other:?}"),
            }
        }
    }

    #[test]
    fn nothing_is_sent_but_files_of_the_places() {
        let no = ("Accept", "*/*");
        for (named, outside) in [
            (("X-Sendfile", "@/canary"), true),
            (("X-Sendfile", "@/outer/x.txt"), true),
            (("X-Sendfile", "x.txt"), true),
            (("X-Sendfile", "/etc/passwd"), true),
            (("X-Accel-Redirect", "/in/../canary"), true),
            (("X-Accel-Redirect", "/in/%2e%2e/canary"), true),
            (("X-Accel-Redirect", "/inner/x.txt"), true),
            (("X-Accel-Redirect", "@/out/x.txt"), true),
            (("X-Sendfile", "@/out/../canary"), false),
            (("X-Sendfile", "@/out/link"), false),
            (("X-Sendfile", "@/out/sub"), false),
            (("X-Sendfile", "@/out"), false),
            (("X-Sendfile", "@/out/missing"), false),
            (("X-Accel-Redirect", "/in/link"), false),
            (("X-Accel-Redirect", "/in/"), false),
        ] {
            match answer(200, named, no) {
                Err(error) => assert!(outside, "{named:?}: {error}"),
                Ok(response) => {
                    assert!(!outside, "{named:?}");
                    assert_eq!(response.status(), 404, "{named:?}");
                }
            }
        }
    }
}
