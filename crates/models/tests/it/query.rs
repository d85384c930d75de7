//! From text to slots and from slots to the embedding; the approximated twin of a small model.

use aegis_models::{Bert, Error, NoEmbedding, Query, QueryShape, Shared, Tokens, cosine};
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
        let (approximated, excursions) = bert.embed_approximated(&network, &query).unwrap().remove(0);
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
    let (expected, _) = case.bert.embed_approximated(&case.network, &query).unwrap().remove(0);
    // Noise of 2^-12 that averages out.
    slots
        .iter_mut()
        .flatten()
        .enumerate()
        .for_each(|(i, v)| *v += if i % 3 == 0 { 2f64.powi(-12) } else { -2f64.powi(-13) });
    let e = shape.finish(&slots).unwrap().remove(0);
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
        ("\"tokens\":[3]", "\"tokens\":[0]"),
        ("\"tokens\":[3]", "\"tokens\":[17]"),
        ("\"tokens\":[3]", "\"tokens\":[]"),
        ("\"tokens\":[3]", "\"tokens\":[3,3]"),
        ("\"tokens\":[3]", "\"tokens\":[18446744073709551615,18446744073709551615]"),
        ("\"stride\":16", "\"stride\":8"),
        ("\"stride\":16", "\"stride\":0"),
        ("\"stride\":16,\"tokens\":[3]", "\"stride\":0,\"tokens\":[3,3]"),
        ("\"stride\":16,\"tokens\":[3]", "\"stride\":6,\"tokens\":[3,3]"),
        ("\"stride\":16,\"tokens\":[3]", "\"stride\":32,\"tokens\":[3,3]"),
        ("\"stride\":16,\"tokens\":[3]", "\"stride\":8,\"tokens\":[3,3,3]"),
        ("\"stride\":16,\"tokens\":[3]", "\"stride\":8,\"tokens\":[3,9]"),
        ("\"stride\":16,\"tokens\":[3]", "\"stride\":8,\"tokens\":[3,0]"),
        ("\"stride\":16,\"tokens\":[3]", "\"stride\":9223372036854775808,\"tokens\":[3,3]"),
        // Texts side by side in several token blocks.
        (
            "\"padded_tokens\":16,\"stride\":16,\"tokens\":[3]",
            "\"padded_tokens\":64,\"stride\":16,\"tokens\":[3,3]",
        ),
        ("\"padded_tokens\":16", "\"padded_tokens\":18446744073709551615"),
        ("\"padded_tokens\":16", "\"padded_tokens\":9223372036854775808"),
        ("\"slots\":256", "\"slots\":0"),
        // Possible, but of no text that this model takes: a server would plan for it.
        (
            "\"slots\":256,\"padded_tokens\":16,\"stride\":16",
            "\"slots\":1048576,\"padded_tokens\":65536,\"stride\":65536",
        ),
    ] {
        let damaged: QueryShape = serde_json::from_str(&text.replacen(from, to, 1)).unwrap();
        let refused = case.bert.check_shape(&damaged).unwrap_err();
        assert!(damaged != shape, "{to}");
        let typed = matches!(refused, Error::OtherShape { .. } | Error::DamagedShape(_) | Error::Nn(_));
        assert!(typed, "{to}: {refused}");
    }
}

/// More texts than a header has room for, each in one row.
#[test]
fn shapes_of_too_many_texts_are_refused() {
    let lengths = vec!["1"; 65].join(",");
    let shape = |lengths: &str| -> QueryShape {
        let sizes = "\"slots\":1024,\"padded_tokens\":128,\"hidden\":8,\"heads\":2,\"intermediate\":16";
        serde_json::from_str(&format!("{{{sizes},\"stride\":1,\"tokens\":[{lengths}]}}")).unwrap()
    };
    assert!(matches!(shape(&lengths).layout(), Err(Error::DamagedShape(_))));
    assert!(shape(&lengths[2..]).layout().is_ok());
}

/// A query of five texts in a layout for eight, and the slots that a faultless server returns: every row holds the sum
/// of the next `stride` rows, each divided by the tokens of its text.
fn shared(bert: &Bert) -> (Query, Layout, Vec<Vec<f64>>) {
    let layout = bert.layout(1024, 128).unwrap();
    let texts =
        ["cat", "the the the the the the the the the the the the the the", "a dog ran.", "mat", "road"];
    let queries: Vec<Query> = texts.iter().map(|text| bert.query(&layout, text).unwrap()).collect();
    let query = Query::share(&queries).remove(0).query;
    assert_eq!(query.shape.lengths(), [3, 16, 6, 3, 3]);
    let rows = query.shape.rows();
    let parts: Vec<Vec<f64>> = (0..128)
        .map(|t| {
            let part = |row: aegis_nn::Row| {
                let hidden = &queries[row.text].hidden;
                hidden.row(row.token).iter().map(|v| v / row.tokens as f64).collect()
            };
            rows.row(t).map_or_else(|| vec![0.0; 8], part)
        })
        .collect();
    let sums = Tensor::from_fn(128, 8, |t, c| (0..16).map(|i| parts[(t + i) % 128][c]).sum());
    let slots = Shape::one(&layout, MODEL, 128).pack(&sums).unwrap();
    (query, layout, slots)
}

fn positions(positions: usize) -> Bert {
    let dir = tempdir().unwrap();
    TinyBert { positions, ..TinyBert::default() }.write(dir.path()).unwrap();
    Bert::load(dir.path()).unwrap()
}

#[test]
fn every_text_of_a_shared_query_is_finished() {
    let (query, _, slots) = shared(&positions(128));
    let means: Vec<Vec<f64>> = (query.texts().unwrap().iter())
        .map(|x| (0..8).map(|c| (0..x.rows()).map(|t| x.at(t, c)).sum::<f64>()).collect())
        .collect();
    let embeddings = query.shape.finish(&slots).unwrap();
    assert_eq!(embeddings.len(), 5);
    for (text, (e, mean)) in embeddings.iter().zip(&means).enumerate() {
        let unit = aegis_models::normalize(mean.clone()).unwrap();
        assert!(e.iter().zip(&unit).all(|(a, b)| (a - b).abs() < 1e-12), "text {text}: {e:?}, not {unit:?}");
    }
}

/// The copies are in the rows of padding before each text.
#[test]
fn a_wrong_copy_of_one_text_refuses_the_shared_result() {
    let (query, layout, slots) = shared(&positions(128));
    // The second text fills its rows: neither it nor the next has a copy. Row 112 and those after it are of nobody.
    let copies = [(0, true), (127, true), (115, true), (48, true), (38, true)];
    let others = [(114, false), (37, false), (32, false), (31, false), (16, false)];
    for (row, refused) in copies.into_iter().chain(others) {
        let mut changed = slots.clone();
        changed[0][layout.slot(row, 3)] += 9.0;
        let outcome = query.shape.finish(&changed);
        let copies = matches!(outcome, Err(Error::Embedding(NoEmbedding::Copies { .. })));
        assert_eq!(copies, refused, "row {row}: {outcome:?}");
    }
    let noise = |i: usize| ((i * 2_654_435_761) % 1000) as f64 * 1e6;
    let noise: Vec<f64> = (0..1024).map(noise).collect();
    assert!(matches!(query.shape.finish(&[noise]), Err(Error::Embedding(_))));
}

/// The plain twin goes text by text: what shares a query changes no embedding, and one text outside refuses all.
#[test]
fn the_texts_of_a_query_are_embedded_each_by_itself() {
    let bert = positions(64);
    let tokens: Vec<Tokens> = TEXTS.iter().map(|t| bert.tokenize(t).unwrap()).collect();
    let layout = bert.layout(512, 64).unwrap();
    let network = bert.network(&layout, &bert.calibrate("test", &tokens).unwrap()).unwrap();
    let queries: Vec<Query> = TEXTS.iter().map(|text| bert.query(&layout, text).unwrap()).collect();
    let shared = Query::share(&queries);
    assert_eq!(shared.iter().map(|s| s.texts.len()).collect::<Vec<_>>(), [4, 3]);
    for Shared { texts, query } in shared {
        bert.check_covered(&network, &query).unwrap();
        bert.check_shape(&query.shape).unwrap();
        for (text, (embedding, outside)) in
            texts.iter().zip(bert.embed_approximated(&network, &query).unwrap())
        {
            let c = cosine(&embedding, &bert.embed_plain(TEXTS[*text]).unwrap()).unwrap();
            assert!(c > 0.9999 && outside.is_empty(), "{}: cosine {c}, {outside:?}", TEXTS[*text]);
        }
    }
    let strange = bert.query(&layout, "the [MASK] sat").unwrap();
    let narrow = bert.calibrate("one text", &[bert.tokenize("cat").unwrap()]).unwrap();
    let network = bert.network(&layout, &narrow).unwrap();
    let both = Query::share(&[queries[0].clone(), strange]).remove(0).query;
    assert!(matches!(bert.check_covered(&network, &both), Err(Error::NotCovered(_))));
    let torn = Query { hidden: Tensor::zeros(1, 8), ..both };
    assert!(matches!(bert.check_covered(&network, &torn), Err(Error::Nn(_))));
}
