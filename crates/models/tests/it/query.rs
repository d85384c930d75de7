//! From text to slots and from slots to the embedding; the approximated twin of a small model.

use aegis_models::{Bert, Error, NoEmbedding, QueryShape, Tokens, cosine};
use aegis_nn::{Layout, MODEL, Network, Shape, Tensor};
use aegis_testing::TinyBert;
use tempfile::tempdir;

const SLOTS: usize = 256;
const TEXTS: [&str; 7] = [
    "cat",
    "the dog ran.",
    "a cat sat on the mat.",
    "dogs ran on the road . the cats sat",
    "zebra road",
    "mat mat mat",
    "the the the the the the the the the the the the the the",
];

struct Case {
    bert: Bert,
    layout: Layout,
    network: Network,
}

fn case() -> Case {
    let dir = tempdir().unwrap();
    TinyBert::default().write(dir.path()).unwrap();
    let bert = Bert::load(dir.path()).unwrap();
    let tokens: Vec<Tokens> = TEXTS.iter().map(|t| bert.tokenize(t).unwrap()).collect();
    let layout = bert.layout(SLOTS, 16).unwrap();
    let network = bert.network(&layout, &bert.calibrate("test", &tokens).unwrap()).unwrap();
    Case { bert, layout, network }
}

#[test]
fn the_approximated_twin_follows_the_exact_one() {
    let Case { bert, layout, network } = case();
    for text in TEXTS {
        let query = bert.query(&layout, text).unwrap();
        let (approximated, excursions) = bert.embed_approximated(&network, &query).unwrap();
        let c = cosine(&approximated, &bert.embed_plain(text).unwrap()).unwrap();
        assert!(c > 0.9999 && excursions.is_empty(), "{text}: cosine {c}, {excursions:?}");
        let beyond: Vec<_> =
            network.plain(&query.hidden).unwrap().magnitudes.into_iter().filter(|(_, m, b)| m > b).collect();
        assert!(beyond.is_empty(), "{text}: {beyond:?}");
    }
}

/// `encrypt` took such texts, and NaN came back.
#[test]
fn texts_that_leave_the_calibrated_ranges_are_refused() {
    let Case { bert, layout, network } = case();
    for text in TEXTS {
        bert.check_covered(&network, &bert.query(&layout, text).unwrap()).unwrap();
    }
    let narrow = bert.calibrate("one text", &[bert.tokenize("cat").unwrap()]).unwrap();
    let network = bert.network(&layout, &narrow).unwrap();
    for text in ["the [MASK] sat", "dogs ran on the road . the cats sat"] {
        let query = bert.query(&layout, text).unwrap();
        let error = bert.check_covered(&network, &query).unwrap_err();
        let Error::NotCovered(worst) = &error else { panic!("{text}: {error}") };
        let excursions = network.plain(&query.hidden).unwrap().excursions;
        assert!(excursions.contains(worst) && error.to_string().contains(&worst.stage), "{text}: {error}");
    }
}

/// Slots as a faultless server returns them.
fn result(case: &Case, text: &str) -> (QueryShape, Vec<Vec<f64>>) {
    let query = case.bert.query(&case.layout, text).unwrap();
    let mean = case.network.plain(&query.hidden).unwrap().output;
    let copies = Tensor::from_fn(case.layout.tokens(), mean.cols(), |_, c| mean.at(0, c));
    (query.shape, Shape::one(&case.layout, MODEL, case.layout.tokens()).pack(&copies).unwrap())
}

#[test]
fn finishing_needs_the_shape_alone() {
    let case = case();
    let (shape, mut slots) = result(&case, "the cat sat");
    // As the shape travels: in a file.
    let shape: QueryShape = serde_json::from_str(&serde_json::to_string(&shape).unwrap()).unwrap();
    let query = case.bert.query(&case.layout, "the cat sat").unwrap();
    let (expected, _) = case.bert.embed_approximated(&case.network, &query).unwrap();
    // Noise of 2^-12 that averages out.
    slots
        .iter_mut()
        .flatten()
        .enumerate()
        .for_each(|(i, v)| *v += if i % 3 == 0 { 2f64.powi(-12) } else { -2f64.powi(-13) });
    let e = shape.finish(&slots).unwrap();
    assert!(e.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-3));
}

#[test]
fn slots_that_are_no_embedding_are_refused() {
    let case = case();
    let (shape, good) = result(&case, "the cat sat");
    let refused = |change: &dyn Fn(usize, f64) -> f64| {
        let changed: Vec<Vec<f64>> =
            good.iter().map(|s| s.iter().enumerate().map(|(i, v)| change(i, *v)).collect()).collect();
        shape.finish(&changed).unwrap_err()
    };
    let noise = |i: usize, _: f64| ((i * 2_654_435_761) % 1000) as f64 * 1e6;
    for change in
        [&noise as &dyn Fn(usize, f64) -> f64, &|_, _| f64::NAN, &|_, _| 0.0, &|_, v| v * f64::INFINITY]
    {
        assert!(matches!(
            refused(change),
            Error::Embedding(NoEmbedding::Copies { .. } | NoEmbedding::Length(_))
        ));
    }
    let one_token = |i: usize, v: f64| if i < case.layout.token_slots() { v + 1.0 } else { v };
    assert!(matches!(refused(&one_token), Error::Embedding(NoEmbedding::Copies { .. })));
    assert!(matches!(shape.finish(&[]), Err(Error::Nn(_))));
    assert!(matches!(shape.finish(&[vec![0.0; SLOTS - 1]]), Err(Error::Nn(_))));
}

#[test]
fn padded_rows_are_zeros_and_real_ones_are_the_embedding_layer() {
    let case = case();
    let query = case.bert.query(&case.layout, "a dog").unwrap();
    assert_eq!((query.shape.tokens(), query.shape.padded_tokens()), (4, 16));
    let slots = query.shape.input().unwrap().pack(&query.hidden).unwrap();
    let back = Shape::one(&case.layout, MODEL, 16).unpack(&slots).unwrap();
    for t in 0..16 {
        let zero = back.row(t).iter().all(|v| *v == 0.0);
        assert!(if t < 4 { back.row(t) == query.hidden.row(t) } else { zero }, "token {t}");
    }
}

#[test]
fn texts_that_do_not_fit_the_layout_are_refused() {
    let case = case();
    let short = case.bert.layout(SLOTS, 8).unwrap();
    assert!(case.bert.query(&short, "cat cat cat cat cat cat").is_ok());
    let error = case.bert.query(&short, "cat cat cat cat cat cat cat").unwrap_err();
    assert!(matches!(error, Error::TextTooLong { tokens: 9, max: 8 }), "{error}");
    assert!(matches!(case.bert.layout(SLOTS, 17), Err(Error::TextTooLong { .. })));
    assert!(matches!(case.bert.layout(16, 16), Err(Error::Nn(_))));
}

#[test]
fn shapes_of_other_models_and_damaged_ones_are_refused() {
    let case = case();
    let (shape, _) = result(&case, "cat");
    case.bert.check_shape(&shape).unwrap();
    let text = serde_json::to_string(&shape).unwrap();
    for (from, to) in [
        ("\"hidden\":8", "\"hidden\":16"),
        ("\"heads\":2", "\"heads\":0"),
        ("\"tokens\":3", "\"tokens\":0"),
        ("\"tokens\":3", "\"tokens\":17"),
        ("\"padded_tokens\":16", "\"padded_tokens\":18446744073709551615"),
        ("\"padded_tokens\":16", "\"padded_tokens\":9223372036854775808"),
        ("\"slots\":256", "\"slots\":0"),
        // Possible, but of no text that this model takes: a server would plan for it.
        ("\"slots\":256,\"padded_tokens\":16", "\"slots\":1048576,\"padded_tokens\":65536"),
    ] {
        let damaged: QueryShape = serde_json::from_str(&text.replacen(from, to, 1)).unwrap();
        let refused = case.bert.check_shape(&damaged).unwrap_err();
        assert!(damaged != shape, "{to}");
        let typed = matches!(refused, Error::OtherShape { .. } | Error::DamagedShape(_) | Error::Nn(_));
        assert!(typed, "{to}: {refused}");
    }
}
