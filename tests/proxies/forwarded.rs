//! Who asked for what: the application learns it from the proxy, and never from the client.
//!
//! The server runs with `examples/deploy/ferricorn.toml`, ports apart. Clients come from 127.0.0.2,
//! which is not trusted; the proxies connect from 127.0.0.1, which is.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::support::http::Client;
use crate::support::proxy::{self, Proxy};
use crate::support::{Server, testapp};

const CLIENT: &str = "127.0.0.2";

/// What a client may claim of itself, each in a way of its own.
const CLAIMS: &str = "X-Forwarded-For: 192.0.2.66\r\n\
    X-Forwarded-Proto: https\r\n\
    X-Forwarded-Host: evil.example\r\n\
    X-Forwarded-Port: 666\r\n\
    X-Forwarded-Ssl: on\r\n\
    X-Forwarded-Protocol: ssl\r\n\
    X-Forwarded-Prefix: /evil.example\r\n\
    Forwarded: for=192.0.2.66;proto=https;host=evil.example\r\n\
    X_Forwarded_For: 192.0.2.66\r\n\
    Script_Name: /evil.example\r\n\
    Path_Info: /evil.example\r\n";

#[test]
fn what_the_proxy_says_is_believed_and_what_the_client_says_is_not() {
    let (server, [http, _]) = start();
    let nginx = proxy::nginx(&http.to_string(), &[]);
    let haproxy = proxy::haproxy(&http.to_string(), &[]);
    let proxies = [("nginx", nginx), ("haproxy", haproxy)];
    for (name, proxy) in &proxies {
        let Some(Proxy { address, .. }) = proxy else {
            continue;
        };
        for claims in ["", CLAIMS] {
            let seen = ask(*address, "shop.example", claims);
            check(name, &seen, address.port());
        }
    }
    server.stop();
}

#[test]
fn the_proxy_protocol_names_the_client() {
    let (server, [_, tcp]) = start();
    if let Some(Proxy { address, .. }) = &proxy::haproxy_tcp(&tcp.to_string()) {
        for claims in ["", CLAIMS] {
            let seen = ask(*address, "shop.example", claims);
            check("haproxy", &seen, address.port());
        }
    }
    server.stop();
}

/// HAProxy finds either in `hdr(host)`, and the last entry of `X-Forwarded-Host` would be the host.
#[test]
fn a_host_with_a_comma_is_none() {
    let (server, [http, _]) = start();
    let nginx = proxy::nginx(&http.to_string(), &[]);
    let haproxy = proxy::haproxy(&http.to_string(), &[]);
    for Proxy { address, .. } in [nginx, haproxy].iter().flatten() {
        let mut client = connect(*address);
        let request = "GET /__env HTTP/1.1\r\nHost: shop.example,evil.example\r\n\r\n";
        client.send(request).unwrap();
        assert_eq!(client.answer().unwrap().status, 400);
    }
    server.stop();
}

#[test]
fn nobody_else_is_believed() {
    let (server, [http, tcp]) = start();
    check("straight", &ask(http, "shop.example", CLAIMS), http.port());
    // Not from a proxy, so that no header of the PROXY protocol is expected, nor taken.
    check("straight", &ask(tcp, "shop.example", CLAIMS), tcp.port());
    let mut client = connect(tcp);
    client
        .send("PROXY TCP4 192.0.2.66 192.0.2.1 1 2\r\nGET /__env HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    assert_eq!(client.answer().unwrap().status, 400);
    server.stop();
}

/// The server and its two listeners.
fn start() -> (Server, [SocketAddr; 2]) {
    let file = std::fs::read_to_string("examples/deploy/ferricorn.toml").unwrap();
    let file = file.replace(":8000\"", ":0\"").replace(":8001\"", ":0\"");
    let server = testapp().no_bind().file(&file).args("--workers 1").spawn();
    let line = server.wait("Ready: serving at");
    let addresses = line
        .split(|c: char| !(c.is_ascii_digit() || ".:".contains(c)))
        .filter_map(|word| word.trim_matches(':').parse().ok());
    let addresses: Vec<SocketAddr> = addresses.collect();
    let both = addresses.try_into().expect("two listeners");
    (server, both)
}

/// Over a connection from [`CLIENT`].
fn connect(to: SocketAddr) -> Client<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from = SocketAddr::new(CLIENT.parse().unwrap(), 0);
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Client::new(socket.into()).unwrap()
}

/// The meta-variables of a request with these claims.
fn ask(to: SocketAddr, host: &str, claims: &str) -> BTreeMap<String, String> {
    let mut client = connect(to);
    let request = format!("GET /__env HTTP/1.1\r\nHost: {host}\r\n{claims}\r\n");
    client.send(request).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let lines = answer.text().lines();
    let pairs = lines.filter_map(|line| line.split_once('='));
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()));
    pairs.collect()
}

fn check(way: &str, seen: &BTreeMap<String, String>, port: u16) {
    let get = |name: &str| seen.get(name).map_or("", String::as_str);
    assert_eq!(get("REMOTE_ADDR"), CLIENT, "{way}: {seen:?}");
    assert_eq!(get("REQUEST_SCHEME"), "http", "{way}: {seen:?}");
    assert_eq!(get("HTTPS"), "", "{way}: {seen:?}");
    assert_eq!(get("HTTP_HOST"), "shop.example", "{way}: {seen:?}");
    assert_eq!(get("SERVER_NAME"), "shop.example", "{way}: {seen:?}");
    assert_eq!(get("SERVER_PORT"), port.to_string(), "{way}: {seen:?}");
    assert_eq!(get("SCRIPT_NAME"), "", "{way}: {seen:?}");
    assert_eq!(get("PATH_INFO"), "/__env", "{way}: {seen:?}");
    let evil = |value: &String| value.contains("192.0.2.66") || value.contains("evil");
    assert!(!seen.values().any(evil), "{way}: {seen:?}");
}
