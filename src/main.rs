//! The stock server: what `ferricorn` serves without a line of code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use ferricorn_apps::{Echo, Hello, Welcome};

fn main() -> ExitCode {
    ferricorn::Server::builder()
        .register_app("welcome", Welcome)
        .register_app("hello", Hello)
        .register_app("echo", Echo)
        .name("ferricorn")
        .build()
        .run()
}
