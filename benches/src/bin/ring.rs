//! The portable transforms of `ring`, on one thread: what the SIMD paths of a device are compared with.
#![forbid(unsafe_code)]

use aegis_benches::{Bench, Options};
use aegis_ring::{BaseConv, Basis, LimbId, NttTable, Rns, primes};
use clap::Parser;

/// Limbs of a streamed polynomial: more than caches hold at N = 2^16.
const LIMBS: usize = 25;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if options.threads.get() * options.devices.get() > 1 {
        anyhow::bail!("this layer has no device: leave --threads and --devices out, or measure --layer hal");
    }
    let log_n = if options.test { 10 } else { 16 };
    let bench = Bench::new("ring", &options, &format!("N{log_n}_50bit"));
    let primes = primes(log_n, LIMBS)?;
    let rns = Rns::new(log_n, &primes)?;
    let tables: Vec<NttTable> =
        rns.moduli().iter().map(|m| NttTable::new(m, log_n)).collect::<Result<_, _>>()?;
    let mut poly: Vec<Vec<u64>> =
        primes.iter().map(|&q| (0..1 << log_n).map(|i: u64| i * i % q).collect()).collect();

    bench.measure("ntt_hot", 20, 1, || {
        tables[0].forward(&mut poly[0]);
        Ok(())
    })?;
    bench.measure("intt_hot", 20, 1, || {
        tables[0].inverse(&mut poly[0]);
        Ok(())
    })?;
    bench.measure("ntt_streamed", 5, LIMBS, || {
        tables.iter().zip(&mut poly).for_each(|(table, limb)| table.forward(limb));
        Ok(())
    })?;
    let limb = |i: usize| LimbId(i as u16);
    let conv = BaseConv::new(&rns, &Basis::new((0..8).map(limb)), &Basis::new((8..LIMBS).map(limb)));
    let x: Vec<u64> = (0..8).map(|i| primes[i] / 3).collect();
    bench.measure("base_conv_word", 20, 1000, || {
        (0..1000).for_each(|_| {
            std::hint::black_box(conv.convert(std::hint::black_box(&x)));
        });
        Ok(())
    })
}

/// Distinct primes just below 2^50.
fn primes(log_n: u32, count: usize) -> anyhow::Result<Vec<u64>> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(primes::nearest_ntt_prime(f64::from(50).exp2(), 1 << 49..1 << 50, log_n, &taken)?);
    }
    Ok(taken)
}
