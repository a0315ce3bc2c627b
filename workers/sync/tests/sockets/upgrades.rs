//! A connection that speaks another protocol: what wakes its reader, how it ends.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::time::Duration;

use ferricorn_base::board::Counter;
use ferricorn_base::{Body, Error, Exit, Request, Response, Upgraded};
use http::{HeaderValue, StatusCode};

use crate::client::{Client, End, Stream};
use crate::server::{Server, Setup, eventually, is_logged, logged};

/// To the protocol `echo`, by code that owns the connection.
fn switch<F>(run: F) -> Response
where
    F: FnOnce(Upgraded) -> Result<(), Error> + Send + 'static,
{
    let mut response = Response::new(Body::upgrade(run));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let echo = HeaderValue::from_static("echo");
    response.headers_mut().insert("upgrade", echo);
    response
}

fn upgraded(server: &Server) -> Client {
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.head().status, 101);
    client
}

fn ended(server: &mut Server) {
    assert!(matches!(server.exit(0), Exit::Done));
}

fn shout(io: Upgraded) -> Result<(), Error> {
    let mut lines = BufReader::new(io);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        lines.get_mut().write_all(line.to_uppercase().as_bytes())?;
        if line == "bye\n" {
            break;
        }
        line.clear();
    }
    Ok(())
}

#[test]
fn a_reader_that_waits_is_told_once_when_the_worker_retires() {
    let mut server = Setup::new().serve(|_: &mut Request| {
        switch(|mut io| {
            let mut buffer = [0; 100];
            let told = loop {
                match io.read(&mut buffer) {
                    Ok(n) => io.write_all(&buffer[..n])?,
                    Err(error) => break error,
                }
            };
            assert_eq!(told.kind(), ErrorKind::WouldBlock);
            assert!(io.is_closing());
            io.write_all(b"going away\n")?;
            // From now on it waits as before, and nothing was lost.
            let n = io.read(&mut buffer)?;
            io.write_all(&buffer[..n])?;
            Ok(())
        })
    });
    let mut client = upgraded(&server);
    client.send("hello\n");
    assert_eq!(client.take(6), b"hello\n");
    server.drain(false);
    assert_eq!(client.take(11), b"going away\n");
    client.send("good-bye\n");
    assert_eq!(client.rest(), (b"good-bye\n".to_vec(), End::Close));
    drop(client);
    ended(&mut server);
}

/// The worker does not wait for it until `graceful-timeout`, and nobody calls it an error.
#[test]
fn code_that_knows_nothing_of_retiring_ends_with_it() {
    let mut server = Setup::new().serve(|_: &mut Request| switch(shout));
    let mut client = server.connect();
    client.send("GET /naive HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.head().status, 101);
    server.drain(true);
    assert_eq!(client.rest(), (vec![], End::Close));
    drop(client);
    ended(&mut server);
    logged(&["DEBUG GET /naive of ", "ended: the worker retires"]);
    assert!(!is_logged(&["ERROR GET /naive"]));
}

#[test]
fn a_read_and_a_write_wait_as_long_as_they_are_told() {
    let server = Setup::new().serve(|_: &mut Request| {
        switch(|mut io| {
            let limit = Some(Duration::from_millis(20));
            io.set_read_timeout(limit);
            let error = io.read(&mut [0; 10]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            io.write_all(b"too long")?;
            io.set_write_timeout(limit);
            let error = io.write_all(&vec![b'x'; 64 << 20]).unwrap_err();
            Err(error.into())
        })
    });
    let mut client = upgraded(&server);
    assert_eq!(client.take(8), b"too long");
    logged(&["DEBUG GET / of ", "ended: timed out"]);
    drop(client);
}

/// A close with bytes unread is a reset, and that may destroy what was said last.
#[test]
fn what_was_written_last_arrives_though_the_peer_still_sends() {
    let server = Setup::new().serve(|_: &mut Request| {
        switch(|mut io| {
            io.read_exact(&mut [0; 1])?;
            io.write_all(b"enough")?;
            Ok(())
        })
    });
    let mut client = upgraded(&server);
    client.send(vec![b'x'; 1 << 20]);
    assert_eq!(client.rest(), (b"enough".to_vec(), End::Close));
    drop(client);
    eventually("it is over", || server.connections(0) == 0);
}

/// With TCP_REPAIR a socket is closed without a word, as by a power cut.
#[test]
fn a_peer_that_is_gone_without_a_word_is_noticed() {
    let server = Setup::new()
        .conf(|conf| conf.deadlines.write = Duration::from_secs(1))
        .serve(|_: &mut Request| {
            switch(|mut io| match io.read(&mut [0; 10]) {
                Err(error) if is_gone(&error) => Ok(()),
                other => Err(Error::msg(format!("{other:?}"))),
            })
        });
    let client = upgraded(&server);
    let Stream::Tcp(socket) = client.writer() else {
        panic!("the server is at a TCP port")
    };
    let repair = nix::sys::socket::sockopt::TcpRepair;
    if let Err(errno) = nix::sys::socket::setsockopt(&socket, repair, &1) {
        eprintln!("skipped: TCP_REPAIR: {errno}");
        return;
    }
    drop((client, socket));
    eventually("it is noticed", || server.connections(0) == 0);
    assert_eq!(server.counter(0, Counter::Errors), 0);
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::TimedOut
    )
}
