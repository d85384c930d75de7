//! A model as client and server agree on it.

use std::sync::Arc;

use aegis_ckks::Params;
use aegis_models::{Bert, Calibration, Query};
use aegis_nn::{Catalog, Layout, Network, Plan};

use crate::error::{Error, Result};
use crate::identity::sha256;

/// A model laid out for the slots of a parameter set and for texts up to a length, with its calibration. Both sides make it
/// from the same files; it holds no keys. Cheap to clone but for the network, which is shared too.
#[derive(Clone)]
pub struct Model {
    bert: Arc<Bert>,
    layout: Layout,
    network: Arc<Network>,
    calibration: Arc<Calibration>,
}

impl Model {
    /// The model for texts of up to `tokens` tokens in ciphertexts of `slots` slots, with the calibration beside its files.
    ///
    /// # Errors
    /// [`Error::Models`](crate::Error::Models) for a length beyond the model, a missing calibration or one of other weights.
    pub fn new(bert: Arc<Bert>, slots: usize, tokens: usize) -> Result<Self> {
        let layout = bert.layout(slots, tokens)?;
        Self::with_layout(bert, layout)
    }

    /// The same for a layout that came with a query.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn with_layout(bert: Arc<Bert>, layout: Layout) -> Result<Self> {
        let calibration = bert.calibration()?;
        Self::with_calibration(bert, layout, &calibration)
    }

    /// The same with constants from elsewhere.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn with_calibration(bert: Arc<Bert>, layout: Layout, calibration: &Calibration) -> Result<Self> {
        let network = Arc::new(bert.network(&layout, calibration)?);
        Ok(Self { bert, layout, network, calibration: Arc::new(calibration.clone()) })
    }

    /// The model in plain.
    pub fn bert(&self) -> &Bert {
        &self.bert
    }

    /// SHA-256 of the constants of the approximations: 64 lower-case hexadecimal digits.
    pub(crate) fn calibration_digest(&self) -> String {
        // Numbers in lists: nothing that serialisation could refuse.
        sha256(&serde_json::to_vec(&self.calibration.constants).unwrap_or_default())
    }

    /// Where values sit in the slots.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The computation on ciphertexts.
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// The constants of its approximations, and the lengths that they cover.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// How it runs with these parameters, the same on both sides.
    ///
    /// # Errors
    /// [`Error::OtherSlots`] for a model laid out for other slots; [`Error::Evaluation`] for parameters that cannot carry it.
    pub fn plan(&self, params: &Params) -> Result<Plan> {
        let (have, want) = (self.layout.slots(), params.slots());
        if have != want {
            return Err(Error::OtherSlots { have, want });
        }
        Ok(Plan::new(&self.network, &mut Catalog::new(params)?)?)
    }

    /// Fails where a run by this plan, keys included, needs more than `have` bytes of the device, and says what would fit.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn check_memory(&self, plan: &Plan, params: &Params, have: u64) -> Result<()> {
        let (tokens, need) = (self.layout.tokens(), plan.memory().peak());
        if need <= have {
            return Ok(());
        }
        let shorter = std::iter::successors(Some(tokens / 2), |tokens| Some(tokens / 2));
        let lengths = shorter.take_while(|tokens| *tokens >= self.layout.head_dim());
        let fits = |tokens: usize| {
            let model = Self::new(Arc::clone(&self.bert), self.layout.slots(), tokens).ok()?;
            let plan = model.plan(params).ok()?;
            (plan.memory().peak() <= have).then(|| model.layout.tokens())
        };
        Err(Error::Memory { tokens, need, have, fits: lengths.into_iter().find_map(fits) })
    }

    /// A text made ready for encryption, by itself or with others ([`Query::share`]), checked with the plain twin: one that
    /// is longer than the calibration, or whose values leave the ranges that the approximations were made for, is refused,
    /// since its encrypted embedding would be noise.
    ///
    /// # Errors
    /// [`Error::Models`](crate::Error::Models) for a text that is empty, too long, unknown or not covered.
    pub fn query(&self, text: &str) -> Result<Query> {
        let query = self.bert.query(&self.layout, text)?;
        self.calibration.check_length(query.shape.tokens())?;
        self.bert.check_covered(&self.network, &query)?;
        Ok(query)
    }
}
