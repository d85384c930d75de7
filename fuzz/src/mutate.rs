//! Changes to bytes.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// No input grows beyond this by mutation.
pub(crate) const MAX_BYTES: usize = 1 << 16;

/// Headers stand at the beginning: half of all changes are made in as many bytes there.
const HEAD_BYTES: usize = 192;

/// Numbers at which length checks and arithmetic break.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    u8::MAX as u64,
    i16::MAX as u64,
    u16::MAX as u64,
    i32::MAX as u64,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    1 << 53,
    1 << 60,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 7,
    u64::MAX,
];

/// How many changes to make: one for half of the inputs, two for a quarter, and so on.
pub(crate) fn few(rng: &mut ChaCha8Rng) -> u32 {
    1 + rng.random::<u32>().trailing_zeros()
}

/// Changes `input` in a few places.
pub(crate) fn mutate(rng: &mut ChaCha8Rng, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    for _ in 0..few(rng) {
        change(rng, input, seeds);
    }
    input.truncate(MAX_BYTES);
}

fn change(rng: &mut ChaCha8Rng, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    if input.is_empty() {
        input.push(rng.random());
    }
    let at = position(rng, input.len());
    match rng.random_range(0..16) {
        0..4 => input[at] ^= 1 << rng.random_range(0..8),
        4..6 => input[at] = rng.random(),
        6..9 => overwrite(input, at, &number(rng)),
        9 => add(rng, input, at),
        10 => input.truncate(at),
        11 => {
            let count = rng.random_range(1..64);
            input.extend((0..count).map(|_| rng.random::<u8>()));
        }
        12 => {
            let block = block(rng, input, at);
            input.drain(block);
        }
        13 => {
            // A copy of a block elsewhere: inserted, perhaps many times, or over what stands there.
            let copy = input[block(rng, input, at)].to_vec();
            let to = position(rng, input.len());
            if rng.random() {
                let copies = copy.repeat(1 << rng.random_range(0..4));
                input.splice(to..to, copies);
            } else {
                overwrite(input, to, &copy);
            }
        }
        14 => {
            let (a, b) = (at, position(rng, input.len()));
            let length = rng.random_range(1..=16).min(a.abs_diff(b)).min(input.len() - a.max(b));
            (0..length).for_each(|i| input.swap(a + i, b + i));
        }
        _ => {
            // The beginning of this input and the end of another.
            let other = &seeds[rng.random_range(0..seeds.len())];
            let from = if rng.random() { at } else { position(rng, other.len().max(1)) };
            input.truncate(at);
            input.extend(other.iter().skip(from));
        }
    }
}

fn position(rng: &mut ChaCha8Rng, length: usize) -> usize {
    let end = if rng.random() { length.min(HEAD_BYTES) } else { length };
    rng.random_range(0..end)
}

fn block(rng: &mut ChaCha8Rng, input: &[u8], at: usize) -> std::ops::Range<usize> {
    let length = 1usize << rng.random_range(0..10);
    at..(at + rng.random_range(1..=length)).min(input.len())
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    input[at..].iter_mut().zip(bytes).for_each(|(old, new)| *old = *new);
}

/// An interesting integer, or floating-point number, of one to eight bytes, little-endian.
fn number(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let integer = NUMBERS[rng.random_range(0..NUMBERS.len())];
    let bits = match rng.random_range(0..4) {
        0 => [0.0, 1.0, -1.0, 1e-300, 1e36, 1e300, f64::INFINITY, f64::NAN][rng.random_range(0..8)].to_bits(),
        1 => integer.wrapping_neg(),
        _ => integer,
    };
    let width = if rng.random_ratio(1, 4) { 8 } else { 1 << rng.random_range(0..4) };
    bits.to_le_bytes()[..width].to_vec()
}

/// Adds a small number to the little-endian integer at `at`.
fn add(rng: &mut ChaCha8Rng, input: &mut [u8], at: usize) {
    let mut word = [0; 8];
    let width = (1 << rng.random_range(0..4)).min(input.len() - at);
    word[..width].copy_from_slice(&input[at..at + width]);
    let step = rng.random_range(-16i64..=16);
    let sum = u64::from_le_bytes(word).wrapping_add_signed(step);
    input[at..at + width].copy_from_slice(&sum.to_le_bytes()[..width]);
}
