//! What of a response reaches the wire, whatever the handler does: no content where there must be
//! none, a length that is true, an end that HTTP/1.0 understands, interim responses in their order.

use std::io::{self, Read, Write};

use bytes::Bytes;
use ferricorn_base::{App, Begin, Body, Error, Handler, Request, Response, Seat};
use http::header::{CONTENT_LENGTH, HeaderValue, LINK};
use http::{HeaderMap, StatusCode};

use crate::client::{Client, End};
use crate::server::{Setup, logged};

/// More than is gathered before it is known to be all.
static CONTENT: [u8; 40_000] = [b'x'; 40_000];

/// Content whose length nobody declares, in each way that there is.
fn streamed(kind: &str) -> Body {
    let halves = CONTENT.chunks(CONTENT.len() / 2);
    match kind {
        "pieces" => Body::pieces(halves.map(|half| Ok(Bytes::from_static(half)))),
        "reader" => Body::reader(&CONTENT[..], None),
        _ => Body::stream(|exchange| Ok(exchange.write_all(&CONTENT)?)),
    }
}

/// Answers `/kind/status` with streamed content.
fn stream(request: &mut Request) -> Result<Response, Error> {
    let (kind, status) = request.path()[1..].split_once('/').unwrap_or_default();
    let mut response = Response::new(streamed(kind));
    *response.status_mut() = status.parse()?;
    Ok(response)
}

/// RFC 9110 sections 6.4.1 and 9.3.2: what is streamed is not sent, and the connection goes on.
#[test]
fn streamed_content_is_dropped_where_there_must_be_none() {
    let server = Setup::new().serve(stream);
    let mut client = server.connect();
    for kind in ["pieces", "reader", "stream"] {
        for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 205)] {
            client.send(format!(
                "{method} /{kind}/{status} HTTP/1.1\r\nHost: a\r\n\r\n"
            ));
            let head = client.head();
            assert_eq!(head.status, status);
            assert_eq!(head.field("connection"), None, "{method} {status}");
            if method == "GET" {
                assert_eq!(head.field("transfer-encoding"), None, "{status}");
                let length = (status == 205).then_some("0");
                assert_eq!(head.field("content-length"), length, "{status}");
            }
            // Were there content, this would be no status line.
            client.get(&format!("/{kind}/200"));
            let reply = client.reply();
            assert_eq!((reply.status, &reply.body[..]), (200, &CONTENT[..]));
            assert_eq!(reply.field("transfer-encoding"), Some("chunked"));
        }
    }
}

/// RFC 9112 sections 6.1 and 9.3: without chunks only the close can end what has no length, even
/// for a client that wishes to go on.
#[test]
fn http_1_0_has_the_end_of_the_connection_for_the_end_of_a_stream() {
    let server = Setup::new().serve(stream);
    for kind in ["pieces", "reader", "stream"] {
        let mut client = server.connect();
        let ask = |method, status| {
            format!("{method} /{kind}/{status} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        };
        // Where there is no content, nothing has to end it.
        client.send(ask("GET", 204));
        let head = client.head();
        assert_eq!(
            (head.status, head.field("connection")),
            (204, Some("keep-alive"))
        );
        client.send(ask("GET", 200));
        let reply = client.reply();
        assert_eq!(reply.body, CONTENT, "{kind}");
        assert!(reply.says_close());
        assert_eq!(reply.field("transfer-encoding"), None);
        assert_eq!(reply.field("content-length"), None);
    }
}

/// A wrong length never reaches the wire: what is too much is not sent, what is missing is seen.
#[test]
fn a_stream_that_is_not_as_long_as_declared_is_cut_and_logged() {
    let server = Setup::new().serve(|request: &mut Request| {
        let bytes = match request.path() {
            "/too-long" => 9_000_000,
            "/too-long-by-one" => 11,
            "/too-short-by-one" => 9,
            _ => 10,
        };
        let mut response = Response::new(Body::stream(move |exchange| {
            exchange.flush()?;
            let mut all = io::repeat(b'x').take(bytes);
            io::copy(&mut all, exchange)?;
            Ok(())
        }));
        let length = HeaderValue::from_static("10");
        response.headers_mut().insert(CONTENT_LENGTH, length);
        response
    });
    for (path, missing, what) in [
        ("/too-long", 0, "longer than its Content-Length"),
        ("/too-long-by-one", 0, "longer than its Content-Length"),
        ("/too-short-by-one", 1, "1 bytes before its Content-Length"),
    ] {
        // What is sent behind it is not answered: the connection is of no use any more.
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(2));
        let (reply, end) = client.reply_or_end();
        assert_eq!(reply.field("content-length"), Some("10"));
        assert!(reply.body.len() <= 10 - missing, "{path}");
        assert_eq!(reply.whole, reply.body.len() == 10);
        assert_eq!(end.unwrap_or_else(|| client.rest().1), End::Reset, "{path}");
        logged(&["ERROR", &format!("GET {path} of"), what]);
    }
    let mut client = server.get("/right");
    assert_eq!(client.reply().body, [b'x'; 10]);
    client.get("/right");
    assert_eq!(client.reply().status, 200);
}

/// Sends 103 when the head is there, then reads the body, streamed or not.
#[derive(Clone)]
struct Early;

impl App for Early {
    type Handler = Early;

    fn boot(&self, _: &Seat) -> Result<Early, Error> {
        Ok(Early)
    }
}

impl Handler for Early {
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        let link = HeaderValue::from_static("</a.css>; rel=preload");
        request.inform(
            StatusCode::EARLY_HINTS,
            &HeaderMap::from_iter([(LINK, link)]),
        )?;
        Ok(match request.path() {
            "/stream" => Begin::Respond(Response::new(Body::stream(|exchange| {
                let mut content = String::new();
                exchange.read_to_string(&mut content)?;
                Ok(write!(exchange, "streamed {content}")?)
            }))),
            _ => Begin::Buffer,
        })
    }

    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        let content = String::from_utf8(request.body_mut().to_bytes()?.to_vec())?;
        Ok(Response::new(Body::from(format!("handled {content}"))))
    }
}

const EXPECTING: &str = "Host: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

/// The statuses up to the next final one, and its content.
fn all(client: &mut Client) -> (Vec<u16>, String) {
    let mut statuses = vec![];
    loop {
        let reply = client.reply();
        statuses.push(reply.status);
        if reply.status >= 200 {
            return (statuses, reply.text().to_owned());
        }
    }
}

/// RFC 9110 section 15.2: any number of interim responses, all before the final one.
#[test]
fn interim_responses_come_in_their_order_before_the_final_one() {
    let server = Setup::new().serve(Early);
    let mut client = server.connect();
    for (path, how) in [("/buffer", "handled"), ("/stream", "streamed")] {
        client.send(format!("POST {path} HTTP/1.1\r\n{EXPECTING}"));
        assert_eq!(client.head().status, 103, "{path}");
        assert_eq!(client.head().status, 100, "{path}");
        client.send("hello");
        assert_eq!(all(&mut client), (vec![200], format!("{how} hello")));
        // The content is here with its head: nobody has to ask for it.
        client.send(format!("POST {path} HTTP/1.1\r\n{EXPECTING}hello"));
        assert_eq!(all(&mut client), (vec![103, 200], format!("{how} hello")));
    }
}

/// A client that waits for 100 may have sent requests before, which are answered first, and none
/// of theirs is taken for its content.
#[test]
fn an_expectation_in_a_pipeline_waits_for_what_is_before_it() {
    let server = Setup::new().serve(Early);
    let mut client = server.connect();
    let get = "GET /get HTTP/1.1\r\nHost: a\r\n\r\n";
    for path in ["/buffer", "/stream"] {
        client.send(format!(
            "{get}POST {path} HTTP/1.1\r\n{EXPECTING}hello{get}POST /last HTTP/1.1\r\n{EXPECTING}"
        ));
        assert_eq!(all(&mut client).0, [103, 200]);
        let (statuses, content) = all(&mut client);
        assert_eq!(statuses, [103, 200], "its content was there");
        assert!(content.ends_with("d hello"), "{content}");
        assert_eq!(all(&mut client), (vec![103, 200], "handled ".into()));
        // Only the last one waits.
        assert_eq!(client.head().status, 103);
        assert_eq!(client.head().status, 100);
        client.send("again");
        assert_eq!(all(&mut client), (vec![200], "handled again".into()));
    }
}

/// Large contents in a pipeline, spooled and in memory, chunked and not, both ways.
#[test]
fn large_contents_in_a_pipeline_stay_apart() {
    let server =
        Setup::new()
            .conf(|conf| conf.body_buffer = 100_000)
            .serve(|request: &mut Request| {
                let content = request.body_mut().to_bytes()?;
                Ok::<_, Error>(Body::from(content))
            });
    let contents: Vec<Vec<u8>> = [700_000, 10, 99_999, 100_001, 0, 300_000]
        .iter()
        .enumerate()
        .map(|(n, len)| vec![b'a' + n as u8; *len])
        .collect();
    let mut sent = Vec::new();
    for (n, content) in contents.iter().enumerate() {
        write!(sent, "POST /{n} HTTP/1.1\r\nHost: a\r\n").unwrap();
        if n % 2 == 0 {
            write!(sent, "Content-Length: {}\r\n\r\n", content.len()).unwrap();
            sent.extend(content);
        } else {
            sent.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in content.chunks(33_333) {
                write!(sent, "{:x};n={n}\r\n", chunk.len()).unwrap();
                sent.extend(chunk);
                sent.extend(b"\r\n");
            }
            sent.extend(b"0\r\nX-Trailer: GET / HTTP/1.1\r\n\r\n");
        }
    }
    let mut client = server.connect();
    let mut writer = client.writer();
    let sender = std::thread::spawn(move || writer.write_all(&sent));
    for content in contents {
        let reply = client.reply();
        assert_eq!(reply.status, 200);
        assert!(reply.body == content, "{} bytes", reply.body.len());
    }
    sender.join().unwrap().unwrap();
}
