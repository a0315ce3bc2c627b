//! Which worker class is meant: Gunicorn's name for ours, and what a number of threads implies. It looks
//! at what was given alone.

use super::check::Checker;
use crate::settings::value::quote;

/// The class that runs handlers one at a time, and the one that has several threads for them.
const SYNC: &str = "sync";
const THREADS: &str = "threads";

/// Gunicorn's name for the class with threads.
const GTHREAD: &str = "gthread";

/// The class that is meant by this name, unless the program has one that is called so itself.
pub(super) fn named<'a>(name: &'a str, classes: &[&str]) -> &'a str {
    match name {
        GTHREAD if !classes.contains(&GTHREAD) => THREADS,
        name => name,
    }
}

/// The class that serves: as with Gunicorn, several threads make `sync` the class that has them.
fn serving(class: &str, threads: usize) -> &str {
    match class {
        SYNC if threads > 1 => THREADS,
        class => class,
    }
}

impl Checker<'_> {
    /// Chooses the class by what was given of it and of its threads.
    pub(super) fn class(&mut self) {
        let config = &mut self.config;
        let class = serving(&config.conf.worker_class, config.conf.threads).to_owned();
        if class == config.conf.worker_class {
            return;
        }
        if !self.known.classes.contains(&&*class) {
            let text = format!("more than one needs the worker class {class}, and there is none");
            self.errors.push(config.named("threads", &text));
        }
        config.show_as(
            "worker-class",
            quote(&class),
            "as there are several threads",
        );
        config.conf.worker_class = class;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gthread_is_gunicorns_name_for_threads() {
        for (name, classes, expected) in [
            ("gthread", &["sync", "threads"][..], "threads"),
            ("gthread", &["sync", "gthread"], "gthread"),
            ("threads", &["sync", "threads"], "threads"),
            ("sync", &["sync", "threads"], "sync"),
            ("gevent", &["sync", "threads"], "gevent"),
        ] {
            assert_eq!(named(name, classes), expected, "{name} of {classes:?}");
        }
    }

    #[test]
    fn several_threads_are_the_class_that_has_them() {
        for (class, threads, expected) in [
            ("sync", 1, "sync"),
            ("sync", 2, "threads"),
            ("threads", 1, "threads"),
            ("threads", 8, "threads"),
            ("own", 8, "own"),
        ] {
            assert_eq!(serving(class, threads), expected, "{class} with {threads}");
        }
    }
}
