//! Damaged, contradicting and hostile model directories: one typed error each, never a panic.

use std::fs;
use std::path::Path;

use aegis_models::{BadConfig, Bert, Error, ErrorKind};
use aegis_testing::{Stored, TinyBert, write_tensors};
use safetensors::Dtype;
use std::collections::BTreeMap;
use tempfile::{TempDir, tempdir};

fn tiny() -> (TempDir, TinyBert) {
    let (dir, model) = (tempdir().unwrap(), TinyBert::default());
    model.write(dir.path()).unwrap();
    (dir, model)
}

fn refusal(dir: &Path) -> Error {
    match Bert::load(dir) {
        Ok(_) => panic!("a damaged model was accepted"),
        Err(error) => error,
    }
}

/// The refusal of the small model after `change` to its tensors.
fn with_tensors(change: impl FnOnce(&mut BTreeMap<String, Stored>)) -> Error {
    let (dir, model) = tiny();
    let mut tensors = model.tensors();
    change(&mut tensors);
    write_tensors(dir.path(), &tensors).unwrap();
    refusal(dir.path())
}

const QUERY: &str = "encoder.layer.1.attention.self.query.weight";

#[test]
fn a_missing_file_is_named() {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let (dir, _) = tiny();
        fs::remove_file(dir.path().join(name)).unwrap();
        let error = refusal(dir.path());
        assert!(matches!(&error, Error::Read { path, .. } if path.ends_with(name)), "{error}");
    }
    assert!(matches!(refusal(Path::new("no/such/model")), Error::Read { .. }));
}

#[test]
fn each_missing_tensor_is_named() {
    let model = TinyBert::default();
    for name in model.tensors().into_keys().filter(|name| !name.contains("pooler")) {
        let error = with_tensors(|tensors| drop(tensors.remove(&name)));
        assert!(
            matches!(&error, Error::MissingTensor { name: missing, .. } if *missing == name),
            "{name}: {error}"
        );
    }
}

#[test]
fn wrong_shapes_are_named_with_both_shapes() {
    let error = with_tensors(|tensors| tensors.get_mut(QUERY).unwrap().1 = vec![4, 16]);
    assert!(
        matches!(&error, Error::WrongShape { name, found, expected }
        if name == QUERY && found == &[4, 16] && expected == &[8, 8]),
        "{error}"
    );
    let transposed = with_tensors(|tensors| {
        tensors.get_mut("encoder.layer.0.output.dense.weight").unwrap().1 = vec![16, 8]
    });
    assert!(matches!(transposed, Error::WrongShape { .. }));
    let flat = with_tensors(|tensors| tensors.get_mut(QUERY).unwrap().1 = vec![64]);
    assert!(matches!(flat, Error::WrongShape { .. }));
}

#[test]
fn weights_that_are_not_numbers_are_refused() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for name in [QUERY, "embeddings.word_embeddings.weight", "embeddings.LayerNorm.bias"] {
            let error = with_tensors(|tensors| {
                tensors.get_mut(name).unwrap().2[12..16].copy_from_slice(&value.to_le_bytes())
            });
            assert!(
                matches!(&error, Error::NonFiniteWeight { name: n, index: 3, .. } if n == name),
                "{name}: {error}"
            );
        }
    }
    let half = TinyBert { format: Dtype::F16, ..TinyBert::default() };
    let error = with_tensors(|tensors| {
        *tensors = half.tensors();
        tensors.get_mut(QUERY).unwrap().2[..2].copy_from_slice(&0x7c00u16.to_le_bytes());
    });
    assert!(matches!(error, Error::NonFiniteWeight { index: 0, .. }), "{error}");
}

#[test]
fn other_number_formats_are_refused() {
    for format in [Dtype::F64, Dtype::I64, Dtype::U8, Dtype::F8_E4M3] {
        let error = with_tensors(|tensors| *tensors = TinyBert { format, ..TinyBert::default() }.tensors());
        assert!(matches!(error, Error::WrongFormat { .. }), "{format:?}: {error}");
    }
}

#[test]
fn a_configuration_of_fewer_layers_does_not_cut_the_model() {
    let (dir, model) = tiny();
    fs::write(dir.path().join("config.json"), TinyBert { layers: 1, ..model }.config()).unwrap();
    assert!(matches!(refusal(dir.path()), Error::MoreLayers { configured: 1, .. }));
}

#[test]
fn a_configuration_of_more_layers_or_other_sizes_is_refused() {
    let base = TinyBert::default;
    for other in [
        TinyBert { layers: 3, ..base() },
        TinyBert { width: 16, ..base() },
        TinyBert { intermediate: 32, ..base() },
        TinyBert { positions: 17, ..base() },
    ] {
        let (dir, _) = tiny();
        fs::write(dir.path().join("config.json"), other.config()).unwrap();
        let error = refusal(dir.path());
        assert!(
            matches!(error, Error::WrongShape { .. } | Error::MissingTensor { .. }),
            "{other:?}: {error}"
        );
    }
}

#[test]
fn truncation_at_every_length_is_refused() {
    let (dir, _) = tiny();
    let path = dir.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    for length in (0..64).chain((64..whole.len()).step_by(509)).chain([whole.len() - 1]) {
        fs::write(&path, &whole[..length]).unwrap();
        let error = refusal(dir.path());
        assert!(matches!(error, Error::Weights { .. }), "{length} bytes: {error}");
    }
    let longer = [whole, vec![0]].concat();
    fs::write(&path, longer).unwrap();
    assert!(matches!(refusal(dir.path()), Error::Weights { .. }));
}

#[test]
fn hostile_headers_are_refused() {
    let tensor = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"a.weight":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let max = u64::MAX;
    let headers = [
        String::new(),
        "{".into(),
        "[]".into(),
        "[".repeat(100_000),
        r#"{"a":{"a":{"a":{}}}}"#.into(),
        tensor("F32", &format!("[{max},{max}]"), "[0,8]"),
        tensor("F32", "[4611686018427387904,4]", "[0,0]"),
        tensor("F32", "[2]", &format!("[{max},8]")),
        tensor("F32", "[2]", "[8,0]"),
        tensor("F32", "[2]", &format!("[0,{max}]")),
        tensor("F32", "[-1]", "[0,8]"),
        tensor("F32", "[2.5]", "[0,8]"),
        tensor("F33", "[2]", "[0,8]"),
        tensor("F4", "[3]", "[0,2]"),
        "\u{fffd}".repeat(10),
    ];
    let (dir, _) = tiny();
    let path = dir.path().join("model.safetensors");
    for header in headers {
        let data = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 8]].concat();
        fs::write(&path, data).unwrap();
        let error = refusal(dir.path());
        assert!(matches!(error, Error::Weights { .. }), "{}: {error}", &header[..header.len().min(80)]);
    }
    for length in [0, 7, 9, 100_000_001, i64::MAX as u64, max] {
        fs::write(&path, [&length.to_le_bytes()[..], b"{}"].concat()).unwrap();
        assert!(matches!(refusal(dir.path()), Error::Weights { .. }), "length {length}");
    }
}

#[test]
fn flipped_bits_of_the_header_never_panic() {
    let (dir, _) = tiny();
    let path = dir.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for (i, bit) in (0..header + 8).step_by(7).zip((0..8).cycle()) {
        let mut damaged = whole.clone();
        damaged[i] ^= 1 << bit;
        fs::write(&path, &damaged).unwrap();
        // A flip in the name of an unused tensor or in blanks may still load.
        if let Ok(bert) = Bert::load(dir.path()) {
            assert_eq!(bert.layers().len(), 2, "byte {i}");
        }
    }
}

#[test]
fn damaged_tokenizers_and_configurations_are_refused() {
    let (dir, model) = tiny();
    for bad in ["", "{", "null", "[]", "{}", r#"{"version":"1.0","model":{"type":"WordPiece"}}"#, "\u{0}"] {
        fs::write(dir.path().join("tokenizer.json"), bad).unwrap();
        assert!(matches!(refusal(dir.path()), Error::Json { .. }), "{bad:?}");
    }
    for bad in ["", "{", "null", "[]", "{}", "[[[["] {
        fs::write(dir.path().join("config.json"), bad).unwrap();
        assert!(matches!(refusal(dir.path()), Error::Json { .. }), "{bad:?}");
    }
    fs::write(dir.path().join("config.json"), model.config().replace("\"gelu\"", "\"relu\"")).unwrap();
    let error = refusal(dir.path());
    let kind = |fault: &BadConfig| matches!(fault, BadConfig::Kind { field: "hidden_act", .. });
    assert!(matches!(&error, Error::Config { fault, .. } if kind(fault)), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

/// What a file says was shown in full, kilobytes of it and with the terminal's colours.
#[test]
fn what_a_hostile_file_says_is_shown_cut_and_escaped() {
    use std::error::Error as _;
    let hostile = format!("\u{1b}[31m{}", "x".repeat(100_000));
    let (dir, model) = tiny();
    let config = |from: &str, to: String| {
        fs::write(dir.path().join("config.json"), model.config().replace(from, &to)).unwrap();
        refusal(dir.path())
    };
    let quoted = serde_json::to_string(&hostile).unwrap();
    let errors = [
        config("\"gelu\"", quoted.clone()),
        config("\"hidden_size\":8", format!("\"hidden_size\":{quoted}")),
        with_part("/model/unk_token", hostile.clone().into()),
        with_part("/added_tokens/0/content", hostile.into()),
    ];
    for error in errors {
        let shown = format!("{error}: {}", error.source().map(ToString::to_string).unwrap_or_default());
        let path = dir.path().display().to_string().len();
        assert!(shown.len() < 300 + path && !shown.contains('\u{1b}'), "{shown}");
        assert!(shown.contains('…'), "{shown}");
    }
}

#[test]
fn a_tokenizer_with_a_larger_vocabulary_is_refused() {
    for (from, to) in
        [("\"cat\":7", "\"cat\":700"), ("\"ids\":[3]", "\"ids\":[16]"), ("\"id\":4", "\"id\":16")]
    {
        let error = with_tokenizer(|text| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        assert!(matches!(error, Error::Tokenizer { .. }), "{to}: {error}");
    }
}

#[test]
fn pooling_other_than_the_mean_is_refused() {
    let (dir, _) = tiny();
    fs::create_dir(dir.path().join("1_Pooling")).unwrap();
    let path = dir.path().join("1_Pooling/config.json");
    fs::write(&path, r#"{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}"#).unwrap();
    assert!(Bert::load(dir.path()).is_ok());
    for bad in [
        r#"{"pooling_mode_cls_token": true}"#,
        r#"{"pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": true}"#,
        "{",
    ] {
        fs::write(&path, bad).unwrap();
        assert!(matches!(refusal(dir.path()), Error::Config { .. } | Error::Json { .. }), "{bad}");
    }
}

/// The refusal of the small model after `change` to its `tokenizer.json`.
fn with_tokenizer(change: impl FnOnce(String) -> String) -> Error {
    let (dir, _) = tiny();
    let path = dir.path().join("tokenizer.json");
    fs::write(&path, change(fs::read_to_string(&path).unwrap())).unwrap();
    refusal(dir.path())
}

/// As [`with_tokenizer`], with the part at a JSON pointer exchanged.
fn with_part(at: &str, part: serde_json::Value) -> Error {
    with_tokenizer(|text| {
        let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
        *file.pointer_mut(at).unwrap() = part;
        file.to_string()
    })
}

#[test]
fn templates_that_place_what_is_not_there_are_refused() {
    for (from, to) in [
        ("\"[SEP]\":{", "\"[XXX]\":{"),
        ("\"id\":\"A\"", "\"id\":\"B\""),
        ("\"ids\":[2]", "\"ids\":[]"),
        ("\"ids\":[3]", "\"ids\":[3,3]"),
    ] {
        let error = with_tokenizer(|text| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        });
        assert!(matches!(error, Error::Tokenizer { .. }), "{to}: {error}");
    }
}

/// Each of these made the `tokenizers` crate panic, at loading or at the first text, or grow a text without bound.
#[test]
fn tokenizers_of_other_parts_are_refused() {
    use serde_json::json;
    let precompiled = json!({"type": "Precompiled", "precompiled_charsmap": "!!!"});
    let grow = json!({"type": "Replace", "pattern": {"Regex": "."}, "content": "aaaaaaaaaa"});
    for (at, part) in [
        ("/normalizer", precompiled.clone()),
        ("/normalizer", json!({"type": "Sequence", "normalizers": [precompiled]})),
        ("/normalizer", json!({"type": "Sequence", "normalizers": vec![grow; 12]})),
        ("/pre_tokenizer", json!({"type": "FixedLength", "length": 0})),
        ("/pre_tokenizer", json!(["Whitespace"])),
        ("/post_processor/single", json!([{"SpecialToken": ["[XXX]", 0]}, {"Sequence": ["B", 0]}])),
        ("/post_processor/single", json!([])),
        ("/model/type", json!("Unigram")),
        ("/model/max_input_chars_per_word", json!(usize::MAX)),
        ("/model/continuing_subword_prefix", json!("#".repeat(17))),
        ("/model/unk_token", json!("[XXX]")),
        ("/added_tokens/0/content", json!("")),
        ("/added_tokens/0/content", json!("[XXX]")),
        ("/added_tokens/0/id", json!(u32::MAX)),
        ("/added_tokens/0/lstrip", json!(true)),
    ] {
        let error = with_part(at, part.clone());
        assert!(matches!(error, Error::Tokenizer { .. } | Error::Json { .. }), "{at} = {part}: {error}");
    }
}

/// Kinds of parts of the `tokenizers` crate. It parsed a part by its fields, whatever its kind: any of these with the fields
/// of a template was a template, which panicked at the first text.
const KINDS: [&str; 32] = [
    "Sequence",
    "BertNormalizer",
    "Lowercase",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Nmt",
    "Strip",
    "StripAccents",
    "Replace",
    "Prepend",
    "Precompiled",
    "ByteLevel",
    "BertPreTokenizer",
    "Whitespace",
    "WhitespaceSplit",
    "Punctuation",
    "Digits",
    "Split",
    "Metaspace",
    "CharDelimiterSplit",
    "UnicodeScripts",
    "FixedLength",
    "TemplateProcessing",
    "BertProcessing",
    "RobertaProcessing",
    "WordPiece",
    "WordLevel",
    "BPE",
    "Unigram",
    "",
];

#[test]
fn a_template_under_any_other_kind_never_panics() {
    use serde_json::{Value, json};
    let bad = json!({"SpecialToken": {"id": "[XXX]", "type_id": 0}});
    let pieces = json!([bad, {"Sequence": {"id": "B", "type_id": 0}}]);
    let special = json!({"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}});
    let (dir, _) = tiny();
    let path = dir.path().join("tokenizer.json");
    let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for kind in KINDS.map(Value::from).into_iter().chain([json!(7), Value::Null]) {
        for place in ["normalizer", "pre_tokenizer", "post_processor", "model", "decoder"] {
            let part = json!({"type": kind, "single": pieces, "pair": pieces, "special_tokens": special});
            for nested in [part.clone(), json!({"type": "Sequence", "processors": [part]})] {
                let mut file = whole.clone();
                file[place] = nested;
                fs::write(&path, file.to_string()).unwrap();
                // Fields that a part does not have are ignored, and its own may be there: what loads must embed.
                if let Ok(bert) = Bert::load(dir.path()) {
                    assert!(bert.embed_plain("the cat sat").is_ok(), "{place} of kind {kind}");
                }
            }
        }
    }
}

/// Every field of the file exchanged for values of every sort: whatever loads must embed or refuse.
#[test]
fn exchanged_fields_of_a_tokenizer_never_panic() {
    use serde_json::{Value, json};
    fn places(value: &Value, at: &str, all: &mut Vec<String>) {
        let mut go = |key: String, inner: &Value| {
            let at = format!("{at}/{key}");
            all.push(at.clone());
            places(inner, &at, all);
        };
        match value {
            Value::Object(map) => map.iter().for_each(|(k, v)| go(k.replace('/', "~1"), v)),
            Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| go(i.to_string(), v)),
            _ => {}
        }
    }
    let (dir, _) = tiny();
    let path = dir.path().join("tokenizer.json");
    let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut all = Vec::new();
    places(&whole, "", &mut all);
    let values = [
        Value::Null,
        json!(true),
        json!(0),
        json!(1),
        json!(u32::MAX),
        json!(u64::MAX),
        json!(""),
        json!(" "),
        json!("[CLS]"),
        json!("cat"),
        json!("\u{301}\u{0}"),
        json!([]),
        json!({}),
        json!([0]),
    ];
    for at in &all {
        for value in &values {
            let mut file = whole.clone();
            *file.pointer_mut(at).unwrap() = value.clone();
            fs::write(&path, file.to_string()).unwrap();
            if let Ok(bert) = Bert::load(dir.path()) {
                let _ = bert.embed_plain("The cats ran [SEP] on \u{301} a ZEBRA 東京.");
            }
        }
    }
}

#[test]
fn old_tokenizers_of_bert_mean_the_same() {
    let (dir, _) = tiny();
    let path = dir.path().join("tokenizer.json");
    let text = "The cats ran on the road.";
    let expected = Bert::load(dir.path()).unwrap().tokenize(text).unwrap();
    let mut file: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    file["model"].as_object_mut().unwrap().remove("type");
    file["post_processor"] =
        serde_json::json!({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]});
    fs::write(&path, file.to_string()).unwrap();
    assert_eq!(Bert::load(dir.path()).unwrap().tokenize(text).unwrap(), expected);
}

#[test]
fn flipped_bits_of_tokenizer_and_configuration_never_panic() {
    for name in ["tokenizer.json", "config.json"] {
        let (dir, _) = tiny();
        let path = dir.path().join(name);
        let whole = fs::read(&path).unwrap();
        for (i, bit) in (0..whole.len()).step_by(5).zip((0..7).cycle()) {
            let mut damaged = whole.clone();
            damaged[i] ^= 1 << bit;
            fs::write(&path, &damaged).unwrap();
            // Many a flip leaves a valid file of another meaning; whatever loads must embed or refuse.
            if let Ok(bert) = Bert::load(dir.path()) {
                let _ = bert.embed_plain("The cats ran [SEP] on a ZEBRA 東京.");
            }
        }
    }
}
