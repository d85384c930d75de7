//! Best time of each kernel at the shapes of a bootstrap:
//! `cargo run --release --example rates [threads] [filter] [portable|avx2|ifma]`.

use std::sync::Arc;
use std::time::Instant;

use aegis_cpu::{Cpu, CpuOptions, Isa};
use aegis_hal::{Backend, Kernel, Poly, Shape};
use aegis_ring::{Basis, Galois, LimbId, Rns, primes};

const LOG_N: u32 = 16;

/// 36 limbs of 50, 40 and 28 bits, and 8 special ones.
fn ring() -> Rns {
    let bits = [(50, 1), (40, 13), (28, 22), (50, 8)].into_iter().flat_map(|(b, count)| vec![b; count]);
    let mut taken = vec![];
    for b in bits {
        let near = primes::nearest_ntt_prime(2f64.powi(b), 1 << (b - 1)..1 << (b + 1), LOG_N, &taken);
        taken.push(near.expect("there are enough primes"));
    }
    Rns::new(LOG_N, &taken).expect("distinct NTT primes")
}

/// Time that this thread has spent on a core: on a busy machine the elapsed time says little.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1e-9
}

struct Bench {
    dev: Cpu,
    filter: Option<String>,
}

impl Bench {
    /// Prints the best time of one launch, divided by `parts`.
    fn time(&self, name: &str, parts: usize, mut launch: impl FnMut(&Cpu)) {
        if self.filter.as_ref().is_some_and(|f| !name.contains(f.as_str())) {
            return;
        }
        let mut best = f64::INFINITY;
        launch(&self.dev);
        let (begin, cpu) = (Instant::now(), cpu_seconds());
        let mut runs = 0;
        while begin.elapsed().as_millis() < 400 || runs < 3 {
            let start = Instant::now();
            launch(&self.dev);
            self.dev.sync().expect("a launch");
            best = best.min(start.elapsed().as_secs_f64());
            runs += 1;
        }
        let mean = (cpu_seconds() - cpu) / f64::from(runs);
        let part = 1e6 / parts as f64;
        println!("{name:42} best {:9.2} us, mean of this thread {:9.2} us", best * part, mean * part);
    }

    fn poly(&self, batch: usize, basis: &Basis, n: usize) -> Poly {
        let words = basis.iter().map(|l| self.dev.rns().modulus(l).value() / 3).collect::<Vec<_>>();
        let row = |q: u64| (0..n as u64).map(move |i| (i * 0x9e37_79b9) % q);
        let data = (0..batch).flat_map(|_| words.clone()).flat_map(row).collect();
        self.dev
            .upload(Shape::new(batch, basis.clone(), n), aegis_hal::HostData::residues(data))
            .expect("an upload")
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let threads = args.next().and_then(|a| a.parse().ok()).unwrap_or(1);
    let filter = args.next();
    let wanted = args.next();
    let named = |isa: &Isa| wanted.as_ref().is_none_or(|name| format!("{isa:?}").eq_ignore_ascii_case(name));
    let isa =
        Isa::available().into_iter().rfind(named).expect("portable, avx2 or ifma, and this machine has it");
    let dev =
        Cpu::with_options(Arc::new(ring()), CpuOptions { threads, isa: Some(isa), ..CpuOptions::default() })
            .expect("a device");
    let n = dev.rns().n();
    let b = Bench { dev, filter };
    let limbs = |from: u16, to: u16| (from..to).map(LimbId).collect::<Basis>();
    let (q, special, all) = (limbs(0, 36), limbs(36, 44), limbs(0, 44));
    for (name, limb) in [("50", 36), ("40", 3), ("28", 20)] {
        let one = limbs(limb, limb + 1);
        let mut x = b.poly(1, &one, n);
        b.time(&format!("ntt hot {name}"), 1, |d| d.launch(&Kernel::Ntt, &one, x.view_mut(), &[]).unwrap());
        b.time(&format!("intt hot {name}"), 1, |d| d.launch(&Kernel::Intt, &one, x.view_mut(), &[]).unwrap());
    }
    let mut x = b.poly(1, &q, n);
    b.time("ntt streamed", 36, |d| d.launch(&Kernel::Ntt, &q, x.view_mut(), &[]).unwrap());
    b.time("intt streamed", 36, |d| d.launch(&Kernel::Intt, &q, x.view_mut(), &[]).unwrap());
    let mut x2 = b.poly(2, &q, n);
    b.time("ntt streamed, two polynomials", 72, |d| d.launch(&Kernel::Ntt, &q, x2.view_mut(), &[]).unwrap());
    let y = b.poly(1, &q, n);
    let mut out = b.poly(1, &q, n);
    let g = Kernel::Automorphism(Galois::rotation(3, n));
    b.time("add", 36, |d| d.launch(&Kernel::Add, &q, out.view_mut(), &[x.view(), y.view()]).unwrap());
    b.time("mul", 36, |d| d.launch(&Kernel::Mul, &q, out.view_mut(), &[x.view(), y.view()]).unwrap());
    b.time("mul_add", 36, |d| d.launch(&Kernel::MulAdd, &q, out.view_mut(), &[x.view(), y.view()]).unwrap());
    let c = Kernel::ScalarMulAdd((0..36).map(|_| 12345).collect());
    b.time("scalar_mul_add", 36, |d| d.launch(&c, &q, out.view_mut(), &[x.view()]).unwrap());
    b.time("copy", 36, |d| d.launch(&Kernel::Copy, &q, out.view_mut(), &[x.view()]).unwrap());
    b.time("automorphism", 36, |d| d.launch(&g, &q, out.view_mut(), &[x.view()]).unwrap());
    let digit = limbs(0, 8);
    let rest = all.minus(&digit);
    let mut up = b.poly(1, &all, n);
    let conv = Kernel::BaseConv { from: digit.clone() };
    b.time("base_conv 8 -> 36 (per pair)", 8 * 36, |d| {
        d.launch(&conv, &rest, up.view_mut(), &[x.view()]).unwrap();
    });
    let mod_up = Kernel::ModUp { from: digit };
    b.time("mod_up 8 -> 36 (per limb out)", 36, |d| {
        d.launch(&mod_up, &rest, up.view_mut(), &[x.view()]).unwrap();
    });
    let wide = b.poly(2, &all, n);
    let mut down = b.poly(2, &q, n);
    let mod_down = Kernel::ModDown { from: special };
    b.time("mod_down 8 -> 36, two (per limb out)", 72, |d| {
        d.launch(&mod_down, &q, down.view_mut(), &[wide.view()]).unwrap();
    });
    let inner = Kernel::InnerProduct { terms: 4, accumulate: false };
    let (digits, key) = (b.poly(4, &all, n), b.poly(8, &all, n));
    let mut sum = b.poly(2, &all, n);
    b.time("inner_product key 4x2 (per limb MAC)", 8 * 44, |d| {
        d.launch(&inner, &all, sum.view_mut(), &[digits.view(), key.view()]).unwrap();
    });
    drop((digits, key, wide));
    let some = limbs(1, 5);
    let (rows, terms) = (48, 64);
    let inner = Kernel::InnerProduct { terms, accumulate: false };
    let (w, xs) = (b.poly(rows * terms, &some, n / 128), b.poly(2 * terms, &some, n));
    let mut sums = b.poly(2 * rows, &some, n);
    b.time("inner_product plain 48x64x2 (limb MAC)", rows * terms * 2 * 4, |d| {
        d.launch(&inner, &some, sums.view_mut(), &[w.view(), xs.view()]).unwrap();
    });
}
