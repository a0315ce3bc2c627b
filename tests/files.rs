//! `static:DIR` as its clients see it: what is found and what never is, versions, ranges, and files that
//! change while they are sent.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use support::http::{Answer, Client, get};
use support::{Server, Start, ferricorn, testapp};

/// What lies outside of every root.
const CANARY: &str = "OUTSIDE-CANARY";

/// Puts files into the directory of a server, under `site`.
fn site(start: Start) -> Start {
    let site = start.dir().path("site");
    fs::create_dir_all(site.join("sub/deep")).unwrap();
    fs::write(start.dir().path("canary.txt"), CANARY).unwrap();
    for (name, text) in [
        ("index.html", "<h1>index</h1>"),
        ("a.txt", "0123456789"),
        ("sub/b.txt", "b"),
        ("..hidden", CANARY),
        (".env", CANARY),
        ("sub/.env", CANARY),
    ] {
        fs::write(site.join(name), text).unwrap();
        old(&site.join(name));
    }
    for (link, target) in [
        ("out", "../canary.txt"),
        ("sub/out", "../../canary.txt"),
        ("up", ".."),
        ("sub/far", "deep/../../../canary.txt"),
        ("absolute", "/etc/passwd"),
        ("proc", "/proc/self/root"),
        ("loop", "loop"),
    ] {
        symlink(target, site.join(link)).unwrap();
    }
    let absolute = start.dir().path("canary.txt");
    symlink(absolute, site.join("direct")).unwrap();
    start
}

/// Makes a file a minute old, so that its validators are strong.
fn old(path: &PathBuf) {
    let time = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

fn serve(options: &str) -> Server {
    let start = site(ferricorn()).file(&format!(
        "workers = 1\n[[mount]]\nprefix = \"/\"\napp = \"static:site\"\n{options}"
    ));
    start.ready()
}

/// A request with these fields on a connection of its own.
fn ask(server: &Server, line: &str, fields: &str) -> Answer {
    let mut client = Client::connect(server.address()).unwrap();
    let request = format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n");
    client.send(request).unwrap();
    match line.starts_with("HEAD") {
        true => client.head().unwrap(),
        false => client.answer().unwrap(),
    }
}

/// What curl writes.
fn curl(server: &Server, path: &str, options: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-s", "--max-time", "30", "--path-as-is"])
        .args(options)
        .arg(format!("http://{}{path}", server.address()))
        .output()
        .expect("curl is there: tests/run installs it");
    assert!(output.status.success(), "{path} {options:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Paths that lead out of the root, or would if somebody decoded twice, took a backslash for a slash or
/// cut at a semicolon or a NUL.
fn escapes(server: &Server) -> Vec<String> {
    let mut paths = Vec::new();
    let dots = [
        "..",
        "%2e%2e",
        "%2E%2e",
        ".%2e",
        "%2e.",
        "%252e%252e",
        "..;",
        "..;x=y",
        "%2e%2e;",
        "..%00",
        "..%20",
        "...",
        "....",
        ".%00.",
        "..%0d%0a",
        "%c0%ae%c0%ae",
        "%u002e%u002e",
        "%ff..",
        "..?",
        "%%32%65",
    ];
    let slashes = [
        "/", "%2f", "%2F", "%252f", "\\", "%5c", "%255c", "//", "/./", "%c0%af",
    ];
    for (n, dots) in dots.iter().enumerate() {
        for (m, slash) in slashes.iter().enumerate() {
            // Each with each in one of the two places.
            let front = if (n + m) % 2 == 0 { "/" } else { "/sub/" };
            let up = if front == "/" { 1 } else { 2 };
            paths.push(format!(
                "{front}{}canary.txt",
                format!("{dots}{slash}").repeat(up)
            ));
        }
    }
    let root = server.dir.path("canary.txt").display().to_string();
    for path in [
        "/out",
        "/sub/out",
        "/up/canary.txt",
        "/sub/far",
        "/absolute",
        "/proc/etc/passwd",
        "/loop",
        "/direct",
        "/up/",
        "/up",
        "/out/",
        "/sub/../out",
        "/.env",
        "/%2eenv",
        "/sub/.env",
        "/..hidden",
        "/sub/deep/../../../canary.txt",
        "//etc/passwd",
        "///etc/passwd",
        "/%2fetc/passwd",
        "/%2fetc%2fpasswd",
        "/file:///etc/passwd",
        "/C:\\canary.txt",
        "/a.txt%00.html",
        "/%00",
        "/a.txt/../../canary.txt",
        "/a.txt/",
        "/sub/b.txt/..",
        "/index.html%00",
        "/~root/",
        "/..%01/canary.txt",
        "/../../../../../../../../../../etc/passwd",
        "/./../canary.txt",
    ] {
        paths.push(path.to_owned());
    }
    paths.push(format!("/{root}"));
    paths.push(format!("//{root}"));
    paths.push(root.replace('/', "%2f"));
    paths
}

#[test]
fn no_path_leads_out_of_the_root() {
    for options in [
        "",
        "symlinks = \"owner\"",
        "symlinks = \"no\"\nlisting = true",
    ] {
        let server = serve(options);
        let escapes = escapes(&server);
        assert!(escapes.len() > 200);
        for path in &escapes {
            let answer = ask(&server, &format!("GET {path}"), "");
            let body = String::from_utf8_lossy(&answer.body);
            assert!(
                !body.contains(CANARY) && !body.contains("root:"),
                "{path}: {body}"
            );
            // A question mark ends the path: what is in front of it may be the root, never what is behind.
            let refused = [400, 403, 404].contains(&answer.status);
            assert!(refused, "{path} {options}: {}", answer.status);
        }
        assert_eq!(
            get(server.address(), "/a.txt").unwrap().text(),
            "0123456789"
        );
        server.stop();
    }
}

#[test]
fn a_version_is_told_from_another() {
    let server = serve("cache-control = [\"*.txt=no-cache\", \"max-age=60\"]");
    let whole = ask(&server, "GET /a.txt", "");
    let field = |name: &str| whole.field(name).unwrap().to_owned();
    let (etag, modified) = (field("etag"), field("last-modified"));
    assert!(etag.starts_with('"'), "{etag}");
    assert_eq!(field("content-type"), "text/plain; charset=utf-8");
    assert_eq!(field("cache-control"), "no-cache");
    assert_eq!(field("accept-ranges"), "bytes");
    assert_eq!(field("x-content-type-options"), "nosniff");
    let head = ask(&server, "HEAD /a.txt", "");
    assert_eq!(
        (head.status, head.field("content-length")),
        (200, Some("10"))
    );
    assert_eq!(head.field("etag"), Some(&*etag));
    for (fields, status, body) in [
        (format!("If-None-Match: {etag}\r\n"), 304, ""),
        (format!("If-Modified-Since: {modified}\r\n"), 304, ""),
        ("If-None-Match: \"x\"\r\n".to_owned(), 200, "0123456789"),
        ("If-Match: \"x\"\r\n".to_owned(), 412, "Precondition Failed"),
        (
            format!("Range: bytes=2-4\r\nIf-Range: {etag}\r\n"),
            206,
            "234",
        ),
        (
            format!("Range: bytes=2-4\r\nIf-Range: {modified}\r\n"),
            206,
            "234",
        ),
        (
            "Range: bytes=2-4\r\nIf-Range: \"x\"\r\n".to_owned(),
            200,
            "0123456789",
        ),
        (
            "Range: bytes=10-\r\n".to_owned(),
            416,
            "Range Not Satisfiable",
        ),
    ] {
        let answer = ask(&server, "GET /a.txt", &fields);
        assert_eq!((answer.status, answer.text()), (status, body), "{fields}");
        if status == 304 {
            assert_eq!(answer.field("etag"), Some(&*etag));
            assert_eq!(answer.field("cache-control"), Some("no-cache"));
            assert_eq!(answer.field("content-type"), None);
        }
        if status == 416 {
            assert_eq!(answer.field("content-range"), Some("bytes */10"));
        }
    }
    for (line, status) in [
        ("POST /a.txt", 405),
        ("DELETE /a.txt", 405),
        ("OPTIONS /", 204),
    ] {
        let answer = ask(&server, line, "");
        assert_eq!(answer.status, status, "{line}");
        assert_eq!(answer.field("allow"), Some("GET, HEAD, OPTIONS"));
    }
    server.stop();
}

#[test]
fn curl_gets_ranges_of_small_and_large_files() {
    let server = serve("");
    let lines: String = (0..40_000).map(|n| format!("line {n}\n")).collect();
    let large = server.dir.path("site/large.txt");
    fs::write(&large, &lines).unwrap();
    old(&large);
    assert_eq!(curl(&server, "/a.txt", &["-r", "3-5"]), "345");
    assert_eq!(curl(&server, "/a.txt", &["-r", "-2"]), "89");
    assert_eq!(
        curl(&server, "/large.txt", &["-r", "1000-2000"]),
        lines[1000..2001]
    );
    assert_eq!(curl(&server, "/large.txt", &[]), lines);
    // Some in memory, some while it is sent.
    for ranges in [
        &[(0, 9), (1000, 1004)][..],
        &[(300_000, 399_999), (0, 99_999)],
    ] {
        let words: Vec<String> = ranges.iter().map(|(a, b)| format!("{a}-{b}")).collect();
        let answer = curl(&server, "/large.txt", &["-i", "-r", &words.join(",")]);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
        let (_, boundary) = head.split_once("multipart/byteranges; boundary=").unwrap();
        let boundary = boundary.lines().next().unwrap();
        let mut expected = String::new();
        for (a, b) in ranges {
            let part = &lines[*a..=*b];
            expected += &format!(
                "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes \
                 {a}-{b}/{}\r\n\r\n{part}\r\n",
                lines.len()
            );
        }
        expected += &format!("--{boundary}--\r\n");
        assert!(body == expected, "{head}");
    }
    // As a download that goes on where it was broken off.
    let part = server.dir.path("part");
    fs::write(&part, &lines[..100_000]).unwrap();
    let path = part.to_str().unwrap();
    curl(&server, "/large.txt", &["-C", "-", "-o", path]);
    assert!(fs::read_to_string(&part).unwrap() == lines);
    server.stop();
}

#[test]
fn who_takes_it_gets_the_compressed_file() {
    let server = serve("");
    let text = "something that repeats itself ".repeat(2000);
    let plain = server.dir.path("site/c.css");
    fs::write(&plain, &text).unwrap();
    let gzip = Command::new("gzip").arg("-k").arg(&plain).status();
    assert!(gzip.unwrap().success());
    let head = curl(&server, "/c.css", &["-I", "-H", "Accept-Encoding: gzip"]);
    for field in [
        "content-encoding: gzip",
        "vary: Accept-Encoding",
        "content-type: text/css",
    ] {
        assert!(head.contains(field), "{head}");
    }
    assert!(curl(&server, "/c.css", &["--compressed"]) == text);
    let answer = curl(
        &server,
        "/c.css",
        &["-i", "-H", "Accept-Encoding: gzip;q=0"],
    );
    assert!(answer.contains("vary: Accept-Encoding") && !answer.contains("content-encoding"));
    assert!(answer.ends_with(&text));
    server.stop();
}

#[test]
fn a_directory_has_a_slash_an_index_or_a_list() {
    let start = site(ferricorn()).file(
        "[[mount]]\nprefix = \"/s\"\napp = \"static:site\"\nlisting = true\n\
         [[mount]]\nprefix = \"/plain\"\napp = \"static:site\"",
    );
    let server = start.ready();
    for (path, location) in [
        ("/s", "s/"),
        ("/s?a=b", "s/?a=b"),
        ("/s/sub?a", "sub/?a"),
        ("/s/%73ub", "sub/"),
        ("/s//sub", "sub/"),
    ] {
        let answer = get(server.address(), path).unwrap();
        assert_eq!(
            (answer.status, answer.field("location")),
            (301, Some(location)),
            "{path}"
        );
    }
    assert_eq!(
        get(server.address(), "/s/").unwrap().text(),
        "<h1>index</h1>"
    );
    assert_eq!(curl(&server, "/s", &["-L"]), "<h1>index</h1>");
    let page = get(server.address(), "/s/sub/").unwrap();
    assert!(
        page.text().contains("<a href=\"./b.txt\">b.txt</a>"),
        "{page:?}"
    );
    assert!(
        !page.text().contains(".env") && !page.text().contains("out"),
        "{page:?}"
    );
    let json = curl(&server, "/s/sub/", &["-H", "Accept: application/json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[1]["name"], "b.txt");
    assert_eq!(get(server.address(), "/plain/sub/").unwrap().status, 404);
    server.stop();
}

/// So large that no buffer between takes all of it.
const LARGE: u64 = 64 << 20;

#[test]
fn a_file_that_becomes_shorter_cuts_the_connection_and_nothing_else() {
    let server = serve("");
    let path = server.dir.path("site/large.bin");
    let file = fs::File::create(&path).unwrap();
    file.set_len(LARGE).unwrap();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let head = client.head().unwrap();
    assert_eq!(head.field("content-length"), Some(&*LARGE.to_string()));
    file.set_len(1000).unwrap();
    let mut got = 0;
    let mut buffer = vec![0; 1 << 16];
    let cut = loop {
        match std::io::Read::read(&mut client.stream(), &mut buffer) {
            Ok(0) => break false,
            Ok(n) => got += n as u64,
            Err(error) => break error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    };
    assert!(cut && got < LARGE, "{got} bytes");
    assert_eq!(
        get(server.address(), "/a.txt").unwrap().text(),
        "0123456789"
    );
    server.stop();
}

#[test]
fn a_file_that_is_replaced_is_sent_as_it_was_and_then_as_it_is() {
    let server = serve("recheck = 0");
    let path = server.dir.path("site/large.bin");
    fs::write(&path, vec![b'1'; LARGE as usize]).unwrap();
    let mut client = Client::connect(server.address()).unwrap();
    client
        .send("GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let head = client.head().unwrap();
    let new = server.dir.path("new");
    fs::write(&new, vec![b'2'; 1000]).unwrap();
    fs::rename(&new, &path).unwrap();
    let mut body = vec![0; LARGE as usize];
    client.read_exact(&mut body).unwrap();
    assert!(body.iter().all(|byte| *byte == b'1'));
    let next = client.get("/large.bin").unwrap();
    assert_eq!(next.body, vec![b'2'; 1000]);
    assert_ne!(next.field("etag"), head.field("etag"));
    // A small one, from memory.
    for text in ["one", "two", "three"] {
        fs::write(server.dir.path("site/small.txt"), text).unwrap();
        assert_eq!(client.get("/small.txt").unwrap().text(), text);
    }
    fs::remove_file(server.dir.path("site/small.txt")).unwrap();
    assert_eq!(client.get("/small.txt").unwrap().status, 404);
    server.stop();
}

#[test]
fn an_application_answers_with_files_of_its_places_and_with_no_others() {
    let start = site(testapp()).file(
        "[[mount]]\nprefix = \"/\"\napp = \"app\"\n\
         x-sendfile = [\"site\", \"/in=site/sub\"]",
    );
    let server = start.ready();
    let root = server.dir.root().display().to_string();
    for (named, status, text) in [
        (format!("X-Sendfile|{root}/site/a.txt"), 206, "234"),
        (
            "X-Accel-Redirect|/in/b.txt".to_owned(),
            416,
            "Range Not Satisfiable",
        ),
        (format!("X-Sendfile|{root}/site/out"), 404, "Not Found"),
        (
            format!("X-Sendfile|{root}/canary.txt"),
            500,
            "Internal Server Error",
        ),
        (
            "X-Accel-Redirect|/in/../../canary.txt".to_owned(),
            500,
            "Internal Server Error",
        ),
        ("X-Other|y".to_owned(), 200, "own"),
    ] {
        let target = format!("GET /__hdr?h={named}&h=Set-Cookie|c&h=Content-Type|a/b&b=own");
        let answer = ask(&server, &target, "Range: bytes=2-4\r\n");
        assert_eq!((answer.status, answer.text()), (status, text), "{named}");
        assert_eq!(
            answer
                .field("x-sendfile")
                .or(answer.field("x-accel-redirect")),
            None
        );
        if status == 206 {
            assert_eq!(answer.field("content-type"), Some("a/b"));
            assert_eq!(answer.field("set-cookie"), Some("c"));
        }
    }
    server.wait("canary.txt\" is in no place of x-sendfile");
    server.stop();
}

#[test]
fn another_directory_counts_after_a_reload_and_a_missing_one_does_not() {
    let file = |directory: &str| {
        format!("workers = 1\n[[mount]]\nprefix = \"/\"\napp = \"static:{directory}\"\n")
    };
    let server = site(ferricorn()).file(&file("site")).ready();
    assert_eq!(
        get(server.address(), "/a.txt").unwrap().text(),
        "0123456789"
    );
    server.dir.write("ferricorn.toml", &file("nowhere"));
    server.signal(Signal::SIGHUP);
    let line = server.wait("cannot use");
    assert!(
        line.contains("app: cannot use") && line.contains("nowhere"),
        "{line}"
    );
    assert_eq!(get(server.address(), "/a.txt").unwrap().status, 200);
    server.dir.write("ferricorn.toml", &file("site/sub"));
    let mark = server.mark();
    server.signal(Signal::SIGHUP);
    server.wait_after(mark, "Reload complete");
    // The old worker may take one more.
    server.until("the other directory", || {
        let answer = get(server.address(), "/b.txt").unwrap();
        (answer.status == 200 && answer.text() == "b").then_some(())
    });
    server.stop();

    let ended = site(ferricorn())
        .file(&file("a.txt"))
        .arg("--check-config")
        .run();
    assert_eq!(ended.code, Some(1));
    let line = "ferricorn.toml:4: app: cannot use";
    assert!(ended.log.contains(line), "{}", ended.log);
}
