//! How the test application is started for the cases: one listener for clients, one behind a proxy.

use std::net::SocketAddr;

use crate::support::Server;

/// Nobody is believed who he says the client is but who the PROXY protocol comes from.
pub const FILE: &str = r#"
workers = 2
forwarded-allow-ips = []

[[listen]]
bind = "127.0.0.1:0"

[[listen]]
bind = "127.0.0.1:0"
proxy-protocol = "auto"
proxy-allow-from = ["127.0.0.1"]
"#;

/// The address of the second listener.
pub fn proxied(server: &Server) -> SocketAddr {
    let line = server.wait("Listening at:");
    let (_, rest) = line.split_once(", http://").expect("there are two");
    let end = rest.find([',', ' ']).unwrap_or(rest.len());
    rest[..end].parse().expect("it is an address")
}
