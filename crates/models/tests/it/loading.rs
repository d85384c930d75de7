//! Every spelling of one model loads to the same function.

use aegis_models::{Bert, cosine};
use aegis_testing::{TinyBert, write_tensors};
use safetensors::Dtype;
use tempfile::tempdir;

fn load(model: &TinyBert) -> Bert {
    let dir = tempdir().unwrap();
    model.write(dir.path()).unwrap();
    Bert::load(dir.path()).unwrap()
}

#[test]
fn prefix_and_old_names_mean_the_same() {
    let text = "The cat sat on the mat.";
    let present = load(&TinyBert::default()).embed_plain(text).unwrap();
    for (prefix, old_names) in [("bert.", false), ("", true), ("bert.", true)] {
        let other = load(&TinyBert { prefix, old_names, ..TinyBert::default() }).embed_plain(text).unwrap();
        assert_eq!(present, other, "prefix {prefix:?}, old names {old_names}");
    }
}

#[test]
fn half_precision_formats_differ_by_their_rounding_only() {
    let text = "a dog ran on the road .";
    let exact = load(&TinyBert::default()).embed_plain(text).unwrap();
    for (format, distance) in [(Dtype::F16, 1e-5), (Dtype::BF16, 1e-3)] {
        let rounded = load(&TinyBert { format, ..TinyBert::default() }).embed_plain(text).unwrap();
        let c = cosine(&exact, &rounded).unwrap();
        assert!(1.0 - c < distance && c < 1.0, "{format:?}: cosine {c}");
    }
}

#[test]
fn heads_of_a_task_are_ignored() {
    let dir = tempdir().unwrap();
    let model = TinyBert { prefix: "bert.", ..TinyBert::default() };
    model.write(dir.path()).unwrap();
    let mut tensors = model.tensors();
    // Even damaged ones: they are never read.
    tensors.insert("cls.predictions.bias".into(), (Dtype::F32, vec![1], f32::NAN.to_le_bytes().to_vec()));
    tensors.retain(|name, _| !name.contains("pooler"));
    write_tensors(dir.path(), &tensors).unwrap();
    let with_head = Bert::load(dir.path()).unwrap().embed_plain("cat").unwrap();
    assert_eq!(with_head, load(&model).embed_plain("cat").unwrap());
}

#[test]
fn embeddings_have_unit_length_and_the_models_size() {
    let bert = load(&TinyBert::default());
    let e = bert.embed_plain("the dogs").unwrap();
    assert_eq!(e.len(), bert.config().width);
    assert!((e.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-12);
    assert_eq!(bert.identity().len(), 64);
}
