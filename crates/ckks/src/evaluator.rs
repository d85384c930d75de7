//! Arithmetic on ciphertexts. Levels and scales change here and nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aegis_hal::{Kernel, Poly, Shape, View};
use aegis_ring::{Basis, Galois};

use crate::encoder::check_scale;
use crate::{
    Ciphertext, Context, Error, EvaluationKeys, KeyId, Level, Params, Plaintext, Result, Unencodable,
};

/// Two scales are the same when they differ by less than this factor: above the rounding of `f64` in a long circuit,
/// far below the noise of any message.
const SCALE_TOLERANCE: f64 = 1e-12;

/// A constant multiplication that only changes the scale multiplies by an integer of at least this size, so that
/// rounding it moves the value by less than 2^-20 of itself.
const LEAST_ADJUSTMENT: f64 = 524_288.0;

/// Evaluates on ciphertexts, with the keys of one key set. Cheap to clone.
///
/// Nothing here downloads or waits: every method enqueues kernels on the context's device.
#[derive(Clone)]
pub struct Evaluator {
    ctx: Context,
    keys: Arc<EvaluationKeys>,
    counters: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    rotations: AtomicU64,
    products: AtomicU64,
    plain_products: AtomicU64,
    key_switches: AtomicU64,
}

/// How many operations an evaluator has enqueued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpCounts {
    /// Galois maps applied with a key: rotations and conjugations, hoisted ones included.
    pub rotations: u64,
    /// Products of two ciphertexts.
    pub products: u64,
    /// Products of a ciphertext and a plaintext vector.
    pub plain_products: u64,
    /// Decompositions into digits: relinearizations, single rotations, one for each hoisted group.
    pub key_switches: u64,
}

impl std::ops::Sub for OpCounts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            rotations: self.rotations - earlier.rotations,
            products: self.products - earlier.products,
            plain_products: self.plain_products - earlier.plain_products,
            key_switches: self.key_switches - earlier.key_switches,
        }
    }
}

/// A product before relinearization: `d0 + d1 s + d2 s^2`, in the order d0, d2, d1.
#[derive(Debug)]
pub struct Product {
    poly: Poly,
    level: Level,
    scale: f64,
    key_id: KeyId,
}

impl Product {
    /// Level of the product.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Scale of the product: that of the factors multiplied.
    pub fn scale(&self) -> f64 {
        self.scale
    }
}

impl Evaluator {
    /// An evaluator for the ciphertexts of one key set.
    pub fn new(ctx: &Context, keys: Arc<EvaluationKeys>) -> Self {
        Self { ctx: ctx.clone(), keys, counters: Arc::default() }
    }

    /// The context.
    pub fn context(&self) -> &Context {
        &self.ctx
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        self.ctx.params()
    }

    /// The keys.
    pub fn keys(&self) -> &EvaluationKeys {
        &self.keys
    }

    /// Operations enqueued so far, by this evaluator and its clones.
    pub fn counts(&self) -> OpCounts {
        let c = &self.counters;
        OpCounts {
            rotations: c.rotations.load(Ordering::Relaxed),
            products: c.products.load(Ordering::Relaxed),
            plain_products: c.plain_products.load(Ordering::Relaxed),
            key_switches: c.key_switches.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn count_rotation(&self) {
        self.counters.rotations.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_key_switch(&self) {
        self.counters.key_switches.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_plain_products(&self, count: u64) {
        self.counters.plain_products.fetch_add(count, Ordering::Relaxed);
    }

    // ---- sums

    /// `a + b`. Level: the lower of the two. Scale: that of the operand at the lower level, to which the other is
    /// brought ([`Evaluator::adjust`]); at equal levels the scales must agree.
    pub fn add(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        self.sum(&Kernel::Add, a, b)
    }

    /// `a - b`, with level and scale as in [`Evaluator::add`].
    pub fn sub(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        self.sum(&Kernel::Sub, a, b)
    }

    fn sum(&self, kernel: &Kernel, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        let (a, b) = self.matched(a, b)?;
        let out = self.elementwise(kernel, a.level(), &[a.poly().view(), b.poly().view()])?;
        Ok(Ciphertext::new(out, a.level(), a.scale(), a.key_id()))
    }

    /// `a += b`, in place where level and scale already agree. Level and scale as in [`Evaluator::add`].
    pub fn add_assign(&self, a: &mut Ciphertext, b: &Ciphertext) -> Result<()> {
        self.check_keys(a)?;
        self.check_keys(b)?;
        if a.level() == b.level() && same_scale(a.scale(), b.scale()) {
            let basis = self.params().basis(a.level()).clone();
            if let Some(poly) = a.poly_mut() {
                self.ctx.device().launch(&Kernel::Add, &basis, poly.view_mut(), &[b.poly().view()])?;
                return Ok(());
            }
        }
        *a = self.add(a, b)?;
        Ok(())
    }

    /// The sum of all, or `None` for none.
    pub fn sum_all(&self, terms: &[Ciphertext]) -> Result<Option<Ciphertext>> {
        let Some((first, rest)) = terms.split_first() else { return Ok(None) };
        let mut total = first.clone();
        for term in rest {
            self.add_assign(&mut total, term)?;
        }
        Ok(Some(total))
    }

    /// `-a`. Level and scale unchanged.
    pub fn negate(&self, a: &Ciphertext) -> Result<Ciphertext> {
        self.mul_scalar(a, -1.0, 1.0)
    }

    /// `a + p`. The plaintext must have the scale of `a` and at least its level. Level and scale unchanged.
    pub fn add_plain(&self, a: &Ciphertext, p: &Plaintext) -> Result<Ciphertext> {
        self.sum_plain(&Kernel::Add, a, p)
    }

    /// `a - p`, as [`Evaluator::add_plain`].
    pub fn sub_plain(&self, a: &Ciphertext, p: &Plaintext) -> Result<Ciphertext> {
        self.sum_plain(&Kernel::Sub, a, p)
    }

    fn sum_plain(&self, kernel: &Kernel, a: &Ciphertext, p: &Plaintext) -> Result<Ciphertext> {
        self.check_keys(a)?;
        check_scales(a.scale(), p.scale(), a.level())?;
        let basis = self.params().basis(a.level());
        let mut out = self.elementwise(&Kernel::Copy, a.level(), &[a.poly().view()])?;
        self.ctx.device().launch(kernel, basis, out.slice_mut(0, 1), &[p.poly().view()])?;
        Ok(Ciphertext::new(out, a.level(), a.scale(), a.key_id()))
    }

    /// `a + c` in every slot. Level and scale unchanged. Fails where `c` does not fit the modulus of the level.
    pub fn add_scalar(&self, a: &Ciphertext, c: f64) -> Result<Ciphertext> {
        self.check_keys(a)?;
        let integer = rounded(c * a.scale())?;
        self.check_fits("a sum with a constant", c * a.scale(), a.level())?;
        let basis = self.params().basis(a.level());
        let c = self.ctx.scalars(basis, integer);
        let mut out = self.elementwise(&Kernel::Copy, a.level(), &[a.poly().view()])?;
        self.ctx.device().launch(&Kernel::ScalarAdd(c), basis, out.slice_mut(0, 1), &[])?;
        Ok(Ciphertext::new(out, a.level(), a.scale(), a.key_id()))
    }

    // ---- products

    /// `a * b`, relinearized, not rescaled. Level: the lower of the two. Scale: the product of the scales.
    pub fn mul(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        self.relinearize(self.mul_no_relin(a, b)?)
    }

    /// `a * b`, relinearized and rescaled. Level: one below the lower of the two; where that operand has the canonical
    /// scale of its level, so has the result.
    pub fn mul_rescale(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext> {
        let (a, b) = self.same_level(a, b)?;
        self.below("mul_rescale", &a)?;
        self.relinearize_rescale(self.mul_no_relin(&a, &b)?)
    }

    /// `a^2`, as [`Evaluator::mul`].
    pub fn square(&self, a: &Ciphertext) -> Result<Ciphertext> {
        self.mul(a, a)
    }

    /// `a^2`, as [`Evaluator::mul_rescale`].
    pub fn square_rescale(&self, a: &Ciphertext) -> Result<Ciphertext> {
        self.mul_rescale(a, a)
    }

    /// `a * b` without relinearization. Level: the lower of the two. Scale: the product of the scales, which must fit the
    /// modulus of the level, as in every product.
    pub fn mul_no_relin(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Product> {
        self.check_keys(a)?;
        self.check_keys(b)?;
        let level = a.level().min(b.level());
        self.check_fits("a product", a.scale() * b.scale(), level)?;
        let poly = self.alloc(3, self.params().basis(level))?;
        let mut product = Product { poly, level, scale: a.scale() * b.scale(), key_id: a.key_id() };
        self.tensor(&Kernel::Mul, &mut product, a, b)?;
        Ok(product)
    }

    /// `product += a * b`. Both factors must reach the product's level, and their scales multiply to its scale.
    pub fn mul_accumulate(&self, product: &mut Product, a: &Ciphertext, b: &Ciphertext) -> Result<()> {
        self.check_keys(a)?;
        self.check_keys(b)?;
        self.check_product(product)?;
        for factor in [a, b] {
            self.need("a product", factor, product.level)?;
        }
        check_scales(product.scale, a.scale() * b.scale(), product.level)?;
        self.tensor(&Kernel::MulAdd, product, a, b)
    }

    /// `product += a`, so that both are relinearized and rescaled as one. The ciphertext must reach the product's level
    /// and have its scale.
    pub fn accumulate(&self, product: &mut Product, a: &Ciphertext) -> Result<()> {
        self.check_keys(a)?;
        self.check_product(product)?;
        self.need("a sum of products", a, product.level)?;
        check_scales(product.scale, a.scale(), product.level)?;
        let (dev, basis) = (self.ctx.device(), self.params().basis(product.level));
        for (component, at) in [(0, 0), (1, 2)] {
            dev.launch(&Kernel::Add, basis, product.poly.slice_mut(at, 1), &[a.poly().slice(component, 1)])?;
        }
        Ok(())
    }

    /// `product = factor * product + c`. Level and scale unchanged.
    pub fn scale_and_shift(&self, product: &mut Product, factor: i32, c: f64) -> Result<()> {
        let (dev, basis) = (self.ctx.device(), self.params().basis(product.level));
        let shift = rounded(c * product.scale)?;
        self.check_fits("a sum with a constant", c * product.scale, product.level)?;
        if factor != 1 {
            let factor = self.ctx.scalars(basis, factor.into());
            dev.launch(&Kernel::ScalarMul(factor), basis, product.poly.view_mut(), &[])?;
        }
        if shift != 0 {
            let shift = self.ctx.scalars(basis, shift);
            dev.launch(&Kernel::ScalarAdd(shift), basis, product.poly.slice_mut(0, 1), &[])?;
        }
        Ok(())
    }

    fn tensor(&self, kernel: &Kernel, product: &mut Product, a: &Ciphertext, b: &Ciphertext) -> Result<()> {
        self.counters.products.fetch_add(1, Ordering::Relaxed);
        let (dev, basis) = (self.ctx.device(), self.params().basis(product.level));
        let (a, b) = (a.poly(), b.poly());
        dev.launch(kernel, basis, product.poly.slice_mut(0, 2), &[a.view(), b.view()])?;
        dev.launch(kernel, basis, product.poly.slice_mut(2, 1), &[a.slice(0, 1), b.slice(1, 1)])?;
        dev.launch(&Kernel::MulAdd, basis, product.poly.slice_mut(2, 1), &[a.slice(1, 1), b.slice(0, 1)])?;
        Ok(())
    }

    /// Back to two polynomials, by one key switch. Level and scale unchanged.
    pub fn relinearize(&self, product: Product) -> Result<Ciphertext> {
        self.check_product(&product)?;
        let (dev, level) = (self.ctx.device(), product.level);
        let basis = self.params().basis(level).clone();
        let key = self.keys.relinearization(level)?;
        let digits = self.decompose(product.poly.slice(1, 1), level)?;
        let extended = self.inner_product(&digits, key)?;
        let mut out = self.alloc(2, &basis)?;
        self.divide_special(&basis, &mut out, extended.view())?;
        dev.launch(&Kernel::Add, &basis, out.slice_mut(0, 1), &[product.poly.slice(0, 1)])?;
        dev.launch(&Kernel::Add, &basis, out.slice_mut(1, 1), &[product.poly.slice(2, 1)])?;
        Ok(Ciphertext::new(out, level, product.scale, product.key_id))
    }

    /// [`Evaluator::relinearize`] and [`Evaluator::rescale`] in one division by P times the primes of the level: one base
    /// conversion and one rounding instead of two.
    pub fn relinearize_rescale(&self, product: Product) -> Result<Ciphertext> {
        self.check_product(&product)?;
        let (dev, level) = (self.ctx.device(), product.level);
        let too_low = Error::LevelTooLow { op: "relinearize_rescale", need: Level(1), have: level };
        let below = level.down(1).ok_or(too_low)?;
        let basis = self.params().basis(level).clone();
        let key = self.keys.relinearization(level)?;
        let mut extended = self.inner_product(&self.decompose(product.poly.slice(1, 1), level)?, key)?;
        let p = self.ctx.product_scalars(&basis, self.params().special());
        for (component, at) in [(0, 0), (1, 2)] {
            let (target, kernel) = (extended.slice_mut(component, 1), Kernel::ScalarMulAdd(p.clone()));
            dev.launch(&kernel, &basis, target, &[product.poly.slice(at, 1)])?;
        }
        self.divide_special_rescale(extended.view(), (level, below), product.scale)
    }

    /// `a * p`, not rescaled. The plaintext must reach the level of `a`. Scale: the product of the scales.
    pub fn mul_plain(&self, a: &Ciphertext, p: &Plaintext) -> Result<Ciphertext> {
        self.check_keys(a)?;
        self.check_fits("a product", a.scale() * p.scale(), a.level())?;
        let out = self.elementwise(&Kernel::Mul, a.level(), &[a.poly().view(), p.poly().view()])?;
        self.count_plain_products(1);
        Ok(Ciphertext::new(out, a.level(), a.scale() * p.scale(), a.key_id()))
    }

    /// `a` times the integer `round(c * scale)`, not rescaled. Scale: multiplied by `scale`; with `scale` 1 an integer
    /// `c` costs no level.
    pub fn mul_scalar(&self, a: &Ciphertext, c: f64, scale: f64) -> Result<Ciphertext> {
        self.check_keys(a)?;
        check_scale(scale)?;
        self.check_fits("a product", a.scale() * scale, a.level())?;
        let c = self.ctx.scalars(self.params().basis(a.level()), rounded(c * scale)?);
        let out = self.elementwise(&Kernel::ScalarMul(c), a.level(), &[a.poly().view()])?;
        Ok(Ciphertext::new(out, a.level(), a.scale() * scale, a.key_id()))
    }

    /// `sum += c * a` with the integer `round(c * scale)`; `a` must reach the level of `sum`, and its scale times
    /// `scale` must be that of `sum`.
    pub fn mul_scalar_accumulate(
        &self,
        sum: &mut Ciphertext,
        a: &Ciphertext,
        c: f64,
        scale: f64,
    ) -> Result<()> {
        self.check_keys(a)?;
        self.need("a weighted sum", a, sum.level())?;
        check_scales(sum.scale(), a.scale() * scale, sum.level())?;
        let basis = self.params().basis(sum.level()).clone();
        let scalars = self.ctx.scalars(&basis, rounded(c * scale)?);
        match sum.poly_mut() {
            Some(poly) => {
                let kernel = Kernel::ScalarMulAdd(scalars);
                Ok(self.ctx.device().launch(&kernel, &basis, poly.view_mut(), &[a.poly().view()])?)
            }
            None => {
                let term = self.mul_scalar(a, c, scale)?.relabel(sum.level(), sum.scale());
                self.add_assign(sum, &term)
            }
        }
    }

    /// `c * a`, rescaled to the canonical scale of the level below. Level: one less.
    pub fn mul_const(&self, a: &Ciphertext, c: f64) -> Result<Ciphertext> {
        let below = self.below("mul_const", a)?;
        self.mul_const_to(a, c, self.params().scale(below))
    }

    /// `c * a`, rescaled to `scale`. Level: one less.
    pub fn mul_const_to(&self, a: &Ciphertext, c: f64, scale: f64) -> Result<Ciphertext> {
        let below = self.below("mul_const", a)?;
        let factor = scale * self.params().rescale_factor(a.level()) / a.scale();
        let product = self.rescale(&self.mul_scalar(a, c, factor)?)?;
        Ok(product.relabel(below, scale))
    }

    /// `a` times the imaginary unit: a monomial, exact and free. Level and scale unchanged.
    pub fn mul_i(&self, a: &Ciphertext) -> Result<Ciphertext> {
        self.check_keys(a)?;
        let out =
            self.elementwise(&Kernel::Mul, a.level(), &[a.poly().view(), self.ctx.imaginary().view()])?;
        Ok(Ciphertext::new(out, a.level(), a.scale(), a.key_id()))
    }

    // ---- levels

    /// Divides by the primes of the level, with rounding. Level: one less. Scale: divided by
    /// [`Params::rescale_factor`].
    pub fn rescale(&self, a: &Ciphertext) -> Result<Ciphertext> {
        self.check_keys(a)?;
        let below = self.below("rescale", a)?;
        let basis = self.params().basis(below);
        let mut out = self.alloc(2, basis)?;
        let kernel = Kernel::ModDown { from: self.params().dropped(a.level()).clone() };
        self.ctx.device().run(&kernel, basis, out.view_mut(), &[a.poly().view()])?;
        Ok(Ciphertext::new(out, below, a.scale() / self.params().rescale_factor(a.level()), a.key_id()))
    }

    /// Forgets limbs down to `level`; free. Scale unchanged. Fails upwards.
    pub fn drop_to(&self, a: &Ciphertext, level: Level) -> Result<Ciphertext> {
        self.need("drop_to", a, level)?;
        Ok(a.relabel(level, a.scale()))
    }

    /// Brings `a` down to `level` and `scale`: by forgetting limbs where the scale is right already, else by one
    /// multiplication with a constant and a rescale, which needs a level above `level`. Fails where the constant, which
    /// is rounded to an integer, would be too small to keep the value: products are rescaled first.
    pub fn adjust(&self, a: &Ciphertext, level: Level, scale: f64) -> Result<Ciphertext> {
        self.need("adjust", a, level)?;
        if same_scale(a.scale(), scale) {
            // Exactly the scale asked for: a difference that is kept doubles with every product.
            return Ok(a.relabel(level, scale));
        }
        let above = level.up(1);
        let mismatch = Error::ScaleMismatch { left: a.scale(), right: scale, level };
        if a.level() < above || scale * self.params().rescale_factor(above) / a.scale() < LEAST_ADJUSTMENT {
            return Err(mismatch);
        }
        self.mul_const_to(&a.relabel(above, a.scale()), 1.0, scale)
    }

    /// The same residues read at another scale: the message is multiplied by `a.scale / scale`, exactly and for free.
    /// For circuits that fold a constant factor into the scale. Level unchanged.
    pub fn reinterpret(&self, a: &Ciphertext, scale: f64) -> Result<Ciphertext> {
        self.check_keys(a)?;
        check_scale(scale)?;
        Ok(a.relabel(a.level(), scale))
    }

    // ---- rotations

    /// Rotates all slots to the left by `steps` (to the right when negative). Level and scale unchanged.
    pub fn rotate(&self, a: &Ciphertext, steps: i64) -> Result<Ciphertext> {
        self.apply_galois(a, Galois::rotation(steps, self.params().n()))
    }

    /// Conjugates every slot. Level and scale unchanged.
    pub fn conjugate(&self, a: &Ciphertext) -> Result<Ciphertext> {
        self.apply_galois(a, Galois::conjugation(self.params().n()))
    }

    /// Applies one Galois map. Level and scale unchanged.
    pub fn apply_galois(&self, a: &Ciphertext, map: Galois) -> Result<Ciphertext> {
        if map == Galois::IDENTITY {
            return Ok(a.clone());
        }
        self.rotate_hoisted(a, &self.hoist(a)?, map)
    }

    // ---- shared

    /// Both at the lower level and equal scale.
    fn matched(&self, a: &Ciphertext, b: &Ciphertext) -> Result<(Ciphertext, Ciphertext)> {
        self.check_keys(a)?;
        self.check_keys(b)?;
        if a.level() >= b.level() {
            Ok((self.adjust(a, b.level(), b.scale())?, b.clone()))
        } else {
            Ok((a.clone(), self.adjust(b, a.level(), a.scale())?))
        }
    }

    /// Both at the lower level: the higher one at that level's canonical scale, where it has a level to get there.
    fn same_level(&self, a: &Ciphertext, b: &Ciphertext) -> Result<(Ciphertext, Ciphertext)> {
        let level = a.level().min(b.level());
        let bring = |x: &Ciphertext| {
            if x.level() == level { Ok(x.clone()) } else { self.adjust(x, level, self.params().scale(level)) }
        };
        Ok((bring(a)?, bring(b)?))
    }

    fn below(&self, op: &'static str, a: &Ciphertext) -> Result<Level> {
        a.level().down(1).ok_or(Error::LevelTooLow { op, need: Level(1), have: a.level() })
    }

    fn need(&self, op: &'static str, a: &Ciphertext, need: Level) -> Result<()> {
        if a.level() < need { Err(Error::LevelTooLow { op, need, have: a.level() }) } else { Ok(()) }
    }

    /// Fails unless the modulus of the level holds this integer and its negative: a constant, or a message of one at a
    /// scale. Beyond, results would wrap around in silence.
    fn check_fits(&self, op: &'static str, integer: f64, level: Level) -> Result<()> {
        let (need_log2, have_log2) = (integer.abs().log2() + 1.0, self.params().log2_modulus(level));
        // Written so that NaN fails.
        if need_log2 < have_log2 { Ok(()) } else { Err(Error::ModulusTooSmall { op, need_log2, have_log2 }) }
    }

    pub(crate) fn check_keys(&self, a: &Ciphertext) -> Result<()> {
        self.check_id("the ciphertext", a.key_id())
    }

    fn check_product(&self, p: &Product) -> Result<()> {
        self.check_id("the product", p.key_id)
    }

    pub(crate) fn check_id(&self, what: &'static str, have: KeyId) -> Result<()> {
        let want = self.keys.id();
        if have == want { Ok(()) } else { Err(Error::ForeignKey { what, have, want }) }
    }

    pub(crate) fn alloc(&self, batch: usize, basis: &Basis) -> Result<Poly> {
        Ok(self.ctx.device().alloc(Shape::new(batch, basis.clone(), self.params().n()))?)
    }

    fn elementwise(&self, kernel: &Kernel, level: Level, ins: &[View<'_>]) -> Result<Poly> {
        let basis = self.params().basis(level);
        let mut out = self.alloc(2, basis)?;
        self.ctx.device().launch(kernel, basis, out.view_mut(), ins)?;
        Ok(out)
    }
}

/// True when two scales differ by less than the noise of any message could show, so that sums may ignore it.
pub fn same_scale(a: f64, b: f64) -> bool {
    (a / b - 1.0).abs() < SCALE_TOLERANCE
}

pub(crate) fn check_scales(left: f64, right: f64, level: Level) -> Result<()> {
    if same_scale(left, right) { Ok(()) } else { Err(Error::ScaleMismatch { left, right, level }) }
}

/// The nearest integer, where it fits.
fn rounded(c: f64) -> Result<i128> {
    // Beyond 2^120 the product with a ciphertext would wrap any modulus in use anyway.
    if c.is_finite() && c.abs() < 120f64.exp2() {
        return Ok(c.round() as i128);
    }
    Err(Error::Encoding(Unencodable::Constant { value: c }))
}
