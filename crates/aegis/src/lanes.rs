//! One program on several devices that divide its ciphertexts: a lane of tasks for each, and blocks that go from one to
//! another.
//!
//! A [`Division`] is the same on every rank. A process runs the lanes that it has devices for, each on a thread of its own
//! with its own context, keys and communicator ([`Seat`]): all of them in one process, or one in each of several. The bits
//! of the result are those of one device.
//!
//! The query enters and the result leaves at the first lane. Keys are made or read by each lane for its own tasks
//! ([`Division::request`]); none move.
//!
//! ```
//! # use std::num::NonZeroUsize;
//! # use std::sync::Arc;
//! # use aegis::lanes::{Division, Seat, place};
//! # use aegis::{Model, Result};
//! # use aegis_ckks::{Context, EvaluationKeys, KeyRequest};
//! # use aegis_comm::Local;
//! # use aegis_nn::{Catalog, CtTensor, LaneId};
//! /// With a context for each device, and keys of one key set read or made on it.
//! fn evaluate(
//!     model: &Model,
//!     contexts: &[Context],
//!     keys: impl Fn(&Context, &KeyRequest) -> Result<EvaluationKeys>,
//!     query: CtTensor,
//! ) -> Result<Option<CtTensor>> {
//!     let mut catalog = Catalog::new(contexts[0].params())?;
//!     let plan = model.plan(catalog.params())?;
//!     let lanes = NonZeroUsize::new(contexts.len()).expect("a device");
//!     let division = Division::new(model, &plan, query.rows(), &mut catalog, lanes)?;
//!     let ranks: Vec<usize> = (0..contexts.len()).collect();
//!     let seat = |(lane, (ctx, comm))| {
//!         let keys = Arc::new(keys(ctx, division.request(lane))?);
//!         Ok(Seat { lane, place: place(ctx, keys)?, comm: Arc::new(comm), ranks: ranks.clone() })
//!     };
//!     let seats = contexts.iter().zip(Local::split(contexts.len())).enumerate();
//!     let seats = seats.map(|(lane, with)| seat((LaneId(lane), with))).collect::<Result<Vec<_>>>()?;
//!     Ok(division.run(seats, Some(query), &mut ())?.result)
//! }
//! ```

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use aegis_circuits::Bootstrapper;
use aegis_ckks::{Context, EvaluationKeys, Evaluator, KeyRequest, Params, Parcel};
use aegis_comm::{Communicator, Group, Message, Tag, Traffic};
use aegis_nn::{
    Catalog, CtTensor, Exchange, Lane, LaneId, Memory, Observer, Place, Plan, Program, Rows, Schedule,
    Section, Transfer,
};

use crate::error::{Error, LaneFault, Result};
use crate::identity::{Identity, sha256};
use crate::model::Model;

/// The channel of what ranks agree on before they begin. Whoever shares their communicator, a group of limbs say, takes a
/// channel below this one.
pub const AGREEMENT_CHANNEL: u32 = u32::MAX - 1;
/// The channel of blocks on their way, each under its number.
pub const BLOCK_CHANNEL: u32 = u32::MAX;

/// What the ledger of a communicator counts blocks under that are received for tasks of a section.
pub fn reason(section: Section) -> &'static str {
    match section {
        Section::Attention => "blocks for attention",
        Section::FeedForward => "blocks for feed-forward",
        Section::Bootstrap => "blocks for bootstraps",
        Section::Other => "blocks for other",
    }
}

/// Where the tasks of a lane run, with keys that cover its request; matrices of bootstrapping are encoded here.
///
/// # Errors
/// [`Error::Circuits`] for parameters whose bootstrapping cannot be made.
pub fn place(ctx: &Context, keys: Arc<EvaluationKeys>) -> Result<Place> {
    let bootstrapper = match ctx.params().bootstrap() {
        Some(_) => Some(Arc::new(Bootstrapper::new(ctx, ctx.params().slots())?)),
        None => None,
    };
    Ok(Place { ev: Evaluator::new(ctx, keys), bootstrapper })
}

/// A lane that this process runs.
pub struct Seat {
    /// Which one.
    pub lane: LaneId,
    /// Its device, with keys for its tasks.
    pub place: Place,
    /// Drives the rank of this lane, or those of the devices that are its place, and no rank of another lane. Who holds no
    /// other handle of it lets the other ranks know at once when the lane ends early.
    pub comm: Arc<dyn Communicator>,
    /// The rank at the other end for each lane, in order, and at its own place the rank of this one.
    pub ranks: Vec<usize>,
}

/// What came of the lanes that this process ran.
#[derive(Debug)]
pub struct Finished {
    /// The result, where the first lane was among them.
    pub result: Option<CtTensor>,
    /// What the ranks of each lane received during the run, the agreement before it included.
    pub traffic: BTreeMap<LaneId, Traffic>,
}

/// A program divided among lanes, for texts in certain rows: the same on every rank, from the same model.
pub struct Division {
    model: Model,
    rows: Rows,
    params: Params,
    program: Program,
    schedule: Schedule,
    keys: Vec<KeyRequest>,
    memory: Vec<Memory>,
}

impl Division {
    /// The tasks of a plan of this model divided among so many lanes ([`Schedule::divided`]).
    ///
    /// # Errors
    /// [`Error::Evaluation`] for rows that the model has no room for.
    pub fn new(
        model: &Model,
        plan: &Plan,
        rows: &Rows,
        catalog: &mut Catalog,
        lanes: NonZeroUsize,
    ) -> Result<Self> {
        let program = plan.program(model.network(), rows)?;
        let schedule = Schedule::divided(&program, catalog, lanes)?;
        Self::with_schedule(model, (program, rows), catalog, schedule)
    }

    /// The same with any schedule of the program that runs the model on texts in these rows.
    ///
    /// # Errors
    /// [`Error::Evaluation`] for a schedule that cannot run it.
    pub fn with_schedule(
        model: &Model,
        (program, rows): (Program, &Rows),
        catalog: &mut Catalog,
        schedule: Schedule,
    ) -> Result<Self> {
        schedule.check(&program)?;
        let (mut keys, mut memory) = (vec![], vec![]);
        for lane in (0..schedule.lanes().len()).map(LaneId) {
            keys.push(schedule.keys(&program, catalog, lane)?);
            memory.push(schedule.memory(&program, catalog, lane)?);
        }
        let (model, rows, params) = (model.clone(), rows.clone(), catalog.params().clone());
        Ok(Self { model, rows, params, program, schedule, keys, memory })
    }

    /// What is computed.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// On which lane, and in which order.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Every key that the tasks of a lane use. Panics for a lane that there is not.
    pub fn request(&self, lane: LaneId) -> &KeyRequest {
        &self.keys[lane.0]
    }

    /// What the place of a lane holds at the peak of a run. Panics for a lane that there is not.
    pub fn memory(&self, lane: LaneId) -> &Memory {
        &self.memory[lane.0]
    }

    /// Bytes that each lane receives in each section, where it receives any: what [`Finished::traffic`] counts under
    /// [`reason`], where a place is one device.
    pub fn moved(&self) -> BTreeMap<(LaneId, Section), u64> {
        self.schedule.moved(&self.program, &self.params)
    }

    /// Runs these lanes, each on a thread of its own, the first of them on this one. All ranks of their communicators take
    /// part and agree on what they run before it begins. `input` goes with the first lane; `observer` follows the
    /// first of those that are run here.
    ///
    /// # Errors
    /// Before anything is sent [`Error::Lanes`], [`Error::ForeignKeys`] and those of [`Plan::check`]. Where ranks differ,
    /// [`PeerFault::Disagrees`](aegis_hal::PeerFault::Disagrees), on each. A lane that fails tells those that wait for it; the
    /// error is the one that a lane run here met itself, if any did, otherwise what it heard of another rank.
    pub fn run(
        &self,
        mut seats: Vec<Seat>,
        input: Option<CtTensor>,
        observer: &mut dyn Observer,
    ) -> Result<Finished> {
        seats.sort_by_key(|seat| seat.lane);
        self.check(&seats, input.as_ref())?;
        let ends = thread::scope(|scope| {
            let mut seats = seats.into_iter();
            let first = seats.next();
            let others = seats.map(|seat| {
                let lane = seat.lane;
                let run = move || self.drive(seat, None, &mut ());
                let thread = thread::Builder::new().name(lane.to_string()).spawn_scoped(scope, run);
                (lane, thread)
            });
            let others: Vec<_> = others.collect();
            let mut ends: Vec<End> =
                first.into_iter().map(|seat| self.drive(seat, input.clone(), observer)).collect();
            ends.extend(others.into_iter().map(|(lane, thread)| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(e) => {
                    let fault = LaneFault::Thread { lane, cause: e.to_string() };
                    End { lane, traffic: Traffic::default(), result: Err(fault.into()) }
                }
            }));
            ends
        });
        finish(ends)
    }

    fn check(&self, seats: &[Seat], input: Option<&CtTensor>) -> Result<()> {
        let lanes = self.schedule.lanes().len();
        let named: Vec<LaneId> = seats.iter().map(|seat| seat.lane).collect();
        let is_in_order = named.is_sorted_by(|a, b| a < b) && named.last().is_some_and(|last| last.0 < lanes);
        if !is_in_order {
            return Err(LaneFault::Seats { have: named, lanes }.into());
        }
        let has_first = named.first() == Some(&LaneId::FIRST);
        if has_first != input.is_some() || input.is_some_and(|x| *x.rows() != self.rows) {
            return Err(LaneFault::Input.into());
        }
        for Seat { lane, place, ranks, .. } in seats {
            if ranks.len() != lanes {
                return Err(LaneFault::Ranks { lane: *lane, have: ranks.len(), lanes }.into());
            }
            let keys = place.ev.keys();
            let blocks = input.into_iter().flat_map(CtTensor::blocks);
            blocks.into_iter().try_for_each(|b| Error::check_keys("the query", b.key_id(), keys.id()))?;
            self.keys[lane.0].check_covered_by(keys).map_err(aegis_nn::Error::MissingKeys)?;
            if place.bootstrapper.is_none() && place.ev.params().bootstrap().is_some() {
                return Err(aegis_nn::Error::NoBootstrapper.into());
            }
        }
        Ok(())
    }

    /// A lane from its beginning to its end. With the seat its communicator goes, and tells the other ranks.
    fn drive(&self, seat: Seat, input: Option<CtTensor>, observer: &mut dyn Observer) -> End {
        let before = seat.comm.ledger().snapshot();
        let result = self.run_lane(&seat, input, observer);
        let traffic = seat.comm.ledger().snapshot().since(&before);
        End { lane: seat.lane, traffic, result }
    }

    fn run_lane(
        &self,
        seat: &Seat,
        input: Option<CtTensor>,
        observer: &mut dyn Observer,
    ) -> Result<Option<CtTensor>> {
        let Seat { lane: number, place, comm, .. } = seat;
        let (ctx, keys) = (place.ev.context(), place.ev.keys().id());
        // Other ranks know which rows are tokens, and not the ciphertexts.
        let query = sha256(format!("{:?}", self.rows).as_bytes());
        let what = (&self.program, &self.schedule);
        let identity = Identity::new(&self.model, (ctx.params(), keys), what, query);
        identity.agree(&Group::of_all(Arc::clone(comm), AGREEMENT_CHANNEL))?;

        let carrier = Carrier(seat);
        let blocks = input.map(CtTensor::into_blocks).unwrap_or_default();
        let mut lane = Lane::join(&self.program, &self.schedule, (*number, &carrier), &self.params, blocks)?;
        let mut steps = || -> aegis_nn::Result<()> {
            while lane.step(place, observer)? {}
            // What a queue has failed at is told here, and what is on its way has left.
            Ok(ctx.device().sync().map_err(aegis_ckks::Error::from)?)
        };
        match steps() {
            Ok(()) if *number == LaneId::FIRST => Ok(lane.results()?.pop()),
            Ok(()) => Ok(None),
            Err(error) => {
                lane.abandon(&error);
                Err(error.into())
            }
        }
    }
}

/// How a lane ended.
struct End {
    lane: LaneId,
    traffic: Traffic,
    result: Result<Option<CtTensor>>,
}

/// All lanes together: the first error that is no echo of another's.
fn finish(ends: Vec<End>) -> Result<Finished> {
    let (mut finished, mut failure) = (Finished { result: None, traffic: BTreeMap::new() }, None);
    for End { lane, traffic, result } in ends {
        finished.traffic.insert(lane, traffic);
        match result {
            Ok(None) => {}
            Ok(result) => finished.result = result,
            Err(error) => match &failure {
                None => failure = Some(error),
                Some(known) if is_of_peer(known) && !is_of_peer(&error) => failure = Some(error),
                Some(_) => {}
            },
        }
    }
    failure.map_or(Ok(finished), Err)
}

/// Whether an error says what became of another rank.
fn is_of_peer(error: &Error) -> bool {
    let scheme = match error {
        Error::Ckks(e)
        | Error::Evaluation(aegis_nn::Error::Ckks(e))
        | Error::Evaluation(aegis_nn::Error::Circuits(aegis_circuits::Error::Ckks(e))) => e,
        _ => return false,
    };
    matches!(scheme, aegis_ckks::Error::Device(aegis_hal::Error::Peer { .. }))
}

/// Carries blocks between ranks: the messages of one lane.
struct Carrier<'a>(&'a Seat);

impl Carrier<'_> {
    fn message(&self, transfer: &Transfer) -> Message {
        let ranks = &self.0.ranks;
        Message {
            from: ranks[transfer.from.0],
            to: ranks[transfer.to.0],
            tag: Tag { channel: BLOCK_CHANNEL, number: transfer.block.0 as u64 },
            words: transfer.words,
            reason: reason(transfer.section),
        }
    }
}

fn refused(error: aegis_comm::Error) -> aegis_nn::Error {
    aegis_ckks::Error::from(aegis_hal::Error::from(error)).into()
}

impl Exchange for Carrier<'_> {
    fn send(&self, transfer: &Transfer, words: &Parcel) -> aegis_nn::Result<()> {
        self.0.comm.send(&self.message(transfer), words).map_err(refused)
    }

    fn receive(&self, transfer: &Transfer) -> aegis_nn::Result<Parcel> {
        self.0.comm.receive(&self.message(transfer)).map_err(refused)
    }

    fn abandon(&self, transfer: &Transfer, cause: &aegis_nn::Error) {
        let cause = match cause {
            aegis_nn::Error::Ckks(aegis_ckks::Error::Device(e)) => e.clone(),
            other => aegis_hal::Error::Device(other.to_string()),
        };
        drop(self.send(transfer, &Parcel::failed(cause)));
    }
}
