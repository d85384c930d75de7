//! A public matrix times an encrypted vector: `cargo run -p aegis-circuits --example linear_transform`.

use std::error::Error;
use std::sync::Arc;

use aegis_circuits::{Diagonals, LinearTransform};
use aegis_ckks::{Context, Evaluator, KeyGenerator, Level, Params, Plaintext, Seed, insecure_levelled_spec};
use num_complex::Complex64;

/// The size of the matrix, a power of two.
const SIZE: usize = 8;

/// Any matrix; this one has an entry everywhere.
fn entry(row: usize, column: usize) -> f64 {
    (row as f64 + 1.0) / (column as f64 + 2.0)
}

/// Slots can be added, multiplied and rotated, but not summed across. So a matrix is applied diagonal by diagonal
/// (Halevi, Shoup 2014): `M x = sum_d diagonal_d * rot_d(x)` with `diagonal_d[i] = M[i][i + d]`, indices mod the size.
struct Matrix;

impl Diagonals for Matrix {
    /// The vector repeats over the slots with this period, hence so does every diagonal.
    fn period(&self) -> usize {
        SIZE
    }

    fn diagonal(&self, _output: usize, _input: usize, index: i64) -> Option<Vec<Complex64>> {
        let entry = |row: usize| Complex64::from(entry(row, (row + index as usize) % SIZE));
        Some((0..SIZE).map(entry).collect())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // A small ring without any security, to be fast; take a preset through `Params::try_from` for anything real.
    let params = Params::insecure(insecure_levelled_spec(9, 3))?;
    let device = Arc::new(aegis_cpu::Cpu::new(params.rns().clone(), 1)?);
    let ctx = Context::new(params, device)?;

    // One ciphertext in, one out, the diagonals 0 to 7. The transform splits them into baby and giant steps, so that
    // eight diagonals take fewer than eight keys and key switches.
    let transform = LinearTransform::new(1, 1, 0..SIZE as i64, 1)?;

    // A circuit says which keys it needs at a level, and takes `depth` levels.
    let level = Level(2);
    let generator = KeyGenerator::new(&ctx, Seed::from_os()?);
    let secret = generator.secret_key();
    let keys = generator.evaluation_keys(&secret, &transform.keys(ctx.params(), level))?;
    println!("{} keys, {} level", keys.count(), transform.depth());

    let x: Vec<f64> = (0..SIZE).map(|i| i as f64 / 4.0 - 1.0).collect();
    let plaintext = Plaintext::encode_real(&ctx, &x, ctx.params().scale(level), level)?;
    let encrypted = secret.encrypt(&ctx, &plaintext, &Seed::from_os()?)?;

    // The server: the matrix is public, the vector is not.
    let evaluator = Evaluator::new(&ctx, Arc::new(keys));
    let product = transform.apply(&evaluator, &[encrypted], &Matrix)?;

    let slots = secret.decrypt(&ctx, &product[0])?;
    for row in 0..SIZE {
        let exact: f64 = (0..SIZE).map(|column| entry(row, column) * x[column]).sum();
        println!("row {row}: {:9.6}, exactly {exact:9.6}", slots[row].re);
        assert!((slots[row].re - exact).abs() < 1e-5, "the error is below 10^-5");
    }
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn Error>> {
    main()
}
