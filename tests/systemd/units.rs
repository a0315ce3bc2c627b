//! The units by themselves: systemd finds nothing wrong with them, and little that they expose.

use std::fs;
use std::process::Command;

use crate::manager::{is_installed, shipped};
use crate::support::{Dir, testapp_path};

/// "systemd 252 (252.38-1~deb12u1)": 252.
fn version() -> u32 {
    let output = Command::new("systemd-analyze").arg("--version").output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_units_are_valid() {
    if !is_installed("systemd-analyze") {
        return;
    }
    let dir = Dir::new();
    for unit in ["ferricorn.service", "ferricorn.socket"] {
        // It looks whether the program is there.
        let text = fs::read_to_string(shipped(unit)).unwrap();
        let program = testapp_path().to_str().unwrap();
        dir.write(unit, &text.replace("/usr/local/bin/ferricorn", program));
    }
    if version() >= 253 {
        fs::create_dir(dir.path("ferricorn.service.d")).unwrap();
        let conf = "notify-reload.conf";
        let there = dir.path("ferricorn.service.d").join(conf);
        fs::copy(shipped(conf), there).unwrap();
    }
    let mut verify = Command::new("systemd-analyze");
    verify
        .arg("verify")
        .args([dir.path("ferricorn.service"), dir.path("ferricorn.socket")]);
    let output = verify.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let about_us: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("ferricorn"))
        .collect();
    assert!(about_us.is_empty(), "{about_us:#?}");
}

#[test]
fn the_service_exposes_little() {
    if !is_installed("systemd-analyze") {
        return;
    }
    let mut security = Command::new("systemd-analyze");
    // In tenths.
    security.args(["security", "--offline=true", "--threshold=25", "--no-pager"]);
    let output = security.arg(shipped("ferricorn.service")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("Overall exposure level"), "{text}");
}
