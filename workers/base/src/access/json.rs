//! One access-log line as a JSON object (RFC 8259).
//!
//! Keys are fixed and in a fixed order. Whatever a client sends, the line is one valid object in
//! UTF-8 that holds nothing a terminal would obey. Nothing here allocates but by growing the line.

use std::io::Write;

use super::Record;
use super::escape::{hex, is_plain};
use super::text::{USER, address, basic_user, number, protocol};
use crate::stamp;

/// The part of a line's bytes that each value may have for the line to fit: there are six, and the
/// rest is short.
pub(super) const SHARE: usize = 9;

/// Appends the object, without a line end; values longer than `longest` are cut.
pub(super) fn render(record: &Record<'_>, pid: u32, longest: usize, out: &mut Vec<u8>) {
    let head = record.head;
    let text = |key: &[u8], value: Option<&[u8]>, out: &mut Vec<u8>| {
        out.extend_from_slice(key);
        match value {
            Some(value) if !value.is_empty() => string(value, longest, out),
            _ => out.extend_from_slice(b"null"),
        }
    };
    out.extend_from_slice(b"{\"time\":\"");
    stamp::push_rfc3339(record.unix_us, out);
    match record.client.ip() {
        Some(ip) => {
            out.extend_from_slice(b"\",\"remote_addr\":\"");
            address(ip, out);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"\",\"remote_addr\":null"),
    }
    text(b",\"user\":", basic_user(head, &mut [0; USER]), out);
    text(b",\"method\":", Some(head.method().as_bytes()), out);
    text(b",\"target\":", Some(head.target().as_bytes()), out);
    text(b",\"protocol\":", protocol(head).map(str::as_bytes), out);
    out.extend_from_slice(b",\"status\":");
    number(record.status.into(), out);
    out.extend_from_slice(b",\"bytes\":");
    number(record.body_bytes, out);
    out.extend_from_slice(b",\"duration_us\":");
    number(record.took_us, out);
    text(b",\"referer\":", head.field("referer"), out);
    text(b",\"user_agent\":", head.field("user-agent"), out);
    text(b",\"host\":", head.authority().map(str::as_bytes), out);
    out.extend_from_slice(b",\"pid\":");
    number(pid.into(), out);
    // Writing to a Vec cannot fail; a name that was given is plain.
    let _ = write!(out, ",\"request_id\":\"{}\"", record.id);
    let _ = match record.trace {
        Some(trace) => {
            let (id, span) = (trace.id(), trace.span());
            write!(
                out,
                ",\"trace_id\":\"{id:032x}\",\"span_id\":\"{span:016x}\""
            )
        }
        None => write!(out, ",\"trace_id\":null,\"span_id\":null"),
    };
    out.push(b'}');
}

/// Appends the object that tells of dropped lines.
pub(super) fn tell(lines: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    stamp::push_rfc3339(stamp::now_us(), out);
    out.extend_from_slice(b"\",\"dropped\":");
    number(lines, out);
    out.extend_from_slice(b",\"pid\":");
    number(std::process::id().into(), out);
    out.push(b'}');
}

/// Appends a string of at most `longest` bytes and `...` between quotes.
fn string(text: &[u8], longest: usize, out: &mut Vec<u8>) {
    out.push(b'"');
    if text.len() <= longest && is_plain(text) {
        out.extend_from_slice(text);
    } else {
        characters(text, longest, out);
    }
    out.push(b'"');
}

fn characters(text: &[u8], longest: usize, out: &mut Vec<u8>) {
    let start = out.len();
    for chunk in text.utf8_chunks() {
        let unreadable = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        for c in chunk.valid().chars().chain(unreadable) {
            let before = out.len();
            character(c, out);
            if out.len() - start > longest {
                out.truncate(before);
                out.extend_from_slice(b"...");
                return;
            }
        }
    }
}

fn character(c: char, out: &mut Vec<u8>) {
    match c {
        '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
        // All of them are below U+10000.
        c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
            let [high, low] = (c as u16).to_be_bytes().map(hex);
            out.extend_from_slice(b"\\u");
            out.extend_from_slice(&high);
            out.extend_from_slice(&low);
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}
