//! git over HTTP: `git-http-backend` as one program for every path.

use std::path::Path;
use std::process::Command;

use crate::support::ferricorn;

/// Runs git; says what it said.
#[track_caller]
fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=A", "-c", "user.email=a@localhost"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", directory)
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// So many bytes that nobody can make fewer of.
fn noise(path: &Path, bytes: usize, mut state: u64) {
    let mut all = Vec::with_capacity(bytes + 8);
    while all.len() < bytes {
        // xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.extend_from_slice(&state.to_le_bytes());
    }
    std::fs::write(path, all).unwrap();
}

#[test]
fn a_repository_is_cloned_pushed_to_and_fetched_in_part() {
    let Ok(found) = Command::new("git").arg("--exec-path").output() else {
        eprintln!("skipped: there is no git");
        return;
    };
    let backend = String::from_utf8(found.stdout).unwrap();
    let backend = Path::new(backend.trim()).join("git-http-backend");
    let server = ferricorn().args("--workers 1");
    let root = server.dir().path("repositories");
    std::fs::create_dir(&root).unwrap();
    let work = server.dir().path("work");
    std::fs::create_dir(&work).unwrap();
    git(&root, &["init", "-q", "--bare", "-b", "main", "big.git"]);
    git(
        &root.join("big.git"),
        &["config", "http.receivepack", "true"],
    );
    let server = server
        .file(&format!(
            "limit-request-body = \"100MiB\"\n[[mount]]\nprefix = \"/git\"\napp = \"cgi:{}\"\n\
             env = {{ GIT_PROJECT_ROOT = \"{}\", GIT_HTTP_EXPORT_ALL = \"1\" }}\n",
            backend.display(),
            root.display()
        ))
        .ready();
    let url = format!("http://{}/git/big.git", server.address());
    // 20 MB go up in chunks.
    git(&work, &["clone", "-q", &url, "first"]);
    let first = work.join("first");
    git(&first, &["checkout", "-q", "-B", "main"]);
    for n in 1..=2 {
        noise(&first.join(format!("noise{n}")), 10 << 20, n);
        git(&first, &["add", "."]);
        git(&first, &["commit", "-qm", &format!("noise {n}")]);
    }
    git(&first, &["push", "-q", "origin", "main"]);
    let head = git(&first, &["rev-parse", "HEAD"]);
    assert_eq!(git(&root.join("big.git"), &["rev-parse", "main"]), head);
    // And down.
    git(&work, &["clone", "-q", &url, "second"]);
    let second = work.join("second");
    assert_eq!(git(&second, &["rev-parse", "HEAD"]), head);
    git(&second, &["fsck", "--full"]);
    // The last commit only.
    git(&work, &["clone", "-q", "--depth", "1", &url, "shallow"]);
    let shallow = work.join("shallow");
    assert_eq!(git(&shallow, &["rev-list", "--count", "HEAD"]), "1");
    // A little more of both ways.
    std::fs::write(second.join("small"), "small").unwrap();
    git(&second, &["add", "."]);
    git(&second, &["commit", "-qm", "small"]);
    git(&second, &["push", "-q", "origin", "main"]);
    git(&shallow, &["fetch", "-q", "--depth", "1", "origin", "main"]);
    assert_eq!(
        git(&shallow, &["rev-parse", "FETCH_HEAD"]),
        git(&second, &["rev-parse", "HEAD"])
    );
    server.stop();
}
