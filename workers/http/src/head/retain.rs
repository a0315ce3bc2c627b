//! Taking fields out of a head that is read. What follows from them stays decided: where the content
//! ends and whether the connection goes on is what the client was read to say.

use super::Head;
use crate::field_lines::offset;

impl Head {
    /// Keeps the fields of which `keep` is true, asked in their order: name, and value without the
    /// white space around it. The others are as if they had not come, except in
    /// [`Head::initials`] and in what is decided already ([`Head::body`], [`Head::keep_alive`],
    /// [`Head::expects_continue`]).
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &[u8]) -> bool) {
        let mut spans = std::mem::take(&mut self.spans);
        let (mut host, mut upgrade) = (None, None);
        let (mut before, mut after) = (0, 0);
        let section = self.section();
        spans.retain(|span| {
            let name = std::str::from_utf8(span.name(section));
            let kept = keep(name.unwrap_or_default(), span.value(section));
            if kept {
                let index = Some(offset(before));
                // These two are known by their places.
                host = host.or((index == self.framing.host).then_some(after));
                upgrade = upgrade.or((index == self.framing.upgrade).then_some(after));
                after += 1;
            }
            before += 1;
            kept
        });
        self.spans = spans;
        self.read_under = None;
        self.framing.host = host;
        self.framing.upgrade = upgrade;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_by_its_place_moves_with_it() {
        let fields = [
            ("a", "1"),
            ("host", "h"),
            ("b_c", "2"),
            ("connection", "upgrade"),
            ("upgrade", "x"),
            ("a", "3"),
        ];
        let head = Head::build("GET", "/", fields).expect("valid");
        let mut without = head.clone();
        without.retain(|name, _| name != "a" && name != "b_c");
        let names: Vec<&str> = without.fields().map(|(name, _)| name).collect();
        assert_eq!(names, ["host", "connection", "upgrade"]);
        assert_eq!(
            (without.authority(), without.upgrade()),
            (Some("h"), Some("x"))
        );
        assert_eq!(without.field("a"), None);
        let mut bare = head.clone();
        bare.retain(|_, value| value == b"3");
        assert_eq!((bare.authority(), bare.upgrade()), (None, None));
        assert_eq!(bare.field("a"), Some(&b"3"[..]));
    }
}
