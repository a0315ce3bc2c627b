//! Several applications under path prefixes.
//!
//! The longest prefix wins and ends where a segment ends: `/shop` has `/shop` and `/shop/cart`, but
//! not `/shopping`. An application sees the whole path as it was received, and how much of it leads to
//! the application ([`Request::script_name`]).

use std::fmt;
use std::time::Duration;

use ferricorn_base::{App, Begin, BoxApp, Error, Handler, IntoResponse, Request, Response, Seat};
use http::StatusCode;

/// An application that is made of others, each under its prefix; 404 where none fits.
///
/// ```
/// use ferricorn_apps::{Echo, Mounts};
/// use ferricorn_base::{BoxApp, Request};
///
/// let mut mounts = Mounts::new();
/// mounts.add("/echo", BoxApp::new(Echo))?;
/// mounts.add("/", BoxApp::new(|_: &mut Request| "everything else"))?;
/// # Ok::<(), ferricorn_base::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Mounts(Vec<Mount<BoxApp>>);

/// One application, or its handler.
#[derive(Debug)]
struct Mount<T> {
    /// Without slashes at its end.
    prefix: String,
    app: T,
    /// How long a handler may take, where that is not as everywhere.
    timeout: Option<Duration>,
}

impl Mounts {
    /// No applications yet.
    #[must_use]
    pub fn new() -> Mounts {
        Mounts::default()
    }

    /// Puts `app` under `prefix`: `/`, or a path without dot segments or percent-encoding; slashes
    /// at its end do not matter.
    ///
    /// # Errors
    /// A prefix that could never match, or that is taken.
    pub fn add(&mut self, prefix: &str, app: BoxApp) -> Result<(), Error> {
        let plain = prefix.trim_end_matches('/');
        if !prefix.starts_with('/') || prefix.contains(['?', '#', '%']) {
            let text = format!("mount {prefix:?}: a prefix is a path such as / or /shop");
            return Err(Error::msg(text));
        }
        // Sorted so that the longest comes first.
        let at = self.0.partition_point(|m| m.prefix.len() >= plain.len());
        if self.0[..at].iter().any(|mount| mount.prefix == plain) {
            return Err(Error::msg(format!("mount {prefix:?}: it is there twice")));
        }
        let mount = Mount {
            prefix: plain.to_owned(),
            app,
            timeout: None,
        };
        self.0.insert(at, mount);
        Ok(())
    }

    /// Gives the handlers of what was put under `prefix` a time of their own for a request, instead of
    /// `timeout`; zero: no limit.
    pub fn set_timeout(&mut self, prefix: &str, time: Duration) {
        let plain = prefix.trim_end_matches('/');
        let mounts = self.0.iter_mut();
        mounts
            .filter(|mount| mount.prefix == plain)
            .for_each(|mount| mount.timeout = Some(time));
    }
}

impl App for Mounts {
    type Handler = Mounted;

    fn load(&mut self) -> Result<(), Error> {
        for mount in &mut self.0 {
            let loaded = mount.app.load();
            loaded.map_err(|error| inside(&mount.prefix, &error))?;
        }
        Ok(())
    }

    fn boot(&self, seat: &Seat) -> Result<Mounted, Error> {
        let boot = |mount: &Mount<BoxApp>| match mount.app.boot(seat) {
            Ok(app) => Ok(Mount {
                prefix: mount.prefix.clone(),
                app,
                timeout: mount.timeout,
            }),
            Err(error) => Err(inside(&mount.prefix, &error)),
        };
        Ok(Mounted(self.0.iter().map(boot).collect::<Result<_, _>>()?))
    }
}

/// The handlers of [`Mounts`].
pub struct Mounted(Vec<Mount<Box<dyn Handler>>>);

impl Mounted {
    /// Chosen anew in `begin` and in `handle`: other requests come between the two.
    fn find(&mut self, request: &mut Request) -> Option<&mut Box<dyn Handler>> {
        let path = request.path();
        let (mount, len) = self.0.iter_mut().find_map(|mount| {
            let len = led_by(&mount.prefix, path)?;
            Some((mount, len))
        })?;
        request.set_script_name(len);
        if let Some(time) = mount.timeout {
            request.set_timeout(time);
        }
        Some(&mut mount.app)
    }
}

impl Handler for Mounted {
    fn begin(&mut self, request: &mut Request) -> Result<Begin, Error> {
        match self.find(request) {
            Some(handler) => handler.begin(request),
            None => Ok(Begin::Respond(StatusCode::NOT_FOUND.into_response()?)),
        }
    }

    fn handle(&mut self, request: &mut Request) -> Result<Response, Error> {
        match self.find(request) {
            Some(handler) => handler.handle(request),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn idle(&mut self) {
        self.0.iter_mut().for_each(|mount| mount.app.idle());
    }
}

impl fmt::Debug for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefixes = self.0.iter().map(|mount| &mount.prefix);
        f.debug_list().entries(prefixes).finish()
    }
}

/// How many bytes of `path` are `prefix`, where it ends there or goes on with a slash. Percent-encoded
/// unreserved characters count as themselves (RFC 3986 section 6.2.2.2), so that no spelling of a path
/// reaches another application.
fn led_by(prefix: &str, path: &str) -> Option<usize> {
    let mut rest = path.as_bytes();
    for &expected in prefix.as_bytes() {
        let (byte, after) = match rest {
            [b'%', high, low, after @ ..] => (unreserved(*high, *low)?, after),
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        if byte != expected {
            return None;
        }
        rest = after;
    }
    let ends = prefix.is_empty() || matches!(rest, [] | [b'/', ..]);
    ends.then_some(path.len() - rest.len())
}

fn unreserved(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    (byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)).then_some(byte)
}

fn inside(prefix: &str, error: &Error) -> Error {
    Error::msg(format!("mount {prefix}/: {error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(prefixes: &[&'static str]) -> Result<Mounted, Error> {
        let mut mounts = Mounts::new();
        for &prefix in prefixes {
            mounts.add(prefix, BoxApp::new(move |_: &mut Request| prefix))?;
        }
        mounts.load()?;
        mounts.boot(&Seat::default())
    }

    fn get(handler: &mut Mounted, path: &str) -> String {
        let mut request = Request::build("GET", path, [("Host", "localhost")]).unwrap();
        let response = match handler.begin(&mut request).unwrap() {
            Begin::Respond(response) => response,
            _ => handler.handle(&mut request).unwrap(),
        };
        let status = response.status().as_u16();
        let content = response.into_body().collect().unwrap();
        format!("{status} {}", String::from_utf8_lossy(&content))
    }

    #[test]
    fn the_longest_prefix_wins_at_segment_boundaries() {
        let mut handler = mounts(&["/", "/shop/cart", "/shop"]).unwrap();
        for (path, answer) in [
            ("/", "200 /"),
            ("/shop", "200 /shop"),
            ("/shop/", "200 /shop"),
            ("/shop?x=1", "200 /shop"),
            ("/shopping", "200 /"),
            ("/shop/cart/3", "200 /shop/cart"),
            ("/shop/cartoons", "200 /shop"),
            ("/sh%6Fp/c%61rt", "200 /shop/cart"),
            ("/shop%2Fcart", "200 /"),
        ] {
            assert_eq!(get(&mut handler, path), answer, "{path}");
        }
    }

    #[test]
    fn an_application_knows_what_leads_to_it() {
        let tell = |request: &mut Request| {
            let (script_name, path_info) = (request.script_name(), request.path_info());
            format!("{script_name} + {path_info}")
        };
        let mut mounts = Mounts::new();
        mounts.add("/", BoxApp::new(tell)).unwrap();
        mounts.add("/shop", BoxApp::new(tell)).unwrap();
        let mut handler = mounts.boot(&Seat::default()).unwrap();
        for (path, answer) in [
            ("/", "200  + /"),
            ("/shop", "200 /shop + "),
            ("/shop/a/?x", "200 /shop + /a/"),
            ("/sh%6Fp/%61", "200 /sh%6Fp + /%61"),
            ("/shopping", "200  + /shopping"),
        ] {
            assert_eq!(get(&mut handler, path), answer, "{path}");
        }
    }

    #[test]
    fn without_a_fitting_prefix_there_is_nothing() {
        let mut handler = mounts(&["/shop/"]).unwrap();
        assert_eq!(get(&mut handler, "/shop/a"), "200 /shop/");
        assert_eq!(get(&mut handler, "/"), "404 Not Found");
        assert_eq!(get(&mut handler, "/sho"), "404 Not Found");
    }

    #[test]
    fn a_prefix_that_cannot_match_or_is_there_twice_is_refused() {
        for prefixes in [&["shop"][..], &[""], &["/a%62"], &["/a?b"], &["/a", "/a/"]] {
            assert!(mounts(prefixes).is_err(), "{prefixes:?}");
        }
    }

    #[test]
    fn what_fails_to_load_says_where() {
        #[derive(Debug)]
        struct Broken;
        impl App for Broken {
            type Handler = crate::Hello;
            fn load(&mut self) -> Result<(), Error> {
                Err(Error::msg("no database"))
            }
            fn boot(&self, _: &Seat) -> Result<crate::Hello, Error> {
                Ok(crate::Hello)
            }
        }
        let mut mounts = Mounts::new();
        mounts.add("/shop", BoxApp::new(Broken)).unwrap();
        let error = mounts.load().unwrap_err();
        assert_eq!(error.to_string(), "mount /shop/: no database");
    }
}
