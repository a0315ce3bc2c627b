//! Which script a path names, and what is left of the path for it. Pure: looks at no file, as the scripts may be on
//! the machine of the back end.

use crate::options::Options;

/// A script and what it is given of the path, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// SCRIPT_NAME (RFC 3875 section 4.1.13).
    pub name: Vec<u8>,
    /// PATH_INFO (section 4.1.5).
    pub info: Vec<u8>,
    /// SCRIPT_FILENAME.
    pub file: Option<Vec<u8>>,
}

impl Script {
    /// What `path` names beneath `prefix`, both decoded; `None`: nothing.
    #[must_use]
    pub fn of(prefix: &[u8], path: &[u8], options: &Options) -> Option<Script> {
        let Some(root) = &options.root else {
            return Some(Script {
                name: prefix.to_vec(),
                info: path.to_vec(),
                file: None,
            });
        };
        let mut path = path.to_vec();
        if path.is_empty() {
            path.push(b'/');
        }
        // A script above the root is nobody's to name; what a double slash means, the back end would decide.
        if path
            .split(|&byte| byte == b'/')
            .any(|segment| segment == b"..")
        {
            return None;
        }
        let (script, info) = match (split(&path, &options.split), &options.fallback) {
            (Some(end), _) => (path[..end].to_vec(), path[end..].to_vec()),
            (None, Some(script)) => (script.as_bytes().to_vec(), path),
            (None, None) if path.ends_with(b"/") => {
                path.extend_from_slice(options.index.as_bytes());
                (path, Vec::new())
            }
            (None, None) => return None,
        };
        Some(Script {
            file: Some([root.as_bytes(), &script].concat()),
            name: [prefix, &script].concat(),
            info,
        })
    }
}

/// Where the first segment of the path ends that ends so.
fn split(path: &[u8], ending: &str) -> Option<usize> {
    let ending = ending.as_bytes();
    let mut at = 0;
    for segment in path.split(|&byte| byte == b'/') {
        let end = at + segment.len();
        if segment.len() > ending.len() && segment.ends_with(ending) {
            return Some(end);
        }
        at = end + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts() {
        let php = Options {
            root: Some("/srv".to_owned()),
            ..Options::default()
        };
        let front = Options {
            fallback: Some("/front.php".to_owned()),
            ..php.clone()
        };
        for (options, path, expected) in [
            (&php, "", Some(("/index.php", "", "/srv/index.php"))),
            (&php, "/", Some(("/index.php", "", "/srv/index.php"))),
            (&php, "/a/", Some(("/a/index.php", "", "/srv/a/index.php"))),
            (&php, "/a.php", Some(("/a.php", "", "/srv/a.php"))),
            (&php, "/a.php/b/c", Some(("/a.php", "/b/c", "/srv/a.php"))),
            (&php, "/a.php/", Some(("/a.php", "/", "/srv/a.php"))),
            (
                &php,
                "/a.php/b.php",
                Some(("/a.php", "/b.php", "/srv/a.php")),
            ),
            (&php, "/a.phpx", None),
            (&php, "/.php", None),
            (&php, "/style.css", None),
            (&php, "/x/../a.php", None),
            (
                &front,
                "/b/c",
                Some(("/front.php", "/b/c", "/srv/front.php")),
            ),
            (&front, "/b/", Some(("/front.php", "/b/", "/srv/front.php"))),
            (&front, "/b.php/c", Some(("/b.php", "/c", "/srv/b.php"))),
        ] {
            let script = Script::of(b"/shop", path.as_bytes(), options);
            let expected = expected.map(|(name, info, file)| Script {
                name: format!("/shop{name}").into_bytes(),
                info: info.as_bytes().to_vec(),
                file: Some(file.as_bytes().to_vec()),
            });
            assert_eq!(script, expected, "{path}");
        }
        let plain = Script::of(b"/app", b"/a/../b", &Options::default()).unwrap();
        let expected = (&b"/app"[..], &b"/a/../b"[..], None);
        assert_eq!((&plain.name[..], &plain.info[..], plain.file), expected);
    }
}
