//! The built-in applications by name.

use ferricorn_base::BoxApp;

use crate::{Echo, Hello, Welcome};

/// The names that [`stock`] knows; the first is what runs when nothing is asked for.
pub const STOCK: [&str; 3] = ["welcome", "hello", "echo"];

/// The built-in application of this name.
#[must_use]
pub fn stock(name: &str) -> Option<BoxApp> {
    match name {
        "welcome" => Some(BoxApp::new(Welcome)),
        "hello" => Some(BoxApp::new(Hello)),
        "echo" => Some(BoxApp::new(Echo)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_application() {
        assert!(STOCK.iter().all(|name| stock(name).is_some()));
        assert!(stock("nothing").is_none());
    }
}
