use std::fmt::{self, Write};

/// Characters that are shown of either end of a longer text.
const END_CHARS: usize = 32;

/// What a file or a message says, or what a parser says about it, fit to be shown on a terminal or in a log: control
/// characters are escaped, and of a text of more than 64 characters the two ends are shown. As an error it has the
/// inner one's text but not its sources, which would be shown in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excerpt<T>(pub T);

impl<T: fmt::Display> fmt::Display for Excerpt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let escape = |f: &mut fmt::Formatter<'_>, part: &str| {
            part.chars().try_for_each(|c| match c {
                '"' | '\'' | '\\' => f.write_char(c),
                _ => write!(f, "{}", c.escape_debug()),
            })
        };
        let head = text.char_indices().nth(END_CHARS).map_or(text.len(), |(at, _)| at);
        let tail = text.char_indices().nth_back(END_CHARS - 1).map_or(0, |(at, _)| at);
        if tail <= head {
            return escape(f, &text);
        }
        escape(f, &text[..head])?;
        f.write_char('…')?;
        escape(f, &text[tail..])
    }
}

impl<T: fmt::Debug + fmt::Display> std::error::Error for Excerpt<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a hostile file says went to the terminal whole, colours and all.
    #[test]
    fn long_and_hostile_texts_are_cut_and_escaped() {
        assert_eq!(
            Excerpt("it's \"é\" \\ \u{1b}[2J\u{202e}").to_string(),
            "it's \"é\" \\ \\u{1b}[2J\\u{202e}"
        );
        let exact = "é".repeat(2 * END_CHARS);
        assert_eq!(Excerpt(&exact).to_string(), exact);
        let long = format!("{}{}", "a".repeat(5000), "z".repeat(END_CHARS));
        let want = format!("{}…{}", "a".repeat(END_CHARS), "z".repeat(END_CHARS));
        assert_eq!(Excerpt(long).to_string(), want);
        assert_eq!(Excerpt("").to_string(), "");
    }
}
