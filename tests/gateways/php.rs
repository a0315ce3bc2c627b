//! A PHP application that php-fpm runs.

use std::fs;
use std::io::Write;

use crate::support::http::Client;
use crate::support::{Server, ferricorn, is_root, program};
use crate::{ask, mounted};

const APPLICATION: &str = r#"<?php
switch ($_SERVER['PATH_INFO'] ?? '') {
case '/vars':
    header('Content-Type: application/json');
    ksort($_SERVER);
    echo json_encode($_SERVER);
    break;
case '/cookie':
    setcookie('seen', (string) (1 + (int) ($_COOKIE['seen'] ?? 0)), 0, '/');
    setcookie('other', 'x');
    echo 'seen ', $_COOKIE['seen'] ?? 0;
    break;
case '/upload':
    foreach ($_FILES as $name => $file) {
        echo $name, ' ', $file['name'], ' ', $file['size'], ' ', md5_file($file['tmp_name']), "\n";
    }
    break;
case '/echo':
    echo $_SERVER['CONTENT_LENGTH'] ?? 'none', ' ', md5(file_get_contents('php://input'));
    break;
case '/stream':
    while (ob_get_level()) ob_end_flush();
    for ($n = 0; $n < 3; $n++) {
        echo "piece $n\n";
        flush();
        usleep(20000);
    }
    break;
case '/large':
    header('Content-Length: 3000000');
    for ($n = 0; $n < 3000; $n++) echo str_repeat(chr(97 + $n % 26), 1000);
    break;
case '/status':
    http_response_code(418);
    echo 'short and stout';
    break;
case '/elsewhere':
    header('Location: /app/other?x=1');
    break;
case '/log':
    error_log('something odd');
    echo 'logged';
    break;
case '/pid':
    echo getmypid();
    break;
default:
    echo 'hello';
}
"#;

/// php-fpm, and a server in front of it.
struct Php {
    server: Server,
    #[expect(dead_code, reason = "it is ended with this")]
    fpm: Server,
}

fn php(options: &str) -> Option<Php> {
    let fpm = ["php-fpm8.2", "php-fpm8.4", "php-fpm8.3", "php-fpm"];
    let fpm = fpm
        .into_iter()
        .find(|name| std::process::Command::new(name).arg("-v").output().is_ok());
    let Some(fpm) = fpm else {
        eprintln!("skipped: php-fpm is not installed");
        return None;
    };
    let start = program(fpm);
    let root = start.dir().root().to_owned();
    let socket = root.join("php.sock");
    let user = match is_root("php-fpm of another user") {
        true => "user = root\ngroup = root\n",
        false => "",
    };
    let pool = format!(
        "[global]\nerror_log = /dev/stderr\ndaemonize = no\n[www]\n{user}listen = {}\npm = static\n\
         pm.max_children = 3\ncatch_workers_output = yes\nphp_admin_flag[log_errors] = on\n",
        socket.display()
    );
    start.dir().write("fpm.conf", &pool);
    fs::write(root.join("index.php"), APPLICATION).unwrap();
    let process = start
        .args("-R -F -n -y")
        .arg(root.join("fpm.conf"))
        .no_bind()
        .spawn();
    process.wait("ready to handle connections");
    let server = mounted(
        ferricorn(),
        &format!(
            "[[mount]]\nprefix = \"/app\"\napp = \"fastcgi:unix:{}\"\nroot = \"{}\"\nfallback = \
             \"/index.php\"\n{options}[[mount]]\nprefix = \"/\"\napp = \"hello\"\n",
            socket.display(),
            root.display()
        ),
    );
    Some(Php {
        server,
        fpm: process,
    })
}

#[test]
fn an_application_reads_uploads_sets_cookies_and_streams() {
    let Some(php) = php("") else { return };
    let server = &php.server;
    let mut client = Client::connect(server.address()).unwrap();
    assert_eq!(client.get("/app/").unwrap().text(), "hello");
    let vars = client.get("/app/vars?a=b%20c&d").unwrap();
    assert_eq!(vars.field("content-type"), Some("application/json"));
    for (name, value) in [
        ("REQUEST_METHOD", "GET"),
        ("QUERY_STRING", "a=b%20c&d"),
        ("REQUEST_URI", r"\/app\/vars?a=b%20c&d"),
        ("SCRIPT_NAME", r"\/app\/index.php"),
        ("PATH_INFO", r"\/vars"),
        ("SERVER_PROTOCOL", r"HTTP\/1.1"),
        ("GATEWAY_INTERFACE", r"CGI\/1.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REQUEST_SCHEME", "http"),
        ("HTTP_HOST", "localhost"),
    ] {
        let expected = format!("\"{name}\":\"{value}\"");
        assert!(
            vars.text().contains(&expected),
            "{expected}: {}",
            vars.text()
        );
    }
    assert!(!vars.text().contains("HTTP_PROXY"));
    // Two cookies are two fields.
    let answer = ask(
        server,
        "GET /app/cookie HTTP/1.1\r\nHost: a\r\nCookie: seen=4\r\n\r\n",
    );
    assert_eq!(answer.text(), "seen 4");
    let set: Vec<&str> = answer
        .fields
        .iter()
        .filter(|(name, _)| name == "set-cookie")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(set, ["seen=5; path=/", "other=x"]);
    for (path, status, text) in [
        ("/app/stream", 200, "piece 0\npiece 1\npiece 2\n"),
        ("/app/status", 418, "short and stout"),
        ("/app/log", 200, "logged"),
        ("/app/a/path.css", 200, "hello"),
    ] {
        let answer = client.get(path).unwrap();
        assert_eq!((answer.status, answer.text()), (status, text), "{path}");
    }
    server.wait("something odd");
    let large = client.get("/app/large").unwrap();
    assert_eq!(large.field("content-length"), Some("3000000"));
    assert_eq!(large.body.len(), 3_000_000);
    let elsewhere = client.get("/app/elsewhere").unwrap();
    assert_eq!(elsewhere.status, 302);
    assert_eq!(elsewhere.field("location"), Some("/app/other?x=1"));
    // The answer to HEAD has no content, and the connection goes on.
    client
        .send("HEAD /app/large HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    assert_eq!(
        client.head().unwrap().field("content-length"),
        Some("3000000")
    );
    assert_eq!(client.get("/").unwrap().text(), "Hello, World!");
}

#[test]
fn bodies_arrive_whole_however_they_are_sent() {
    let Some(php) = php("") else { return };
    let mut client = Client::connect(php.server.address()).unwrap();
    for size in [0_usize, 1, 32 * 1024, 70_000, 1 << 20] {
        let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        let sum = md5(&content);
        client
            .send(format!(
                "POST /app/echo HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
            ))
            .unwrap();
        client.send(&content).unwrap();
        let length = if size == 0 {
            "none".to_owned()
        } else {
            size.to_string()
        };
        assert_eq!(client.answer().unwrap().text(), format!("{length} {sum}"));
        client
            .send("POST /app/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        for chunk in content.chunks(50_000) {
            client.send(format!("{:x}\r\n", chunk.len())).unwrap();
            client.send(chunk).unwrap();
            client.send("\r\n").unwrap();
        }
        client.send("0\r\n\r\n").unwrap();
        assert_eq!(
            client.answer().unwrap().text(),
            format!("{length} {sum}"),
            "chunked"
        );
    }
    let content = vec![b'x'; 200_000];
    let part = format!(
        "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f.bin\"\r\n\r\n{}\r\n--b--\r\n",
        String::from_utf8(content.clone()).unwrap()
    );
    let head = format!(
        "POST /app/upload HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n\
         Content-Length: {}\r\n\r\n",
        part.len()
    );
    let answer = ask(&php.server, head + &part);
    assert_eq!(answer.text(), format!("f f.bin 200000 {}\n", md5(&content)));
}

/// The same connection to php-fpm is the same process of it.
#[test]
fn connections_are_kept_for_the_next_request() {
    let Some(php) = php("pool = 1\n") else { return };
    let mut client = Client::connect(php.server.address()).unwrap();
    let mut pids: Vec<String> = (0..10)
        .map(|_| client.get("/app/pid").unwrap().text().to_owned())
        .collect();
    pids.dedup();
    assert_eq!(pids.len(), 1, "{pids:?}");
}

fn md5(content: &[u8]) -> String {
    use std::process::{Command, Stdio};
    let mut child = Command::new("md5sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(content).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..32].to_owned()
}
