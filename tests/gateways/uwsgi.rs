//! uWSGI with an application in Python, over uwsgi and SCGI.

use std::fs;

use crate::serving;
use crate::support::http::Client;
use crate::support::{Server, program};

const APPLICATION: &str = r#"
import hashlib

def application(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/vars':
        text = '\n'.join(f'{n}={v}' for n, v in sorted(environ.items()) if isinstance(v, str))
    elif path == '/echo':
        content = environ['wsgi.input'].read()
        text = f"{environ.get('CONTENT_LENGTH')} {hashlib.md5(content).hexdigest()}"
    elif path == '/empty':
        start_response('204 No Content', [])
        return []
    elif path == '/pieces':
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return (f'piece {n}\n'.encode() for n in range(3))
    else:
        text = 'hello'
    start_response('200 OK', [('Content-Type', 'text/plain'), ('X-One', '1'), ('X-One', '2')])
    return [text.encode()]
"#;

/// uWSGI at a socket that it is told by this option; the address.
fn uwsgi(option: &str) -> Option<(Server, String)> {
    let names = ["uwsgi_python3", "uwsgi-core", "uwsgi"];
    let Some(name) = names.into_iter().find(|name| {
        std::process::Command::new(name)
            .arg("--version")
            .output()
            .is_ok()
    }) else {
        eprintln!("skipped: uWSGI is not installed");
        return None;
    };
    let start = program(name);
    let root = start.dir().root().to_owned();
    fs::write(root.join("app.py"), APPLICATION).unwrap();
    let socket = root.join("app.sock");
    let process = start
        .args("--plugin python3 --master --processes 2 --wsgi-file")
        .arg(root.join("app.py"))
        .arg(option)
        .arg(&socket)
        .no_bind()
        .spawn();
    process.wait("spawned uWSGI worker 2");
    Some((process, format!("unix:{}", socket.display())))
}

fn all_is_answered(scheme: &str, option: &str) {
    let Some((_process, address)) = uwsgi(option) else {
        return;
    };
    let server = serving(&format!("{scheme}:{address}"), "");
    let mut client = Client::connect(server.address()).unwrap();
    for _ in 0..3 {
        assert_eq!(client.get("/").unwrap().text(), "hello");
    }
    let vars = client.get("/vars?a=%20").unwrap();
    for line in [
        "REQUEST_METHOD=GET",
        "QUERY_STRING=a=%20",
        "SCRIPT_NAME=",
        "PATH_INFO=/vars",
        "REMOTE_ADDR=127.0.0.1",
        "HTTP_HOST=localhost",
    ] {
        let there = vars.text().lines().any(|other| other == line);
        assert!(there, "{line}: {}", vars.text());
    }
    assert_eq!(
        client.get("/pieces").unwrap().text(),
        "piece 0\npiece 1\npiece 2\n"
    );
    assert_eq!(client.get("/empty").unwrap().status, 204);
    let content = vec![b'x'; 1 << 20];
    let request = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n";
    client.send(request).unwrap();
    client.send(&content).unwrap();
    client.send("\r\n0\r\n\r\n").unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(answer.text(), "1048576 b561f87202d04959e37588ee05cf5b10");
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.get("/").unwrap().text(), "hello");
}

#[test]
fn an_application_of_uwsgi_is_asked_over_uwsgi() {
    all_is_answered("uwsgi", "--socket");
}

#[test]
fn an_application_of_uwsgi_is_asked_over_scgi() {
    all_is_answered("scgi", "--scgi-socket");
}
