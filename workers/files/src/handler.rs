//! The application: from a request to the file that answers it, or to what says why none does.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use ferricorn_base::sys::coarse_us;
use ferricorn_base::{App, Begin, Error, Handler, IntoResponse, Request, Response, Seat};
use http::StatusCode;
use http::header::{ALLOW, HeaderValue, LOCATION};

use crate::codings::choose;
use crate::conditions::Asked;
use crate::listing;
use crate::options::Options;
use crate::path::{self, Refused};
use crate::root::{Closed, Opened, Root, What};
use crate::shelf::{Entry, Shelf};
use crate::variant::Variant;

/// What the system says of reading what was opened only to be entered (getdents(2)).
const EBADF: i32 = 9;
/// What can be done with a file.
const METHODS: &str = "GET, HEAD, OPTIONS";
/// What nobody has wanted for so long is let go of, in µs.
const FORGOTTEN: u64 = 60_000_000;

/// The files of a directory.
///
/// A request's path beneath the mount ([`Request::path_info`]) is the name of a file beneath the
/// directory, and nothing outside of that is ever opened.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
    options: Arc<Options>,
}

impl Files {
    /// Serves what is in `root`, an absolute path.
    pub fn new(root: impl Into<PathBuf>, options: Options) -> Files {
        Files {
            root: root.into(),
            options: Arc::new(options),
        }
    }
}

impl App for Files {
    type Handler = FilesHandler;

    fn load(&mut self) -> Result<(), Error> {
        Root::open(&self.root, self.options.symlinks).map(drop)
    }

    fn boot(&self, seat: &Seat) -> Result<FilesHandler, Error> {
        // What a worker may keep is for all its threads.
        let room = self.options.memory / seat.conf().threads.max(1);
        let fresh = u64::try_from(self.options.recheck.as_micros()).unwrap_or(u64::MAX);
        Ok(FilesHandler {
            root: Root::open(&self.root, self.options.symlinks)?,
            root_checked: coarse_us(),
            options: Arc::clone(&self.options),
            shelf: Shelf::new(room.max(1 << 20), fresh),
            fresh,
            name: Vec::new(),
        })
    }
}

/// The handler of [`Files`].
#[derive(Debug)]
pub struct FilesHandler {
    root: Root,
    root_checked: u64,
    options: Arc<Options>,
    shelf: Shelf,
    fresh: u64,
    /// The name that is asked for; here, so that its memory serves the next request, too.
    name: Vec<u8>,
}

/// What a name leads to.
enum Leads {
    File(Rc<Entry>),
    /// To a directory, called without a slash at its end.
    Redirect,
    /// To a directory without an index.
    Directory,
}

impl Handler for FilesHandler {
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        match request.head().method() {
            "GET" | "HEAD" => Ok(Begin::Buffer),
            // The body does not matter.
            "OPTIONS" => Ok(Begin::Respond(allowing(StatusCode::NO_CONTENT)?)),
            _ => Ok(Begin::Respond(allowing(StatusCode::METHOD_NOT_ALLOWED)?)),
        }
    }

    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        let path = request.path_info();
        if path.is_empty() {
            // The mount itself, without a slash.
            let last = request.path().rsplit('/').next();
            return go_to(last.unwrap_or_default().to_owned(), request);
        }
        match path::decode(path, self.options.dotfiles, &mut self.name) {
            Ok(()) => {}
            Err(Refused::Bad) => return StatusCode::BAD_REQUEST.into_response(),
            Err(Refused::None) => return StatusCode::NOT_FOUND.into_response(),
        }
        let now = coarse_us();
        let found = match self.shelf.get(&self.name, now) {
            Some((entry, true)) => Ok(Leads::File(entry)),
            old => self.look_up(old.map(|(entry, _)| entry), now),
        };
        let closed = match found {
            Ok(Leads::File(entry)) => return respond(&entry, request),
            Ok(Leads::Redirect) => return self.redirect(request),
            Ok(Leads::Directory) => match self.list(request) {
                Ok(response) => return Ok(response),
                Err(closed) => closed,
            },
            Err(closed) => closed,
        };
        match closed {
            Closed::Missing => StatusCode::NOT_FOUND.into_response(),
            Closed::Forbidden => {
                log::debug!("{} is not readable", String::from_utf8_lossy(&self.name));
                StatusCode::FORBIDDEN.into_response()
            }
            Closed::Failed(error) => {
                let name = String::from_utf8_lossy(&self.name);
                Err(Error::msg(format!("cannot open {name:?}: {error}")))
            }
        }
    }

    fn idle(&mut self) {
        if !self.shelf.is_empty() {
            self.shelf.forget(coarse_us().saturating_sub(FORGOTTEN));
        }
    }
}

impl FilesHandler {
    /// What the name leads to now. `old` is what it led to before, if that is known.
    fn look_up(&mut self, mut old: Option<Rc<Entry>>, now: u64) -> Result<Leads, Closed> {
        if now.saturating_sub(self.root_checked) >= self.fresh {
            self.root_checked = now;
            if self.root.has_moved() {
                self.shelf.clear();
                old = None;
            }
        }
        if let Some(entry) = old {
            if self.is_still(&entry) {
                entry.confirm(now);
                return Ok(Leads::File(entry));
            }
            let key = std::mem::take(&mut self.name);
            self.shelf.remove(&key);
            self.name = key;
        }
        let (name, opened) = match self.find()? {
            (
                _,
                Opened {
                    kind: What::Directory,
                    ..
                },
            ) if self.is_directory() => {
                return Ok(Leads::Directory);
            }
            (
                _,
                Opened {
                    kind: What::Directory,
                    ..
                },
            ) => return Ok(Leads::Redirect),
            found => found,
        };
        let variants = self.variants(&name, opened).map_err(Closed::Failed)?;
        let entry = Rc::new(Entry::new(name, variants, now));
        self.shelf.put(&self.name, Rc::clone(&entry));
        Ok(Leads::File(entry))
    }

    /// Whether the name is that of a directory.
    fn is_directory(&self) -> bool {
        matches!(self.name.last(), None | Some(b'/'))
    }

    /// The names under which there may be a file that answers for the name.
    fn candidates(&self) -> impl Iterator<Item = Vec<u8>> + use<'_> {
        let directory = self.is_directory();
        let plain = (!directory).then(|| self.name.clone());
        let index = self.options.index.iter().filter(move |_| directory);
        plain
            .into_iter()
            .chain(index.map(|index| [&self.name, index.as_bytes()].concat()))
    }

    /// Opens what answers for the name: a file, and where there is none, a directory.
    fn find(&self) -> Result<(Vec<u8>, Opened), Closed> {
        let directory = self.is_directory();
        for name in self.candidates() {
            match self.root.read(&name) {
                // An index that is a directory is none.
                Ok(opened) if directory && opened.kind == What::Directory => {}
                Err(Closed::Missing) if directory => {}
                found => return found.map(|opened| (name, opened)),
            }
        }
        let opened = self.root.read(&self.name)?;
        Ok((self.name.clone(), opened))
    }

    /// Whether what the name leads to is as it was.
    fn is_still(&self, entry: &Entry) -> bool {
        let looks = self
            .candidates()
            .find_map(|name| match self.root.look(&name) {
                Ok((What::File, stamp)) => Some((name, stamp)),
                _ => None,
            });
        let Some((name, stamp)) = looks else {
            return false;
        };
        if name != entry.name || entry.variants.iter().any(|variant| variant.weak) {
            return false;
        }
        let mut variants = entry.variants.iter();
        if variants.next().is_none_or(|plain| plain.stamp != stamp) {
            return false;
        }
        for coding in &self.options.precompressed {
            let name = [&name, coding.suffix()].concat();
            let Ok((What::File, found)) = self.root.look(&name) else {
                continue;
            };
            if found.modified.0 < stamp.modified.0 {
                continue;
            }
            match variants.next() {
                Some(own) if own.coding == Some(*coding) && own.stamp == found => {}
                _ => return false,
            }
        }
        variants.next().is_none()
    }

    /// A file, and what lies encoded beside it and is not older.
    fn variants(&self, name: &[u8], opened: Opened) -> std::io::Result<Vec<Variant>> {
        let plain = Variant::load(opened, name, None, &self.options)?;
        let modified = plain.stamp.modified.0;
        let mut variants = vec![plain];
        for coding in &self.options.precompressed {
            let encoded = [name, coding.suffix()].concat();
            match self.root.read(&encoded) {
                Ok(opened) if opened.kind == What::File && opened.stamp.modified.0 >= modified => {
                    let variant = Variant::load(opened, name, Some(*coding), &self.options)?;
                    variants.push(variant);
                }
                _ => {}
            }
        }
        if variants.len() > 1 {
            variants.iter_mut().for_each(Variant::set_vary);
        }
        Ok(variants)
    }

    /// To the same directory with a slash at its end, without which links in it lead elsewhere. The
    /// reference is relative, so that it is right whatever a proxy in front of us has cut off or put on.
    fn redirect(&self, request: &Request) -> Result<Response, Error> {
        let mut location = String::new();
        let last = self.name.rsplit(|byte| *byte == b'/').next();
        path::encode(last.unwrap_or_default(), &mut location);
        go_to(location, request)
    }

    /// Answers for a directory without an index.
    fn list(&self, request: &Request) -> Result<Response, Closed> {
        if !self.options.listing {
            return Err(Closed::Missing);
        }
        let opened = self.root.read(&self.name)?;
        let mut shown = format!("{}/", request.script_name());
        shown.push_str(&String::from_utf8_lossy(&self.name));
        let accept = request.head().field("accept").unwrap_or_default();
        let dotfiles = self.options.dotfiles;
        listing::respond(&self.root, &self.name, opened, dotfiles, &shown, accept).map_err(
            // It may be entered, and not be read.
            |error| match error.raw_os_error() {
                Some(EBADF) => Closed::Forbidden,
                _ => Closed::Failed(error),
            },
        )
    }
}

/// Answers with the variant of a file that the client likes best.
fn respond(entry: &Entry, request: &Request) -> Result<Response, Error> {
    let asked = Asked::of(request.head());
    let (plain, encoded) = match &entry.variants[..] {
        [plain, encoded @ ..] => (plain, encoded),
        [] => return StatusCode::NOT_FOUND.into_response(),
    };
    let mut variant = plain;
    if asked.accept_encoding && !encoded.is_empty() {
        let there = encoded.iter().filter_map(|variant| variant.coding);
        let chosen = choose(asked.encodings(), there);
        let fits = |variant: &&Variant| variant.coding == chosen;
        variant = encoded.iter().find(fits).unwrap_or(plain);
    }
    variant.respond(&asked, request.head().method() == "GET")
}

/// To a directory, by its last segment.
fn go_to(mut location: String, request: &Request) -> Result<Response, Error> {
    location.push('/');
    if let Some(query) = request.query() {
        location.push('?');
        location.push_str(query);
    }
    let mut response = StatusCode::MOVED_PERMANENTLY.into_response()?;
    let location = HeaderValue::from_str(&location)?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

fn allowing(status: StatusCode) -> Result<Response, Error> {
    let mut response = status.into_response()?;
    let methods = HeaderValue::from_static(METHODS);
    response.headers_mut().insert(ALLOW, methods);
    Ok(response)
}
