//! The smallest application: one answer for everything.
//!
//!     cargo run --release --example hello
//!     cargo run --release --example hello -- --bind 127.0.0.1:9000 --workers 4
//!
//! The program has the whole command line of the server: `--help` lists it.

use ferricorn::Request;

fn main() -> std::process::ExitCode {
    ferricorn::main(|_: &mut Request| "Hello, World!")
}
