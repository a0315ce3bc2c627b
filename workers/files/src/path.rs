//! The path of a request as the name of a file. Bytes in, bytes out: looks at no file system.
//!
//! It is decoded once. What is no name of a file (a NUL), or leads away from where it is (`.` and `..`),
//! is refused in every spelling; backslash and semicolon are characters like others here.

/// Why a path is not looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It holds a NUL, a dot segment, or a `%` without two digits: 400.
    Bad,
    /// It cannot be the name of a file, or of one that is shown: 404.
    None,
}

/// Which names that begin with a dot are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dotfiles {
    /// None.
    #[default]
    Hidden,
    /// `.well-known` at the top, and what is in it (RFC 8615).
    WellKnown,
    /// All.
    Shown,
}

/// Puts into `name` what `path` (the path of a request, or what of it is the application's) is
/// relative to the root: segments with one slash between two, none in front, and one at the end if the
/// path has one there. The root itself is the empty name.
///
/// # Errors
/// Why the path is refused.
pub fn decode(path: &str, dotfiles: Dotfiles, name: &mut Vec<u8>) -> Result<(), Refused> {
    name.clear();
    let mut slash = false;
    for segment in path.split('/') {
        slash = segment.is_empty();
        if slash {
            continue;
        }
        if !name.is_empty() {
            name.push(b'/');
        }
        let start = name.len();
        decode_segment(segment.as_bytes(), name)?;
        let segment = &name[start..];
        if segment.contains(&0) || matches!(segment, b"." | b"..") {
            return Err(Refused::Bad);
        }
        // An encoded slash is part of a name, and no file has such a name.
        if segment.contains(&b'/') || !is_shown(segment, start == 0, name, dotfiles) {
            return Err(Refused::None);
        }
    }
    if slash && !name.is_empty() {
        name.push(b'/');
    }
    Ok(())
}

pub(crate) fn is_shown(segment: &[u8], top: bool, name: &[u8], dotfiles: Dotfiles) -> bool {
    const WELL_KNOWN: &[u8] = b".well-known";
    match dotfiles {
        _ if segment[0] != b'.' => true,
        Dotfiles::Hidden => false,
        Dotfiles::Shown => true,
        Dotfiles::WellKnown if top => segment == WELL_KNOWN,
        Dotfiles::WellKnown => name
            .strip_prefix(WELL_KNOWN)
            .is_some_and(|rest| rest[0] == b'/'),
    }
}

fn decode_segment(mut rest: &[u8], name: &mut Vec<u8>) -> Result<(), Refused> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    loop {
        let plain = rest.iter().position(|byte| *byte == b'%');
        name.extend_from_slice(&rest[..plain.unwrap_or(rest.len())]);
        let Some(at) = plain else { return Ok(()) };
        let pair = match &rest[at + 1..] {
            [high, low, ..] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        let (high, low) = pair.ok_or(Refused::Bad)?;
        name.push((high << 4 | low) as u8);
        rest = &rest[at + 3..];
    }
}

/// A name as a segment of a path: everything but unreserved characters is encoded (RFC 3986 section
/// 2.3).
pub(crate) fn encode(name: &[u8], path: &mut String) {
    for &byte in name {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Whether `text` is as `pattern` says, in which `*` stands for any bytes, none among them.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // Where to go on when it does not fit: behind the last star, one byte later than before.
    let mut again: Option<(usize, usize)> = None;
    let (mut p, mut t) = (0, 0);
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            again = Some((p + 1, t + 1));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((behind, next)) = again {
            again = Some((behind, next + 1));
            (p, t) = (behind, next);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str, dotfiles: Dotfiles) -> Result<String, Refused> {
        let mut name = b"left over".to_vec();
        decode(path, dotfiles, &mut name)?;
        Ok(String::from_utf8_lossy(&name).into_owned())
    }

    #[test]
    fn a_path_is_decoded_once_into_the_name_of_a_file() {
        for (path, expected) in [
            ("", ""),
            ("/", ""),
            ("///", ""),
            ("/a", "a"),
            ("/a/", "a/"),
            ("//a//b//", "a/b/"),
            ("/%61/b%20c", "a/b c"),
            ("/a%252e%252e", "a%2e%2e"),
            ("/%255c", "%5c"),
            ("/..;/etc", "..;/etc"),
            ("/a;b/c\\d/%5C..", "a;b/c\\d/\\.."),
            ("/...", "..."),
            ("/..a/b..", "..a/b.."),
            ("/%c3%a9", "é"),
            ("/~x", "~x"),
        ] {
            assert_eq!(
                name(path, Dotfiles::Shown).as_deref(),
                Ok(expected),
                "{path}"
            );
        }
    }

    #[test]
    fn what_leads_elsewhere_or_is_no_name_is_refused_in_every_spelling() {
        use Refused::{Bad, None};
        for (path, expected) in [
            ("/..", Bad),
            ("/../", Bad),
            ("/a/../b", Bad),
            ("/a/./b", Bad),
            ("/.", Bad),
            ("/%2e%2e/etc", Bad),
            ("/.%2E/etc", Bad),
            ("/%2e", Bad),
            ("/a%00", Bad),
            ("/%00/../b", Bad),
            ("/a%", Bad),
            ("/a%2", Bad),
            ("/a%zz", Bad),
            ("/a%2fb", None),
            ("/%2F", None),
            ("/..%2f..%2fetc", None),
            ("/.%2e%2f", None),
        ] {
            assert_eq!(name(path, Dotfiles::Shown), Err(expected), "{path}");
        }
    }

    #[test]
    fn names_that_begin_with_a_dot_are_hidden() {
        use Dotfiles::{Hidden, Shown, WellKnown};
        for (path, hidden, well_known) in [
            ("/.git/config", false, false),
            ("/a/.env", false, false),
            ("/%2egit", false, false),
            ("/...", false, false),
            ("/.well-known/acme/x", false, true),
            ("/.well-known", false, true),
            ("/.well-known/.x", false, true),
            ("/a/.well-known/x", false, false),
            ("/.well-knownish/x", false, false),
            ("/a.b/c.", true, true),
        ] {
            assert_eq!(name(path, Hidden).is_ok(), hidden, "{path}");
            assert_eq!(name(path, WellKnown).is_ok(), well_known, "{path}");
            assert!(name(path, Shown).is_ok(), "{path}");
        }
    }

    #[test]
    fn a_name_comes_back_from_its_path() {
        let mut path = String::new();
        encode(b"a b/%\xff'\"<c>.txt", &mut path);
        assert_eq!(path, "a%20b%2F%25%FF%27%22%3Cc%3E.txt");
    }

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("*.css", "a.css", true),
            ("*.css", "a.css.map", false),
            ("*", "", true),
            ("/a/*", "/a/b/c", true),
            ("/a/*", "/ab", false),
            ("*a*b*", "xaxxbx", true),
            ("*a*b*", "xbxxa", false),
            ("a*a", "a", false),
            ("*.min.*", "x.min.js", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                fits,
                "{pattern} {text}"
            );
        }
    }
}
