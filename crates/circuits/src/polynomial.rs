//! Polynomials in the Chebyshev basis, at optimal depth.
//!
//! The Paterson-Stockmeyer method in its recursive form (Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux 2021, section
//! 3.3): `p = q T_m + r` with m the largest power of two up to the degree. A degree-d polynomial takes
//! `ceil(log2(d + 1))` levels. The scale wanted at the root is pushed down the recursion and met by the constants of
//! the leaves, so that no term ever needs a level to match another one's scale.

use std::collections::{BTreeMap, BTreeSet};

use aegis_ckks::{Ciphertext, Evaluator, KeyRequest, Level, Params};

use crate::slots::Slots;
use crate::sum::{Sum, constant};
use crate::{Error, InvalidCircuit, Result, chebyshev};

/// A polynomial `sum_k c_k T_k(y)`, `y = (2 x - a - b) / (b - a)` for the range `[a, b]` of x.
///
/// Slots may fall into classes with a polynomial each. The algebra is done once for every class; vectors over the slots
/// are made where a coefficient meets a ciphertext.
#[derive(Clone, Debug, PartialEq)]
pub struct Polynomial {
    /// For every degree one number, or one for each class.
    coefficients: Vec<Vec<f64>>,
    /// The class of every slot of a period; a single one where all slots are alike.
    classes: Vec<usize>,
    range: (f64, f64),
}

/// Operations of one evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolynomialCost {
    /// Products of two ciphertexts.
    pub products: usize,
    /// Relinearizations: sums of products share one.
    pub relinearizations: usize,
}

impl Polynomial {
    /// The polynomial with these coefficients in the Chebyshev basis on `range`.
    pub fn chebyshev(coefficients: impl IntoIterator<Item = f64>, range: (f64, f64)) -> Result<Self> {
        Self::by_class(&[coefficients.into_iter().collect()], vec![0], range)
    }

    /// The polynomial `polynomials[classes[j mod period]]` in slot j: coefficients in the Chebyshev basis on one range,
    /// the shorter ones filled with zeros. The period, `classes.len()`, is a power of two.
    pub fn by_class(polynomials: &[Vec<f64>], classes: Vec<usize>, range: (f64, f64)) -> Result<Self> {
        let refuse = |why| Err(Error::Invalid(why));
        if !(range.0.is_finite() && range.1.is_finite() && range.0 < range.1) {
            return refuse(InvalidCircuit::Range { low: range.0, high: range.1 });
        }
        if !classes.len().is_power_of_two() {
            return refuse(InvalidCircuit::Period(classes.len()));
        }
        if let Some(&class) = classes.iter().find(|&&class| class >= polynomials.len()) {
            return refuse(InvalidCircuit::Class { class, count: polynomials.len() });
        }
        if polynomials.iter().flatten().any(|c| !c.is_finite()) {
            return refuse(InvalidCircuit::Coefficient);
        }
        let used: BTreeSet<usize> = classes.iter().copied().collect();
        let coefficient = |k: usize| {
            let of = |class: usize| polynomials[class].get(k).copied().unwrap_or(0.0);
            let mut values = used.iter().map(|&class| of(class));
            let first = values.next().unwrap_or(0.0);
            if values.all(|v| v == first) { vec![first] } else { (0..polynomials.len()).map(of).collect() }
        };
        let count = polynomials.iter().map(Vec::len).max().unwrap_or(0);
        let mut coefficients: Vec<Vec<f64>> = (0..count).map(coefficient).collect();
        trim(&mut coefficients);
        if coefficients.is_empty() {
            coefficients.push(vec![0.0]);
        }
        Ok(Self { coefficients, classes, range })
    }

    /// The polynomial that equals `f` in the Chebyshev nodes of `range`. Coefficients below `2^-50` of the largest one
    /// are rounding errors and become zero, so that even and odd functions give even and odd polynomials.
    pub fn interpolate(f: impl Fn(f64) -> f64, degree: usize, range: (f64, f64)) -> Result<Self> {
        let mut coefficients = chebyshev::interpolate(f, degree, range);
        let floor = coefficients.iter().fold(0.0, |m: f64, c| m.max(c.abs())) * (-50f64).exp2();
        coefficients.iter_mut().filter(|c| c.abs() < floor).for_each(|c| *c = 0.0);
        Self::chebyshev(coefficients, range)
    }

    /// The highest degree with a coefficient that is not zero.
    pub fn degree(&self) -> usize {
        self.coefficients.len() - 1
    }

    /// Levels taken: `ceil(log2(degree + 1))`, and one to bring x from a range other than `[-1, 1]` to it.
    pub fn depth(&self) -> u32 {
        chebyshev::depth(self.degree()) + normalizing_depth(self.range)
    }

    /// The keys that an input at `level` needs.
    pub fn keys(&self, params: &Params, level: Level) -> KeyRequest {
        let keys = KeyRequest::new(params.n());
        if self.degree() < 2 { keys } else { keys.relinearize(level) }
    }

    /// The value at `x` in slot `slot`.
    pub fn plain(&self, x: f64, slot: usize) -> f64 {
        let class = self.classes[slot % self.classes.len()];
        let own: Vec<f64> =
            self.coefficients.iter().map(|c| if c.len() == 1 { c[0] } else { c[class] }).collect();
        chebyshev::evaluate(&own, self.range, x)
    }

    /// The polynomial of every slot. Level: lower by [`Polynomial::depth`]. Scale: canonical.
    pub fn evaluate(&self, ev: &Evaluator, x: &Ciphertext) -> Result<Ciphertext> {
        self.evaluate_one(ev, x, None)
    }

    /// [`Polynomial::evaluate`] of several ciphertexts: those of one level and scale share the encoded vectors of slots
    /// that fall into classes, which are held until the last one is done.
    pub fn evaluate_all(&self, ev: &Evaluator, xs: &[Ciphertext]) -> Result<Vec<Ciphertext>> {
        let slots = Slots::of_classes(ev, &self.classes, xs.len());
        xs.iter().map(|x| self.run(&slots, &mut Powers::new(&slots, self.range, x), None)).collect()
    }

    /// [`Polynomial::evaluate`] of several polynomials at one ciphertext, which share the `T_k(y)`: for values of several
    /// units that are packed in it, polynomials that are zero outside the slots of a unit ([`Polynomial::by_class`])
    /// unpack them. All have one range; degrees, and with them the levels of the results, may differ. Without units there
    /// is no result.
    pub fn evaluate_units(ev: &Evaluator, x: &Ciphertext, units: &[Self]) -> Result<Vec<Ciphertext>> {
        let Some(first) = units.first() else { return Ok(vec![]) };
        if let Some(other) = units.iter().find(|unit| unit.range != first.range) {
            let (left, right) = (first.range, other.range);
            return Err(Error::Invalid(InvalidCircuit::OtherRange { left, right }));
        }
        let slots = Slots::alike(ev);
        let mut powers = Powers::new(&slots, first.range, x);
        let value = |unit: &Self| unit.run(&Slots::of_classes(ev, &unit.classes, 1), &mut powers, None);
        units.iter().map(value).collect()
    }

    /// [`Polynomial::evaluate`] with a result at the scale `target`.
    pub fn evaluate_to(&self, ev: &Evaluator, x: &Ciphertext, target: f64) -> Result<Ciphertext> {
        self.evaluate_one(ev, x, Some(target))
    }

    fn evaluate_one(&self, ev: &Evaluator, x: &Ciphertext, target: Option<f64>) -> Result<Ciphertext> {
        let slots = Slots::of_classes(ev, &self.classes, 1);
        self.run(&slots, &mut Powers::new(&slots, self.range, x), target)
    }

    /// The value at the input of `powers`, at the scale `target` or the canonical one.
    fn run(&self, slots: &Slots<'_>, powers: &mut Powers<'_>, target: Option<f64>) -> Result<Ciphertext> {
        let (ev, x) = (slots.ev, &powers.x);
        let depth = self.depth();
        if x.level().0 < depth {
            return Err(Error::TooDeep { circuit: "a polynomial", depth, have: x.level() });
        }
        let below = x.level().lowered(depth);
        let target = target.unwrap_or(ev.params().scale(below));
        if self.degree() == 0 {
            let zero = ev.reinterpret(&ev.mul_scalar(x, 0.0, 1.0)?, target)?;
            return constant(slots, &ev.drop_to(&zero, below)?, &self.coefficients[0]);
        }
        let splitting = Splitting::best(&self.coefficients);
        let offset = chebyshev::depth(self.degree()) - 1;
        let level = powers.level(offset)?;
        let scale = target * ev.params().rescale_factor(level);
        let mut sum = Sum::new(slots, level, scale);
        splitting.add_to(&mut sum, scale, &self.coefficients, offset, powers)?;
        sum.rescale()
    }

    /// Products and relinearizations of one evaluation.
    pub fn cost(&self) -> PolynomialCost {
        Splitting::best(&self.coefficients).cost(&self.coefficients)
    }
}

/// Levels that it takes to bring x from this range to `[-1, 1]`.
fn normalizing_depth(range: (f64, f64)) -> u32 {
    u32::from(range != (-1.0, 1.0))
}

/// Levels of `T_k`: `ceil(log2 k)`.
fn power_depth(k: usize) -> u32 {
    chebyshev::depth(k - 1)
}

fn is_zero(c: &[f64]) -> bool {
    c.iter().all(|&c| c == 0.0)
}

/// `f(a, b)` class by class, where either may be one number for all.
fn combine(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let len = a.len().max(b.len());
    (0..len).map(|i| f(a[i % a.len()], b[i % b.len()])).collect()
}

fn trim(coefficients: &mut Vec<Vec<f64>>) {
    while coefficients.last().is_some_and(|c| is_zero(c)) {
        coefficients.pop();
    }
}

/// `p = q T_m + r` from `T_m T_j = (T_(m+j) + T_(m-j)) / 2`, for m above half the degree.
fn divide(p: &[Vec<f64>], m: usize) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let mut q = vec![p[m].clone()];
    let mut r = p[..m].to_vec();
    for (j, c) in p.iter().enumerate().skip(m + 1).map(|(k, c)| (k - m, c)) {
        q.push(c.iter().map(|c| 2.0 * c).collect());
        r[m - j] = combine(&r[m - j], c, |r, c| r - c);
    }
    trim(&mut q);
    trim(&mut r);
    (q, r)
}

/// Where the recursion stops: leaves have a degree below `babies`, a power of two.
#[derive(Clone, Copy)]
struct Splitting {
    babies: usize,
}

impl Splitting {
    /// The one with the fewest relinearizations, then products.
    fn best(p: &[Vec<f64>]) -> Self {
        let all = (1..=chebyshev::depth(p.len() - 1).max(1)).map(|log| Self { babies: 1 << log });
        let key = |splitting: &Self| {
            let cost = splitting.cost(p);
            (3 * cost.relinearizations + cost.products, splitting.babies)
        };
        all.min_by_key(key).unwrap_or(Self { babies: 2 })
    }

    /// The giant step that `p` is divided by for a result `offset` levels down and not yet rescaled; `None` when it is
    /// a leaf there.
    fn giant(self, p: &[Vec<f64>], offset: u32) -> Option<usize> {
        let available = |(k, c): (usize, &Vec<f64>)| k == 0 || is_zero(c) || power_depth(k) <= offset;
        let leaf = p.len() <= self.babies && p.iter().enumerate().all(available);
        if leaf || p.len() < 2 { None } else { Some(1 << (p.len() - 1).ilog2()) }
    }

    /// Adds `p` to a sum that stands `offset` levels below x and is not yet rescaled.
    fn add_to(
        self,
        sum: &mut Sum<'_>,
        scale: f64,
        p: &[Vec<f64>],
        offset: u32,
        powers: &mut Powers<'_>,
    ) -> Result<()> {
        let Some(m) = self.giant(p, offset) else {
            for (k, c) in p.iter().enumerate().skip(1).filter(|(_, c)| !is_zero(c)) {
                sum.multiple(c, powers.get(k)?)?;
            }
            if let Some(c) = p.first().filter(|c| !is_zero(c)) {
                sum.constant(c);
            }
            return Ok(());
        };
        let (q, r) = divide(p, m);
        if let [c] = &q[..] {
            sum.multiple(c, powers.get(m)?)?;
        } else {
            let giant = powers.get(m)?.clone();
            let above = powers.level(offset - 1)?;
            let inner_scale = scale / giant.scale() * sum.slots.ev.params().rescale_factor(above);
            let mut inner = Sum::new(sum.slots, above, inner_scale);
            self.add_to(&mut inner, inner_scale, &q, offset - 1, powers)?;
            sum.product(&inner.rescale()?, &giant)?;
        }
        self.add_to(sum, scale, &r, offset, powers)
    }

    fn cost(self, p: &[Vec<f64>]) -> PolynomialCost {
        let mut needed = BTreeMap::new();
        let offset = chebyshev::depth(p.len() - 1).saturating_sub(1);
        let mut cost = self.node_cost(p, offset, &mut needed, true);
        cost.products += needed.len();
        cost.relinearizations += needed.len();
        cost
    }

    /// Cost of a node without powers; collects the powers it needs. `opens`: no product of the same sum came before.
    fn node_cost(
        self,
        p: &[Vec<f64>],
        offset: u32,
        needed: &mut BTreeMap<usize, ()>,
        opens: bool,
    ) -> PolynomialCost {
        let Some(m) = self.giant(p, offset) else {
            let used = p.iter().enumerate().skip(1).filter(|(_, c)| !is_zero(c));
            used.for_each(|(k, _)| need_power(k, needed));
            return PolynomialCost::default();
        };
        need_power(m, needed);
        let (q, r) = divide(p, m);
        let is_product = q.len() > 1;
        let mut cost = PolynomialCost::default();
        if is_product {
            cost = self.node_cost(&q, offset - 1, needed, true);
            cost.products += 1;
            cost.relinearizations += usize::from(opens);
        }
        let rest = self.node_cost(&r, offset, needed, opens && !is_product);
        cost.products += rest.products;
        cost.relinearizations += rest.relinearizations;
        cost
    }
}

/// `T_k = 2 T_a T_b - T_(a-b)` with a the largest power of two below k: the depth is least.
fn factors(k: usize) -> (usize, usize) {
    let a = 1 << (k - 1).ilog2();
    (a, k - a)
}

fn need_power(k: usize, needed: &mut BTreeMap<usize, ()>) {
    if k < 2 || needed.insert(k, ()).is_some() {
        return;
    }
    let (a, b) = factors(k);
    for k in [a, b, a - b] {
        need_power(k, needed);
    }
}

/// The `T_k(y)` that evaluations at one x have asked for so far.
struct Powers<'a> {
    slots: &'a Slots<'a>,
    range: (f64, f64),
    x: Ciphertext,
    powers: BTreeMap<usize, Ciphertext>,
}

impl<'a> Powers<'a> {
    fn new(slots: &'a Slots<'a>, range: (f64, f64), x: &Ciphertext) -> Self {
        Self { slots, range, x: x.clone(), powers: BTreeMap::new() }
    }

    /// The level `offset` below y.
    fn level(&self, offset: u32) -> Result<Level> {
        let depth = offset + normalizing_depth(self.range);
        let too_deep = Error::TooDeep { circuit: "a polynomial", depth, have: self.x.level() };
        self.x.level().down(depth).ok_or(too_deep)
    }

    fn get(&mut self, k: usize) -> Result<&Ciphertext> {
        if !self.powers.contains_key(&k) {
            let power = self.make(k)?;
            self.powers.insert(k, power);
        }
        Ok(&self.powers[&k])
    }

    fn make(&mut self, k: usize) -> Result<Ciphertext> {
        if k == 1 {
            return self.normalized();
        }
        let (a, b) = factors(k);
        let (ta, tb) = (self.get(a)?.clone(), self.get(b)?.clone());
        let mut sum = Sum::twice(self.slots, &ta, &tb)?;
        if a == b {
            sum.constant(&[-1.0]);
        } else {
            sum.multiple(&[-1.0], &self.get(a - b)?.clone())?;
        }
        sum.rescale()
    }

    /// `T_1(y) = y`, which is x itself on `[-1, 1]`.
    fn normalized(&self) -> Result<Ciphertext> {
        let (ev, (a, b)) = (self.slots.ev, self.range);
        if normalizing_depth(self.range) == 0 {
            return Ok(self.x.clone());
        }
        let y = ev.mul_const(&self.x, 2.0 / (b - a))?;
        Ok(ev.add_scalar(&y, -(a + b) / (b - a))?)
    }
}
