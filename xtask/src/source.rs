//! Just enough of Rust's syntax to measure functions: comments and literals blanked, braces matched.

/// A function and the lines it spans, signature to closing brace.
#[derive(Debug, PartialEq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// Line of `fn`, counted from 1.
    pub(crate) line: usize,
    /// Number of lines.
    pub(crate) lines: usize,
}

/// The text with comments, strings and character literals replaced by spaces; line breaks stay.
pub(crate) fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut i = 0;
    while i < bytes.len() {
        let end = literal_end(bytes, i);
        for byte in &mut out[i..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        i = end.max(i + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment or literal that starts at `i` ends; `i` itself when none starts there.
fn literal_end(bytes: &[u8], i: usize) -> usize {
    let rest = &bytes[i..];
    let after_identifier = i > 0 && (bytes[i - 1].is_ascii_alphanumeric() || bytes[i - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => i + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment_end(bytes, i),
        [b'"', ..] => string_end(bytes, i + 1),
        [b'r', b'"' | b'#', ..] if !after_identifier => raw_string_end(bytes, i),
        [b'\'', b'\\', ..] => i + 3 + rest[3..].iter().position(|&b| b == b'\'').map_or(0, |p| p + 1),
        [b'\'', first, ..] if rest.get(1 + utf8_len(*first)) == Some(&b'\'') => i + 2 + utf8_len(*first),
        _ => i,
    }
}

fn utf8_len(first: u8) -> usize {
    match first {
        0..=0x7f => 1,
        0x80..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xff => 4,
    }
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut i) = (1, start + 2);
    while depth > 0 && i < bytes.len() {
        match bytes[i..] {
            [b'/', b'*', ..] => (depth, i) = (depth + 1, i + 2),
            [b'*', b'/', ..] => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    i
}

fn string_end(bytes: &[u8], mut i: usize) -> usize {
    while i < bytes.len() {
        match bytes[i] {
            b'"' => return i + 1,
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], start: usize) -> usize {
    let hashes = bytes[start + 1..].iter().take_while(|&&b| b == b'#').count();
    if bytes.get(start + 1 + hashes) != Some(&b'"') {
        return start; // a raw identifier such as r#fn
    }
    let body = start + 2 + hashes;
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let found = bytes[body..].windows(close.len()).position(|w| w == close.as_slice());
    found.map_or(bytes.len(), |p| body + p + close.len())
}

/// The functions of a masked text that have a body.
pub(crate) fn functions(masked: &str) -> Vec<Function> {
    let bytes = masked.as_bytes();
    let mut found = Vec::new();
    for (at, _) in masked.match_indices("fn ") {
        let starts_word = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let name: String =
            masked[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(bytes, at) {
            let line = 1 + masked[..at].matches('\n').count();
            let lines = 1 + masked[at..end].matches('\n').count();
            found.push(Function { name, line, lines });
        }
    }
    found
}

/// The closing brace of the first block after `at`; `None` for a declaration, which a `;` ends before any block.
fn body_end(bytes: &[u8], at: usize) -> Option<usize> {
    let (mut braces, mut brackets) = (0_i32, 0_i32);
    for (i, byte) in bytes.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets -= 1,
            b';' if braces == 0 && brackets == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_comments_and_literals() {
        let text = "let a = \"}\\\"{\"; // }\nlet b = '{'; /* { /* } */ */ let c = r#\"\"}\"#; let d: &'a str = '\\'';";
        let masked = mask(text);
        assert!(!masked.contains(['{', '}', '"', '/']), "{masked}");
        assert_eq!(masked.len(), text.len());
        assert!(masked.contains("let d: &'a str ="), "{masked}");
    }

    #[test]
    fn measures_functions() {
        let text = mask("trait T { fn a(x: [u8; 2]); }\nfn b() {\n  if x { y }\n}\nconst C: fn() = d;\n");
        assert_eq!(functions(&text), [Function { name: "b".into(), line: 2, lines: 3 }]);
    }
}
