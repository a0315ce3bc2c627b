//! Which content coding a client prefers (RFC 9110 section 12.5.3), of those that there are.

/// A content coding, by which a file may lie encoded beside itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878).
    Zstd,
    /// `gzip` (RFC 1952).
    Gzip,
}

/// All of them, those first that make less of it.
pub const CODINGS: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

impl Coding {
    /// What fields call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    /// How the name of an encoded file ends.
    #[must_use]
    pub fn suffix(self) -> &'static [u8] {
        match self {
            Coding::Brotli => b".br",
            Coding::Zstd => b".zst",
            Coding::Gzip => b".gz",
        }
    }

    fn is(self, name: &[u8]) -> bool {
        let own = name.eq_ignore_ascii_case(self.name().as_bytes());
        // RFC 9110 section 8.4.1.3.
        own || self == Coding::Gzip && name.eq_ignore_ascii_case(b"x-gzip")
    }
}

/// Which of `there` to send to a client with these values of Accept-Encoding: the one with the highest
/// quality, of several the first. `None` is no coding: where none is wanted, or less than that.
pub fn choose<'a>(
    values: impl Iterator<Item = &'a [u8]> + Clone,
    there: impl Iterator<Item = Coding>,
) -> Option<Coding> {
    let quality = |is: &dyn Fn(&[u8]) -> bool| {
        let items = values
            .clone()
            .flat_map(|value| value.split(|byte| *byte == b','));
        let mut items = items.map(item);
        items.find(|(name, _)| is(name)).map(|(_, quality)| quality)
    };
    let any = quality(&|name| name == b"*");
    // Said nothing of, it is as good as any (section 12.5.3).
    let plain = quality(&|name| name.eq_ignore_ascii_case(b"identity")).unwrap_or(0);
    let mut best = (None, plain.max(1));
    for coding in there {
        let own = quality(&|name| coding.is(name)).or(any).unwrap_or(0);
        if own > best.1 || own == best.1 && best.0.is_none() {
            best = (Some(coding), own);
        }
    }
    best.0
}

/// A coding and its weight in thousandths; a malformed weight is none at all.
fn item(item: &[u8]) -> (&[u8], u16) {
    let mut parts = item.split(|byte| *byte == b';');
    let name = parts.next().unwrap_or_default().trim_ascii();
    let weight = parts.find_map(|part| match part.trim_ascii() {
        [b'q' | b'Q', b'=', weight @ ..] => Some(thousandths(weight)),
        _ => None,
    });
    (name, weight.unwrap_or(1000))
}

/// `0.8` is 800 (RFC 9110 section 12.4.2).
pub(crate) fn thousandths(weight: &[u8]) -> u16 {
    let (whole, digits) = match weight {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return 0,
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let places = digits.iter().chain(b"000").take(3);
    let part = places.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    (u16::from(whole - b'0') * 1000 + part).min(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_says_what_it_likes_best() {
        let chosen = |value: &str| {
            let values = value.split('|').map(str::as_bytes);
            choose(values, CODINGS.into_iter()).map_or("", Coding::name)
        };
        for (value, expected) in [
            ("gzip, deflate, br, zstd", "br"),
            ("gzip, deflate", "gzip"),
            ("GZip", "gzip"),
            ("x-gzip", "gzip"),
            ("gzip;q=1.0, br;q=0.5", "gzip"),
            ("gzip;q=0.5, br;q=0.5", "br"),
            ("gzip ; q=0.5,zstd;Q=0.501", "zstd"),
            ("br;q=0, gzip", "gzip"),
            ("br;q=0.000", ""),
            ("*", "br"),
            ("*;q=0.1, br;q=0", "zstd"),
            ("*;q=0", ""),
            ("identity", ""),
            ("identity;q=1, gzip;q=0.5", ""),
            ("identity;q=0.5, gzip;q=1", "gzip"),
            ("identity;q=0.5, gzip;q=0.5", "gzip"),
            ("deflate|gzip", "gzip"),
            ("gzip;q=2", ""),
            ("gzip;q=abc", ""),
            ("gzip;q=", ""),
            ("gzip;x=1;q=0.2", "gzip"),
            ("brotli", ""),
            ("", ""),
            (",,", ""),
        ] {
            assert_eq!(chosen(value), expected, "{value}");
        }
    }

    #[test]
    fn only_what_is_there_can_be_chosen() {
        let values = std::iter::once(&b"br, gzip;q=0.2"[..]);
        let chosen = |there: &[Coding]| choose(values.clone(), there.iter().copied());
        assert_eq!(chosen(&[Coding::Gzip]), Some(Coding::Gzip));
        assert_eq!(chosen(&[Coding::Zstd]), None);
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn weights() {
        for (text, weight) in [
            ("1", 1000),
            ("1.000", 1000),
            ("0.25", 250),
            ("0.", 0),
            ("1.5", 1000),
            ("0.1234", 0),
            ("-1", 0),
            ("0.x", 0),
        ] {
            assert_eq!(thousandths(text.as_bytes()), weight, "{text}");
        }
    }
}
