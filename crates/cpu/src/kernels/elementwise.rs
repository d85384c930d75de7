//! Word-by-word kernels: memory-bound streams.

use aegis_hal::Kernel;
use aegis_ring::{Basis, Factor};

use crate::engine::Engine;
use crate::operand::Rows;

/// Words of one task: 64 KiB of each operand, about 10 us.
const TASK: usize = 8192;
/// Words of one pass: three operands of 8 KiB stay in L1.
const BLOCK: usize = 1024;

/// The words `start..start + len` of a row whose words each serve a run of `1 << run_log2`.
pub(crate) fn expand<'a>(row: &'a [u64], start: usize, run_log2: u32, scratch: &'a mut [u64]) -> &'a [u64] {
    if run_log2 == 0 {
        return &row[start..start + scratch.len()];
    }
    let run = 1 << run_log2;
    if run >= scratch.len() {
        scratch.fill(row[start >> run_log2]);
    } else {
        let words = &row[start >> run_log2..];
        scratch.chunks_exact_mut(run).zip(words).for_each(|(chunk, &w)| chunk.fill(w));
    }
    scratch
}

impl Engine {
    pub(crate) fn elementwise(&self, kernel: &Kernel, limbs: &Basis, out: Rows<'_>, ins: &[Rows<'_>]) {
        let n = out.n();
        let (task_len, block) = (n.min(TASK), n.min(BLOCK));
        let (polys, parts) = (out.count(), n / task_len);
        self.parallel(limbs.len() * polys * parts, |task| {
            let (index, poly, part) = (task / (polys * parts), task / parts % polys, task % parts);
            let limb = limbs.limbs()[index];
            let mut scratch = [[0; BLOCK]; 2];
            for start in (part * task_len..(part + 1) * task_len).step_by(block) {
                // SAFETY: Apart.
                let o = unsafe { out.part_mut(poly, out.position(limb), start, block) };
                let [first, second] = &mut scratch;
                let mut load = ins.iter().zip([first, second]).map(|(input, scratch)| {
                    let run_log2 = (n / input.n()).ilog2();
                    // SAFETY: Others.
                    let row = unsafe { input.row(poly, input.position(limb)) };
                    expand(row, start, run_log2, &mut scratch[..block])
                });
                self.block(kernel, index, limb, o, [load.next(), load.next()]);
            }
        });
    }

    /// One block of an element-wise kernel. Kernels that may be in place copy their first input when they are not:
    /// the copy stays in L1.
    fn block(
        &self,
        kernel: &Kernel,
        index: usize,
        limb: aegis_ring::LimbId,
        out: &mut [u64],
        ins: [Option<&[u64]>; 2],
    ) {
        let p = self.prime(limb);
        let last = match (kernel, ins) {
            (Kernel::MulAdd, [Some(a), Some(b)]) => return self.simd.mul_add(p, out, a, b),
            (Kernel::ScalarMulAdd(c), [Some(a), _]) => {
                return self.simd.scalar_mul_add(p, out, Factor::new(c[index], &p.modulus), a);
            }
            (Kernel::Add | Kernel::Sub | Kernel::Mul, [Some(a), Some(b)]) => {
                out.copy_from_slice(a);
                b
            }
            (Kernel::Add | Kernel::Sub | Kernel::Mul, [Some(b), None]) => b,
            (_, [Some(a), _]) => {
                out.copy_from_slice(a);
                &[]
            }
            _ => &[],
        };
        match kernel {
            Kernel::Add => self.simd.add_assign(p, out, last),
            Kernel::Sub => self.simd.sub_assign(p, out, last),
            Kernel::Mul => self.simd.mul_assign(p, out, last),
            Kernel::ScalarMul(c) => self.simd.scalar_mul(p, out, Factor::new(c[index], &p.modulus)),
            Kernel::ScalarAdd(c) => self.simd.scalar_add(p, out, c[index]),
            Kernel::Copy => {}
            other => unreachable!("{} is not word by word", other.name()),
        }
    }
}
