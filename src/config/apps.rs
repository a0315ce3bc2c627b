//! What may be named as an application.

use crate::settings::nearest;

/// Schemes of applications that are made of what follows the colon.
pub(crate) const SCHEMES: &[&str] = &["static", "cgi", "fastcgi", "scgi", "uwsgi", "http", "wsgi"];

/// Sub-commands to come; their names are no applications.
const COMMANDS: &[&str] = &["ctl", "top"];

/// Checks the name of an application.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn check(app: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&app) {
        return Ok(());
    }
    if COMMANDS.contains(&app) {
        return Err(format!(
            "the sub-command \"{app}\" is reserved and not available yet"
        ));
    }
    if let Some((scheme, rest)) = app.split_once(':') {
        if scheme == "static" {
            let directory = !rest.is_empty() && !rest.contains('\0');
            let wrong = || format!("expected \"static:DIR\", found \"{app}\"");
            return directory.then_some(()).ok_or_else(wrong);
        }
        if scheme == "cgi" {
            let path = !rest.is_empty() && !rest.contains('\0');
            let wrong = || format!("expected \"cgi:DIR_OR_PROGRAM\", found \"{app}\"");
            return path.then_some(()).ok_or_else(wrong);
        }
        if let Some(gateway) = ferricorn_gateway::Gateway::parse(app) {
            return gateway.map(drop);
        }
        if SCHEMES.contains(&scheme) {
            return Err(format!("applications \"{scheme}:\" are not available yet"));
        }
        if let Some(near) = nearest(scheme, SCHEMES.iter().copied()) {
            return Err(format!(
                "unknown application \"{app}\"; did you mean \"{near}:\"?"
            ));
        }
        return Err(format!(
            "unknown application \"{app}\"; applications in Python, MODULE:CALLABLE, are not \
             available yet"
        ));
    }
    Err(match nearest(app, known.iter().copied()) {
        Some(near) => format!("unknown application \"{app}\"; did you mean \"{near}\"?"),
        None => format!(
            "unknown application \"{app}\"; expected one of {}",
            known.join(", ")
        ),
    })
}

/// Checks the prefix of a mount.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), String> {
    if prefix == "/" {
        return Ok(());
    }
    if !prefix.starts_with('/') {
        return Err(format!(
            "expected a prefix that starts with \"/\", found \"{prefix}\""
        ));
    }
    if prefix.ends_with('/') {
        let plain = prefix.trim_end_matches('/');
        let plain = if plain.is_empty() { "/" } else { plain };
        return Err(format!(
            "expected a prefix without a final \"/\": \"{plain}\""
        ));
    }
    let odd = |segment: &str| segment.is_empty() || segment == "." || segment == "..";
    let allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '%');
    if prefix.split('/').skip(1).any(odd) || !prefix.chars().all(allowed) {
        return Err(format!(
            "expected a plain path (ASCII; no empty, \".\" or \"..\" segments, no \"?\", \"#\" or \
             \"%\"), found \"{prefix}\""
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications() {
        let known = ["welcome", "hello", "echo"];
        for (app, message) in [
            ("hello", ""),
            (
                "helo",
                "unknown application \"helo\"; did you mean \"hello\"?",
            ),
            (
                "shop",
                "unknown application \"shop\"; expected one of welcome, hello, echo",
            ),
            (
                "top",
                "the sub-command \"top\" is reserved and not available yet",
            ),
            ("static:/srv", ""),
            ("static:", "expected \"static:DIR\", found \"static:\""),
            ("cgi:/srv", ""),
            ("cgi:", "expected \"cgi:DIR_OR_PROGRAM\", found \"cgi:\""),
            ("fastcgi:127.0.0.1:9000", ""),
            ("scgi:unix:/run/a.sock", ""),
            ("http:localhost:8080", ""),
            (
                "uwsgi:9000",
                "uwsgi: expected HOST:PORT or unix:PATH, found \"9000\"",
            ),
            ("wsgi:a:b", "applications \"wsgi:\" are not available yet"),
            (
                "statik:/srv",
                "unknown application \"statik:/srv\"; did you mean \"static:\"?",
            ),
            (
                "myapp:app",
                "unknown application \"myapp:app\"; applications in Python, MODULE:CALLABLE, are \
                 not available yet",
            ),
        ] {
            assert_eq!(
                check(app, &known).err().unwrap_or_default(),
                message,
                "{app}"
            );
        }
    }

    #[test]
    fn prefixes() {
        for prefix in ["/", "/a", "/a/b.c", "/a-b_c~d"] {
            assert_eq!(check_prefix(prefix), Ok(()), "{prefix}");
        }
        for (prefix, start) in [
            ("", "expected a prefix that starts with \"/\", found \"\""),
            ("a", "expected a prefix that starts with \"/\", found \"a\""),
            ("/a/", "expected a prefix without a final \"/\": \"/a\""),
            ("//", "expected a prefix without a final \"/\": \"/\""),
            ("/a//b", "expected a plain path"),
            ("/a/../b", "expected a plain path"),
            ("/a?b", "expected a plain path"),
            ("/a b", "expected a plain path"),
            ("/é", "expected a plain path"),
            ("/%C3%A9", "expected a plain path"),
        ] {
            let message = check_prefix(prefix).expect_err(prefix);
            assert!(message.starts_with(start), "{prefix}: {message}");
        }
    }
}
