//! A secret key, as its owner reads it; then it decrypts and encrypts.

use aegis_ckks::{KeyGenerator, Plaintext, SecretKey, Seed};

use crate::scheme::{Scheme, answered, bytes, reseal};
use crate::{Outcome, Target};

struct SecretKeyFile(Scheme);

pub(super) fn open() -> Box<dyn Target> {
    Box::new(SecretKeyFile(Scheme::levelled()))
}

impl Target for SecretKeyFile {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let Scheme { ctx, secret, x, .. } = &self.0;
        let other = KeyGenerator::new(ctx, Seed::new([8; 32])).secret_key();
        vec![bytes(|w| secret.write(ctx, w)), bytes(|w| other.write(ctx, w)), bytes(|w| x.write(ctx, w))]
    }

    fn run(&self, input: &[u8]) -> Outcome {
        let Scheme { ctx, x, .. } = &self.0;
        let Some(key) = answered(SecretKey::read(ctx, input)) else { return Outcome::Refused };
        let written = bytes(|w| key.write(ctx, w));
        let again = SecretKey::read(ctx, &written[..]).expect("what was read can be read again");
        assert!(bytes(|w| again.write(ctx, w)) == written, "a secret key changes by writing and reading");
        // Refused for a key of another identity.
        answered(key.decrypt(ctx, x));
        let top = ctx.params().fresh_level();
        let one = Plaintext::encode_real(ctx, &[1.0], ctx.params().scale(top), top).expect("a plaintext");
        let one = answered(key.encrypt(ctx, &one, &Seed::new([5; 32]))).expect("any key encrypts");
        let slots = answered(key.decrypt(ctx, &one)).expect("and decrypts");
        assert!(slots.iter().all(|z| (z.re - 1.0).abs() < 1e-6), "{slots:?}");
        Outcome::Accepted
    }

    fn bound(&self) -> usize {
        1 << 16
    }

    fn repair(&self, input: &mut Vec<u8>) {
        reseal(input);
    }
}
