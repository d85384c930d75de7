//! A model prepared for one parameter set: what client and server compute, without any file.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{
    Ciphertext, Context, EvaluationKeys, Evaluator, KeyId, KeyRequest, Params, SecretKey, Seed, same_scale,
};
use aegis_cpu::Cpu;
use aegis_models::{Bert, Query, QueryShape};
use aegis_nn::bootstraps::Plan;
use aegis_nn::{CtTensor, Layout, MODEL, Network, Observer};
use anyhow::{Context as _, Result};

use crate::args::Rounding;
use crate::fault::{BlameInput, input};
use crate::presets::DEFAULT_TOKENS;
use crate::progress::Progress;

/// A device context for these parameters; without a number, every core works.
pub(crate) fn context(params: Params, threads: Option<NonZeroUsize>) -> Result<Context> {
    let threads = thread_count(threads);
    // Uniform halves of keys are expanded on the process's own pool; a later context keeps its size.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    let device = Cpu::new(params.rns().clone(), threads).context("cannot open the CPU as a device")?;
    Context::new(params, Arc::new(device)).context("cannot prepare the parameters")
}

/// Worker threads asked for, or as many as there are cores.
pub(crate) fn thread_count(threads: Option<NonZeroUsize>) -> usize {
    threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}

/// Reads a model directory.
pub(crate) fn load_model(dir: &Path) -> Result<Bert> {
    Bert::load(dir).blame_input(format!("model {}", dir.display()))
}

/// Where a model's values sit for texts of up to `tokens` tokens, and for the usual length at least.
pub(crate) fn layout(params: &Params, bert: &Bert, tokens: usize) -> Result<Layout> {
    let tokens = tokens.max(DEFAULT_TOKENS.min(bert.config().positions));
    bert.layout(params.slots(), tokens)
        .blame_input(format!("texts of {tokens} tokens do not fit the model or preset {}", params.name()))
}

/// The client's first step: a text made ready for encryption.
pub(crate) fn query(bert: &Bert, layout: &Layout, text: &str) -> Result<Query> {
    bert.query(layout, text).blame_input("the text cannot be embedded")
}

/// A model as an encrypted network, with the calibration beside it.
pub(crate) fn network(bert: &Bert, layout: &Layout) -> Result<Network> {
    let calibration = bert.calibration().blame_input("the model's calibration cannot be used")?;
    bert.network(layout, &calibration).blame_input("the model does not fit the encrypted network")
}

/// Refuses a text whose encrypted embedding would be wrong.
pub(crate) fn check_covered(bert: &Bert, network: &Network, query: &Query) -> Result<()> {
    bert.check_covered(network, query).blame_input("the text cannot be embedded under encryption")
}

/// The embedding as others may see it, where that was asked for.
pub(crate) fn rounded(embedding: Vec<f64>, rounding: Rounding) -> Result<Vec<f64>> {
    match rounding.bits {
        Some(bits) => aegis_models::round(&embedding, bits).map_err(input),
        None => Ok(embedding),
    }
}

/// Whether a query is one of these keys' ring, before a network is planned for its shape.
pub(crate) fn check_slots(layout: &Layout, params: &Params) -> Result<()> {
    let (have, want) = (layout.slots(), params.slots());
    if have != want {
        return Err(input(format!("the query has {have} slots, these keys {want}; encrypt the text again")));
    }
    Ok(())
}

/// Encrypts a query at the level where the network starts.
pub(crate) fn encrypt(
    ctx: &Context,
    secret: &SecretKey,
    layout: &Layout,
    query: &Query,
    seed: &Seed,
) -> Result<CtTensor> {
    Ok(aegis_nn::encrypt(ctx, secret, layout, MODEL, &query.hidden, ctx.params().fresh_level(), seed)?)
}

/// Whether a result is one of these keys and of its own shape.
pub(crate) fn check_result(
    ctx: &Context,
    secret: &SecretKey,
    shape: &QueryShape,
    blocks: &[Ciphertext],
) -> Result<()> {
    let layout = shape.layout().map_err(input)?;
    if layout.slots() != ctx.params().slots() || layout.blocks(MODEL) != blocks.len() {
        return Err(input("its shape does not fit these keys; evaluate the query again"));
    }
    blocks.iter().try_for_each(|b| check_same_keys("the result", b.key_id(), secret.id()))
}

/// Fails unless two identities of keys are the same.
fn check_same_keys(what: &str, have: KeyId, want: KeyId) -> Result<()> {
    if have != want {
        return Err(input(format!(
            "{what} belongs to key set {have}, these are the keys of {want}; use the keys it was made with"
        )));
    }
    Ok(())
}

/// The client's last step: the unit-length embedding in an encrypted result.
pub(crate) fn decrypt(
    ctx: &Context,
    secret: &SecretKey,
    shape: &QueryShape,
    blocks: &[Ciphertext],
) -> Result<Vec<f64>> {
    let slots = |ct| Ok(secret.decrypt(ctx, ct)?.iter().map(|v| v.re).collect());
    let slots: Vec<Vec<f64>> = blocks.iter().map(slots).collect::<aegis_ckks::Result<_>>()?;
    Ok(shape.finish(&slots)?)
}

/// The server's part: a network, planned.
pub(crate) struct Server {
    ctx: Context,
    network: Network,
    plan: Plan,
    bootstrapper: Bootstrapper,
}

impl Server {
    /// Plans the whole network.
    pub(crate) fn new(ctx: &Context, network: Network) -> Result<Self> {
        let preset = ctx.params().name();
        let plan =
            network.place(ctx.params()).blame_input(format!("preset {preset} does not carry this model"))?;
        let bootstrapper = Bootstrapper::new(ctx, ctx.params().slots())
            .blame_input(format!("preset {preset} cannot evaluate a model"))?;
        Ok(Self { ctx: ctx.clone(), network, plan, bootstrapper })
    }

    /// Every key that an evaluation uses.
    pub(crate) fn request(&self) -> KeyRequest {
        self.network.keys(self.ctx.params(), &self.plan).merge(&self.bootstrapper.keys())
    }

    /// The encrypted input of a query, checked: number of ciphertexts, slots, level and scale.
    pub(crate) fn input(&self, tokens: usize, blocks: Vec<Ciphertext>) -> Result<CtTensor> {
        let params = self.ctx.params();
        let fresh = params.fresh_level();
        check_slots(self.network.layout(), params)?;
        if blocks.iter().any(|b| !same_scale(b.scale(), params.scale(fresh))) {
            return Err(input(
                "the query has another scale than the model starts with; encrypt the text again",
            ));
        }
        if let Some(block) = blocks.iter().find(|b| b.level() != fresh) {
            let (have, want) = (block.level().0, fresh.0);
            return Err(input(format!(
                "the query is at level {have}, the model starts at level {want}; encrypt the text again"
            )));
        }
        CtTensor::new(self.network.layout(), MODEL, tokens, blocks)
            .blame_input("the query does not fit the model")
    }

    /// Whether these keys serve the network and belong to the input.
    pub(crate) fn check_keys(&self, keys: &EvaluationKeys, x: &CtTensor) -> Result<()> {
        x.blocks().iter().try_for_each(|b| check_same_keys("the query", b.key_id(), keys.id()))?;
        self.check_request(&keys.contents())
    }

    /// Whether keys made for a request serve the network.
    pub(crate) fn check_request(&self, held: &KeyRequest) -> Result<()> {
        if self.request().is_within(held) {
            return Ok(());
        }
        let tokens = self.network.layout().tokens();
        Err(input(format!(
            "these keys do not serve this model with {tokens} padded tokens; make keys with `aegis keygen` for it"
        )))
    }

    /// Shows the progress of an evaluation.
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(&self.network.stages(self.ctx.params(), &self.plan))
    }

    /// Runs the network.
    pub(crate) fn evaluate(
        &self,
        keys: &Arc<EvaluationKeys>,
        x: &CtTensor,
        observer: &mut dyn Observer,
    ) -> Result<CtTensor> {
        let ev = Evaluator::new(&self.ctx, Arc::clone(keys));
        self.network.run(&ev, &self.plan, Some(&self.bootstrapper), x, observer).context("evaluation failed")
    }
}

#[cfg(test)]
mod tests {
    use aegis::message::{self, Header, Kind};
    use aegis_ckks::{KeyGenerator, insecure_bootstrap_spec};
    use aegis_models::testing::TinyBert;

    use super::*;
    use crate::fault::Input;

    const TEXT: &str = "the cat sat on the mat.";

    /// A small model with its calibration, written to a folder and read back.
    fn tiny(dir: &Path) -> Bert {
        TinyBert::default().write(dir).expect("a writable folder");
        let bert = Bert::load(dir).expect("a model");
        let texts = [TEXT, "a dog ran on the road.", "cat", "the dogs sat. the cats ran."];
        let tokens: Vec<_> = texts.iter().map(|t| bert.tokenize(t).expect("tokens")).collect();
        let constants = bert.calibrate("test", &tokens).expect("constants");
        let file = aegis_models::calibration_file(&constants, bert.identity()).expect("a file");
        std::fs::write(dir.join(aegis_models::CALIBRATION_FILE), file).expect("a writable folder");
        bert
    }

    /// Client and server apart, everything between them as bytes: the embedding is the plain model's, the result does not
    /// depend on the number of threads, and damaged or exchanged messages are refused as input errors.
    #[test]
    fn a_query_travels_to_the_server_and_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let bert = tiny(dir.path());
        let results: Vec<Vec<u8>> = [1, 2].map(|threads| round_trip(&bert, threads)).into();
        assert!(results[0] == results[1], "one and two threads give different ciphertexts");
    }

    /// The whole of a large model at the preset that ships, on the device that only records: levels, scales, keys and
    /// shapes of every operation fit, with one ciphertext an activation and with two.
    #[test]
    fn a_model_of_full_size_runs_on_the_recorder() {
        let dir = tempfile::tempdir().expect("a folder");
        let model = TinyBert {
            width: 384,
            heads: 12,
            layers: 2,
            intermediate: 1536,
            positions: 128,
            ..TinyBert::default()
        };
        model.write(dir.path()).expect("a writable folder");
        let bert = Bert::load(dir.path()).expect("a model");
        let tokens = [bert.tokenize(TEXT).expect("tokens")];
        let constants = bert.calibrate("test", &tokens).expect("constants");
        let params = crate::presets::find(crate::presets::DEFAULT).expect("a preset");
        for padded in [64, 128] {
            let device = Arc::new(aegis_hal::Trace::new(params.rns().clone()));
            let ctx = Context::new(params.clone(), device).expect("a context");
            let layout = layout(&params, &bert, padded).expect("a layout");
            let network = bert.network(&layout, &constants).expect("a network");
            let server = Server::new(&ctx, network).expect("a server");
            let generator = KeyGenerator::new(&ctx, Seed::new([3; 32]));
            let secret = generator.secret_key();
            let keys = generator.evaluation_keys(&secret, &server.request()).expect("keys");
            let query = query(&bert, &layout, TEXT).expect("a query");
            let x = encrypt(&ctx, &secret, &layout, &query, &Seed::new([4; 32])).expect("a ciphertext");
            let y = server.evaluate(&Arc::new(keys), &x, &mut ()).expect("an evaluation");
            check_result(&ctx, &secret, &query.shape, y.blocks()).expect("a result");
        }
    }

    fn refused<T>(result: Result<T>, words: &str) {
        let Err(error) = result else { panic!("accepted, expected a refusal with {words:?}") };
        assert!(error.downcast_ref::<Input>().is_some(), "{error:#}");
        assert!(format!("{error:#}").contains(words), "{error:#}");
    }

    /// What a server or a client can be handed by mistake or malice is refused before anything is computed.
    #[test]
    fn keys_queries_and_results_of_others_are_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let bert = tiny(dir.path());
        let params = Params::insecure(insecure_bootstrap_spec(9)).expect("a ring");
        let ctx = context(params, NonZeroUsize::new(1)).expect("a context");
        let layout = layout(ctx.params(), &bert, 16).expect("a layout");
        let server = Server::new(&ctx, network(&bert, &layout).expect("a network")).expect("a server");
        let query = query(&bert, &layout, TEXT).expect("a query");
        let tokens = query.shape.tokens();
        let seed = |n| Seed::new([n; 32]);
        let secrets = [3, 4].map(|n| KeyGenerator::new(&ctx, seed(n)).secret_key());
        let encrypted = encrypt(&ctx, &secrets[0], &layout, &query, &seed(5)).expect("a ciphertext");
        let blocks = || encrypted.blocks().to_vec();

        let none = KeyRequest::new(ctx.params().n());
        let keys = |n: usize| KeyGenerator::new(&ctx, seed(n as u8 + 3)).evaluation_keys(&secrets[n], &none);
        let (own, others) = (keys(0).expect("no keys"), keys(1).expect("no keys"));
        refused(server.check_keys(&others, &encrypted), "belongs to key set");
        refused(server.check_keys(&own, &encrypted), "do not serve this model");

        let ev = Evaluator::new(&ctx, Arc::new(own));
        let each = |change: &dyn Fn(&Ciphertext) -> aegis_ckks::Result<Ciphertext>| {
            encrypted
                .blocks()
                .iter()
                .map(change)
                .collect::<aegis_ckks::Result<Vec<_>>>()
                .expect("ciphertexts")
        };
        let low = each(&|b| ev.drop_to(b, aegis_ckks::Level(b.level().0 - 1)));
        refused(server.input(tokens, low), "encrypt the text again");
        refused(server.input(tokens, each(&|b| ev.reinterpret(b, 2.0 * b.scale()))), "another scale");
        refused(server.input(tokens, vec![]), "does not fit");
        refused(server.input(17, blocks()), "does not fit");

        check_result(&ctx, &secrets[0], &query.shape, &blocks()).expect("of these keys and this shape");
        refused(check_result(&ctx, &secrets[1], &query.shape, &blocks()), "belongs to key set");
        refused(check_result(&ctx, &secrets[0], &query.shape, &[]), "does not fit these keys");
    }

    fn round_trip(bert: &Bert, threads: usize) -> Vec<u8> {
        let params = Params::insecure(insecure_bootstrap_spec(9)).expect("a ring");
        let ctx = context(params, NonZeroUsize::new(threads)).expect("a context");
        let layout = layout(ctx.params(), bert, 16).expect("a layout");
        let server = Server::new(&ctx, network(bert, &layout).expect("a network")).expect("a server");
        let generator = KeyGenerator::new(&ctx, Seed::new([3; 32]));
        let secret = generator.secret_key();
        let mut keys = Vec::new();
        let made = generator.evaluation_keys(&secret, &server.request()).expect("keys");
        made.write(&ctx, &mut keys).expect("keys as bytes");

        let query = query(bert, &layout, TEXT).expect("a query");
        let x = encrypt(&ctx, &secret, &layout, &query, &Seed::new([4; 32])).expect("a ciphertext");
        let header = |kind| {
            let (model, shape) = (bert.identity().to_owned(), query.shape.clone());
            Header { kind, model, shape }
        };
        let sent = message::encode(&ctx, &header(Kind::Query), x.blocks()).expect("a message");
        refuses_damage(&ctx, &sent);
        assert_eq!(aegis::message::kind(&sent[..1000]), Some(Kind::Query));

        let (read, blocks) = message::decode(&ctx, &sent, Kind::Query).expect("an undamaged message");
        let keys = Arc::new(EvaluationKeys::read(&ctx, keys.as_slice()).expect("undamaged keys"));
        let x = server.input(read.shape.tokens(), blocks).expect("an input");
        let y = server.evaluate(&keys, &x, &mut ()).expect("an evaluation");
        let back = message::encode(&ctx, &header(Kind::Result), y.blocks()).expect("a message");

        let (read, blocks) = message::decode(&ctx, &back, Kind::Result).expect("an undamaged message");
        let embedding = decrypt(&ctx, &secret, &read.shape, &blocks).expect("an embedding");
        let plain = bert.embed_plain(TEXT).expect("an embedding");
        let cosine = aegis_models::cosine(&embedding, &plain).expect("two embeddings");
        assert!(cosine > 0.999, "cosine {cosine}");
        back
    }

    fn refuses_damage(ctx: &Context, sent: &[u8]) {
        let refusal =
            |bytes: &[u8], kind| message::decode(ctx, bytes, kind).map(|_| ()).expect_err("damage is found");
        assert!(matches!(refusal(sent, Kind::Result), aegis::Error::OtherKind { have: Kind::Query, .. }));
        for length in [0, 7, 8, 10, 40, sent.len() / 2, sent.len() - 1] {
            refusal(&sent[..length], Kind::Query);
        }
        for at in [0, 8, 11, 30, sent.len() / 2, sent.len() - 1] {
            let mut flipped = sent.to_vec();
            flipped[at] ^= 4;
            refusal(&flipped, Kind::Query);
        }
    }
}
