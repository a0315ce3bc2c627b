//! A small HTML page without anything from elsewhere, light or dark as the reader likes it.
//!
//! Every piece of text is escaped here, so that no caller can forget it.

const TOP: &str = include_str!("page.html");

/// A page in the making.
pub(crate) struct Page(String);

impl Page {
    /// A page with this title.
    pub(crate) fn new(title: &str) -> Page {
        let mut page = Page(String::with_capacity(4096));
        page.0
            .push_str("<!doctype html>\n<html lang=\"en\">\n<title>");
        page.escaped(title);
        page.0.push_str("</title>\n");
        page.0.push_str(TOP);
        page.element("h1", title);
        page
    }

    /// A paragraph.
    pub(crate) fn text(&mut self, text: &str) {
        self.element("p", text);
    }

    /// Names and values under a heading.
    pub(crate) fn table<const N: usize>(&mut self, heading: &str, rows: [(&str, String); N]) {
        self.element("h2", heading);
        self.0.push_str("<dl>\n");
        for (name, value) in rows {
            self.element("dt", name);
            self.element("dd", &value);
        }
        self.0.push_str("</dl>\n");
    }

    /// Lines as they are, under a heading.
    pub(crate) fn code(&mut self, heading: &str, lines: &str) {
        self.element("h2", heading);
        self.element("pre", lines);
    }

    /// The whole page.
    pub(crate) fn finish(mut self) -> String {
        self.0.push_str("</main>\n");
        self.0
    }

    fn element(&mut self, name: &str, text: &str) {
        self.0.push_str(&format!("<{name}>"));
        self.escaped(text);
        self.0.push_str(&format!("</{name}>\n"));
    }

    fn escaped(&mut self, text: &str) {
        for char in text.chars() {
            match char {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                char => self.0.push(char),
            }
        }
    }
}
