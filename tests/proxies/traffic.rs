//! Ordinary traffic of many clients at once: every answer belongs to its request, and few
//! connections to the server carry all of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::support::http::{Answer, Client};
use crate::support::proxy::{self, Proxy};
use crate::support::testapp;

const CLIENTS: usize = 8;
const ROUNDS: usize = 6;

#[test]
fn straight() {
    run(|_| None, true);
}

#[test]
fn through_nginx() {
    run(|server| proxy::nginx(server, &[]), false);
}

#[test]
fn through_nginx_that_does_not_buffer() {
    let change = (
        "#proxy_request_buffering off;",
        "proxy_request_buffering off;",
    );
    run(|server| proxy::nginx(server, &[change]), false);
}

#[test]
fn through_haproxy() {
    run(|server| proxy::haproxy(server, &[]), true);
}

#[test]
fn through_haproxy_that_shares_less() {
    let change = ("http-reuse always", "http-reuse safe");
    run(|server| proxy::haproxy(server, &[change]), true);
}

#[test]
fn through_a_unix_socket() {
    for name in ["nginx", "haproxy"] {
        let start = testapp().no_bind();
        let path = start.dir().path("app.sock").display().to_string();
        let server = start.arg("--bind").arg(format!("unix:{path}")).spawn();
        server.wait("Ready: serving at");
        let front = match name {
            "nginx" => proxy::nginx(&format!("unix:{path}"), &[]),
            _ => proxy::haproxy(&format!("unix@{path}"), &[]),
        };
        let Some(front) = front else { return };
        let mut client = Client::connect(front.address).unwrap();
        for n in 0..20 {
            let path = format!("/reflect/{n}");
            let expected = format!("GET {path}\nfrom unix\n\n");
            assert_eq!(client.get(&path).unwrap().text(), expected, "{name}");
        }
        server.stop();
    }
}

/// Every client does everything, over a connection of its own and in an order of its own.
fn run(front: impl Fn(&str) -> Option<Proxy>, knows_hints: bool) {
    let server = testapp().args("--workers 2").ready();
    let front = front(&server.address().to_string());
    if !knows_hints && front.is_none() {
        return;
    }
    let address = front
        .as_ref()
        .map_or(server.address(), |front| front.address);
    let from = Arc::new(Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let from = &from;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let mut talk = Talk {
                        address,
                        client: Client::connect(address).unwrap(),
                        name: format!("c{client}r{round}"),
                        number: 0,
                        from: Arc::clone(from),
                    };
                    for step in 0..STEPS.len() {
                        let step = (step * 7 + client) % STEPS.len();
                        STEPS[step](&mut talk);
                    }
                    if knows_hints {
                        talk.hints();
                    }
                }
            });
        }
    });
    let from = from.lock().unwrap();
    let (connections, requests) = (from.len(), from.values().sum::<usize>());
    let way = std::thread::current().name().unwrap_or_default().to_owned();
    println!("{way}: {requests} requests over {connections} connections");
    assert!(requests >= 4 * connections || front.is_none());
    server.stop();
}

/// A number of steps that 7 does not divide.
const STEPS: [fn(&mut Talk); 12] = [
    Talk::get,
    Talk::post,
    Talk::chunked,
    Talk::large,
    Talk::large_chunked,
    Talk::head,
    Talk::empty,
    Talk::unchanged,
    Talk::expect,
    Talk::pipeline,
    Talk::old,
    Talk::large_answer,
];

struct Talk {
    address: SocketAddr,
    client: Client<std::net::TcpStream>,
    name: String,
    number: usize,
    from: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Talk {
    fn path(&mut self) -> String {
        self.number += 1;
        format!("/reflect/{}n{}", self.name, self.number)
    }

    /// The answer reflects exactly this request.
    fn check(&self, answer: &Answer, method: &str, path: &str, body: &str) {
        let text = answer.text();
        let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
        let (from, got) = rest.split_once("\n\n").unwrap_or((rest, ""));
        assert_eq!((answer.status, line), (200, &*format!("{method} {path}")));
        assert!(got == body, "{path}: a body of {} bytes", got.len());
        *self
            .from
            .lock()
            .unwrap()
            .entry(from.to_owned())
            .or_default() += 1;
    }

    fn get(&mut self) {
        let path = self.path();
        let answer = self.client.get(&path).unwrap();
        self.check(&answer, "GET", &path, "");
    }

    fn post_of(&mut self, body: &str) {
        let path = self.path();
        let len = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n");
        self.client.send(head).unwrap();
        self.client.send(body).unwrap();
        let answer = self.client.answer().unwrap();
        self.check(&answer, "POST", &path, body);
    }

    fn post(&mut self) {
        self.post_of(&format!("body of {}", self.name));
    }

    fn large(&mut self) {
        self.post_of(&self.name.repeat(100_000));
    }

    fn chunked_of(&mut self, pieces: &[String]) {
        let path = self.path();
        let head =
            format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        self.client.send(head).unwrap();
        for piece in pieces {
            let chunk = format!("{:x};a=b\r\n{piece}\r\n", piece.len());
            self.client.send(chunk).unwrap();
        }
        self.client.send("0\r\nX-Sum: 1\r\n\r\n").unwrap();
        let answer = self.client.answer().unwrap();
        self.check(&answer, "PUT", &path, &pieces.concat());
    }

    fn chunked(&mut self) {
        self.chunked_of(&["some ".into(), self.name.clone()]);
    }

    fn large_chunked(&mut self) {
        let pieces: Vec<String> = (0..20)
            .map(|n| format!("{n}{}", self.name).repeat(1000))
            .collect();
        self.chunked_of(&pieces);
    }

    fn head(&mut self) {
        let path = self.path();
        self.client
            .send(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .unwrap();
        let answer = self.client.head().unwrap();
        // The length of what a GET would bring: nothing of it comes.
        let len: usize = answer.field("content-length").unwrap().parse().unwrap();
        assert!(answer.status == 200 && len > path.len(), "{answer:?}");
        self.get();
    }

    fn empty(&mut self) {
        assert_eq!(self.client.get("/answer/204").unwrap().status, 204);
        self.get();
    }

    fn unchanged(&mut self) {
        assert_eq!(self.client.get("/answer/304").unwrap().status, 304);
        self.get();
    }

    fn expect(&mut self) {
        let path = self.path();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        );
        self.client.send(head).unwrap();
        assert_eq!(self.client.head().unwrap().status, 100);
        self.client.send("body").unwrap();
        let answer = self.client.answer().unwrap();
        self.check(&answer, "POST", &path, "body");
    }

    fn pipeline(&mut self) {
        let paths = [self.path(), self.path(), self.path()];
        let [first, second, third] = &paths;
        self.client
            .send(format!(
                "GET {first} HTTP/1.1\r\nHost: localhost\r\n\r\n\
                 POST {second} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody\
                 GET {third} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            ))
            .unwrap();
        for (method, path, body) in [
            ("GET", first, ""),
            ("POST", second, "body"),
            ("GET", third, ""),
        ] {
            let answer = self.client.answer().unwrap();
            self.check(&answer, method, path, body);
        }
    }

    /// A client of HTTP/1.0, whose answer ends with its connection.
    fn old(&mut self) {
        let path = self.path();
        let mut client = Client::connect(self.address).unwrap();
        client.send(format!("GET {path} HTTP/1.0\r\n\r\n")).unwrap();
        let mut answer = client.head().unwrap();
        answer.body = client.rest().unwrap();
        self.check(&answer, "GET", &path, "");
        // One of unknown length is not chunked for it.
        let mut client = Client::connect(self.address).unwrap();
        client.send("GET /stream/3 HTTP/1.0\r\n\r\n").unwrap();
        let head = client.head().unwrap();
        assert_eq!((head.status, head.field("transfer-encoding")), (200, None));
        assert_eq!(client.rest().unwrap(), b"piece 0\npiece 1\npiece 2\n");
    }

    fn large_answer(&mut self) {
        let answer = self.client.get("/big/1000000").unwrap();
        assert!(answer.status == 200 && answer.body.len() == 1_000_000);
        let answer = self.client.get("/stream/100").unwrap();
        assert!(answer.text().ends_with("piece 98\npiece 99\n"));
        self.get();
    }

    fn hints(&mut self) {
        let path = self.path().replace("reflect", "hints");
        self.client
            .send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .unwrap();
        assert_eq!(self.client.head().unwrap().status, 103);
        let answer = self.client.answer().unwrap();
        self.check(&answer, "GET", &path, "");
    }
}
