//! With real files and a clock of our own: what happens is told at once, and time passes as we say.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A directory of files, watched.
struct Bench {
    place: tempfile::TempDir,
    watch: Watch,
    now: Moment,
}

impl Bench {
    /// Watches what these names lead to, in a directory that `make` has filled.
    fn new(polls: bool, names: &[&str], make: impl FnOnce(&Path)) -> Bench {
        let place = tempfile::tempdir().unwrap();
        make(place.path());
        let files = names.iter().map(|name| {
            let path = place.path().join(name);
            (path.clone().into(), Print::of(&path))
        });
        let plan = Plan {
            polls,
            files: files.collect(),
        };
        let now = 1000 * EACH;
        Bench {
            watch: Watch::new(plan, now),
            place,
            now,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    /// Another file in its place, as editors and mv(1) do it.
    fn replace(&self, name: &str, text: &str) {
        self.write(".new~", text);
        fs::rename(self.at(".new~"), self.at(name)).unwrap();
    }

    /// What is told now, without the directory.
    fn changed(&mut self) -> Option<String> {
        let root = format!("{}/", self.place.path().display());
        let changed = self.watch.changed(self.now);
        changed.map(|names| names.replace(&root, ""))
    }

    /// What is told when things have been quiet for long enough.
    fn settle(&mut self) -> Option<String> {
        let polls = self.watch.eyes.is_none();
        if polls {
            self.now += EACH;
        }
        assert_eq!(self.changed(), None, "too early");
        self.now += QUIET;
        self.changed()
    }
}

const BOTH: [bool; 2] = [false, true];

fn one_file(polls: bool) -> Bench {
    Bench::new(polls, &["app"], |root| {
        fs::write(root.join("app"), "one").unwrap();
    })
}

#[test]
fn a_file_that_is_written_or_replaced_has_changed_once() {
    for polls in BOTH {
        let mut bench = one_file(polls);
        assert_eq!(bench.settle(), None);
        bench.write("app", "two");
        assert_eq!(bench.settle().as_deref(), Some("app"));
        assert_eq!(bench.settle(), None);
        bench.replace("app", "six");
        assert_eq!(bench.settle().as_deref(), Some("app"));
        assert_eq!(bench.settle(), None);
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(bench.at("app"), mode).unwrap();
        assert_eq!(bench.settle().as_deref(), Some("app"));
    }
}

#[test]
fn what_happens_beside_it_wakes_nobody() {
    let mut bench = one_file(false);
    bench.write("app~", "backup");
    bench.write(".app.swp", "an editor's");
    fs::rename(bench.at("app~"), bench.at("4913")).unwrap();
    fs::create_dir(bench.at("sub")).unwrap();
    assert_eq!((bench.changed(), bench.watch.deadline()), (None, None));
    // A second name for it is no change, nor is a read.
    fs::hard_link(bench.at("app"), bench.at("link")).unwrap();
    fs::read(bench.at("app")).unwrap();
    assert_eq!(bench.settle(), None);
}

#[test]
fn several_changes_are_told_of_together_when_all_is_quiet() {
    let mut bench = Bench::new(false, &["app", "sub/extra", "third"], |root| {
        fs::create_dir(root.join("sub")).unwrap();
    });
    bench.write("app", "one");
    assert_eq!(bench.changed(), None);
    assert_eq!(bench.watch.deadline(), Some(bench.now + QUIET));
    bench.now += QUIET - MS;
    bench.write("sub/extra", "two");
    assert_eq!(bench.changed(), None);
    bench.now += QUIET - MS;
    assert_eq!(bench.changed(), None);
    bench.now += MS;
    assert_eq!(bench.changed().as_deref(), Some("app, sub/extra"));
    assert_eq!(bench.watch.deadline(), None);
}

#[test]
fn what_never_rests_is_told_of_all_the_same() {
    let mut bench = one_file(false);
    let begun = bench.now;
    let mut told = Vec::new();
    for n in 0..100 {
        bench.write("app", &n.to_string());
        if bench.changed().is_some() {
            told.push(bench.now - begun);
        }
        bench.now += 100 * MS;
    }
    let [first, second, third] = told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(first, RESTLESS);
    assert_eq!(
        (second - first, third - second),
        (RESTLESS + 100 * MS, RESTLESS + 100 * MS)
    );
}

#[test]
fn a_symlink_that_is_switched_leads_to_another_file() {
    for polls in BOTH {
        let mut bench = Bench::new(polls, &["current/app"], |root| {
            for release in ["1", "2"] {
                fs::create_dir_all(root.join("releases").join(release)).unwrap();
                fs::write(root.join("releases").join(release).join("app"), release).unwrap();
            }
            symlink("releases/1", root.join("current")).unwrap();
        });
        symlink("releases/2", bench.at("new")).unwrap();
        fs::rename(bench.at("new"), bench.at("current")).unwrap();
        assert_eq!(bench.settle().as_deref(), Some("current/app"));
        // The old one is nobody's any more, the new one is watched.
        bench.write("releases/1/app", "old");
        assert_eq!(bench.settle(), None);
        bench.write("releases/2/app", "new");
        assert_eq!(bench.settle().as_deref(), Some("current/app"));
    }
}

#[test]
fn what_is_missing_is_waited_for() {
    for polls in BOTH {
        let mut bench = one_file(polls);
        fs::rename(bench.at("app"), bench.at("away")).unwrap();
        assert_eq!(bench.settle(), None);
        fs::rename(bench.at("away"), bench.at("app")).unwrap();
        assert_eq!(bench.settle(), None, "it is the one that was tried");
        fs::remove_file(bench.at("app")).unwrap();
        assert_eq!(bench.settle(), None);
        bench.write("app", "new");
        assert_eq!(bench.settle().as_deref(), Some("app"));
    }
}

#[test]
fn a_file_may_come_with_all_its_directories_and_go_with_them() {
    for polls in BOTH {
        let mut bench = Bench::new(polls, &["a/b/c/file"], |_| ());
        for _ in 0..3 {
            fs::create_dir_all(bench.at("a/b/c")).unwrap();
            assert_eq!(bench.settle(), None);
            bench.write("a/b/c/file", "one");
            assert_eq!(bench.settle().as_deref(), Some("a/b/c/file"));
            bench.write("a/b/c/file", "more");
            assert_eq!(bench.settle().as_deref(), Some("a/b/c/file"));
            fs::rename(bench.at("a/b"), bench.at("a/old")).unwrap();
            assert_eq!(bench.settle(), None);
            fs::remove_dir_all(bench.at("a")).unwrap();
            assert_eq!(bench.settle(), None);
        }
    }
}

#[test]
fn what_has_changed_since_it_was_read_is_told_of_first() {
    for polls in BOTH {
        let mut bench = one_file(polls);
        let plan = Plan {
            polls,
            files: vec![(bench.at("app").into(), Print::of(&bench.at("app")))],
        };
        bench.write("app", "while nobody looked");
        bench.watch = Watch::new(plan, bench.now);
        assert_eq!(bench.changed(), None);
        bench.now += QUIET;
        assert_eq!(bench.changed().as_deref(), Some("app"));
        assert_eq!(bench.settle(), None);
    }
}

#[test]
fn what_a_reload_has_tried_is_no_change_any_more() {
    for polls in BOTH {
        let mut bench = one_file(polls);
        bench.write("app", "two");
        bench.watch.tried();
        assert_eq!(bench.settle(), None);
        bench.write("app", "three");
        assert_eq!(bench.settle().as_deref(), Some("app"));
    }
}

/// A program that was tried while somebody could write to it could not be executed (ETXTBSY).
#[test]
fn who_could_write_and_goes_makes_it_worth_another_try() {
    let mut bench = one_file(false);
    let writer = fs::File::options().append(true).open(bench.at("app"));
    bench.watch.tried();
    assert_eq!(bench.settle(), None);
    drop(writer);
    assert_eq!(bench.settle().as_deref(), Some("app"));
}

#[test]
fn directories_are_watched_for_as_long_as_they_matter() {
    let mut bench = one_file(false);
    let watches = |bench: &Bench| {
        let number = std::os::fd::AsRawFd::as_raw_fd(&bench.watch.fd().unwrap());
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
        text.matches("inotify wd:").count()
    };
    let before = watches(&bench);
    for n in 0..20 {
        bench.replace("app", &n.to_string());
        assert!(bench.settle().is_some());
    }
    assert_eq!(watches(&bench), before);
}
