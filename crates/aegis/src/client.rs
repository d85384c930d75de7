//! The side that holds the secret key.

use aegis_ckks::{Ciphertext, Context, EvaluationKeys, KeyGenerator, KeyRequest, SecretKey, Seed};
use aegis_models::{Query, QueryShape};
use aegis_nn::{CtTensor, MODEL, Shape};

use crate::error::{Error, Result};
use crate::message::{self, Header, Kind};
use crate::model::Model;

/// A client: encrypts texts and decrypts embeddings, with one secret key on one device.
pub struct Client {
    ctx: Context,
    secret: SecretKey,
}

impl Client {
    /// A client with this secret key.
    pub fn new(ctx: &Context, secret: SecretKey) -> Self {
        Self { ctx: ctx.clone(), secret }
    }

    /// A client with a new secret key, and the evaluation keys that a server asks for. The seed is as secret as the key.
    ///
    /// # Errors
    /// [`Error::Ckks`] for a request of other parameters, or a device that fails.
    pub fn generate(ctx: &Context, seed: Seed, request: &KeyRequest) -> Result<(Self, EvaluationKeys)> {
        let generator = KeyGenerator::new(ctx, seed);
        let secret = generator.secret_key();
        let keys = generator.evaluation_keys(&secret, request)?;
        Ok((Self::new(ctx, secret), keys))
    }

    /// The secret key.
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// Encrypts a query at the level where the network starts. `seed` must be secret; it may be the same for every query.
    ///
    /// # Errors
    /// [`Error::Evaluation`] for a query that does not fit the model's layout.
    pub fn encrypt(&self, model: &Model, query: &Query, seed: &Seed) -> Result<CtTensor> {
        let level = self.ctx.params().fresh_level();
        let layout = model.layout();
        let shape = Shape { layout: *layout, content: MODEL, rows: query.shape.rows() };
        Ok(aegis_nn::encrypt(&self.ctx, &self.secret, shape, &query.hidden, level, seed)?)
    }

    /// [`Client::encrypt`] as the message for a server.
    ///
    /// # Errors
    /// Those of [`Client::encrypt`].
    pub fn query(&self, model: &Model, query: &Query, seed: &Seed) -> Result<Vec<u8>> {
        let encrypted = self.encrypt(model, query, seed)?;
        let model = model.bert().identity().to_owned();
        let header = Header { kind: Kind::Query, model, shape: query.shape.clone() };
        message::encode(&self.ctx, &header, encrypted.blocks())
    }

    /// Whether a result is one of these keys and of its own shape.
    ///
    /// # Errors
    /// [`Error::OtherResult`], [`Error::ForeignKeys`].
    pub fn check(&self, shape: &QueryShape, blocks: &[Ciphertext]) -> Result<()> {
        let layout = shape.layout()?;
        if layout.slots() != self.ctx.params().slots() || shape.result_ciphertexts()? != blocks.len() {
            return Err(Error::OtherResult);
        }
        blocks.iter().try_for_each(|b| Error::check_keys("the result", b.key_id(), self.secret.id()))
    }

    /// The unit-length embedding of each text in an encrypted result. They are exact: see docs/security.md before others
    /// see them.
    ///
    /// # Errors
    /// Those of [`Client::check`]; [`Error::Models`] where the copies of an embedding disagree.
    pub fn decrypt(&self, shape: &QueryShape, blocks: &[Ciphertext]) -> Result<Vec<Vec<f64>>> {
        self.check(shape, blocks)?;
        let slots = |ct| Ok(self.secret.decrypt(&self.ctx, ct)?.iter().map(|v| v.re).collect());
        let slots: Vec<Vec<f64>> = blocks.iter().map(slots).collect::<Result<_>>()?;
        Ok(shape.finish(&slots)?)
    }

    /// The embeddings in a server's message, and what the message says in clear.
    ///
    /// # Errors
    /// Those of [`message::decode`] and [`Client::decrypt`].
    pub fn result(&self, bytes: &[u8]) -> Result<(Header, Vec<Vec<f64>>)> {
        let (header, blocks) = message::decode(&self.ctx, bytes, Kind::Result)?;
        let embeddings = self.decrypt(&header.shape, &blocks)?;
        Ok((header, embeddings))
    }
}
