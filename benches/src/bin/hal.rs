//! Kernels on the CPU device: transforms in and out of the caches, and what key switching is made of.
#![forbid(unsafe_code)]

use aegis_benches::{Bench, Options};
use aegis_ckks::{N16_L24_S49, Params, insecure_levelled_spec};
use aegis_hal::{Backend, Device, HostData, Kernel, Poly, Shape};
use aegis_ring::{Basis, Galois};
use clap::Parser;

/// Launches in one measurement of a short kernel, so that the wait at its end does not count.
const REPEAT: usize = 64;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let params = if options.test {
        Params::insecure(insecure_levelled_spec(10, 24))?
    } else {
        Params::try_from(N16_L24_S49)?
    };
    let bench = Bench::new("hal", &options, params.name());
    let device: Device = options.device(&params)?;
    let q = params.basis(params.max_level());
    transforms(&bench, &*device, q)?;
    elementwise(&bench, &*device, q)?;
    key_switching(&bench, &*device, &params)
}

fn transforms(bench: &Bench, device: &dyn Backend, q: &Basis) -> anyhow::Result<()> {
    let n = device.rns().n();
    let one = Basis::new([q.limbs()[0]]);
    let mut hot = filled(device, 1, &one, n)?;
    for (name, kernel) in [("ntt_hot", Kernel::Ntt), ("intt_hot", Kernel::Intt)] {
        bench.measure(name, 20, REPEAT, || {
            for _ in 0..REPEAT {
                device.launch(&kernel, &one, hot.view_mut(), &[])?;
            }
            Ok(device.sync()?)
        })?;
    }
    // Eight polynomials: more than the caches hold, as in a key switch.
    let mut streamed = filled(device, 8, q, n)?;
    for (name, kernel) in [("ntt_streamed", Kernel::Ntt), ("intt_streamed", Kernel::Intt)] {
        bench.measure(name, 10, 8 * q.len(), || {
            device.launch(&kernel, q, streamed.view_mut(), &[])?;
            Ok(device.sync()?)
        })?;
    }
    Ok(())
}

fn elementwise(bench: &Bench, device: &dyn Backend, q: &Basis) -> anyhow::Result<()> {
    let n = device.rns().n();
    let a = filled(device, 2, q, n)?;
    let b = filled(device, 2, q, n)?;
    let mut out = filled(device, 2, q, n)?;
    let galois = Galois::rotation(1, n);
    for (name, kernel, ins) in [
        ("add_streamed", Kernel::Add, &[a.view(), b.view()][..]),
        ("mul_streamed", Kernel::Mul, &[a.view(), b.view()]),
        ("automorphism_streamed", Kernel::Automorphism(galois), &[a.view()]),
    ] {
        bench.measure(name, 20, 2 * q.len(), || {
            device.launch(&kernel, q, out.view_mut(), ins)?;
            Ok(device.sync()?)
        })?;
    }
    Ok(())
}

fn key_switching(bench: &Bench, device: &dyn Backend, params: &Params) -> anyhow::Result<()> {
    let n = params.n();
    let level = params.max_level();
    let (q, p) = (params.basis(level), params.special());
    let all = q.union(p);
    let digits = params.digits(level);
    let source = filled(device, 1, &digits[0], n)?;
    let others = all.minus(&digits[0]);
    let mut raised = filled(device, 1, &others, n)?;
    bench.measure("mod_up", 10, 1, || {
        device.run(
            &Kernel::ModUp { from: digits[0].clone() },
            &others,
            raised.view_mut(),
            &[source.view()],
        )?;
        Ok(device.sync()?)
    })?;
    let weights = filled(device, digits.len(), &all, n)?;
    let key = filled(device, 2 * digits.len(), &all, n)?;
    let mut sum = filled(device, 2, &all, n)?;
    let inner = Kernel::InnerProduct { terms: digits.len(), accumulate: false };
    bench.measure("inner_product", 10, 1, || {
        device.run(&inner, &all, sum.view_mut(), &[weights.view(), key.view()])?;
        Ok(device.sync()?)
    })?;
    let mut down = filled(device, 2, q, n)?;
    bench.measure("mod_down", 10, 1, || {
        device.run(&Kernel::ModDown { from: p.clone() }, q, down.view_mut(), &[sum.view()])?;
        Ok(device.sync()?)
    })
}

/// `batch` polynomials of small words, different in every limb.
fn filled(device: &dyn Backend, batch: usize, basis: &Basis, n: usize) -> anyhow::Result<Poly> {
    let words = batch * basis.len() * n;
    // Below every prime, so that the residues are canonical.
    let data = (0..words as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44).collect();
    Ok(device.upload(Shape::new(batch, basis.clone(), n), HostData::residues(data))?)
}
