//! The cases of `tests/conformance/cases.jsonl` as bytes to send. What they expect is for the runner
//! to judge.

use serde_json::Value;

/// What the runner sends behind a case to see whether both sides still agree where it ended.
const PROBE: &str = "GET /?probe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    pub id: String,
    /// What it asks for beside a server: `hdr`, `env`, `static`, `proxy-protocol`.
    pub needs: Option<String>,
    pub raw: Vec<u8>,
    /// `raw`, and the probe where the runner sends one.
    pub sent: Vec<u8>,
    /// The client says by an end of file that this is all.
    pub half_close: bool,
}

/// All cases, in their order.
pub fn all() -> Vec<Case> {
    include_str!("cases.jsonl").lines().map(case).collect()
}

fn case(line: &str) -> Case {
    let case: Value = serde_json::from_str(line).expect("a case is JSON");
    let flag = |name: &str| case[name].as_bool().unwrap_or(false);
    let mut text = case["raw"].as_str().expect("raw is text").to_owned();
    for (name, path) in [("@@HDR@@", "/__hdr"), ("@@ENV@@", "/__env")] {
        text = text.replace(name, path);
    }
    for (name, repeat) in case["repeat"].as_object().into_iter().flatten() {
        let what = repeat[0].as_str().expect("what to repeat");
        let times = repeat[1].as_u64().expect("how often");
        text = text.replace(name, &what.repeat(times as usize));
    }
    let raw: Vec<u8> = text
        .chars()
        .map(|char| u8::try_from(u32::from(char)).expect("raw is latin-1"))
        .collect();
    let half_close = flag("half_close");
    let probed = !case["expect"]["second_request_answered"].is_null();
    let mut sent = raw.clone();
    if probed && !half_close && !flag("no_probe") {
        sent.extend_from_slice(PROBE.as_bytes());
    }
    Case {
        id: case["id"].as_str().expect("a case has an id").to_owned(),
        needs: case["needs"].as_str().map(str::to_owned),
        raw,
        sent,
        half_close,
    }
}
