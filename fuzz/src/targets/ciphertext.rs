//! A ciphertext, as a server reads it; then every operation that needs no key of its own. For one input
//! of four the results are decrypted.

use aegis_circuits::Polynomial;
use aegis_ckks::{Ciphertext, Level};

use crate::scheme::{Scheme, answered, bytes, reseal};
use crate::{Outcome, Target};

struct CiphertextFile {
    scheme: Scheme,
    polynomial: Polynomial,
}

pub(super) fn open() -> Box<dyn Target> {
    let polynomial = Polynomial::chebyshev([0.5, 0.25, 0.0, -0.125], (-1.0, 1.0)).expect("a polynomial");
    Box::new(CiphertextFile { scheme: Scheme::levelled(), polynomial })
}

impl Target for CiphertextFile {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let Scheme { ctx, ev, x, .. } = &self.scheme;
        let at = |level| ev.drop_to(x, Level(level)).expect("a level below");
        let write = |x: &Ciphertext| bytes(|w| x.write(ctx, w));
        vec![write(x), write(&at(1)), write(&at(0)), write(&ev.mul(x, x).expect("a product"))]
    }

    fn run(&self, input: &[u8]) -> Outcome {
        let Scheme { ctx, secret, ev, x, .. } = &self.scheme;
        let Some(y) = answered(Ciphertext::read(ctx, input)) else { return Outcome::Refused };
        let written = bytes(|w| y.write(ctx, w));
        let again = Ciphertext::read(ctx, &written[..]).expect("what was read can be read again");
        assert!(bytes(|w| again.write(ctx, w)) == written, "a ciphertext changes by writing and reading");
        answered(secret.decrypt(ctx, &y));
        answered(secret.decrypt_rounded(ctx, &y, 20));
        let coin = input.last().copied().unwrap_or_default();
        for z in [
            ev.add(&y, x),
            ev.sub(x, &y),
            ev.mul(&y, x),
            ev.mul_rescale(&y, &y),
            ev.mul_const(&y, 0.7),
            ev.mul_scalar(&y, -3.0, 1.0),
            ev.mul_i(&y),
            ev.add_scalar(&y, 0.5),
            ev.negate(&y),
            ev.rescale(&y),
            ev.rotate(&y, 1),
            ev.conjugate(&y),
            ev.drop_to(&y, Level(1)),
            ev.adjust(&y, Level(1), ctx.params().scale(Level(1))),
        ] {
            if let (Some(z), 0) = (answered(z), coin % 4) {
                answered(secret.decrypt(ctx, &z));
            }
        }
        // Errors of circuits have their own type; a device that failed says so at the next call.
        let _ = self.polynomial.evaluate(ev, &y);
        answered(ctx.device().sync().map_err(aegis_ckks::Error::from));
        Outcome::Accepted
    }

    fn bound(&self) -> usize {
        1 << 16
    }

    fn repair(&self, input: &mut Vec<u8>) {
        reseal(input);
    }
}
