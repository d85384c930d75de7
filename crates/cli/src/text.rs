//! Texts: from the command line, from a file, from standard input.

use std::io::Read;
use std::path::Path;

use anyhow::Result;

use crate::fault::{BlameInput, input};
use crate::files;

/// Larger than any text that a model takes, and than any list of texts that one run can embed.
const MAX_BYTES: u64 = 1 << 20;

/// The text given by one of `--text` and `--text-file`; `-` for `--text` is standard input.
pub(crate) fn one(text: Option<&str>, file: Option<&Path>) -> Result<String> {
    match (text, file) {
        (Some("-"), _) => stdin(),
        (Some(text), _) => Ok(text.to_owned()),
        (None, Some(path)) => of_file(path),
        (None, None) => Err(input("there is no text; give --text or --text-file")),
    }
}

/// All texts given by `--text`, and those of the file, one a line.
pub(crate) fn many(texts: &[String], file: Option<&Path>) -> Result<Vec<String>> {
    if texts.iter().filter(|text| *text == "-").count() > 1 {
        return Err(input("standard input holds one text; give --text - once"));
    }
    let mut all = texts.iter().map(|text| one(Some(text), None)).collect::<Result<Vec<_>>>()?;
    if let Some(path) = file {
        all.extend(of_file(path)?.lines().map(str::to_owned));
    }
    if all.is_empty() {
        return Err(input("there is no text; give --text or a --text-file with one text a line"));
    }
    Ok(all)
}

fn of_file(path: &Path) -> Result<String> {
    decode(files::read(path, MAX_BYTES)?, &path.display().to_string())
}

fn stdin() -> Result<String> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.blame_input("cannot read standard input")?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(input(format!(
            "standard input holds more than {MAX_BYTES} bytes: no model takes such a text"
        )));
    }
    decode(bytes, "standard input")
}

/// The text without the line break that ends it.
fn decode(bytes: Vec<u8>, from: &str) -> Result<String> {
    let mut text = String::from_utf8(bytes).blame_input(format!("{from} is not UTF-8"))?;
    // UTF-16 of Latin letters is valid UTF-8, and the tokenizer drops a NUL without a word.
    if text.contains('\0') {
        return Err(input(format!(
            "{from} holds a NUL and is no UTF-8 text; is it UTF-16? Convert it to UTF-8"
        )));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_no_part_of_a_text() {
        for (bytes, text) in
            [("cat", "cat"), ("cat\n", "cat"), ("cat\r\n", "cat"), ("a\nb\n\n", "a\nb\n"), ("", "")]
        {
            assert_eq!(decode(bytes.into(), "it").expect("a text"), text);
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let utf16 = [0xff, 0xfe, b'c', 0, b'a', 0];
        for (bytes, words) in [(&utf16[..], "not UTF-8"), (&utf16[2..], "UTF-16"), (b"cat\0", "NUL")] {
            let error = decode(bytes.to_vec(), "it").expect_err(words);
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
        assert!(many(&["-".into(), "-".into()], None).is_err(), "standard input was read twice");
    }
}
