//! The side that computes, and sees no secret.

use std::sync::Arc;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{Ciphertext, Context, EvaluationKeys, Evaluator, KeyRequest, same_scale};
use aegis_models::QueryShape;
use aegis_nn::{CtTensor, MODEL, Observer, Place, Plan, Shape};

use crate::error::{Error, Result};
use crate::evaluation::Evaluation;
use crate::message::{self, Header, Kind};
use crate::model::Model;

/// A server: one model, planned for one parameter set on one device. It serves any number of clients, each with keys of his
/// own.
pub struct Server {
    ctx: Context,
    model: Model,
    plan: Plan,
    bootstrapper: Arc<Bootstrapper>,
}

impl Server {
    /// Plans the whole network: where to bootstrap, at which level each stage runs.
    ///
    /// # Errors
    /// [`Error::OtherSlots`] for a model laid out for other slots; [`Error::Evaluation`] and [`Error::Circuits`] for
    /// parameters that cannot carry it.
    pub fn new(ctx: &Context, model: Model) -> Result<Self> {
        let plan = model.plan(ctx.params())?;
        Self::with_plan(ctx, model, plan)
    }

    /// The same with a plan that the model gave for these parameters.
    ///
    /// # Errors
    /// [`Error::Circuits`] for parameters that cannot carry it.
    pub fn with_plan(ctx: &Context, model: Model, plan: Plan) -> Result<Self> {
        let bootstrapper = Arc::new(Bootstrapper::new(ctx, ctx.params().slots())?);
        Ok(Self { ctx: ctx.clone(), model, plan, bootstrapper })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Every key that an evaluation uses: what a client makes, and no others.
    pub fn request(&self) -> &KeyRequest {
        self.plan.keys()
    }

    /// How an evaluation runs, and the memory that it takes.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The encrypted input of a query, checked: shape, number of ciphertexts, level and scale.
    ///
    /// # Errors
    /// [`Error::Models`] for a shape that no query has, [`Error::NotFresh`] for ciphertexts that were computed on;
    /// [`Error::Evaluation`] for another number of them.
    pub fn input(&self, shape: &QueryShape, blocks: Vec<Ciphertext>) -> Result<CtTensor> {
        shape.layout()?;
        let params = self.ctx.params();
        let fresh = params.fresh_level();
        if let Some(block) =
            blocks.iter().find(|b| b.level() != fresh || !same_scale(b.scale(), params.scale(fresh)))
        {
            return Err(Error::NotFresh {
                level: block.level(),
                scale_log2: block.scale().log2(),
                want: fresh,
                want_log2: params.scale(fresh).log2(),
            });
        }
        let shape = Shape { layout: *self.model.layout(), content: MODEL, rows: shape.rows() };
        Ok(CtTensor::new(shape, blocks)?)
    }

    /// Whether keys made for a request serve the network. To ask before keys are read: [`Server::evaluate`] looks at those
    /// that it is given.
    ///
    /// # Errors
    /// [`Error::KeysMissing`].
    pub fn check_request(&self, held: &KeyRequest) -> Result<()> {
        if self.plan.keys().is_within(held) {
            return Ok(());
        }
        Err(Error::KeysMissing { tokens: self.model.layout().tokens() })
    }

    /// Runs the network.
    ///
    /// # Errors
    /// [`Error::ForeignKeys`]; [`Error::Evaluation`], before anything is computed where a key is missing.
    pub fn evaluate(
        &self,
        keys: &Arc<EvaluationKeys>,
        x: CtTensor,
        observer: &mut dyn Observer,
    ) -> Result<CtTensor> {
        let place = self.place(keys, &x)?;
        Ok(self.plan.run(self.model.network(), &place, x, observer)?)
    }

    /// [`Server::evaluate`] step by step, for runs that are to outlive their process: see
    /// [`checkpoint`](crate::checkpoint).
    ///
    /// # Errors
    /// Those of [`Server::evaluate`] before anything is computed.
    pub fn prepare(&self, keys: &Arc<EvaluationKeys>, x: &CtTensor) -> Result<Evaluation<'_>> {
        Evaluation::new(self, keys, x)
    }

    /// Where tasks run on an input under these keys.
    ///
    /// # Errors
    /// [`Error::ForeignKeys`].
    pub fn place(&self, keys: &Arc<EvaluationKeys>, x: &CtTensor) -> Result<Place> {
        x.blocks().iter().try_for_each(|b| Error::check_keys("the query", b.key_id(), keys.id()))?;
        let ev = Evaluator::new(&self.ctx, Arc::clone(keys));
        Ok(Place { ev, bootstrapper: Some(Arc::clone(&self.bootstrapper)) })
    }

    /// From a client's message to the one that answers it.
    ///
    /// # Errors
    /// Those of [`message::decode`], [`Server::input`] and [`Server::evaluate`]; [`Error::OtherModel`] for a query of other
    /// weights, [`Error::OtherLayout`] for one of another length.
    pub fn answer(
        &self,
        keys: &Arc<EvaluationKeys>,
        query: &[u8],
        observer: &mut dyn Observer,
    ) -> Result<Vec<u8>> {
        let (header, blocks) = message::decode(&self.ctx, query, Kind::Query)?;
        let want = self.model.bert().identity();
        if header.model != want {
            return Err(Error::OtherModel { have: header.model, want: want.to_owned() });
        }
        if header.shape.layout()? != *self.model.layout() {
            let (have, want) = (header.shape.padded_tokens(), self.model.layout().tokens());
            return Err(Error::OtherLayout { have, want });
        }
        let y = self.evaluate(keys, self.input(&header.shape, blocks)?, observer)?;
        message::encode(&self.ctx, &Header { kind: Kind::Result, ..header }, y.blocks())
    }
}
