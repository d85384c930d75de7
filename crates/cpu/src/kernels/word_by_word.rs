//! Word-by-word kernels: memory-bound streams.

use aegis_hal::Kernel;
use aegis_ring::{Basis, Factor};

use crate::engine::Engine;
use crate::operand::Rows;
use crate::simd::Prime;

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
    pub(crate) fn word_by_word(&self, kernel: &Kernel, limbs: &Basis, out: Rows<'_>, ins: &[Rows<'_>]) {
        let (n, facts) = (out.n(), kernel.facts());
        // A kernel that may be in place copies its first input where it is not: the copy stays in L1.
        let copies = facts.in_place && ins.len() == facts.inputs;
        let (task_len, block) = (n.min(TASK), n.min(BLOCK));
        let (polys, parts) = (out.count(), n / task_len);
        self.parallel(limbs.len() * polys * parts, |task| {
            let (index, poly, part) = (task / (polys * parts), task / parts % polys, task % parts);
            let limb = limbs.limbs()[index];
            let mut scratch = [[0; BLOCK]; 2];
            for start in (part * task_len..(part + 1) * task_len).step_by(block) {
                // SAFETY: Apart.
                let out = unsafe { out.part_mut(poly, out.position(limb), start, block) };
                let mut words: [&[u64]; 2] = [&[]; 2];
                for ((words, input), scratch) in words.iter_mut().zip(ins).zip(&mut scratch) {
                    let run_log2 = (n / input.n()).ilog2();
                    // SAFETY: Others.
                    let row = unsafe { input.row(poly, input.position(limb)) };
                    *words = expand(row, start, run_log2, &mut scratch[..block]);
                }
                let mut words = &words[..ins.len()];
                if copies {
                    out.copy_from_slice(words[0]);
                    words = &words[1..];
                }
                self.block(kernel, index, self.prime(limb), out, words);
            }
        });
    }

    /// One block of words. A kernel that may be in place is.
    fn block(&self, kernel: &Kernel, index: usize, p: &Prime, out: &mut [u64], ins: &[&[u64]]) {
        let factor = |c: &[u64]| Factor::new(c[index], &p.modulus);
        match (kernel, ins) {
            (Kernel::Copy, [a]) => out.copy_from_slice(a),
            (Kernel::Add, [b]) => self.simd.add_assign(p, out, b),
            (Kernel::Sub, [b]) => self.simd.sub_assign(p, out, b),
            (Kernel::Mul, [b]) => self.simd.mul_assign(p, out, b),
            (Kernel::MulAdd, [a, b]) => self.simd.mul_add(p, out, a, b),
            (Kernel::ScalarMul(c), []) => self.simd.scalar_mul(p, out, factor(c)),
            (Kernel::ScalarMulAdd(c), [a]) => self.simd.scalar_mul_add(p, out, factor(c), a),
            (Kernel::SubScale(c), [b]) => self.simd.sub_scale(p, out, b, factor(c)),
            (Kernel::ScalarAdd(c), []) => self.simd.scalar_add(p, out, c[index]),
            (other, _) => unreachable!("no arm for the word-by-word kernel {}", other.name()),
        }
    }
}
