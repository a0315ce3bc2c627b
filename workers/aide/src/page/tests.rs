//! What the page promises: nothing of a stranger's becomes markup, and its policy is its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::process::{Command, Stdio};

use ferricorn_base::words::{End, Quarantined, Queue, Reload, Scaling, Suspended};

use super::*;

const HOSTILE: &str = "</main><script>alert(1)</script>\"'&\u{1b}[2J\u{0}";

/// A server whose every text is hostile.
fn hostile() -> Status {
    let text = || HOSTILE.to_owned();
    Status {
        server: text(),
        pid: 1,
        name: Some(text()),
        uptime: 10.0,
        phase: text(),
        listeners: vec![text()],
        failure: Some(text()),
        outage: Some(3.0),
        reload: Some(Reload {
            number: 1,
            step: text(),
            target: None,
            ready: None,
        }),
        quarantine: vec![Quarantined {
            fingerprint: text(),
            request: text(),
            deaths: 3,
            age: 1.0,
            left: None,
        }],
        ignored_limits: vec![text()],
        restarts: [(text(), 1)].into(),
        verdicts: [(text(), 1)].into(),
        queues: vec![Queue {
            listener: text(),
            waiting: 1,
            room: 2,
        }],
        workers: vec![Worker {
            stage: text(),
            current: vec![Current {
                id: text(),
                method: text(),
                target: text(),
                peer: text(),
                age: f64::NAN,
                streaming: false,
            }],
            last_end: Some(End {
                how: text(),
                well: false,
                ago: -1.0,
            }),
            ..Worker::default()
        }],
        ..Status::default()
    }
}

#[test]
fn what_strangers_wrote_is_text() {
    let shown = page(&hostile(), Some(2.0));
    assert_eq!(shown.matches("<script>").count(), 1, "{shown}");
    assert_eq!(shown.matches("</main>").count(), 1, "{shown}");
    assert!(!shown.contains("alert(1)<"), "{shown}");
    assert!(shown.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;\u{fffd}"));
    assert!(!shown.contains(['\u{1b}', '\u{0}']), "{shown}");
    // No attribute is a handler, and none is left open.
    let quotes = shown
        .split("<main")
        .nth(1)
        .unwrap()
        .split("<script>")
        .next()
        .unwrap();
    assert_eq!(quotes.matches('"').count() % 2, 0, "{quotes}");
}

#[test]
fn the_policy_has_the_hashes_of_what_is_there() {
    for (what, text) in [("style-src", STYLE), ("script-src", SCRIPT)] {
        let mut child = Command::new("sh")
            .args(["-c", "sha256sum | cut -c-64"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let hex = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let bytes: Vec<u8> = (0..32)
            .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
            .collect();
        let source = format!("{what} 'sha256-{}'", base64(&bytes));
        assert!(POLICY.contains(&source), "the policy needs {source}");
    }
    // Neither may be ended by what is in it.
    assert!(!SCRIPT.contains("</") && !STYLE.contains("</"));
    assert!(!page(&hostile(), None).contains(" style=") && !SCRIPT.contains("innerHTML"));
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks(3).map(|chunk| {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digit = |n: usize| match n <= chunk.len() {
            true => char::from(DIGITS[(bits >> (18 - 6 * n) & 63) as usize]),
            false => '=',
        };
        (0..4).map(digit).collect::<String>()
    });
    groups.collect()
}

#[test]
fn what_the_server_has_decided_of_itself_is_shown() {
    let status = Status {
        quarantine: vec![Quarantined {
            fingerprint: "9a41c07be2d5f318".to_owned(),
            request: "GET /export".to_owned(),
            deaths: 3,
            age: 60.0,
            left: Some(540.0),
        }],
        suspended: vec![Suspended {
            slot: 2,
            seconds: 43.0,
        }],
        ignored_limits: vec!["max-memory".to_owned()],
        scaling: Some(Scaling {
            least: 2,
            most: 8,
            pinned: false,
        }),
        ..Status::default()
    };
    let shown = page(&status, None);
    for part in [
        "<p class=\"alarm bad\"><span>In quarantine: GET /export for 9 min 0 s more, as 3 workers died of it.<",
        "<p class=\"alarm warn\"><span>Suspended: worker 2 for 43.0 s more, as it fails again and again.<",
        "<p class=\"alarm warn\"><span>max-memory is too small, and ignored until a reload.<",
        "<th scope=\"row\">Scaling</th><td class=\"what\">from 2 to 8 workers</td>",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn people_get_a_page_and_programs_json() {
    for (accept, html) in [
        (None, false),
        (Some("*/*"), false),
        (Some("application/json"), false),
        (
            Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            true,
        ),
        (Some("text/html"), true),
        (Some("text/html;q=0"), false),
        (Some("application/json, text/html;q=0.5"), false),
        (
            Some("application/json;q=0.2, Text/HTML; level=1; q=0.5"),
            true,
        ),
        (Some("text/html;q=x"), false),
    ] {
        let mut fields = HeaderMap::new();
        if let Some(accept) = accept {
            fields.insert(ACCEPT, HeaderValue::from_static(accept));
        }
        assert_eq!(prefers_html(&fields), html, "{accept:?}");
    }
}

#[test]
fn numbers_are_means_until_a_script_makes_them_rates() {
    let status = Status {
        uptime: 10.0,
        totals: Counters {
            requests: 50,
            ..Counters::default()
        },
        handler_times: vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50],
        workers: vec![Worker {
            slot: 3,
            pid: 7,
            age: 4.0,
            counters: Counters {
                handler_micros: 1_000_000,
                ..Counters::default()
            },
            current: vec![Current {
                age: 1.0,
                ..Current::default()
            }],
            ..Worker::default()
        }],
        ..Status::default()
    };
    let shown = page(&status, None);
    for part in [
        "data-k=\"requests\" data-n=\"50\" data-f=\"count\" data-age=\"10\"><b>5</b>",
        "data-h=\"0,0,0,0,0,0,0,0,0,0,50\"><b>768 µs</b>",
        "aria-label=\"busy 50 %\"><rect height=\"100%\" width=\"50.0%\"/>",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}
