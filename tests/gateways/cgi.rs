//! `cgi:DIR_OR_PROGRAM`: what programs are given, what becomes of what they say, and how they end.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::http::{self, Answer, Client};
use crate::support::{PATIENCE, Server, Start, ferricorn, install};

/// A server with these programs in `cgi-bin`, mounted at /cgi; `options` go into its mount.
fn served(scripts: &[(&str, &str)], options: &str) -> Server {
    prepared(scripts, options).ready()
}

fn prepared(scripts: &[(&str, &str)], options: &str) -> Start {
    let server = ferricorn().args("--workers 1");
    let directory = server.dir().path("cgi-bin");
    std::fs::create_dir_all(directory.join("sub")).unwrap();
    for (name, script) in scripts {
        let text = format!("#!/bin/sh\n{script}\n");
        install(&directory.join(name), text.as_bytes(), 0o755);
    }
    server.file(&format!(
        "[[mount]]\nprefix = \"/cgi\"\napp = \"cgi:cgi-bin\"\n{options}\n\
         [[mount]]\nprefix = \"/\"\napp = \"hello\"\n"
    ))
}

fn ask(server: &Server, request: &str) -> Answer {
    let mut client = Client::connect(server.address()).unwrap();
    client.send(request).unwrap();
    client.answer().unwrap()
}

fn get(server: &Server, path: &str) -> Answer {
    http::get(server.address(), path).unwrap()
}

/// The variables that a program has printed.
fn variables(answer: &Answer) -> BTreeMap<String, String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let lines = answer.text().lines();
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

const ENV: &str = "printf 'Content-Type: text/plain\\n\\n'; exec /usr/bin/env";

#[test]
fn a_program_is_given_the_variables_of_the_standard_and_nothing_of_ours() {
    let scripts = [("env", ENV), ("sub/env", ENV)];
    let options = "env = { NAME = \"a value\" }";
    let server = prepared(&scripts, options)
        .env("SECRET", "1")
        .env("TZ", "UTC")
        .ready();
    let port = server.address().port().to_string();
    let request = "POST /cgi/sub/env/a%20b/c?x=1&y HTTP/1.1\r\nHost: example.org\r\nContent-Length: 2\r\n\
                   Content-Type: text/x\r\nProxy: http://evil\r\nAuthorization: Basic xyz\r\nX-Name: 1\r\n\
                   X_Name: 2\r\nTE: trailers\r\nConnection: close, TE\r\n\r\nhi";
    let found = variables(&ask(&server, request));
    let directory = server.dir.path("cgi-bin").canonicalize().unwrap();
    let directory = directory.to_str().unwrap();
    for (name, expected) in [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("QUERY_STRING", "x=1&y"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REQUEST_METHOD", "POST"),
        ("SCRIPT_NAME", "/cgi/sub/env"),
        ("PATH_INFO", "/a b/c"),
        ("PATH_TRANSLATED", &format!("{directory}/a b/c")),
        ("SCRIPT_FILENAME", &format!("{directory}/sub/env")),
        ("DOCUMENT_ROOT", directory),
        ("PWD", &format!("{directory}/sub")),
        ("SERVER_NAME", "example.org"),
        ("SERVER_PORT", &port),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_SOFTWARE", "ferricorn"),
        ("CONTENT_LENGTH", "2"),
        ("CONTENT_TYPE", "text/x"),
        ("HTTP_X_NAME", "1"),
        ("HTTP_HOST", "example.org"),
        ("NAME", "a value"),
        ("TZ", "UTC"),
    ] {
        let value = found.get(name).map(String::as_str);
        if name.starts_with("SERVER_PORT") {
            // Of the Host that names none.
            assert!(value == Some("80") || value == Some(expected), "{value:?}");
            continue;
        }
        assert_eq!(value, Some(expected), "{name} of {found:#?}");
    }
    assert!(found.contains_key("PATH"));
    for name in [
        "HTTP_PROXY",
        "HTTP_AUTHORIZATION",
        "SECRET",
        "HTTP_TE",
        "HTTP_CONNECTION",
    ] {
        assert_eq!(found.get(name), None, "{name}");
    }
    // Without content and without a query.
    let found = variables(&get(&server, "/cgi/env"));
    assert_eq!(found["QUERY_STRING"], "");
    for name in [
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "PATH_INFO",
        "PATH_TRANSLATED",
    ] {
        assert_eq!(found.get(name), None, "{name}");
    }
    server.stop();
}

#[test]
fn what_is_no_program_is_none() {
    let server = served(&[("run", ENV)], "pass-authorization = true");
    let plain = server.dir.path("cgi-bin/plain");
    install(&plain, b"secret", 0o644);
    for (path, status) in [
        ("/cgi/run", 200),
        ("/cgi/run/", 200),
        ("/cgi/", 404),
        ("/cgi/none", 404),
        ("/cgi/sub", 404),
        ("/cgi/plain", 403),
        ("/cgi/run%00", 400),
        ("/cgi/%2e%2e/ferricorn.toml", 400),
        ("/cgi/sub/%2e%2e%2frun", 400),
    ] {
        let answer = get(&server, path);
        assert_eq!(answer.status, status, "{path}");
        assert!(!answer.text().contains("secret"));
    }
    let request = "GET /cgi/run HTTP/1.1\r\nHost: a\r\nAuthorization: Basic xyz\r\n\r\n";
    let found = variables(&ask(&server, request));
    assert_eq!(found["HTTP_AUTHORIZATION"], "Basic xyz");
    server.stop();
}

#[test]
fn a_body_reaches_the_program_whatever_its_framing() {
    let script = "printf 'Content-Type: text/plain\\n\\n%s ' \"$CONTENT_LENGTH\"; exec md5sum";
    let deaf = "printf 'Content-Type: text/plain\\n\\ndeaf'";
    let server = served(&[("sum", script), ("deaf", deaf)], "");
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
    let mut answers = Vec::new();
    for chunked in [false, true] {
        let mut client = Client::connect(server.address()).unwrap();
        let framing = match chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {}", body.len()),
        };
        client
            .send(format!(
                "POST /cgi/sum HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"
            ))
            .unwrap();
        let mut all = Vec::new();
        for piece in body.chunks(70_000) {
            if chunked {
                write!(all, "{:x}\r\n", piece.len()).unwrap();
            }
            all.extend_from_slice(piece);
            if chunked {
                all.extend_from_slice(b"\r\n");
            }
        }
        if chunked {
            all.extend_from_slice(b"0\r\n\r\n");
        }
        client.send(all).unwrap();
        let answer = client.answer().unwrap();
        assert!(answer.text().starts_with("3000000 "), "{}", answer.text());
        answers.push(answer.text().to_owned());
        // The connection goes on.
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    assert_eq!(answers[0], answers[1]);
    // One that does not read is answered for all the same.
    let mut client = Client::connect(server.address()).unwrap();
    let head = format!(
        "POST /cgi/deaf HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.send(head).unwrap();
    let _ = client.send(&body);
    assert_eq!(client.answer().unwrap().text(), "deaf");
    server.stop();
}

#[test]
fn every_kind_of_answer_becomes_the_right_one() {
    let server = served(
        &[
            (
                "document",
                "printf 'Content-Type: text/plain\\r\\nX-A: b\\r\\n\\r\\nhello'",
            ),
            (
                "status",
                "printf 'Status: 418 Teapot\\nContent-Type: text/plain\\n\\nshort'",
            ),
            ("local", "printf 'Location: /cgi/env?from=local\\n\\n'"),
            ("round", "printf 'Location: /cgi/round\\n\\n'"),
            ("client", "printf 'Location: http://example.org/\\n\\n'"),
            (
                "nph-raw",
                "printf 'HTTP/1.1 203 Fine\\r\\nX-A: b\\r\\n\\r\\nraw'",
            ),
            ("nph-none", "printf 'Content-Type: text/plain\\n\\nnone'"),
            (
                "lies",
                "printf 'Content-Type: text/plain\\nContent-Length: 4\\n\\nfour and more'",
            ),
            ("env", ENV),
        ],
        "",
    );
    for (path, status, field, body) in [
        ("document", 200, ("x-a", "b"), "hello"),
        ("status", 418, ("content-type", "text/plain"), "short"),
        ("client", 302, ("location", "http://example.org/"), ""),
        ("nph-raw", 203, ("x-a", "b"), "raw"),
        ("lies", 200, ("content-length", "4"), "four"),
    ] {
        let answer = get(&server, &format!("/cgi/{path}"));
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.field(field.0), Some(field.1), "{path}");
        assert_eq!(answer.text(), body, "{path}");
    }
    for path in ["round", "nph-none"] {
        assert_eq!(get(&server, &format!("/cgi/{path}")).status, 502, "{path}");
    }
    let found = variables(&get(&server, "/cgi/local"));
    assert_eq!(found["QUERY_STRING"], "from=local");
    assert_eq!(found["REQUEST_METHOD"], "GET");
    // HEAD has the head only, and the connection goes on.
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("HEAD /cgi/lies HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let head = client.head().unwrap();
    assert_eq!(
        (head.status, head.field("content-length")),
        (200, Some("4"))
    );
    assert_eq!(client.get("/cgi/document").unwrap().text(), "hello");
    server.stop();
}

#[test]
fn what_is_no_answer_is_a_502_and_the_log_says_why() {
    let server = served(
        &[
            ("silent", "echo 'no database' >&2; exit 3"),
            (
                "flood",
                "exec yes 'X-Field: and another one, and another one'",
            ),
            ("long", "exec tr '\\0' x </dev/zero"),
            (
                "fine",
                "echo 'a warning' >&2; printf 'Content-Type: text/plain\\n\\nfine'",
            ),
        ],
        "",
    );
    let bad = server.dir.path("cgi-bin/bad");
    install(&bad, b"#!/no/such/interpreter\n", 0o755);
    for (path, reasons) in [
        (
            "silent",
            &[
                "the program ended without a head; it said: no database",
                "exit status 3",
            ][..],
        ),
        ("flood", &["the head has too many lines"]),
        ("long", &["the head is too long"]),
        (
            "bad",
            &["the program cannot be started: execve: No such file or directory"],
        ),
    ] {
        let mark = server.mark();
        assert_eq!(get(&server, &format!("/cgi/{path}")).status, 502, "{path}");
        for reason in reasons {
            server.wait_after(mark, reason);
        }
        assert_eq!(get(&server, "/").status, 200);
    }
    let mark = server.mark();
    assert_eq!(get(&server, "/cgi/fine").text(), "fine");
    server.wait_after(mark, "/cgi/fine: a warning");
    server.stop();
}

/// Waits until there is no such process, or only one that its parent has not asked about.
fn is_gone(pid: &str) {
    let until = Instant::now() + PATIENCE;
    let runs = || {
        let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    while runs() {
        assert!(Instant::now() < until, "process {pid} is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What the program has written to a file, once it has.
fn written(server: &Server, name: &str) -> Vec<String> {
    let path = server.dir.path("cgi-bin").join(name);
    let until = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.ends_with(".\n") {
            let _ = std::fs::remove_file(&path);
            return text.split_whitespace().map(str::to_owned).collect();
        }
        assert!(Instant::now() < until, "{name} is not written");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_program_ends_with_its_children_at_its_time_and_with_its_client() {
    // Both hold the output; neither wants to end.
    let stubborn = "trap '' TERM; sleep 1000 & echo $$ $! . >pids; while :; do wait; sleep 1; done";
    // The program itself is over: its child has the output.
    let leaves = "sleep 1000 & echo $$ $! . >pids";
    let half = "printf 'Content-Type: text/plain\\n\\nhalf'; sleep 1000 & echo $$ $! . >pids; wait";
    let scripts = [("stubborn", stubborn), ("leaves", leaves), ("half", half)];
    let server = served(&scripts, "timeout = 1");
    for path in ["stubborn", "leaves"] {
        let mark = server.mark();
        assert_eq!(get(&server, &format!("/cgi/{path}")).status, 504, "{path}");
        server.wait_after(mark, "no answer of the program for 1s");
        let pids = written(&server, "pids");
        pids[..2].iter().for_each(|pid| is_gone(pid));
    }
    // Behind its head: the client sees that it is not all.
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /cgi/half HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap().unwrap(), b"half");
    assert!(client.chunk().is_err());
    written(&server, "pids")[..2]
        .iter()
        .for_each(|pid| is_gone(pid));
    server.stop();
    // And when the client leaves.
    let server = served(&scripts, "");
    for path in ["stubborn", "leaves", "half"] {
        let mut client = Client::connect(server.address()).unwrap();
        let request = format!("GET /cgi/{path} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.send(request).unwrap();
        let pids = written(&server, "pids");
        drop(client);
        pids[..2].iter().for_each(|pid| is_gone(pid));
    }
    assert_eq!(get(&server, "/").status, 200);
    server.stop();
}

#[test]
fn slow_programs_hold_nobody_up_and_there_are_only_so_many() {
    let slow = "printf 'Content-Type: text/plain\\n\\n'; read line; echo \"$line\"";
    let server = served(&[("slow", slow)], "max-processes = 50");
    let request = "POST /cgi/slow HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n";
    let mut clients: Vec<_> = (0..50)
        .map(|_| {
            let mut client = Client::connect(server.address()).unwrap();
            client.send(request).unwrap();
            assert_eq!(client.head().unwrap().status, 200);
            client
        })
        .collect();
    for _ in 0..10 {
        assert_eq!(get(&server, "/").status, 200);
    }
    let refused = get(&server, "/cgi/slow");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.field("retry-after"), Some("5"));
    for client in &mut clients {
        client.send("hello\n").unwrap();
        assert_eq!(client.chunk().unwrap().unwrap(), b"hello\n");
        assert_eq!(client.chunk().unwrap(), None);
    }
    // Their places are free again, once they were waited for.
    let until = Instant::now() + PATIENCE;
    while get(&server, "/cgi/slow").status == 503 {
        assert!(Instant::now() < until, "no place is free");
    }
    server.stop();
}

#[test]
fn programs_have_their_own_descriptors_and_limits() {
    let script = "printf 'Content-Type: text/plain\\n\\n'\n\
                  for n in 0 1 2 3 4 5 6 7 8 9 10 20 30; do test -e /proc/$$/fd/$n && echo $n; done\n\
                  ulimit -t; ulimit -n; ulimit -v";
    let options = "cpu-seconds = 7\nopen-files = 60\nmemory = \"1GiB\"";
    let server = served(&[("limits", script)], options);
    // sh itself has its script open.
    let answer = get(&server, "/cgi/limits");
    assert_eq!(answer.text(), "0\n1\n2\n10\n7\n60\n1048576\n");
    server.stop();
}

#[test]
fn what_cannot_be_served_is_found_before_the_start() {
    for (app, reason) in [
        ("cgi:none", "No such file or directory"),
        ("cgi:ferricorn.toml", "is not executable"),
    ] {
        let server = ferricorn().file("").args(&format!("--mount /cgi={app}"));
        let ended = server.run();
        assert!(ended.log.contains(reason), "{}", ended.log);
    }
}
