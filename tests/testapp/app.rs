//! The application of the black-box tests: it behaves, and misbehaves, as it is asked to.
//!
//! What a request asks for is in its path. What happens before any request is in the files of the
//! directory `TESTAPP_CONTROL`, which a test may change while the server runs: `load-fail`,
//! `load-slow`, `load-note` (a line in the log), `load-panic`, `load-exit`, `load-hang`, `load-wait`
//! (until it is gone), `load-thread` (leaves one behind), `load-memory` (so many MiB), `boot-fail`,
//! `boot-panic`, `boot-hang`, `boot-exit`, `boot-slow`, `boot-wait` (until it is gone), `boot-odds` (of
//! so many boots one fails), `idle-hang`. Each holds the number of the slot that it concerns, or nothing for all;
//! `load-*` concerns all, or with `mold` in it the mold alone; `*-slow` holds milliseconds. Processes that
//! run their destructors at exit(3) add their pid to `exited` if it is there. `main` makes `main`
//! itself `hang` or `exit`, or find a master of a `newer` version, and to `originals` every image
//! adds how it was started. `TESTAPP_THREAD` starts a thread of that name before the server, `TESTAPP_PRINT`
//! leaves text in the buffer of standard output.

mod deaths;
mod hdr;
mod trials;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ferricorn::http::{HeaderMap, HeaderValue, StatusCode};
use ferricorn::workers::Sync;
use ferricorn::{
    App, Begin, Body, Context, Error, Exit, Handler, IntoResponse, Request, Response, Seat, Worker,
    meta,
};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, raise};
use nix::sys::stat::{Mode, umask};

fn main() -> ExitCode {
    LAST.with(|_| ());
    note_originals();
    match control("main").as_deref() {
        Some("hang") => hang(),
        Some("exit") => return ExitCode::from(9),
        Some("newer") => trials::under_a_newer_master().expect("it can be forged"),
        _ => {}
    }
    if let Ok(text) = std::env::var("TESTAPP_PRINT") {
        print!("{text}");
    }
    if let Ok(name) = std::env::var("TESTAPP_THREAD") {
        let thread = std::thread::Builder::new().name(name);
        let started = thread.spawn(|| {
            loop {
                std::thread::park();
            }
        });
        started.expect("a thread can be started");
    }
    ferricorn::Server::builder()
        .app(TestApp::default())
        .worker(Announced(Sync::new(TestApp::default())))
        .build()
        .run()
}

/// A class of the program's own around one that comes with the server: `-k announced`.
struct Announced(Sync<TestApp>);

impl Worker for Announced {
    fn name(&self) -> &'static str {
        "announced"
    }

    fn load(&mut self) -> Result<(), Error> {
        self.0.load()
    }

    fn run(self: Box<Self>, context: Context) -> Exit {
        log::info!("a worker of the class announced");
        Box::new(self.0).run(context)
    }
}

thread_local! {
    /// Registered before any fork, as libraries register what they clean up at exit(3).
    static LAST: Last = const { Last };
}

struct Last;

impl Drop for Last {
    fn drop(&mut self) {
        let Some(directory) = std::env::var_os("TESTAPP_CONTROL") else {
            return;
        };
        let path = PathBuf::from(directory).join("exited");
        let file = std::fs::OpenOptions::new().append(true).open(path);
        if let Ok(mut file) = file {
            let _ = writeln!(file, "{}", std::process::id());
        }
    }
}

/// Adds what this image was started with to `originals`, if that is there.
fn note_originals() {
    let Some(directory) = std::env::var_os("TESTAPP_CONTROL") else {
        return;
    };
    let path = PathBuf::from(directory).join("originals");
    let Ok(mut file) = std::fs::OpenOptions::new().append(true).open(path) else {
        return;
    };
    let mask = umask(Mode::empty());
    umask(mask);
    let (files, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("it can be asked");
    let here = std::env::current_dir().expect("there is one");
    let odd = std::env::var_os("ODD");
    let _ = writeln!(file, "{mask:?} {files} {here:?} {odd:?}");
}

/// What was appended to the file of this program after `version `.
fn version() -> std::io::Result<String> {
    let mut file = File::open("/proc/self/exe")?;
    file.seek(SeekFrom::End(-16))?;
    let mut end = [0; 16];
    file.read_exact(&mut end)?;
    let text = String::from_utf8_lossy(&end);
    let version = text
        .split_once("version ")
        .map_or("0", |(_, version)| version);
    Ok(version.to_owned())
}

#[derive(Default)]
struct TestApp {
    /// What it is for to share.
    memory: Vec<u8>,
}

struct TestHandler {
    seat: Seat,
    /// How many bytes the application has loaded.
    memory: usize,
    /// 1 GiB of nothing, once somebody wants some of it.
    sparse: Option<File>,
    /// What requests have made it keep.
    grown: Vec<Vec<u8>>,
}

impl App for TestApp {
    type Handler = TestHandler;

    fn load(&mut self) -> Result<(), Error> {
        if let Some(millis) = control("load-slow").and_then(|text| text.parse().ok()) {
            std::thread::sleep(Duration::from_millis(millis));
        }
        let concerned = |name: &str| {
            control(name).is_some_and(|text| text.is_empty() || text == "mold" && is_mold())
        };
        if concerned("load-note") {
            log::info!("loaded in process {}", std::process::id());
        }
        if let Some(mebibytes) = control("load-memory").and_then(|text| text.parse::<usize>().ok())
        {
            // Not zeros, which would take no memory.
            self.memory = vec![1; mebibytes << 20];
        }
        if concerned("load-wait") {
            log::info!("waiting in load");
        }
        while concerned("load-wait") {
            std::thread::sleep(Duration::from_millis(5));
        }
        if concerned("load-thread") {
            let thread = std::thread::Builder::new().name("stays".to_owned());
            let (tell, runs) = std::sync::mpsc::channel();
            thread.spawn(move || {
                // It has its name by now.
                let _ = tell.send(());
                hang()
            })?;
            runs.recv()?;
        }
        if concerned("load-panic") {
            panic!("the test wants load to panic");
        }
        if concerned("load-exit") {
            std::process::exit(7);
        }
        if concerned("load-hang") {
            hang();
        }
        match concerned("load-fail") {
            true => Err(Error::msg("the test wants load to fail")),
            false => Ok(()),
        }
    }

    fn boot(&self, seat: &Seat) -> Result<TestHandler, Error> {
        let concerned = |name: &str| {
            control(name).is_some_and(|text| text.is_empty() || text == seat.slot().to_string())
        };
        if let Some(millis) = control("boot-slow").and_then(|text| text.parse().ok()) {
            std::thread::sleep(Duration::from_millis(millis));
        }
        if concerned("boot-wait") {
            log::info!("waiting in boot");
        }
        while concerned("boot-wait") {
            std::thread::sleep(Duration::from_millis(5));
        }
        let odds = control("boot-odds");
        if odds.is_some_and(|odds| trials::is_unlucky(&odds).unwrap_or(true)) {
            return Err(Error::msg("the test wants this boot to fail"));
        }
        if concerned("boot-fail") {
            return Err(Error::msg("the test wants boot to fail"));
        }
        if concerned("boot-panic") {
            panic!("the test wants boot to panic");
        }
        if concerned("boot-exit") {
            std::process::exit(7);
        }
        if concerned("boot-hang") {
            hang();
        }
        Ok(TestHandler {
            seat: seat.clone(),
            memory: self.memory.len(),
            sparse: None,
            grown: Vec::new(),
        })
    }
}

impl TestHandler {
    fn sparse(&mut self) -> Result<&File, Error> {
        let file = match self.sparse.take() {
            Some(file) => file,
            None => {
                let file = tempfile::tempfile()?;
                file.set_len(1 << 30)?;
                file
            }
        };
        Ok(self.sparse.insert(file))
    }
}

impl Handler for TestHandler {
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        Ok(match request.path() {
            "/begin-panic" => panic!("the test wants begin to panic"),
            "/refuse" => Begin::Respond((StatusCode::FORBIDDEN, "no").into_response()?),
            "/upload-streamed" => Begin::Respond(Response::new(Body::stream(|exchange| {
                let (mut buffer, mut total) = ([0; 8192], 0);
                loop {
                    match exchange.read(&mut buffer)? {
                        0 => break,
                        read => total += read,
                    }
                }
                write!(exchange, "{total}")?;
                Ok(())
            }))),
            _ => Begin::Buffer,
        })
    }

    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        let path = request.path().to_owned();
        let (verb, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
        let millis = || rest.parse().map(Duration::from_millis);
        match verb {
            "" if request.method() == "GET" && request.body().is_empty() => "hello".into_response(),
            "" => ferricorn_apps::Echo.handle(request),
            "__hdr" => hdr::respond(request),
            "who" => self.who().into_response(),
            "version" => version()?.into_response(),
            "random" => format!("{} {}", std::process::id(), request.id()).into_response(),
            "trace" => {
                log::info!("in the handler of {path}");
                format!("{} {}", request.id(), request.trace()).into_response()
            }
            "sleep" => {
                std::thread::sleep(millis()?);
                self.who().into_response()
            }
            "hang" => {
                log::info!("in the handler of {path}");
                match rest {
                    "" => hang(),
                    _ => std::thread::sleep(millis()?),
                }
                self.who().into_response()
            }
            "spin" => {
                log::info!("in the handler of {path}");
                loop {
                    std::hint::spin_loop();
                }
            }
            "panic" => panic!("the test wants a panic"),
            "error" => Err(Error::msg("the test wants an error")),
            "exit" => std::process::exit(rest.parse()?),
            "segv" => {
                raise(Signal::SIGSEGV)?;
                "not reached".into_response()
            }
            "upload" => {
                let mut body = Vec::new();
                request.body_mut().read_to_end(&mut body)?;
                let sum = body.iter().fold(0u32, |sum, byte| {
                    sum.wrapping_mul(31).wrapping_add(u32::from(*byte))
                });
                format!("{} {sum}", body.len()).into_response()
            }
            "count" => trials::count(request),
            "ticks" => trials::ticks(rest.parse()?).into_response(),
            "reflect" => reflect(request).into_response(),
            "answer" => {
                let status = StatusCode::from_bytes(rest.as_bytes())?;
                (status, reflect(request)?).into_response()
            }
            "hints" => {
                let mut fields = HeaderMap::new();
                fields.insert("link", HeaderValue::from_static("</a.css>; rel=preload"));
                request.inform(StatusCode::EARLY_HINTS, &fields)?;
                reflect(request).into_response()
            }
            // As much, without taking memory: sent by the loop, and by a stream thread.
            "file" => {
                let file = self.sparse()?.try_clone()?;
                Body::file(file, 0, rest.parse()?).into_response()
            }
            "reader" => {
                let length = rest.parse()?;
                Body::reader(std::io::repeat(b'x').take(length), Some(length)).into_response()
            }
            "big" => vec![b'x'; rest.parse()?].into_response(),
            "stream" => stream(rest.parse()?).into_response(),
            "stream-slowly" => stream_slowly().into_response(),
            "stream-panic" => Body::stream(|exchange| {
                exchange.write_all(b"some")?;
                exchange.flush()?;
                panic!("the test wants a stream to panic")
            })
            .into_response(),
            "print" => {
                print!("printed by a handler");
                "printed".into_response()
            }
            "environment" => match std::env::var(rest) {
                Ok(value) => value.into_response(),
                Err(_) => StatusCode::NOT_FOUND.into_response(),
            },
            "directory" => std::env::current_dir()?
                .display()
                .to_string()
                .into_response(),
            "__env" => env(request),
            // So many MiB more, for good.
            "grow" | "swell" => {
                self.grown.push(vec![1; rest.parse::<usize>()? << 20]);
                if verb == "swell" {
                    log::info!("in the handler of {path}");
                    hang();
                }
                self.who().into_response()
            }
            "memory" => self.memory.to_string().into_response(),
            "orphan" => {
                // The shell ends at once, and leaves a child of its own behind.
                let mut shell = std::process::Command::new("sh");
                shell.args(["-c", "sleep 0.1 > /dev/null &"]).status()?;
                "left".into_response()
            }
            "status" => std::fs::read_to_string("/proc/self/status")?.into_response(),
            "limits" => std::fs::read_to_string("/proc/self/limits")?.into_response(),
            "status-of-child" => {
                let output = std::process::Command::new("cat")
                    .arg("/proc/self/status")
                    .output()?;
                output.stdout.into_response()
            }
            "become-root" => {
                let root = nix::unistd::Uid::from_raw(0);
                let tried = nix::unistd::setresuid(root, root, root);
                format!("{tried:?}").into_response()
            }
            "thread" => {
                // A worker may have threads; the master must not notice.
                std::thread::spawn(|| ());
                "started".into_response()
            }
            verb => deaths::answer(verb, rest, request)
                .unwrap_or_else(|| StatusCode::NOT_FOUND.into_response()),
        }
    }

    fn idle(&mut self) {
        if control("idle-hang").is_some() {
            log::info!("hanging while nothing waits");
            hang();
        }
    }
}

impl TestHandler {
    fn who(&self) -> String {
        let (slot, generation) = (self.seat.slot(), self.seat.generation());
        format!(
            "pid {} slot {slot} generation {generation}",
            std::process::id()
        )
    }
}

/// The meta-variables of a request as the cases of `tests/conformance` want to see them: an empty
/// line, one `KEY=<JSON string>` for each, and the body; bytes are shown as latin-1.
fn env(request: &mut Request) -> Result<Response, Error> {
    let json = |bytes: &[u8]| {
        let text: String = bytes.iter().copied().map(char::from).collect();
        let json = serde_json::to_string(&text)?;
        let ascii = json.chars().map(|c| match c {
            c if c.is_ascii() => c.to_string(),
            c => format!("\\u{:04x}", u32::from(c)),
        });
        Ok::<String, Error>(ascii.collect())
    };
    let mut page = String::from("\n");
    let variables = match meta::variables(request) {
        Ok(variables) => variables,
        Err(reject) => return (reject.status, reject.reason).into_response(),
    };
    for (name, value) in variables {
        page += &format!("{name}={}\n", json(&value)?);
    }
    let body = request.body_mut().to_bytes()?;
    page += &format!("body={}\nargv=[]\n", json(&body)?);
    page.into_response()
}

/// What the handler sees of a request, and from which connection: the body after an empty line.
fn reflect(request: &mut Request) -> Result<Vec<u8>, Error> {
    let (method, target) = (request.head().method(), request.head().target());
    let mut text = format!("{method} {target}\nfrom {}\n\n", request.peer()).into_bytes();
    request.body_mut().read_to_end(&mut text)?;
    Ok(text)
}

/// Whether this process is the mold, by its name.
fn is_mold() -> bool {
    std::fs::read_to_string("/proc/self/comm").is_ok_and(|name| name.trim() == "ferricorn: mold")
}

fn hang() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn stream(pieces: usize) -> Body {
    Body::stream(move |exchange| {
        for piece in 0..pieces {
            writeln!(exchange, "piece {piece}")?;
            exchange.flush()?;
        }
        Ok(())
    })
}

/// A piece now and then until the worker retires.
fn stream_slowly() -> Body {
    Body::stream(|exchange| {
        while !exchange.is_closing() {
            writeln!(exchange, "tick")?;
            exchange.flush()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        writeln!(exchange, "end")?;
        Ok(())
    })
}

fn control(name: &str) -> Option<String> {
    let directory = std::env::var_os("TESTAPP_CONTROL").map(PathBuf::from)?;
    let text = std::fs::read_to_string(directory.join(name)).ok()?;
    Some(text.trim().to_owned())
}
