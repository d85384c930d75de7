//! A run step by step.

use std::sync::Arc;

use aegis_ckks::{Context, EvaluationKeys, KeyId};
use aegis_nn::{CtTensor, Lane, Observer, Place, Program, Schedule};

use crate::error::Result;
use crate::model::Model;
use crate::server::Server;

/// What [`Server::evaluate`] does at once, in the caller's hands: begun, or gone on with from a
/// [`checkpoint`](crate::checkpoint); stepped; and asked for its result.
pub struct Evaluation<'s> {
    server: &'s Server,
    program: Program,
    place: Place,
}

impl<'s> Evaluation<'s> {
    /// Everything checked that [`Server::evaluate`] checks.
    pub(crate) fn new(server: &'s Server, keys: &Arc<EvaluationKeys>, x: &CtTensor) -> Result<Self> {
        let place = server.place(keys, x)?;
        server.plan().check(server.model().network(), &place, x)?;
        let program = server.plan().program(server.model().network(), x.rows())?;
        Ok(Self { server, program, place })
    }

    /// The run from its beginning, on the input that it was made for.
    ///
    /// # Errors
    /// [`Error::Evaluation`](crate::Error::Evaluation) for another number of ciphertexts.
    pub fn start(&self, x: CtTensor) -> Result<Lane<'_>> {
        Ok(Lane::start(&self.program, self.schedule(), x.into_blocks())?)
    }

    /// Runs the next task. False when there is none.
    ///
    /// # Errors
    /// [`Error::Evaluation`](crate::Error::Evaluation). The run stays where it was.
    pub fn step(&self, lane: &mut Lane<'_>, observer: &mut dyn Observer) -> Result<bool> {
        Ok(lane.step(&self.place, observer)?)
    }

    /// The result, when all tasks are done.
    ///
    /// # Errors
    /// [`Error::Evaluation`](crate::Error::Evaluation) before.
    pub fn result(&self, lane: &Lane<'_>) -> Result<CtTensor> {
        let result = lane.results()?.pop();
        Ok(result.ok_or(aegis_nn::Error::Blocks { have: 0, want: 1 })?)
    }

    /// What is computed.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// In which order.
    pub fn schedule(&self) -> &Schedule {
        self.server.plan().schedule()
    }

    pub(crate) fn model(&self) -> &Model {
        self.server.model()
    }

    pub(crate) fn context(&self) -> &Context {
        self.place.ev.context()
    }

    pub(crate) fn key_id(&self) -> KeyId {
        self.place.ev.keys().id()
    }
}
