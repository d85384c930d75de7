//! What is decided before any key is made: levels, order, keys, memory.

use aegis_ckks::{KeyRequest, Params};

use crate::catalog::{Bill, Catalog};
use crate::levels::Levels;
use crate::network::Network;
use crate::program::{Place, Program, StageInfo};
use crate::run::{Lane, Observer};
use crate::schedule::{Memory, Schedule, Working};
use crate::{CtTensor, Error, Result, Rows};

/// How a network runs on one device: the same for all texts of its layout, on both sides of a protocol.
pub struct Plan {
    params: Params,
    levels: Levels,
    schedule: Schedule,
    stages: Vec<StageInfo>,
    bills: Vec<Bill>,
    keys: KeyRequest,
    memory: Memory,
    working: Vec<Working>,
}

impl Plan {
    /// The cheapest levels, an order of the tasks, and what a run needs.
    ///
    /// # Errors
    /// Those of layers that cannot run on these parameters.
    pub fn new(network: &Network, catalog: &mut Catalog) -> Result<Self> {
        let levels = network.levels(catalog)?;
        let rows = Rows::one(network.layout().tokens());
        let program = network.program(catalog.params(), &levels, &rows)?;
        let (schedule, working) = Schedule::smallest(&program, catalog)?;
        let (keys, bills) = (catalog.keys(&program)?, catalog.bills(&program)?);
        let memory = Memory::new(&keys, &working, catalog)?;
        let (params, stages) = (catalog.params().clone(), program.stages().to_vec());
        Ok(Self { params, levels, schedule, stages, bills, keys, memory, working })
    }

    /// Where bootstraps fall, and the level of each layer.
    pub fn levels(&self) -> &Levels {
        &self.levels
    }

    /// The order of the tasks.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The stages of a run.
    pub fn stages(&self) -> &[StageInfo] {
        &self.stages
    }

    /// What each stage asks for, in their order.
    pub fn bills(&self) -> &[Bill] {
        &self.bills
    }

    /// Every key that a run uses, bootstraps included, at the highest level of its use.
    pub fn keys(&self) -> &KeyRequest {
        &self.keys
    }

    /// What a device holds at the peak of a run.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What each stage holds at its peak, in their order.
    pub fn working(&self) -> &[Working] {
        &self.working
    }

    /// The tasks of a run on texts in these rows. Rows are in constants only: the schedule serves all of them.
    pub fn program(&self, network: &Network, rows: &Rows) -> Result<Program> {
        network.program(&self.params, &self.levels, rows)
    }

    /// Runs the network on an encrypted input at the fresh level.
    ///
    /// # Errors
    /// Before anything is computed [`Error::NoBootstrapper`] and [`Error::MissingKeys`]; those of [`Lane::start`] and of the
    /// evaluation.
    pub fn run(
        &self,
        network: &Network,
        place: &Place,
        input: CtTensor,
        observer: &mut dyn Observer,
    ) -> Result<CtTensor> {
        self.check(network, place, &input)?;
        let program = self.program(network, input.rows())?;
        let mut lane = Lane::start(&program, &self.schedule, input.into_blocks())?;
        while lane.step(place, observer)? {}
        lane.results()?.pop().ok_or(Error::Blocks { have: 0, want: 1 })
    }

    /// Whether a run on this input at this place can begin.
    ///
    /// # Errors
    /// [`Error::OtherLayout`], [`Error::NoBootstrapper`], [`Error::MissingKeys`].
    pub fn check(&self, network: &Network, place: &Place, input: &CtTensor) -> Result<()> {
        if input.layout() != network.layout() {
            let (have, want) = (Box::new(*input.layout()), Box::new(*network.layout()));
            return Err(Error::OtherLayout { have, want });
        }
        if self.levels.bootstraps > 0 && place.bootstrapper.is_none() {
            return Err(Error::NoBootstrapper);
        }
        self.keys.check_covered_by(place.ev.keys()).map_err(Error::MissingKeys)
    }
}
