//! `/status`: how the server stands, as JSON for programs and as a page for people. Pure functions of a
//! [`Snapshot`].
//!
//! The page needs nothing from elsewhere and works without its script, which only fetches it anew and
//! turns counts into rates. Whatever the master says passes [`Html::text`]: targets of requests are
//! what strangers wrote. The policy of the page allows the script and the style by their hashes,
//! and nothing else.

mod html;

use std::collections::BTreeMap;

use ferricorn_base::words::human::{bytes, count, latency, quantile, time};
use ferricorn_base::words::{Counters, Current, Status, Worker};
use ferricorn_base::{Error, Request, Response, typed};
use http::HeaderMap;
use http::header::{
    ACCEPT, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};

use self::html::Html;
use crate::Snapshot;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
/// What the page may do (CSP level 3): these two, fetching from here, and nothing else.
const POLICY: &str = "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; \
    style-src 'sha256-Gd+wvzW6866yw9HnFjAsQJDEl2B14n3hDgf6xdUPPPI='; \
    script-src 'sha256-H9dQLrjMNK7mmcNsMi10myk/FgnmKnFEIq1ZzHoGCG4='";

/// What the control socket answers to `status`: a page where the client prefers one.
///
/// # Errors
/// None that is known: the status can be written.
pub(crate) fn answer(snapshot: &Snapshot, request: &Request) -> Result<Response, Error> {
    let asks = request.path().ends_with(".json");
    if asks || !prefers_html(request.headers()) {
        let mut text = serde_json::to_string(&*snapshot.status)?;
        text.push('\n');
        let mut response = typed("application/json", text);
        let fields = response.headers_mut();
        fields.insert(VARY, HeaderValue::from_static("accept"));
        return Ok(response);
    }
    let silent = snapshot.is_silent.then(|| snapshot.age().as_secs_f64());
    let mut response = typed("text/html; charset=utf-8", page(&snapshot.status, silent));
    let fields = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (VARY, "accept"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Whether a client names HTML, and nothing that we have more eagerly (RFC 9110 section 12.5.1). One that
/// takes anything is a program.
fn prefers_html(fields: &HeaderMap) -> bool {
    let lines = fields.get_all(ACCEPT).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let (mut html, mut json) = (0.0, 0.0);
    for range in lines.flat_map(|line| line.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        let weight = weight.map_or(1.0, |text| text.parse().unwrap_or(0.0));
        if name.eq_ignore_ascii_case("text/html") {
            html = weight;
        } else if name.eq_ignore_ascii_case("application/json") {
            json = weight;
        }
    }
    html > 0.0 && html >= json
}

/// The page. `silent`: for so many seconds the master has said nothing.
fn page(status: &Status, silent: Option<f64>) -> String {
    let name = status.name.as_deref().unwrap_or("ferricorn");
    let mut page = Html::new();
    page.raw("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>");
    page.text(name);
    page.raw(": ").text(&status.phase);
    page.raw("</title>\n<meta name=\"viewport\" content=\"width=device-width\">\n");
    page.raw("<meta name=\"color-scheme\" content=\"light dark\">\n");
    page.raw("<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>\n");
    page.raw("<style>").raw(STYLE).raw("</style>\n");
    page.raw("<main data-up=\"")
        .text(&status.uptime.to_string());
    page.raw("\" data-pid=\"").text(&status.pid.to_string());
    page.raw("\">\n<header><h1>").text(name).raw("</h1>");
    page.raw("<span class=\"soft\">ferricorn ");
    page.text(&status.server).raw(" · pid ");
    page.text(&status.pid.to_string()).raw(" · up ");
    page.text(&time(status.uptime)).raw("</span>");
    page.raw("<span class=\"phase ")
        .raw(phase(status))
        .raw("\">");
    page.text(&status.phase).raw(", generation ");
    page.text(&status.generation.to_string());
    page.raw("</span></header>\n");
    alarms(&mut page, status, silent);
    cards(&mut page, status);
    workers(&mut page, status);
    history(&mut page, status);
    page.raw("</main>\n<footer>");
    page.raw("<button id=\"pause\" type=\"button\" aria-pressed=\"false\" hidden>Pause</button>");
    page.raw("<span id=\"gone\" class=\"bad\" role=\"alert\" hidden>no answer; trying on</span>");
    page.raw("<a href=\"/status.json\">JSON</a> <a href=\"/metrics\">metrics</a> ");
    page.raw("<a href=\"/health/ready\">health</a></footer>\n");
    page.raw("<script>").raw(SCRIPT).raw("</script>\n</html>\n");
    page.finish()
}

fn phase(status: &Status) -> &'static str {
    match status.phase.as_str() {
        "serving" => "good",
        "starting" | "reloading" => "move",
        _ => "warn",
    }
}

/// What is wrong or under way.
fn alarms(page: &mut Html, status: &Status, silent: Option<f64>) {
    let mut alarm = |class: &'static str, text: &str| {
        page.raw("<p class=\"alarm ").raw(class).raw("\"><span>");
        page.text(text).raw("</span></p>\n");
    };
    if let Some(seconds) = silent {
        let text = format!("The master does not answer; this is {} old.", time(seconds));
        alarm("bad", &text);
    }
    if let Some(seconds) = status.outage {
        alarm("bad", &format!("Nobody serves, for {}.", time(seconds)));
    }
    if let Some(reload) = &status.reload {
        let number = reload.number;
        let text = match (reload.target, reload.ready) {
            (Some(target), Some(ready)) => format!(
                "Reload {number}: {ready} of {} workers of generation {target} ready.",
                status.wanted
            ),
            _ => format!("Reload {number}: trying the program on disk."),
        };
        alarm("move", &text);
    }
    if let Some(failure) = &status.failure {
        alarm("bad", &format!("Last failure: {failure}"));
    }
    for one in &status.quarantine {
        alarm("bad", &format!("In quarantine: {one}."));
    }
    for place in &status.suspended {
        alarm("warn", &format!("Suspended: {place}."));
    }
    for limit in &status.ignored_limits {
        let text = format!("{limit} is too small, and ignored until a reload.");
        alarm("warn", &text);
    }
}

/// A number that the script shows as a rate: its name, itself, how it is shown, and what stands there
/// without a script: the mean since the start.
fn rate(page: &mut Html, key: &str, number: f64, form: &'static str, seconds: f64) {
    let mean = if seconds > 0.0 { number / seconds } else { 0.0 };
    let shown = if form == "bytes" {
        bytes(mean)
    } else {
        count(mean)
    };
    page.raw("<span data-k=\"").text(key).raw("\" data-n=\"");
    page.text(&number.to_string()).raw("\" data-f=\"").raw(form);
    page.raw("\" data-age=\"").text(&seconds.to_string());
    page.raw("\"><b>").text(&shown).raw("</b></span>");
}

/// A time within which a share of the handlers was done.
fn share(page: &mut Html, key: &str, histogram: &[u64], share: f64) {
    let counts: Vec<String> = histogram.iter().map(u64::to_string).collect();
    let shown = quantile(histogram, share).map_or("–".to_owned(), latency);
    page.raw("<span data-k=\"").text(key).raw("\" data-q=\"");
    page.text(&share.to_string()).raw("\" data-h=\"");
    page.text(&counts.join(",")).raw("\"><b>");
    page.text(&shown).raw("</b></span>");
}

/// The numbers of all workers together.
fn cards(page: &mut Html, status: &Status) {
    let totals = &status.totals;
    let up = status.uptime;
    let since = "<small data-since> since the start</small>";
    page.raw("<dl class=\"cards\">\n<div class=\"wide\"><dt>requests per second</dt><dd>");
    rate(page, "requests", totals.requests as f64, "count", up);
    page.raw(" ")
        .raw(since)
        .raw("</dd><svg viewBox=\"0 0 100 30\" preserveAspectRatio=\"none\" ");
    page.raw("aria-hidden=\"true\"><path id=\"picture\" d=\"\"/></svg></div>\n");
    let bad = if totals.server_error > 0 { "bad" } else { "" };
    page.raw("<div><dt>5xx per second</dt><dd class=\"")
        .raw(bad)
        .raw("\">");
    rate(page, "errors", totals.server_error as f64, "count", up);
    page.raw("</dd></div>\n<div><dt>half within</dt><dd>");
    share(page, "p50", &status.handler_times, 0.5);
    page.raw("</dd></div>\n<div><dt>99 % within</dt><dd>");
    share(page, "p99", &status.handler_times, 0.99);
    page.raw("</dd></div>\n<div><dt>sent per second</dt><dd>");
    rate(page, "out", totals.bytes_out as f64, "bytes", up);
    let ready = match status.ready {
        0 => "bad",
        n if n < status.wanted => "warn",
        _ => "good",
    };
    page.raw("</dd></div>\n<div><dt>workers ready</dt><dd class=\"")
        .raw(ready);
    page.raw("\">").text(&status.ready.to_string());
    page.raw(" <small>of ").text(&status.wanted.to_string());
    let connections: u64 = status.workers.iter().map(|w| w.connections).sum();
    page.raw("</small></dd></div>\n<div><dt>connections</dt><dd>");
    page.text(&count(connections as f64));
    let waiting: u32 = status.queues.iter().map(|queue| queue.waiting).sum();
    let class = if waiting > 0 { "warn" } else { "" };
    page.raw("</dd></div>\n<div><dt>waiting for a worker</dt><dd class=\"")
        .raw(class);
    page.raw("\">").text(&waiting.to_string());
    page.raw("</dd></div>\n<div><dt>requests in all</dt><dd>");
    page.text(&count(totals.requests as f64));
    page.raw("</dd></div>\n</dl>\n");
}

const HEADS: [(&str, &str); 11] = [
    ("Slot", "n"),
    ("Process", "n"),
    ("Gen.", "n"),
    ("State", ""),
    ("Busy", ""),
    ("Req/s", "n"),
    ("99 %", "n"),
    ("Conn.", "n"),
    ("Memory", "n"),
    ("Ended", "n"),
    ("Under way", "what"),
];

fn workers(page: &mut Html, status: &Status) {
    page.raw("<h2>Workers</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" ");
    page.raw(
        "aria-label=\"workers\"><table>\n<caption class=\"hidden\">The workers and what they ",
    );
    page.raw("are doing</caption>\n<thead><tr>");
    for (head, class) in HEADS {
        page.raw("<th scope=\"col\" class=\"").raw(class).raw("\">");
        page.raw(head).raw("</th>");
    }
    page.raw("</tr></thead>\n<tbody>\n");
    for one in &status.workers {
        worker(page, one);
    }
    page.raw("</tbody></table></div>\n");
}

fn worker(page: &mut Html, worker: &Worker) {
    let stage = match worker.stage.as_str() {
        "serving" => "good",
        "booting" => "move",
        "retiring" | "draining" => "warn",
        _ => "bad",
    };
    let number = |page: &mut Html, text: &str| {
        page.raw("<td class=\"n\">").text(text).raw("</td>");
    };
    let key = |name: &str| format!("{name}-{}", worker.pid);
    page.raw("<tr><th scope=\"row\" class=\"n\">");
    page.text(&worker.slot.to_string()).raw("</th>");
    number(page, &worker.pid.to_string());
    number(page, &worker.generation.to_string());
    page.raw("<td class=\"").raw(stage).raw("\">");
    page.text(&worker.stage).raw("</td><td>");
    busy(page, &key("busy"), worker);
    page.raw("</td><td class=\"n\">");
    rate(
        page,
        &key("requests"),
        worker.requests as f64,
        "count",
        worker.age,
    );
    page.raw("</td><td class=\"n\">");
    share(page, &key("p99"), &worker.handler_times, 0.99);
    page.raw("</td>");
    number(page, &worker.connections.to_string());
    let memory = worker.pss.or(worker.rss);
    number(
        page,
        &memory.map_or("–".to_owned(), |size| bytes(size as f64)),
    );
    let ill = worker.last_end.as_ref().is_some_and(|end| !end.well);
    page.raw("<td class=\"n ")
        .raw(if ill { "bad" } else { "" })
        .raw("\">");
    page.text(&worker.restarts.to_string())
        .raw("</td><td class=\"what\">");
    for request in &worker.current {
        under_way(page, request);
    }
    let more = worker.in_flight.saturating_sub(worker.current.len());
    if more > 0 {
        page.raw("<p class=\"soft\">and ")
            .text(&more.to_string())
            .raw(" more</p>");
    }
    if let Some(end) = worker.last_end.as_ref().filter(|end| !end.well) {
        page.raw("<p class=\"soft\">")
            .text(&time(end.ago))
            .raw(" ago the one before ");
        page.text(&end.how).raw("</p>");
    }
    page.raw("</td></tr>\n");
}

/// The share of the time that a worker is in a handler; what runs counts as far as it has come.
fn busy(page: &mut Html, key: &str, worker: &Worker) {
    let handlers = worker.current.iter().filter(|request| !request.streaming);
    let running: f64 = handlers.map(|request| request.age).sum();
    let seconds = worker.counters.handler_micros as f64 / 1e6 + running;
    let share = (seconds / worker.age.max(0.001)).clamp(0.0, 1.0);
    let tone = match share {
        s if s >= 0.9 => "bad",
        s if s >= 0.7 => "warn",
        _ => "",
    };
    page.raw("<span data-k=\"").text(key).raw("\" data-n=\"");
    page.text(&seconds.to_string()).raw("\" data-age=\"");
    page.text(&worker.age.to_string());
    page.raw("\"><svg class=\"bar ")
        .raw(tone)
        .raw("\" role=\"img\" aria-label=\"busy ");
    page.text(&format!("{:.0} %", share * 100.0))
        .raw("\"><rect height=\"100%\" width=\"");
    page.text(&format!("{:.1}%", share * 100.0))
        .raw("\"/></svg></span>");
}

fn under_way(page: &mut Html, request: &Current) {
    let class = match request.age {
        _ if request.streaming => "soft",
        age if age >= 10.0 => "bad",
        age if age >= 1.0 => "warn",
        _ => "soft",
    };
    page.raw("<p><code>")
        .text(&request.method)
        .raw(" ")
        .text(&request.target);
    page.raw("</code> <span class=\"")
        .raw(class)
        .raw("\">")
        .text(&time(request.age));
    page.raw("</span><small>from ").text(&request.peer);
    if request.streaming {
        page.raw(", streaming");
    }
    page.raw(", id ").text(&request.id).raw("</small></p>");
}

/// What was answered, how workers ended, what came of reloads, where it listens.
fn history(page: &mut Html, status: &Status) {
    let Counters {
        informational,
        success,
        redirection,
        client_error,
        server_error,
        ..
    } = status.totals;
    page.raw("<h2>Since the start</h2>\n<div class=\"scroll\"><table class=\"facts\"><tbody>\n");
    let mut row = |name: &str, value: &str| {
        page.raw("<tr><th scope=\"row\">")
            .text(name)
            .raw("</th><td class=\"what\">");
        page.text(value).raw("</td></tr>\n");
    };
    row(
        "Answers",
        &format!(
            "{success} 2xx, {redirection} 3xx, {client_error} 4xx, {server_error} 5xx, \
             {informational} 1xx"
        ),
    );
    let listed = |counts: &BTreeMap<String, u64>| {
        let counts = counts.iter().filter(|(_, n)| **n > 0);
        let counts: Vec<String> = counts.map(|(name, n)| format!("{n} {name}")).collect();
        if counts.is_empty() {
            "none".to_owned()
        } else {
            counts.join(", ")
        }
    };
    if let Some(scaling) = &status.scaling {
        row("Scaling", &scaling.to_string());
    }
    row("Workers ended", &listed(&status.restarts));
    row("Reloads", &listed(&status.verdicts));
    for listener in &status.listeners {
        let queue = status
            .queues
            .iter()
            .find(|queue| queue.listener == *listener);
        let queue = queue.map(|q| format!(": {} waiting, room for {}", q.waiting, q.room));
        row(
            "Listener",
            &format!("{listener}{}", queue.unwrap_or_default()),
        );
    }
    page.raw("</tbody></table></div>\n");
}

#[cfg(test)]
mod tests;
