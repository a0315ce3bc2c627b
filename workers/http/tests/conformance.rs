//! The raw cases of `tests/conformance`, as far as the parser decides them: each whole, cut at every
//! position, and one byte at a time. What an application answers is not at stake here.
//!
//! A case that is refused is cut everywhere up to the byte that decides it, and somewhat beyond:
//! behind a reject nothing is read, so that a megabyte of it need not be cut a million times.

mod driver;

use driver::{Outcome, drive};
use ferricorn_http::{Limits, Preface, ProxyHeader, ProxyVersions};
use serde_json::Value;

/// What the runner sends behind a case to see whether both sides still agree where it ended.
const PROBE: &str = "GET /?probe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Well-formed requests that a server has to refuse, or an application must not answer with 200:
/// the parser lets them through, and who decides is above it.
const DECIDED_ABOVE: [&str; 5] = [
    "tgt-absolute-https-cleartext",
    "mth-mixed-case",
    "mth-trace",
    "mth-connect",
    "exp-continue-wait",
];

/// Cases up to this many bytes are cut at every position.
const EVERYWHERE: usize = 4096;
/// Longer ones at every position up to so many bytes behind the one that decides, and at so many
/// further ones.
const BEYOND: usize = 64;
const FURTHER: usize = 64;

fn cases() -> Vec<Value> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/conformance/cases.jsonl"
    );
    let text = std::fs::read_to_string(path).expect("the cases are in the repository");
    let cases: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a case is JSON"))
        .collect();
    // Files are no matter of messages.
    cases
        .into_iter()
        .filter(|case| case["needs"] != "static")
        .collect()
}

/// The bytes of a case: latin-1, placeholders expanded, and the probe where the runner sends it.
fn bytes(case: &Value) -> (Vec<u8>, bool) {
    let mut raw = case["raw"].as_str().expect("raw is text").to_string();
    for placeholder in ["@@HDR@@", "@@ENV@@"] {
        raw = raw.replace(placeholder, "/app");
    }
    for (name, repeat) in case
        .get("repeat")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let text = repeat[0].as_str().expect("what to repeat");
        let times = repeat[1].as_u64().expect("how often") as usize;
        raw = raw.replace(name, &text.repeat(times));
    }
    let flag = |name: &str| case.get(name).and_then(Value::as_bool).unwrap_or(false);
    let probe = !(second(case).is_none() || flag("half_close") || flag("no_probe"));
    if probe {
        raw.push_str(PROBE);
    }
    (
        raw.chars()
            .map(|char| u8::try_from(u32::from(char)).expect("raw is latin-1"))
            .collect(),
        probe,
    )
}

/// Drives a case whole, cut, and in small pieces, and returns what all of these agree on.
fn drive_cut(input: &[u8], limits: &Limits, proxied: bool) -> Outcome {
    let whole = drive_from([input], limits, proxied);
    let mut fed = 0;
    let bytes = input.chunks(1).inspect(|_| fed += 1);
    assert_eq!(drive_from(bytes, limits, proxied), whole, "byte by byte");
    // Nothing is taken behind the byte that decides.
    let decided = fed;
    let sevens = drive_from(input.chunks(7), limits, proxied);
    assert_eq!(sevens, whole, "seven by seven");
    let near = if input.len() <= EVERYWHERE {
        input.len()
    } else {
        input.len().min(decided + BEYOND)
    };
    for cut in 1..near {
        let (front, back) = input.split_at(cut);
        // What is far behind the byte that decides is seen by the whole and by the cuts below.
        let back = &back[..back.len().min(EVERYWHERE.max(near) - cut)];
        let outcome = drive_from([front, back], limits, proxied);
        assert_eq!(outcome, whole, "cut at {cut} of {}", input.len());
    }
    let step = ((input.len() - near) / FURTHER).max(1);
    for cut in (near.max(1)..input.len()).step_by(step) {
        let (front, back) = input.split_at(cut);
        let outcome = drive_from([front, back], limits, proxied);
        assert_eq!(outcome, whole, "cut at {cut} of {}", input.len());
    }
    whole
}

/// Drives a connection, perhaps one with a PROXY header in front.
fn drive_from<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &Limits,
    proxied: bool,
) -> Outcome {
    if !proxied {
        return drive(pieces, limits);
    }
    let (mut pieces, mut front) = (pieces.into_iter(), Vec::new());
    while let Some(piece) = pieces.next() {
        front.extend_from_slice(piece);
        match ProxyHeader::parse(&front, ProxyVersions::Auto) {
            Ok(Preface::NeedMore) => {}
            Ok(Preface::Complete { len, .. }) => {
                let pieces = pieces.map(|piece| piece as &[u8]);
                return drive(std::iter::once(&front[len..]).chain(pieces), limits);
            }
            Err(reject) => {
                return Outcome {
                    messages: Vec::new(),
                    reject: Some(reject),
                    idle: false,
                    left: 0,
                };
            }
        }
    }
    drive([], limits)
}

fn second(case: &Value) -> Option<bool> {
    case["expect"]["second_request_answered"].as_bool()
}

/// The statuses that are right for the message of this index.
fn allowed(case: &Value, index: usize) -> Vec<u16> {
    let expect = &case["expect"];
    let list = expect
        .get("statuses")
        .map_or(&expect["status"], |lists| &lists[index]);
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .filter_map(|code| u16::try_from(code).ok())
        .collect()
}

/// What is wrong with this outcome.
fn judge(case: &Value, outcome: &Outcome, probe: bool) -> Result<(), String> {
    let id = case["id"].as_str().unwrap_or_default();
    let expected = case.get("n").and_then(Value::as_u64).unwrap_or(1) as usize;
    let flag = |name: &str| {
        case["expect"]
            .get(name)
            .and_then(Value::as_bool)
            .unwrap_or(false)
    };
    let half_close = case
        .get("half_close")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let complete = outcome.complete();
    for index in 0..expected {
        let allowed = allowed(case, index);
        if index < complete {
            let above = DECIDED_ABOVE.contains(&id) || case["group"] == "response";
            if !allowed.contains(&200) && !above {
                return Err(format!("message {index} is accepted, {allowed:?} expected"));
            }
        } else if let Some(status) = outcome.status() {
            if !allowed.contains(&status) && case["expect"]["status"] != "close" {
                return Err(format!(
                    "message {index} is refused with {status}, {allowed:?} expected"
                ));
            }
            return Ok(()); // behind a reject nothing is read
        } else if half_close {
            // The end of input is for the loop to see: it must not mistake this for quiet.
            let quiet = outcome.idle && outcome.left == 0 && outcome.messages.is_empty();
            let sent = case["raw"].as_str().is_some_and(|raw| !raw.is_empty());
            return if quiet && sent {
                Err("an incomplete message counts as idle".into())
            } else {
                Ok(())
            };
        } else if flag("or_wait") || !probe && index > 0 {
            return Ok(());
        } else {
            return Err(format!("message {index} of {expected} is waited for"));
        }
    }
    if expected == 1
        && outcome
            .messages
            .iter()
            .any(|message| message.line.contains("/smg"))
    {
        return Err("a request was smuggled".into());
    }
    let last = &outcome.messages[complete - 1];
    match (probe, second(case)) {
        (true, Some(true)) if complete != expected + 1 || outcome.reject.is_some() => {
            Err(format!("the probe is not message {expected}: {outcome:?}"))
        }
        (true, Some(true)) if last.line != "GET /?probe HTTP/1.1" => {
            Err(format!("out of step at {:?}", last.line))
        }
        (true, Some(false)) if complete != expected => Err(format!("{complete} messages are read")),
        (true, Some(false))
            if outcome.reject.is_none() && outcome.left + usize::from(outcome.idle) > 0 =>
        {
            Err("the connection would go on".into())
        }
        _ => Ok(()),
    }
}

#[test]
fn every_case_is_decided_and_however_it_is_cut() {
    let limits = Limits::default();
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases() {
        let (input, probe) = bytes(&case);
        let outcome = drive_cut(&input, &limits, case["needs"] == "proxy-protocol");
        count += 1;
        if let Err(why) = judge(&case, &outcome, probe) {
            wrong.push(format!("{}: {why}", case["id"]));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count >= 326, "only {count} cases were driven");
}

#[test]
fn what_is_decided_above_is_let_through() {
    for case in cases()
        .iter()
        .filter(|case| DECIDED_ABOVE.iter().any(|id| case["id"] == *id))
    {
        let (input, _) = bytes(case);
        assert_eq!(
            drive_from([&input[..]], &Limits::default(), false).status(),
            None,
            "{}",
            case["id"]
        );
    }
}
