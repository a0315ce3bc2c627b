//! The raw HTTP/1.1 cases over TCP, cut: the server is given one part, has read it, and is given
//! the next. What it answers is what it answers to the whole message: statuses, fields but Date,
//! bodies, how many answers there are, and whether it closes.
//!
//! Hundreds of connections go through each step together. That the server has read a part is seen
//! in its receive queues (proc_pid_net(5), tcp), so that nothing sleeps.
#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

#[path = "conformance/cases.rs"]
mod cases;
#[path = "conformance/exchange.rs"]
mod exchange;
#[path = "conformance/listeners.rs"]
mod listeners;
mod support;

use std::net::SocketAddr;

use cases::Case;
use exchange::{Outcome, Plan, together, whole};
use support::{Server, testapp};

/// Cases up to this many bytes are cut at every position.
const EVERYWHERE: usize = 2048;
/// At so many positions the others are.
const POSITIONS: usize = 64;
/// Cases up to this many bytes come byte by byte.
const BYTE_BY_BYTE: usize = 320;
/// Connections that go through the steps together, and bytes that they send.
const BATCH: usize = 400;
const BATCH_BYTES: usize = 32 << 20;
/// What cases need that is not offered here: these are about files.
const NOT_OFFERED: [&str; 1] = ["static"];

/// Neither deadlines nor a lack of threads are what this is about.
const PATIENT: &str = "--keep-alive 120 --head-timeout 120 --body-timeout 120 \
                       --write-timeout 120 --linger-timeout 120 --timeout 120 --stream-threads 400";

/// A server, the cases it is given, and what it answers to each when that comes whole.
struct Setting {
    server: Server,
    /// The listener that is behind a proxy.
    proxied: SocketAddr,
    cases: Vec<Case>,
    answers: Vec<Outcome>,
}

impl Setting {
    fn new() -> Setting {
        let server = testapp().file(listeners::FILE).no_bind();
        let server = server.args(PATIENT).ready();
        let proxied = listeners::proxied(&server);
        let offered = |case: &Case| {
            let needs = case.needs.as_deref();
            needs.is_none_or(|needs| !NOT_OFFERED.contains(&needs))
        };
        let cases: Vec<Case> = cases::all().into_iter().filter(offered).collect();
        assert!(cases.len() >= 326, "{} cases", cases.len());
        let plans: Vec<Plan> = cases
            .iter()
            .map(|case| plan(address(&server, proxied, case), case, &[]))
            .collect();
        let answers = whole(&plans);
        for (case, outcome) in cases.iter().zip(&answers) {
            assert_eq!(outcome.interim, 0, "{}: 100 though all is here", case.id);
        }
        Setting {
            server,
            proxied,
            cases,
            answers,
        }
    }

    /// Sends the cases cut in these ways; complains where an answer is another.
    fn compare(&self, cuts: &[(usize, Vec<usize>)]) -> Vec<Outcome> {
        let (mut outcomes, mut wrong) = (Vec::new(), Vec::new());
        let mut rest = cuts;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take(BATCH).take_while(|(case, _)| {
                bytes += self.cases[*case].sent.len();
                bytes <= BATCH_BYTES
            });
            let (batch, later) = rest.split_at(fits.count().max(1));
            rest = later;
            let plans: Vec<(Plan, &Outcome)> = batch
                .iter()
                .map(|(case, at)| {
                    let (case, answer) = (&self.cases[*case], &self.answers[*case]);
                    let address = address(&self.server, self.proxied, case);
                    (plan(address, case, at), answer)
                })
                .collect();
            let found = together(&plans);
            for ((case, at), outcome) in batch.iter().zip(&found) {
                let expected = &self.answers[*case];
                if outcome.answers != expected.answers || outcome.closed != expected.closed {
                    let id = &self.cases[*case].id;
                    wrong.push(format!("{id} cut at {at:?}:\n{outcome:#?}\n{expected:#?}"));
                }
            }
            outcomes.extend(found);
        }
        let few = &wrong[..wrong.len().min(5)];
        assert!(
            wrong.is_empty(),
            "{} of {} are answered in another way, among them\n{}",
            wrong.len(),
            cuts.len(),
            few.join("\n")
        );
        outcomes
    }

    fn index(&self, id: &str) -> usize {
        self.cases.iter().position(|case| case.id == id).unwrap()
    }
}

/// The listener that a case is for.
fn address(server: &Server, proxied: SocketAddr, case: &Case) -> SocketAddr {
    match case.needs.as_deref() {
        Some("proxy-protocol") => proxied,
        _ => server.address(),
    }
}

fn plan<'a>(address: SocketAddr, case: &'a Case, cuts: &[usize]) -> Plan<'a> {
    let (mut pieces, mut start) = (Vec::new(), 0);
    for &cut in cuts {
        pieces.push(&case.sent[start..cut]);
        start = cut;
    }
    pieces.push(&case.sent[start..]);
    let places = &cuts[..cuts.len().min(1)];
    Plan {
        name: format!("{} cut at {places:?}", case.id),
        address,
        pieces,
        half_close: case.half_close,
    }
}

/// Where a case is cut in two: within it, and between it and what is sent behind it.
fn positions(case: &Case) -> Vec<usize> {
    let most = case.raw.len().min(case.sent.len().saturating_sub(1));
    if most <= EVERYWHERE {
        return (1..=most).collect();
    }
    // Where the request line begins, where all of it ends, and evenly between.
    let edge = POSITIONS / 8;
    let between = POSITIONS - 2 * edge;
    let first = 1..=edge;
    let spread = (1..=between).map(|i| edge + i * (most - 2 * edge) / (between + 1));
    let last = most - edge + 1..=most;
    first.chain(spread).chain(last).collect()
}

#[test]
fn a_message_cut_in_two_is_answered_as_the_whole() {
    let setting = Setting::new();
    let cases = setting.cases.iter().enumerate();
    let cuts: Vec<(usize, Vec<usize>)> = cases
        .flat_map(|(index, case)| positions(case).into_iter().map(move |at| (index, vec![at])))
        .collect();
    assert!(cuts.len() > 20_000, "only {} cuts", cuts.len());
    let outcomes = setting.compare(&cuts);
    // The cuts were real: a body that is not there with its head is asked for, and only then.
    let now = setting.index("exp-continue-now");
    let raw = &setting.cases[now].raw;
    let head = raw.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    for ((case, at), outcome) in cuts.iter().zip(&outcomes) {
        if *case == now {
            let asked = usize::from(at[0] == head);
            assert_eq!(
                outcome.interim, asked,
                "cut at {at:?}, the head ends at {head}"
            );
        }
    }
    println!("{} cuts", cuts.len());
    setting.server.stop();
}

#[test]
fn a_message_that_comes_byte_by_byte_is_answered_as_the_whole() {
    let setting = Setting::new();
    let cases = setting.cases.iter().enumerate();
    let short = cases.filter(|(_, case)| case.sent.len() <= BYTE_BY_BYTE);
    let cuts: Vec<(usize, Vec<usize>)> = short
        .map(|(index, case)| (index, (1..case.sent.len().max(1)).collect()))
        .collect();
    let outcomes = setting.compare(&cuts);
    let asked = |id: &str| {
        let index = setting.index(id);
        let at = cuts.iter().position(|(case, _)| *case == index).unwrap();
        outcomes[at].interim
    };
    assert_eq!(asked("exp-continue-now"), 1);
    assert_eq!(asked("exp-continue-chunked-wait"), 1);
    assert_eq!(asked("exp-http10-ignored"), 0);
    println!("{} cases", cuts.len());
    setting.server.stop();
}
