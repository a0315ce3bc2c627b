//! Requests that two parsers may read in two ways, from a decade of research and advisories.
//!
//! Each carries another one where a parser that is wrong finds it: once unfinished, so that it takes
//! in what comes next, and once whole. A few are well-formed, and then it is a request of its own.

/// A name for messages, and the bytes.
pub struct Payload {
    pub name: String,
    pub bytes: Vec<u8>,
    /// Whether the request within is one by RFC 9112, too.
    pub is_fair: bool,
}

/// Ways to write Transfer-Encoding that one may take for `chunked` and another not.
const ENCODINGS: [&str; 37] = [
    "Transfer-Encoding: chunked",
    "transfer-encoding: CHUNKED",
    "Transfer-Encoding:chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: chunked ",
    "Transfer-Encoding: chunked\t",
    "Transfer-Encoding:\u{b}chunked",
    "Transfer-Encoding:\u{c}chunked",
    "Transfer-Encoding: \0chunked",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding:\u{a0}chunked",
    " Transfer-Encoding: chunked",
    "X: y\r\n Transfer-Encoding: chunked",
    "X: y\r\n\tTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding:\n chunked",
    "Transfer-Encoding\r\n: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer_Encoding: chunked",
    "Connection: keep-alive, Transfer-Encoding\r\nTransfer-Encoding: chunked",
    "X-\u{ff}: y\r\nTransfer-Encoding: chunked",
];

/// Ways to write a Content-Length of N.
const LENGTHS: [&str; 23] = [
    "Content-Length: N\r\nContent-Length: 0",
    "Content-Length: 0\r\nContent-Length: N",
    "Content-Length: N, N",
    "Content-Length: 0, N",
    "Content-Length: +N",
    "Content-Length: -N",
    "Content-Length: 0xN",
    "Content-Length: 0N",
    "Content-Length: N ",
    "Content-Length: N;",
    "Content-Length: N.0",
    "Content-Length: \"N\"",
    "Content-Length:\u{b}N",
    "Content-Length: N\0",
    "Content-Length: 0 N",
    "Content-Length : N",
    " Content-Length: N",
    "X: y\r\n Content-Length: N",
    "X: y\nContent-Length: N",
    "X: y\rContent-Length: N",
    "Content_Length: N",
    "Content-Length: 184467440737095516N",
    "Connection: Content-Length\r\nContent-Length: N",
];

/// Well-formed chunked bodies.
const FAIR_CHUNKS: [&str; 5] = [
    "0\r\n\r\nSMUGGLED",
    "0;x\r\n\r\nSMUGGLED",
    "0 ;x\r\n\r\nSMUGGLED",
    "00000000000000000000\r\n\r\nSMUGGLED",
    "0\r\nContent-Length: 5\r\n\r\nSMUGGLED",
];

/// Chunked bodies that end in several places; SMUGGLED is the smuggled request, LEN the size of what
/// follows it in hexadecimal.
const CHUNKS: [&str; 25] = [
    "0\n\nSMUGGLED",
    "0\r\n\nSMUGGLED",
    "0\n\r\nSMUGGLED",
    "0\r\r\nSMUGGLED",
    "0;x=\"\n\"\r\n\r\nSMUGGLED",
    "0;\nX: y\r\n\r\nSMUGGLED",
    "0\u{b}\r\n\r\nSMUGGLED",
    "0x0\r\n\r\nSMUGGLED",
    "-0\r\n\r\nSMUGGLED",
    "+0\r\n\r\nSMUGGLED",
    " 0\r\n\r\nSMUGGLED",
    "\r\n0\r\n\r\nSMUGGLED",
    "0_\r\n\r\nSMUGGLED",
    "5\r\nhello0\r\n\r\nSMUGGLED",
    "5\r\nhello\n0\r\n\r\nSMUGGLED",
    "5\r\nhelloXX0\r\n\r\nSMUGGLED",
    "5\nhello\r\n0\r\n\r\nSMUGGLED",
    "5\rXhello\r\n0\r\n\r\nSMUGGLED",
    "5;\nXXX\r\nhello\r\n0\r\n\r\nSMUGGLED",
    "2;\nxx\r\nLEN\r\n0\r\n\r\nSMUGGLED\r\n0\r\n\r\n",
    "2\r\nxx\nLEN\r\n0\r\n\r\nSMUGGLED\r\n0\r\n\r\n",
    "10000000000000000\r\n0\r\n\r\nSMUGGLED",
    "100000000\r\n0\r\n\r\nSMUGGLED",
    "0\r\nX: y\n\r\nSMUGGLED",
    "0\r\n X: y\r\n\r\nSMUGGLED",
];

/// Whole requests; BODY is the smuggled request and LEN its size.
const OTHERS: [(&str, &str); 45] = [
    (
        "GET with a body",
        "GET /reflect/ID HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "HEAD with a body",
        "HEAD /reflect/ID HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "OPTIONS with a body",
        "OPTIONS /reflect/ID HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "DELETE with a body",
        "DELETE /reflect/ID HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "TRACE with a body",
        "TRACE /reflect/ID HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "a body that begin refuses",
        "POST /refuse HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "chunks that begin refuses",
        "POST /refuse HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nHEX\r\nBODY\r\n0\r\n\r\n",
    ),
    (
        "a body for 404",
        "POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "a body for 204",
        "POST /answer/204 HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "a body for 304",
        "GET /answer/304 HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "a body for an error",
        "POST /error HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "a body for a stream",
        "POST /stream/3 HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "100-continue",
        "POST /reflect/ID HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "100-continue refused",
        "POST /refuse HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "100-continue with GET",
        "GET /reflect/ID HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "100-continue in other words",
        "POST /reflect/ID HTTP/1.1\r\nHost: localhost\r\nExpect: x 100-continue\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "100-continue on a folded line",
        "POST /reflect/ID HTTP/1.1\r\nHost: localhost\r\nExpect:\r\n 100-continue\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "100-continue twice",
        "POST /reflect/ID HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nExpect: x\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "100-continue, chunked",
        "POST /reflect/ID HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\nHEX\r\nBODY\r\n0\r\n\r\n",
    ),
    (
        "100-continue in 1.0",
        "POST /reflect/ID HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "1.0, chunked",
        "POST /reflect/ID HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nBODY",
    ),
    (
        "1.0, chunked and a length",
        "POST /reflect/ID HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: ALL\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nBODY",
    ),
    (
        "1.0 without a length",
        "POST /reflect/ID HTTP/1.0\r\nConnection: keep-alive\r\n\r\nBODY",
    ),
    (
        "0.9",
        "GET /reflect/ID\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    ("0.9 with a body", "POST /reflect/ID\r\n\r\nBODY"),
    (
        "1.2",
        "POST /reflect/ID HTTP/1.2\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "a version twice",
        "GET /reflect/ID HTTP/1.1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "a target with a space",
        "GET /reflect/ID /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "a target with a line",
        "GET /reflect/ID\nX: y HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "a target with an encoded line",
        "GET /reflect/ID%0d%0aContent-Length:%20LEN%0d%0a%0d%0aBODY HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ),
    (
        "absolute-form",
        "POST http://other/reflect/ID HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "absolute-form with user",
        "POST http://a@other:1/reflect/ID HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "two hosts",
        "POST /reflect/ID HTTP/1.1\r\nHost: localhost\r\nHost: other\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "a host with a line",
        "POST /reflect/ID HTTP/1.1\r\nHost: a\nContent-Length: 0\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "CONNECT",
        "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\nBODY",
    ),
    (
        "CONNECT with a body",
        "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "a WebSocket of a wrong version",
        "GET /reflect/ID HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 7\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "h2c",
        "GET /reflect/ID HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "the preface of HTTP/2",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nBODY",
    ),
    (
        "a name with a space",
        "POST /reflect/ID HTTP/1.1\r\nHost: localhost\r\nContent Length: 0\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "a name with a colon",
        "POST /reflect/ID HTTP/1.1\r\nHost: localhost\r\n:Content-Length: 0\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "no name",
        "POST /reflect/ID HTTP/1.1\r\nHost: localhost\r\n: y\r\nContent-Length: LEN\r\n\r\nBODY",
    ),
    (
        "bare line feeds",
        "POST /reflect/ID HTTP/1.1\nHost: localhost\nContent-Length: LEN\n\nBODY",
    ),
    (
        "bare carriage returns",
        "POST /reflect/ID HTTP/1.1\r\nHost: localhost\r\nContent-Length: LEN\r\rX: y\r\n\r\nBODY",
    ),
    (
        "a line of one space",
        "POST /reflect/ID HTTP/1.1\r\nHost: localhost\r\n \r\nContent-Length: LEN\r\n\r\nBODY",
    ),
];

/// All of them.
pub fn payloads() -> Vec<Payload> {
    let mut all = Vec::new();
    let mut add = |name: String, text: &dyn Fn(&str, &str) -> String| {
        // One that takes in what follows, and one that is whole.
        for end in ["X: y", "\r\n"] {
            let id = all.len();
            let (path, body) = (format!("/reflect/p{id}"), smuggled(id, end));
            let bytes = latin1(&text(&path, &body));
            // A name with an underscore is another name, and who declares no body sends none.
            let is_fair = name.contains('_')
                || name.contains("without a length")
                || FAIR_CHUNKS
                    .iter()
                    .any(|chunks| name.contains(&format!("{chunks:?}")));
            let kind = if end == "\r\n" { "whole" } else { "open" };
            all.push(Payload {
                name: format!("{name} ({kind})"),
                bytes,
                is_fair,
            });
        }
    };
    for encoding in ENCODINGS {
        add(format!("CL.TE {encoding:?}"), &|path, body| {
            let body = format!("0\r\n\r\n{body}");
            let len = latin1(&body).len();
            format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n{encoding}\r\n\r\n{body}"
            )
        });
        add(format!("TE.CL {encoding:?}"), &|path, body| {
            let (size, body) = (
                format!("{:x}\r\n", body.len()),
                format!("{body}\r\n0\r\n\r\n"),
            );
            let len = size.len();
            format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\n{encoding}\r\nContent-Length: {len}\r\n\r\n{size}{body}"
            )
        });
        add(format!("TE {encoding:?}"), &|path, body| {
            format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\n{encoding}\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            )
        });
    }
    for length in LENGTHS {
        for method in ["GET", "POST"] {
            add(format!("{method} {length:?}"), &|path, body| {
                let length = length.replace('N', &body.len().to_string());
                format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n{body}")
            });
        }
    }
    for chunks in CHUNKS.into_iter().chain(FAIR_CHUNKS) {
        add(format!("chunks {chunks:?}"), &|path, body| {
            let chunks = chunks.replace("LEN", &format!("{:x}", body.len() + 5));
            let chunks = chunks.replace("SMUGGLED", body);
            format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
            )
        });
    }
    for (name, text) in OTHERS {
        add(name.to_owned(), &|path, body| {
            text.replace("/reflect/ID", path)
                .replace("LEN", &body.len().to_string())
                .replace("ALL", &(body.len() + 5).to_string())
                .replace("HEX", &format!("{:x}", body.len()))
                .replace("BODY", body)
        });
    }
    all
}

fn smuggled(id: usize, end: &str) -> String {
    format!("GET /reflect/smuggled-p{id} HTTP/1.1\r\nHost: localhost\r\n{end}")
}

/// Bytes as the cases of `tests/conformance` write them.
pub fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(c).unwrap_or(b'?'))
        .collect()
}
