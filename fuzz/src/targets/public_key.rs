//! A public key, as somebody who encrypts for its owner reads it.

use aegis_ckks::{Plaintext, PublicKey, Seed};

use crate::scheme::{Scheme, answered, bytes, reseal};
use crate::{Outcome, Target};

struct PublicKeyFile(Scheme);

pub(super) fn open() -> Box<dyn Target> {
    Box::new(PublicKeyFile(Scheme::levelled()))
}

impl Target for PublicKeyFile {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let Scheme { ctx, generator, secret, x, .. } = &self.0;
        let key = generator.public_key(secret).expect("a public key");
        vec![bytes(|w| key.write(ctx, w)), bytes(|w| x.write(ctx, w))]
    }

    fn run(&self, input: &[u8]) -> Outcome {
        let Scheme { ctx, secret, .. } = &self.0;
        let Some(key) = answered(PublicKey::read(ctx, input)) else { return Outcome::Refused };
        let written = bytes(|w| key.write(ctx, w));
        let again = PublicKey::read(ctx, &written[..]).expect("what was read can be read again");
        assert!(bytes(|w| again.write(ctx, w)) == written, "a public key changes by writing and reading");
        let top = ctx.params().fresh_level();
        let one = Plaintext::encode_real(ctx, &[1.0], ctx.params().scale(top), top).expect("a plaintext");
        let one = answered(key.encrypt(ctx, &one, &Seed::new([5; 32]))).expect("any key encrypts");
        answered(secret.decrypt(ctx, &one));
        Outcome::Accepted
    }

    fn bound(&self) -> usize {
        1 << 16
    }

    fn repair(&self, input: &mut Vec<u8>) {
        reseal(input);
    }
}
