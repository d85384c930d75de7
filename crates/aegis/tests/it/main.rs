//! Client and server apart: what travels between them, and what each refuses.

mod checkpoint;
mod lanes;
mod limbs;
mod minilm;

use std::path::Path;
use std::sync::Arc;

use aegis::message::{self, Kind};
use aegis::{Client, Error, ErrorKind, Model, Server};
use aegis_ckks::{
    Ciphertext, Context, EvaluationKeys, Evaluator, KeyPurpose, KeyRequest, N16_B13_S40, Params, Seed,
    insecure_bootstrap_spec,
};
use aegis_models::{Bert, CALIBRATION_FILE, Query, Shared, calibration_file, cosine};
use aegis_testing::{TinyBert, on_cpu};

const TEXT: &str = "the cat sat on the mat.";
/// What small models are calibrated on.
const TEXTS: [&str; 5] =
    [TEXT, "a dog ran on the road.", "cat", "the dogs sat. the cats ran.", "a mat on the road"];

/// A small model with its calibration, written to a folder and read back.
fn tiny(dir: &Path) -> Arc<Bert> {
    made(&TinyBert::default(), dir)
}

fn made(model: &TinyBert, dir: &Path) -> Arc<Bert> {
    model.write(dir).expect("a writable folder");
    let bert = Bert::load(dir).expect("a model");
    let tokens: Vec<_> = TEXTS.iter().map(|t| bert.tokenize(t).expect("tokens")).collect();
    let constants = bert.calibrate("test", &tokens).expect("constants");
    let file = calibration_file(&constants, bert.identity()).expect("a file");
    std::fs::write(dir.join(CALIBRATION_FILE), file).expect("a writable folder");
    Arc::new(bert)
}

fn small_ring(threads: usize) -> Context {
    ring(9, threads)
}

fn ring(log_n: u32, threads: usize) -> Context {
    on_cpu(Params::insecure(insecure_bootstrap_spec(log_n)).expect("a ring"), threads)
}

/// Everything between client and server as bytes: the embedding is the plain model's, the result does not depend on the
/// number of threads, and damaged or exchanged messages are refused.
#[test]
fn a_query_travels_to_the_server_and_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let bert = tiny(dir.path());
    let results: Vec<Vec<u8>> = [1, 2].map(|threads| round_trip(&bert, threads)).into();
    assert!(results[0] == results[1], "one and two threads give different ciphertexts");
}

fn round_trip(bert: &Arc<Bert>, threads: usize) -> Vec<u8> {
    let ctx = small_ring(threads);
    let model = Model::new(Arc::clone(bert), ctx.params().slots(), 16).expect("a model");
    let server = Server::new(&ctx, model.clone()).expect("a server");
    let (client, made) =
        Client::generate(&ctx, Seed::new([3; 32]), server.request()).expect("a client and its keys");
    let mut keys = Vec::new();
    made.write(&ctx, &mut keys).expect("keys as bytes");

    let query = model.query(TEXT).expect("a query");
    let sent = client.query(&model, &query, &Seed::new([4; 32])).expect("a message");
    refuses_damage(&ctx, &sent);
    assert_eq!(message::kind(&sent[..1000]), Some(Kind::Query));

    let keys = Arc::new(EvaluationKeys::read(&ctx, keys.as_slice()).expect("undamaged keys"));
    let back = server.answer(&keys, &sent, &mut ()).expect("an evaluation");
    let again = server.answer(&keys, &back, &mut ());
    assert!(matches!(again, Err(Error::OtherKind { have: Kind::Result, .. })), "a result is no query");

    let (header, embeddings) = client.result(&back).expect("an embedding");
    assert_eq!((&header.shape, embeddings.len()), (&query.shape, 1));
    let plain = bert.embed_plain(TEXT).expect("an embedding");
    let cosine = cosine(&embeddings[0], &plain).expect("two embeddings");
    assert!(cosine > 0.999, "cosine {cosine}");
    back
}

/// Five texts of up to 16 tokens in two queries, with one set of keys: each embedding is the plain model's.
#[test]
fn short_texts_share_a_query() {
    let dir = tempfile::tempdir().expect("a folder");
    let bert = made(&TinyBert { positions: 64, ..TinyBert::default() }, dir.path());
    let ctx = ring(10, 2);
    let model = Model::new(Arc::clone(&bert), ctx.params().slots(), 64).expect("a model");
    let server = Server::new(&ctx, model.clone()).expect("a server");
    let (client, keys) =
        Client::generate(&ctx, Seed::new([3; 32]), server.request()).expect("a client and its keys");
    let keys = Arc::new(keys);
    let queries = TEXTS.map(|text| model.query(text).expect("a query"));
    let shared = Query::share(&queries);
    assert_eq!(shared.iter().map(|s| s.texts.clone()).collect::<Vec<_>>(), [vec![0, 1, 2, 3], vec![4]]);
    for Shared { texts, query } in shared {
        let sent = client.query(&model, &query, &Seed::new([4; 32])).expect("a message");
        let back = server.answer(&keys, &sent, &mut ()).expect("an evaluation");
        let (header, embeddings) = client.result(&back).expect("embeddings");
        assert_eq!((&header.shape, embeddings.len()), (&query.shape, texts.len()));
        for (text, embedding) in texts.iter().zip(&embeddings) {
            let plain = bert.embed_plain(TEXTS[*text]).expect("an embedding");
            let cosine = cosine(embedding, &plain).expect("two embeddings");
            assert!(cosine > 0.999, "{}: cosine {cosine}", TEXTS[*text]);
        }
    }
}

fn refuses_damage(ctx: &Context, sent: &[u8]) {
    let refusal =
        |bytes: &[u8], kind| message::decode(ctx, bytes, kind).map(|_| ()).expect_err("damage is found");
    assert!(matches!(refusal(sent, Kind::Result), Error::OtherKind { have: Kind::Query, .. }));
    for length in [0, 7, 8, 10, 40, sent.len() / 2, sent.len() - 1] {
        refusal(&sent[..length], Kind::Query);
    }
    for at in [0, 8, 11, 30, sent.len() / 2, sent.len() - 1] {
        let mut flipped = sent.to_vec();
        flipped[at] ^= 4;
        refusal(&flipped, Kind::Query);
    }
}

/// The whole of a large model at the preset that ships, on the device that only records: levels, scales, keys and
/// shapes of every operation fit, with one ciphertext an activation and with two, for one text and for as many as share.
#[test]
fn a_model_of_full_size_runs_on_the_recorder() {
    let dir = tempfile::tempdir().expect("a folder");
    let sizes = TinyBert { layers: 2, positions: 128, ..TinyBert::of_minilm_size() };
    sizes.write(dir.path()).expect("a writable folder");
    let bert = Arc::new(Bert::load(dir.path()).expect("a model"));
    let tokens = [bert.tokenize(TEXT).expect("tokens")];
    let constants = bert.calibrate("test", &tokens).expect("constants");
    let params = Params::try_from(N16_B13_S40).expect("a preset");
    for padded in [64, 128] {
        let device = Arc::new(aegis_hal::Trace::new(params.rns().clone()));
        let ctx = Context::new(params.clone(), device).expect("a context");
        let layout = bert.layout(params.slots(), padded).expect("a layout");
        let model = Model::with_calibration(Arc::clone(&bert), layout, &constants).expect("a model");
        let server = Server::new(&ctx, model.clone()).expect("a server");
        let (client, keys) =
            Client::generate(&ctx, Seed::new([3; 32]), server.request()).expect("a client and its keys");
        // Calibrated on the text itself, so that it is covered.
        let query = model.query(TEXT).expect("a query");
        let shared = Query::share(&vec![query.clone(); padded / 16]);
        assert_eq!(shared.len(), 1, "texts of {} tokens", query.shape.tokens());
        let keys = Arc::new(keys);
        for query in [&query, &shared[0].query] {
            let x = client.encrypt(&model, query, &Seed::new([4; 32])).expect("a ciphertext");
            let y = server.evaluate(&keys, x, &mut ()).expect("an evaluation");
            client.check(&query.shape, y.blocks()).expect("a result");
        }
    }
}

/// What a server or a client can be handed by mistake or malice is refused before anything is computed.
#[test]
fn keys_queries_and_results_of_others_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let bert = tiny(dir.path());
    let ctx = small_ring(1);
    let model = Model::new(Arc::clone(&bert), ctx.params().slots(), 16).expect("a model");
    let server = Server::new(&ctx, model.clone()).expect("a server");
    let query = model.query(TEXT).expect("a query");
    let none = KeyRequest::new(ctx.params().n());
    let client = |n| Client::generate(&ctx, Seed::new([n; 32]), &none).expect("no keys");
    let ((client, own), (stranger, others)) = (client(3), client(4));
    let encrypted = client.encrypt(&model, &query, &Seed::new([5; 32])).expect("a ciphertext");
    let blocks = || encrypted.blocks().to_vec();

    let refused = server.check_request(&own.contents());
    assert!(matches!(refused, Err(Error::KeysMissing { tokens: 16 })), "{refused:?}");
    let (own, others) = (Arc::new(own), Arc::new(others));
    let refusal = |keys| server.evaluate(keys, encrypted.clone(), &mut ()).map(drop).expect_err("other keys");
    let (foreign, missing) = (refusal(&others), refusal(&own));
    assert!(matches!(foreign, Error::ForeignKeys { what: "the query", .. }), "{foreign}");
    let lacks = |e: &Error| match e {
        Error::Evaluation(aegis_nn::Error::MissingKeys(aegis_ckks::Error::MissingKey { what, .. })) => {
            Some(*what)
        }
        _ => None,
    };
    assert_eq!(lacks(&missing), Some(KeyPurpose::Relinearization), "{missing}");
    assert_eq!([foreign, missing].map(|e| e.kind()), [ErrorKind::KeySet; 2]);

    let ev = Evaluator::new(&ctx, own);
    let each = |change: &dyn Fn(&Ciphertext) -> aegis_ckks::Result<Ciphertext>| {
        let changed: aegis_ckks::Result<Vec<_>> = encrypted.blocks().iter().map(change).collect();
        server.input(&query.shape, changed.expect("ciphertexts")).map(drop)
    };
    let refused = each(&|b| ev.drop_to(b, b.level().lowered(1)));
    assert!(matches!(refused, Err(Error::NotFresh { .. })), "{refused:?}");
    let refused = each(&|b| ev.reinterpret(b, 2.0 * b.scale()));
    assert!(matches!(refused, Err(Error::NotFresh { .. })), "{refused:?}");
    let longer = serde_json::to_string(&query.shape).expect("a shape");
    let longer = longer.replace(&format!("\"tokens\":[{}]", query.shape.tokens()), "\"tokens\":[17]");
    let longer = serde_json::from_str(&longer).expect("a shape");
    let refused = server.input(&query.shape, vec![]).map(drop);
    assert!(matches!(refused, Err(Error::Evaluation(_))), "{refused:?}");
    let refused = server.input(&longer, blocks()).map(drop);
    assert!(matches!(refused, Err(Error::Models(_))), "{refused:?}");

    client.check(&query.shape, &blocks()).expect("of these keys and this shape");
    let refused = stranger.check(&query.shape, &blocks());
    assert!(matches!(refused, Err(Error::ForeignKeys { what: "the result", .. })), "{refused:?}");
    let refused = client.decrypt(&query.shape, &[]);
    assert!(matches!(refused, Err(Error::OtherResult)), "{refused:?}");
}

/// A server answers queries of its own model and length, and is made for the slots of its parameters.
#[test]
fn queries_of_another_model_or_length_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let bert = tiny(dir.path());
    let ctx = small_ring(1);
    let slots = ctx.params().slots();
    let model = |tokens| Model::new(Arc::clone(&bert), slots, tokens).expect("a model");
    let (model, shorter) = (model(16), model(8));
    let server = Server::new(&ctx, model.clone()).expect("a server");
    let none = KeyRequest::new(ctx.params().n());
    let (client, keys) = Client::generate(&ctx, Seed::new([3; 32]), &none).expect("no keys");
    let keys = Arc::new(keys);
    if shorter.layout() != model.layout() {
        let query = shorter.query("cat").expect("a query");
        let sent = client.query(&shorter, &query, &Seed::new([4; 32])).expect("a message");
        let refused = server.answer(&keys, &sent, &mut ()).map(drop);
        assert!(matches!(refused, Err(Error::OtherLayout { have: 8, want: 16 })), "{refused:?}");
    }
    let encrypted = client.encrypt(&model, &model.query(TEXT).expect("a query"), &Seed::new([4; 32]));
    let encrypted = encrypted.expect("a ciphertext");
    let shape = model.query(TEXT).expect("a query").shape;
    let header = message::Header { kind: Kind::Query, model: "0".repeat(64), shape };
    let sent = message::encode(&ctx, &header, encrypted.blocks()).expect("a message");
    let refused = server.answer(&keys, &sent, &mut ()).map(drop);
    assert!(matches!(refused, Err(Error::OtherModel { .. })), "{refused:?}");

    let wide = Model::new(bert, 2 * slots, 16).expect("a model");
    assert!(matches!(Server::new(&ctx, wide).map(drop), Err(Error::OtherSlots { .. })));
}

/// Whose fault an error is does not depend on how deep it was met, nor on what was said about it since.
#[test]
fn kinds_are_found_behind_other_errors() {
    let deep = |e: aegis_hal::Error| {
        let e = aegis_circuits::Error::from(aegis_ckks::Error::from(e));
        Error::from(aegis_models::Error::from(aegis_nn::Error::from(e)))
    };
    let full = || aegis_hal::Error::OutOfMemory { asked: 8, limit: None, live: 0 };
    assert_eq!(deep(full()).kind(), ErrorKind::Memory);
    assert_eq!(deep(aegis_hal::Error::Device("gone".into())).kind(), ErrorKind::Device);
    assert_eq!(deep(aegis_hal::Error::WrongDevice).kind(), ErrorKind::Input);
    let block = Error::BadCiphertext { index: 0, source: full().into() };
    assert_eq!(block.kind(), ErrorKind::Memory);
    assert_eq!(Error::Version { have: 2, want: 1 }.kind(), ErrorKind::Unsupported);
    let bug = Error::from(aegis_circuits::Error::NoResult { circuit: "a sum" });
    assert_eq!(bug.kind(), ErrorKind::Bug);

    #[derive(Debug)]
    struct Said(Error);
    impl std::fmt::Display for Said {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "while evaluating")
        }
    }
    impl std::error::Error for Said {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    assert_eq!(aegis::kind_of(&Said(deep(full()))), Some(ErrorKind::Memory));
    assert_eq!(aegis::kind_of(&full()), Some(ErrorKind::Memory));
    assert_eq!(aegis::kind_of(&std::io::Error::other("gone")), None);
}

/// Known before anything is made; the lengths are those that one would try next.
#[test]
fn a_run_that_does_not_fit_says_what_would() {
    let dir = tempfile::tempdir().expect("a folder");
    let params = Params::insecure(insecure_bootstrap_spec(9)).expect("a ring");
    let model = Model::new(tiny(dir.path()), params.slots(), 16).expect("a model");
    let plan = model.plan(&params).expect("a plan");
    let need = plan.memory().peak();
    model.check_memory(&plan, &params, need).expect("what it needs is enough");
    let refused = model.check_memory(&plan, &params, need - 1).expect_err("a byte too few");
    assert_eq!(refused.kind(), ErrorKind::Memory);
    let Error::Memory { tokens: 16, need: said, have, fits } = refused else { panic!("{refused}") };
    assert_eq!((said, have), (need, need - 1));
    assert!(fits.is_none_or(|tokens| tokens < 16));
}
