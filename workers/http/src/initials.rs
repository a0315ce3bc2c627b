//! What the names of a head's fields look like, in 32 bits. Whoever cares about a few fields learns
//! from them, at the price of one test, that a head has none of these; it decides nothing itself.

use std::ops::BitOr;

/// A set of letters with which field names begin; one more member says that some name holds `_`.
///
/// Both cases of a letter are the same, and the few other characters that may begin a name share
/// a letter each: a set that does not meet another is certain, one that does is to be looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Initials(u32);

impl Initials {
    /// Some name holds `_`. Where it is the first character, it is its own initial.
    pub const UNDERSCORE: Initials = Initials(1 << (b'_' & 31));

    /// The initial of this name.
    pub fn of(name: &str) -> Initials {
        let mut initials = Initials::default();
        initials.add(name.as_bytes());
        initials
    }

    /// Whether both have a member.
    #[inline]
    pub fn meets(self, other: Initials) -> bool {
        self.0 & other.0 != 0
    }

    #[inline]
    pub(crate) fn add(&mut self, name: &[u8]) {
        // Of a letter in either case the low five bits are its place in the alphabet.
        self.0 |= name.first().map_or(0, |first| 1 << (first & 31));
    }
}

impl BitOr for Initials {
    type Output = Initials;

    fn bitor(self, other: Initials) -> Initials {
        Initials(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Head;

    #[test]
    fn names_are_told_apart() {
        let of = |name: &str| {
            let head = Head::build("GET", "/", [("host", "a_b"), (name, "c_d")]);
            head.expect("valid").initials()
        };
        let wanted = Initials::of("Forwarded") | Initials::of("x-forwarded-for");
        assert!(of("FORWARDED").meets(wanted) && of("X-Other").meets(wanted));
        assert!(!of("Cookie").meets(wanted | Initials::UNDERSCORE));
        assert!(of("Coo_kie").meets(Initials::UNDERSCORE));
        assert!(of("_cookie").meets(Initials::UNDERSCORE) && of("a_").meets(Initials::UNDERSCORE));
        for other in ["!a", "~a", "9a", "`a", "|a", "^a"] {
            assert!(!of(other).meets(Initials::UNDERSCORE), "{other}");
        }
    }
}
