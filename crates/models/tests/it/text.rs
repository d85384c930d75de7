//! What texts are accepted, and the tokens they give.

use aegis_models::{Bert, Error, Tokens};
use aegis_testing::TinyBert;
use tempfile::tempdir;

fn tiny() -> Bert {
    let dir = tempdir().unwrap();
    TinyBert::default().write(dir.path()).unwrap();
    Bert::load(dir.path()).unwrap()
}

#[test]
fn truncation_and_padding_of_the_file_are_off() {
    // The file truncates to 3 tokens and pads to 3.
    let bert = tiny();
    assert_eq!(bert.tokenize("the cat sat").unwrap().ids(), [2, 5, 7, 9, 3]);
    assert_eq!(bert.tokenize("Dogs").unwrap().ids(), [2, 8, 14, 3]);
    let shortest = bert.tokenize("cat").unwrap();
    assert_eq!((shortest.ids(), shortest.types(), shortest.len()), (&[2u32, 7, 3][..], &[0u32; 3][..], 3));
}

#[test]
fn texts_without_content_are_refused() {
    let bert = tiny();
    for text in ["", " ", "\t\r\n", "\u{0}", "\u{200b}\u{a0}", "\u{feff}"] {
        assert!(matches!(bert.tokenize(text), Err(Error::EmptyText)), "{text:?}");
    }
}

#[test]
fn texts_of_unknown_tokens_only_are_refused() {
    let bert = tiny();
    for text in ["zebra", "東京 𓀀", "[UNK]", "🦀🦀", "x".repeat(300).as_str()] {
        assert!(matches!(bert.tokenize(text), Err(Error::OnlyUnknownTokens)), "{text:?}");
    }
    assert_eq!(bert.tokenize("zebra cat").unwrap().ids(), [2, 1, 7, 3]);
}

#[test]
fn the_limit_of_positions_counts_the_special_tokens() {
    let bert = tiny();
    let words = |n: usize| vec!["cat"; n].join(" ");
    assert_eq!(bert.tokenize(&words(14)).unwrap().len(), 16);
    let error = bert.tokenize(&words(15)).unwrap_err();
    assert!(matches!(error, Error::TextTooLong { tokens: 17, max: 16 }), "{error}");
    assert!(matches!(bert.embed_plain(&words(1000)), Err(Error::TextTooLong { .. })));
}

#[test]
fn ids_from_elsewhere_are_checked() {
    let bert = tiny();
    let refused = |ids: Vec<u32>| matches!(Tokens::from_ids(ids, bert.config()), Err(Error::Tokens(_)));
    assert!(refused(vec![]) && refused(vec![1; 17]) && refused(vec![16]) && refused(vec![u32::MAX]));
    let same = Tokens::from_ids(vec![2, 7, 3], bert.config()).unwrap();
    assert_eq!(bert.embed_tokens(&same).unwrap(), bert.embed_plain("cat").unwrap());
}

#[test]
fn tokens_of_another_model_are_refused() {
    let dir = tempdir().unwrap();
    TinyBert { positions: 64, ..TinyBert::default() }.write(dir.path()).unwrap();
    let long = Bert::load(dir.path()).unwrap().tokenize(&vec!["cat"; 40].join(" ")).unwrap();
    assert!(matches!(tiny().embed_tokens(&long), Err(Error::Tokens(_))));
}
