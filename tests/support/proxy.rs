//! nginx and HAProxy in front of a server, with the configurations of `examples/deploy`.
//!
//! Those files are used as they are, addresses apart, and what a test changes must be in them: so
//! what is documented is what is tested. A proxy is given its listening socket, so that it can be
//! connected to at once; it is ended with its `Proxy`.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Server, Start};

/// Lines of a configuration and what they become.
pub type Changes<'a> = &'a [(&'a str, &'a str)];

/// A running proxy.
pub struct Proxy {
    pub address: SocketAddr,
    /// The process; not a server of ours, but held in the same way.
    pub process: Server,
}

/// What nginx has around `examples/deploy/nginx.conf`: one process, and all its files where it runs.
/// Without this, Debian's nginx would write below /var.
const AROUND: &str = "\
user root;
worker_processes 1;
error_log stderr notice;
pid nginx.pid;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include site.conf;
}
";

/// nginx before `server`, an address as nginx writes them. `None`, with a message, where nginx is
/// not installed.
pub fn nginx(server: &str, changes: Changes) -> Option<Proxy> {
    let start = program("nginx", "-v")?;
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let (listen, upstream) = (format!("listen {address};"), format!("server {server} "));
    let all = [
        &[
            ("listen 80;", &*listen),
            ("    server 127.0.0.1:8000 ", &upstream),
        ],
        changes,
    ]
    .concat();
    start.dir().write("site.conf", &changed("nginx.conf", &all));
    start.dir().write("nginx.conf", AROUND);
    let root = start.dir().root().to_owned();
    let process = start
        .arg("-p")
        .arg(&root)
        .arg("-c")
        .arg(root.join("nginx.conf"))
        .arg("-g")
        .arg("daemon off;")
        // Sockets that nginx inherits are named in NGINX, as when it replaces its own program.
        .inherit(listener, 3, "export NGINX='3;'")
        .no_bind()
        .spawn();
    process.wait("start worker process ");
    Some(Proxy { address, process })
}

/// HAProxy with the frontend `http` before `server`, an address as HAProxy writes them. `None`, with
/// a message, where HAProxy is not installed.
pub fn haproxy(server: &str, changes: Changes) -> Option<Proxy> {
    start_haproxy(("FRONT", "FRONT_TCP"), ("FERRICORN", server), changes)
}

/// HAProxy with the frontend `tcp` before `server`, which expects the PROXY protocol.
pub fn haproxy_tcp(server: &str) -> Option<Proxy> {
    start_haproxy(("FRONT_TCP", "FRONT"), ("FERRICORN_PROXY", server), &[])
}

fn start_haproxy(
    (front, other): (&str, &str),
    (name, server): (&str, &str),
    changes: Changes,
) -> Option<Proxy> {
    let start = program("haproxy", "-v")?;
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    start
        .dir()
        .write("haproxy.cfg", &changed("haproxy.cfg", changes));
    let unused = format!("unix@{}", start.dir().path("unused").display());
    let process = start
        .args("-db -f haproxy.cfg")
        .env(front, "fd@3")
        .env(other, unused)
        .env(name, server)
        .inherit(listener, 3, "true")
        .no_bind()
        .spawn();
    Some(Proxy { address, process })
}

/// A file of `examples/deploy` with some of its lines changed.
fn changed(name: &str, changes: Changes) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy");
    let text = fs::read_to_string(path.join(name)).expect("it is part of the repository");
    changes.iter().fold(text, |text, (old, new)| {
        assert_eq!(text.matches(old).count(), 1, "{old:?} in {name}");
        text.replacen(old, new, 1)
    })
}

/// A program that may not be installed, and lies in /usr/sbin.
fn program(name: &str, version: &str) -> Option<Start> {
    let paths = [name.into(), Path::new("/usr/sbin").join(name)];
    let is_there = |path: &PathBuf| {
        let mut command = Command::new(path);
        command.arg(version).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = paths.into_iter().find(is_there);
    if found.is_none() {
        eprintln!("skipped: {name} is not installed");
    }
    found.map(Start::program)
}
