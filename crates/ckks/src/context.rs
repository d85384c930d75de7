//! Parameters on a device: what every object of the scheme is made with.

use std::sync::Arc;

use aegis_hal::{Device, HostData, Poly, Scalars, Shape};
use aegis_ring::Basis;

use crate::{Encoder, Error, Params, Result};

/// Parameters, a device and the encoder. Cheap to clone; two contexts live side by side in one process.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    params: Params,
    device: Device,
    encoder: Encoder,
    /// `X^(N/2)` over all limbs: multiplication by the imaginary unit. Compact, two words a limb.
    imaginary: Poly,
}

impl Context {
    /// A context on this device, which must compute in the ring of the parameters.
    pub fn new(params: Params, device: Device) -> Result<Self> {
        if **device.rns() != **params.rns() {
            return Err(Error::ForeignDevice { params: params.name().to_owned() });
        }
        let all = params.basis(params.max_level()).union(params.special());
        let imaginary = device.upload(Shape::new(1, all, 2), HostData::coefficients(vec![0, 1]))?;
        let encoder = Encoder::new(params.n(), device.clone());
        Ok(Self(Arc::new(Inner { params, device, encoder, imaginary })))
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.0.params
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.0.encoder
    }

    /// `X^(N/2)` in evaluation form over all limbs, compact.
    pub(crate) fn imaginary(&self) -> &Poly {
        &self.0.imaginary
    }

    /// A signed integer as one residue a limb.
    pub(crate) fn scalars(&self, basis: &Basis, value: i128) -> Scalars {
        let rns = self.params().rns();
        basis
            .iter()
            .map(|l| {
                let q = rns.modulus(l);
                let r = q.reduce_u128(value.unsigned_abs());
                if value < 0 { q.neg(r) } else { r }
            })
            .collect()
    }

    /// The product of the primes of `factors` as one residue a limb.
    pub(crate) fn product_scalars(&self, basis: &Basis, factors: &Basis) -> Scalars {
        let rns = self.params().rns();
        basis
            .iter()
            .map(|l| {
                let q = rns.modulus(l);
                factors.iter().fold(1, |m, f| q.mul(m, q.reduce(rns.modulus(f).value())))
            })
            .collect()
    }
}
