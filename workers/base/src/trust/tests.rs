//! Who is believed what, by tables: the fields as they come, and what a handler sees.

use super::*;
use crate::conf::LocalAddr;

const PROXY: &str = "127.0.0.1";

/// `Name: value` lines of a request from this address.
fn request(peer: &str, lines: &[&str]) -> Request {
    let fields = lines.iter().map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name, value.trim())
    });
    let fields: Vec<_> = [("Host", "h:1")].into_iter().chain(fields).collect();
    let peer = match peer {
        "unix" => Peer::Unix,
        ip => Peer::Tcp((ip.parse::<std::net::IpAddr>().unwrap(), 4711).into()),
    };
    let local = LocalAddr::Tcp("127.0.0.1:8000".parse().unwrap());
    let request = Request::build("GET", "/", fields).unwrap();
    request.with_peer(peer).with_local(local)
}

/// What becomes of it: client, scheme, host, port; or the status.
fn judge(trust: &Trust, peer: &str, lines: &[&str]) -> Result<(String, Request), u16> {
    let mut request = request(peer, lines);
    let concerned = request.head().initials().meets(trust.concerns());
    let before = format!("{:?}", request.head());
    match trust.judge(&mut request) {
        Err(reject) => {
            assert!(concerned, "{lines:?} are not looked at");
            Err(reject.status.as_u16())
        }
        Ok(()) => {
            let changed =
                request.forwarded().is_some() || before != format!("{:?}", request.head());
            assert!(concerned || !changed, "{lines:?} are not looked at");
            let (client, host) = (request.client(), request.host().unwrap_or("-"));
            let text = format!("{client} {} {host} {}", request.scheme(), request.port());
            Ok((text, request))
        }
    }
}

#[track_caller]
fn check(trust: &Trust, peer: &str, lines: &[&str], expected: &str) {
    let found = judge(trust, peer, lines).map(|(text, _)| text);
    let found = found.unwrap_or_else(|status| status.to_string());
    assert_eq!(found, expected, "{lines:?} of {peer}");
}

fn names(request: &Request) -> Vec<String> {
    let names = request.head().fields().map(|(name, _)| name.to_owned());
    names.filter(|name| name != "Host").collect()
}

fn trusting(proxies: &str, hops: usize) -> Trust {
    Trust {
        proxies: Networks::parse(proxies.split_whitespace()).unwrap(),
        hops,
        ..Trust::default()
    }
}

#[test]
fn nobody_is_believed_unless_trusted() {
    let lines = [
        "Forwarded: for=6.6.6.6;proto=https",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "x-forwarded-anything: x",
        "X-FORWARDED-SSL: on",
        "X-Other: stays",
        "Front-End-Https: on",
        "Accept: */*",
    ];
    let mut trust = Trust::default();
    trust.schemes.push(("Front-End-Https".into(), "on".into()));
    for peer in ["192.0.2.1", "2001:db8::1"] {
        let (text, request) = judge(&trust, peer, &lines).unwrap();
        let peer = Peer::Tcp((peer.parse::<std::net::IpAddr>().unwrap(), 4711).into());
        assert_eq!(text, format!("{peer} http h:1 8000"));
        assert_eq!(names(&request), ["X-Other", "Accept"]);
        assert_eq!(request.headers().len(), 3);
        assert!(request.forwarded().is_none());
    }
    // Nobody means nobody, not even over a unix socket.
    let nobody = trusting("", 1);
    check(&nobody, "unix", &lines, "unix http h:1 8000");
    check(&nobody, PROXY, &lines, "127.0.0.1:4711 http h:1 8000");
}

#[test]
fn trusted_proxies_are_believed_in_their_fields() {
    let usual = Trust::default();
    for (lines, expected) in [
        (&[][..], "127.0.0.1:4711 http h:1 8000"),
        (&["X-Forwarded-For: 1.2.3.4"], "1.2.3.4 http h:1 8000"),
        (&["X-Forwarded-For: 1.2.3.4:99"], "1.2.3.4:99 http h:1 8000"),
        (&["X-Forwarded-For: ::1"], "::1 http h:1 8000"),
        (&["X-Forwarded-For: [::2]:9"], "[::2]:9 http h:1 8000"),
        (
            &["X-Forwarded-For: 6.6.6.6, 1.2.3.4"],
            "1.2.3.4 http h:1 8000",
        ),
        (
            &["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 1.2.3.4"],
            "1.2.3.4 http h:1 8000",
        ),
        (
            &["X-Forwarded-For: 1.2.3.4", "X-Forwarded-For:"],
            "1.2.3.4 http h:1 8000",
        ),
        // What no trusted proxy wrote is not looked at.
        (&["X-Forwarded-For: %$, 1.2.3.4"], "1.2.3.4 http h:1 8000"),
        (
            &["X-Forwarded-For: unknown"],
            "127.0.0.1:4711 http h:1 8000",
        ),
        (&["X-Forwarded-For: _x"], "127.0.0.1:4711 http h:1 8000"),
        (&["X-Forwarded-For: 1.2.3.4, %$"], "400"),
        (&["X-Forwarded-For: 1.2.3.4,"], "400"),
        (&["X-Forwarded-For: localhost"], "400"),
        (&["X-Forwarded-Proto: https"], "127.0.0.1:4711 https h:1 1"),
        (&["X-Forwarded-Proto: wss"], "127.0.0.1:4711 https h:1 1"),
        (&["X-Forwarded-Proto: http"], "127.0.0.1:4711 http h:1 1"),
        (
            &["X-Forwarded-Proto: https, http"],
            "127.0.0.1:4711 http h:1 1",
        ),
        (&["X-Forwarded-Proto: ftp"], "400"),
        (
            &["X-Forwarded-Proto: https", "X-Forwarded-Host: a.example"],
            "127.0.0.1:4711 https a.example 443",
        ),
        (
            &["X-Forwarded-Host: a.example"],
            "127.0.0.1:4711 http a.example 80",
        ),
        (&["X-Forwarded-Host: a:81"], "127.0.0.1:4711 http a:81 81"),
        (&["X-Forwarded-Host: a/b"], "400"),
        (&["X-Forwarded-Host: a b"], "400"),
        (&["X-Forwarded-Host: :80"], "400"),
        (&["X-Forwarded-Port: 443"], "127.0.0.1:4711 http h:1 443"),
        (&["X-Forwarded-Port: 0"], "400"),
        (&["X-Forwarded-Port: 65536"], "400"),
        (&["X-Forwarded-Port: +80"], "400"),
        (&["X-Forwarded-Port: 80,"], "400"),
        (&["X-Forwarded-Ssl: on"], "127.0.0.1:4711 https h:1 1"),
        (&["X-Forwarded-Ssl: off"], "127.0.0.1:4711 http h:1 1"),
        (
            &["X-Forwarded-Ssl: on", "X-Forwarded-Proto: https"],
            "127.0.0.1:4711 https h:1 1",
        ),
        (&["X-Forwarded-Ssl: on", "X-Forwarded-Proto: http"], "400"),
        (&["X-Forwarded-Ssl: on", "X-Forwarded-Ssl: off"], "400"),
        (
            &["X-Forwarded-Protocol: ssl", "X-Forwarded-Ssl: off"],
            "400",
        ),
    ] {
        check(&usual, PROXY, lines, expected);
    }
    check(
        &usual,
        "unix",
        &["X-Forwarded-For: 1.2.3.4"],
        "1.2.3.4 http h:1 8000",
    );
    check(
        &usual,
        "::ffff:127.0.0.1",
        &["X-Forwarded-For: 1.2.3.4"],
        "1.2.3.4 http h:1 8000",
    );
}

#[test]
fn the_way_back_ends_where_trust_ends() {
    let chain = ["X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.0.0.2, 10.0.0.1"];
    for (proxies, hops, client) in [
        ("127.0.0.1", 1, "10.0.0.1"),
        ("127.0.0.1", 9, "10.0.0.1"),
        ("127.0.0.1 10.0.0.0/8", 1, "10.0.0.1"),
        ("127.0.0.1 10.0.0.0/8", 2, "10.0.0.2"),
        ("127.0.0.1 10.0.0.0/8", 3, "1.2.3.4"),
        ("127.0.0.1 10.0.0.0/8", 9, "1.2.3.4"),
        ("127.0.0.1 10.0.0.2", 9, "10.0.0.1"),
        ("*", 3, "1.2.3.4"),
        ("*", 9, "6.6.6.6"),
    ] {
        let expected = format!("{client} http h:1 8000");
        check(&trusting(proxies, hops), PROXY, &chain, &expected);
    }
    let all = trusting("*", 3);
    for (lines, expected) in [
        // Each proxy wrote one entry of each.
        (
            &[
                "X-Forwarded-For: 6.6.6.6, 1.1.1.1, 2.2.2.2, 3.3.3.3",
                "X-Forwarded-Proto: http, https, http, http",
                "X-Forwarded-Host: evil, a, b, c",
                "X-Forwarded-Port: 1, 2, 3, 4",
            ][..],
            "1.1.1.1 https a 2",
        ),
        // Only the outermost wrote the scheme; the host two of them.
        (
            &[
                "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3",
                "X-Forwarded-Proto: https",
                "X-Forwarded-Host: a, b",
            ],
            "1.1.1.1 https a 443",
        ),
        (
            &[
                "X-Forwarded-For: 1.1.1.1, unknown, 3.3.3.3",
                "X-Forwarded-Host: a, b, c",
            ],
            "3.3.3.3 http c 80",
        ),
    ] {
        check(&all, PROXY, lines, expected);
    }
}

#[test]
fn forwarded_is_believed_where_it_is_what_proxies_write() {
    let trust = |proxies, hops| Trust {
        fields: ForwardedFields::Rfc7239,
        schemes: Vec::new(),
        ..trusting(proxies, hops)
    };
    let one = trust("127.0.0.1", 1);
    for (lines, expected) in [
        (&["Forwarded: for=1.2.3.4"][..], "1.2.3.4 http h:1 8000"),
        (
            &["Forwarded: for=\"[::2]:9\";proto=https;host=a.example"],
            "[::2]:9 https a.example 443",
        ),
        (
            &["Forwarded: for=6.6.6.6;proto=https, for=1.2.3.4"],
            "1.2.3.4 http h:1 8000",
        ),
        (
            &[
                "Forwarded: for=6.6.6.6;host=evil",
                "Forwarded: for=1.2.3.4;host=a",
            ],
            "1.2.3.4 http a 80",
        ),
        (&["Forwarded: proto=https"], "127.0.0.1:4711 https h:1 1"),
        (
            &["Forwarded: for=unknown;proto=https"],
            "127.0.0.1:4711 https h:1 1",
        ),
        (&["Forwarded: for=_x"], "127.0.0.1:4711 http h:1 8000"),
        (&["Forwarded:"], "127.0.0.1:4711 http h:1 8000"),
        (&["Forwarded: for=1.2.3.4:80"], "400"),
        // All of it has to be in order, also what the client wrote.
        (&["Forwarded: for=, for=1.2.3.4"], "400"),
        (&["Forwarded: for=1.2.3.4;proto=ftp"], "400"),
        // The other family is not theirs, so a client wrote it.
        (
            &["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https"],
            "127.0.0.1:4711 http h:1 8000",
        ),
    ] {
        check(&one, PROXY, lines, expected);
    }
    let chain = ["Forwarded: for=6.6.6.6, for=1.1.1.1;proto=https;host=a, for=10.0.0.1"];
    check(
        &trust("127.0.0.1 10.0.0.1", 2),
        PROXY,
        &chain,
        "1.1.1.1 https a 443",
    );
    check(
        &trust("127.0.0.1", 2),
        PROXY,
        &chain,
        "10.0.0.1 http h:1 8000",
    );
    let long: Vec<String> = (0..200).map(|n| format!("for=1.1.1.{n}")).collect();
    let long = format!("Forwarded: {}", long.join(", "));
    check(&trust("*", 32), PROXY, &[&long], "1.1.1.168 http h:1 8000");
}

#[test]
fn what_the_proxies_do_not_write_goes() {
    let lines = [
        "Forwarded: for=6.6.6.6",
        "X-Forwarded-For: 1.2.3.4",
        "X-Forwarded-Host: evil",
        "X-Forwarded-Prefix: /x",
        "X-Forwarded-Proto: https",
    ];
    let (_, request) = judge(&Trust::default(), PROXY, &lines).unwrap();
    let own = ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"];
    assert_eq!(names(&request), own);
    let few = Trust {
        fields: ForwardedFields::X(XForwarded {
            client: true,
            ..XForwarded::default()
        }),
        schemes: Vec::new(),
        ..Trust::default()
    };
    let (text, request) = judge(&few, PROXY, &lines).unwrap();
    assert_eq!(text, "1.2.3.4 http h:1 8000");
    assert_eq!(names(&request), ["X-Forwarded-For"]);
    let other = Trust {
        fields: ForwardedFields::Rfc7239,
        schemes: Vec::new(),
        ..Trust::default()
    };
    let (text, request) = judge(&other, PROXY, &lines).unwrap();
    assert_eq!(
        (text.as_str(), names(&request)),
        ("6.6.6.6 http h:1 8000", vec!["Forwarded".to_owned()])
    );
}

#[test]
fn names_with_underscores() {
    let lines = [
        "X_Real_Ip: 6.6.6.6",
        "X-Real-Ip: 1",
        "X_Forwarded_For: 6.6.6.6",
        "_x: 1",
    ];
    let modes = |underscores| Trust {
        underscores,
        ..Trust::default()
    };
    let left = |underscores, peer| {
        let judged = judge(&modes(underscores), peer, &lines);
        judged.map(|(_, request)| names(&request).join(" "))
    };
    for peer in ["192.0.2.1", PROXY] {
        assert_eq!(left(Underscores::Drop, peer).as_deref(), Ok("X-Real-Ip"));
        assert_eq!(left(Underscores::Refuse, peer), Err(400));
        assert_eq!(
            left(Underscores::Keep, peer).as_deref(),
            Ok("X_Real_Ip X-Real-Ip _x"),
            "but no twin of a forwarding field"
        );
    }
    // A value is no name.
    check(
        &modes(Underscores::Refuse),
        PROXY,
        &["Cookie: a_b"],
        "127.0.0.1:4711 http h:1 8000",
    );
}

#[test]
fn proxies_may_say_where_the_application_is() {
    let script = |request: &Request| {
        let said = request.forwarded();
        let text = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
        let script = said.and_then(|said| said.script_name.as_ref()).map(text);
        let path = said.and_then(|said| said.path_info.as_ref()).map(text);
        (script, path)
    };
    let usual = Trust::default();
    let some = |text: &str| Some(text.to_owned());
    for (lines, expected) in [
        (&["SCRIPT_NAME: /app"][..], (some("/app"), None)),
        (&["Script_Name: /app/"], (some("/app"), None)),
        (&["SCRIPT_NAME: /"], (some(""), None)),
        (&["SCRIPT_NAME:"], (some(""), None)),
        (&["PATH_INFO: /a/"], (None, some("/a/"))),
        (&["Script-Name: /evil"], (None, None)),
    ] {
        let (_, request) = judge(&usual, PROXY, lines).unwrap();
        assert_eq!(script(&request), expected, "{lines:?}");
        let (_, request) = judge(&usual, "192.0.2.1", lines).unwrap();
        assert_eq!(script(&request), (None, None), "{lines:?}");
    }
    for lines in [
        &["SCRIPT_NAME: app"][..],
        &["SCRIPT_NAME: /a", "SCRIPT_NAME: /a"],
    ] {
        assert_eq!(judge(&usual, PROXY, lines).map(drop), Err(400), "{lines:?}");
    }
    let kept = Trust {
        underscores: Underscores::Keep,
        ..Trust::default()
    };
    let (_, request) = judge(&kept, "192.0.2.1", &["SCRIPT_NAME: /app"]).unwrap();
    assert_eq!(script(&request), (None, None), "kept, and not believed");
    let all = Trust {
        forwarder: vec!["*".to_owned()],
        ..Trust::default()
    };
    let (_, request) = judge(&all, PROXY, &["SSL_CLIENT: x", "PATH_INFO: /a"]).unwrap();
    assert_eq!(names(&request), ["SSL_CLIENT", "PATH_INFO"]);
    assert_eq!(script(&request), (None, some("/a")));
}
