//! HTML in the making. Markup is written in the program, text is escaped: the types keep them apart.

/// A page.
pub(super) struct Html(String);

impl Html {
    pub(super) fn new() -> Html {
        Html(String::with_capacity(16 << 10))
    }

    /// Markup. It is part of the program, so nobody else's text can be it.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Html {
        self.0.push_str(markup);
        self
    }

    /// Anybody's text, as content or as a quoted attribute.
    pub(super) fn text(&mut self, text: &str) -> &mut Html {
        for char in text.chars() {
            match char {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Not allowed in HTML, by number neither.
                c if c.is_control() && c != '\n' => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        self
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}
