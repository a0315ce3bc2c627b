//! What is in a directory, as a page or as JSON. Names are bytes that anybody may have chosen: they are
//! escaped in the page, and encoded where they are links.

use std::fmt::Write;
use std::io;

use ferricorn_base::{Response, typed};
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, VARY, X_CONTENT_TYPE_OPTIONS};
use rustix::fs::Dir;

use crate::codings::thousandths;
use crate::conditions::date;
use crate::path::{self, Dotfiles};
use crate::root::{Opened, Root, What};

/// Names beyond so many are left out.
const MOST: usize = 10_000;
/// Nothing that a name could smuggle in is run or fetched.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// One line.
struct Line {
    name: Vec<u8>,
    what: What,
    size: u64,
    modified: u64,
}

/// Answers with what is in a directory, `name` beneath the root, which the client calls `shown`.
///
/// # Errors
/// What reading the directory answers.
pub(crate) fn respond(
    root: &Root,
    name: &[u8],
    opened: Opened,
    dotfiles: Dotfiles,
    shown: &str,
    accept: &[u8],
) -> io::Result<Response> {
    let lines = read(root, name, opened, dotfiles)?;
    let mut response = if prefers_json(accept) {
        typed("application/json", json(&lines))
    } else {
        typed("text/html; charset=utf-8", page(&lines, shown))
    };
    let fields = response.headers_mut();
    fields.insert(VARY, HeaderValue::from_static("Accept"));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Ok(response)
}

/// What would be served of it, directories first, then by name.
fn read(root: &Root, above: &[u8], opened: Opened, dotfiles: Dotfiles) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for entry in Dir::new(opened.file)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") || lines.len() == MOST {
            continue;
        }
        let full = [above, name].concat();
        if !path::is_shown(name, above.is_empty(), &full, dotfiles) {
            continue;
        }
        if let Ok((what, stamp)) = root.look(&full) {
            lines.push(Line {
                name: name.to_vec(),
                what,
                size: stamp.size,
                modified: u64::try_from(stamp.modified.0).unwrap_or(0),
            });
        }
    }
    let key = |line: &Line| (line.what == What::File, line.name.clone());
    lines.sort_by_cached_key(key);
    Ok(lines)
}

fn page(lines: &[Line], shown: &str) -> String {
    let mut title = String::new();
    escape(shown, &mut title);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Index of {title}</title>\n\
         <style>body{{font-family:sans-serif;margin:2em}}td{{padding:.1em 1em .1em 0}}\
         td+td{{text-align:right;font-variant-numeric:tabular-nums}}</style>\n\
         <h1>Index of {title}</h1>\n<table>\n"
    );
    if shown != "/" {
        page.push_str("<tr><td><a href=\"../\">../</a><td><td>\n");
    }
    for line in lines {
        let slash = if line.what == What::Directory {
            "/"
        } else {
            ""
        };
        // With `./`, or a colon in the first segment would be the end of a scheme (RFC 3986 section 4.2).
        page.push_str("<tr><td><a href=\"./");
        path::encode(&line.name, &mut page);
        let _ = write!(page, "{slash}\">");
        escape(&String::from_utf8_lossy(&line.name), &mut page);
        let _ = write!(page, "{slash}</a><td>");
        if line.what == What::File {
            let _ = write!(page, "{}", line.size);
        }
        let _ = writeln!(page, "<td>{}", date(line.modified));
    }
    page.push_str("</table>\n");
    page
}

/// As nginx's autoindex has it.
fn json(lines: &[Line]) -> String {
    let lines = lines.iter().map(|line| {
        let name = String::from_utf8_lossy(&line.name);
        let modified = date(line.modified);
        match line.what {
            What::Directory => {
                serde_json::json!({ "name": name, "type": "directory", "mtime": modified })
            }
            What::File => serde_json::json!({
                "name": name, "type": "file", "mtime": modified, "size": line.size
            }),
        }
    });
    serde_json::Value::Array(lines.collect()).to_string()
}

fn escape(text: &str, page: &mut String) {
    for c in text.chars() {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            // Neither a line nor anything unseen.
            c if c.is_control() => page.push('\u{fffd}'),
            c => page.push(c),
        }
    }
}

/// Whether the value of an Accept names JSON, and HTML not or as less welcome (RFC 9110 section 12.5.1).
fn prefers_json(accept: &[u8]) -> bool {
    let weight = |kind: &[u8]| {
        accept.split(|byte| *byte == b',').find_map(|item| {
            let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            if !parts.next()?.eq_ignore_ascii_case(kind) {
                return None;
            }
            let weight = parts.find_map(|part| part.strip_prefix(b"q="));
            Some(weight.map_or(1000, thousandths))
        })
    };
    weight(b"application/json").unwrap_or(0) > weight(b"text/html").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::Symlinks;

    fn listing(dotfiles: Dotfiles, accept: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::create_dir(path.join("zoo")).unwrap();
        for name in [
            "b.txt",
            "a b&c",
            "<script>alert(1)<",
            "\"quoted'",
            "x:y",
            ".hidden",
        ] {
            std::fs::write(path.join(name), "12345").unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", path.join("leak")).unwrap();
        std::os::unix::fs::symlink("b.txt", path.join("link")).unwrap();
        let root = Root::open(path, Symlinks::Inside).unwrap();
        let opened = root.read(b"").unwrap();
        let accept = accept.as_bytes();
        let response = respond(&root, b"", opened, dotfiles, "/<b>/", accept).unwrap();
        String::from_utf8(response.into_body().collect().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn names_are_escaped_and_what_is_not_served_is_not_listed() {
        let page = listing(Dotfiles::Hidden, "text/html");
        for there in [
            "Index of /&lt;b&gt;/",
            "<a href=\"../\">",
            "<a href=\"./zoo/\">zoo/</a>",
            "<a href=\"./a%20b%26c\">a b&amp;c</a><td>5<td>",
            "<a href=\"./%3Cscript%3Ealert%281%29%3C\">&lt;script&gt;alert(1)&lt;</a>",
            "<a href=\"./%22quoted%27\">&quot;quoted&#39;</a>",
            "<a href=\"./x%3Ay\">x:y</a>",
            "<a href=\"./link\">link</a>",
        ] {
            assert!(page.contains(there), "{there} in {page}");
        }
        for missing in ["<script", "hidden", "leak"] {
            assert!(!page.contains(missing), "{missing} in {page}");
        }
        // Directories come first.
        assert!(page.find("zoo/").unwrap() < page.find("a b&amp;c").unwrap());
        assert!(listing(Dotfiles::Shown, "").contains(".hidden"));
    }

    #[test]
    fn programs_get_json() {
        let text = listing(Dotfiles::Hidden, "application/json, text/html;q=0.5");
        let lines: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(lines[0]["name"], "zoo");
        assert_eq!(lines[0]["type"], "directory");
        assert_eq!(lines[1]["name"], "\"quoted'");
        assert_eq!(lines[1]["size"], 5);
        assert!(lines[1]["mtime"].as_str().unwrap().ends_with(" GMT"));
        for (accept, json) in [
            ("application/json", true),
            ("application/json, */*", true),
            ("text/html,application/xhtml+xml,*/*;q=0.8", false),
            ("*/*", false),
            ("application/json;q=0.5, text/html", false),
            ("application/json;q=0", false),
            ("", false),
        ] {
            assert_eq!(prefers_json(accept.as_bytes()), json, "{accept}");
        }
    }
}
