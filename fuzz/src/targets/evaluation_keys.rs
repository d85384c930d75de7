//! Evaluation keys, as a server reads them; then every key is used.

use std::io::Cursor;
use std::sync::Arc;

use aegis_ckks::{EvaluationKeys, Evaluator, KeyRequest, Level};

use crate::scheme::{Scheme, answered, bytes, reseal};
use crate::{Outcome, Target};

struct EvaluationKeyFile(Scheme);

pub(super) fn open() -> Box<dyn Target> {
    Box::new(EvaluationKeyFile(Scheme::bootstrapped()))
}

impl Target for EvaluationKeyFile {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let Scheme { ctx, generator, secret, ev, .. } = &self.0;
        let none = KeyRequest::new(ctx.params().n());
        let low = none.clone().relinearize(Level(1)).rotation(1, Level(0));
        let write = |request| {
            let keys = generator.evaluation_keys(secret, &request).expect("keys");
            bytes(|w| keys.write(ctx, w))
        };
        let all = bytes(|w| ev.keys().write(ctx, w));
        vec![all, write(low), write(none.clone().encapsulation()), write(none)]
    }

    fn run(&self, input: &[u8]) -> Outcome {
        let Scheme { ctx, secret, x, .. } = &self.0;
        // A server asks what is in a file before it reads it.
        let inventory = answered(EvaluationKeys::inventory(ctx.params(), Cursor::new(input)));
        let Some(keys) = answered(EvaluationKeys::read(ctx, input)) else { return Outcome::Refused };
        let (inventory, contents) =
            (inventory.expect("the entries of a file that can be read"), keys.contents());
        assert!(
            inventory.is_within(&contents) && contents.is_within(&inventory),
            "a file says that it holds {inventory:?}, and holds {contents:?}"
        );
        let written = bytes(|w| keys.write(ctx, w));
        let again = EvaluationKeys::read(ctx, &written[..]).expect("what was read can be read again");
        assert!(bytes(|w| again.write(ctx, w)) == written, "keys change by writing and reading");
        let top = ctx.params().max_level();
        assert!(keys.switching_keys().all(|k| k.level() <= top), "a key above the chain");
        assert!(keys.bytes() <= 1 << 20, "{} bytes of keys", keys.bytes());
        let ev = Evaluator::new(ctx, Arc::new(keys));
        let low = ev.drop_to(x, Level(0)).expect("a level below");
        for y in [ev.rotate(x, 1), ev.conjugate(x), ev.mul_rescale(x, x), ev.mod_raise(&low)] {
            if let Some(y) = answered(y) {
                answered(secret.decrypt(ctx, &y));
            }
        }
        Outcome::Accepted
    }

    fn bound(&self) -> usize {
        1 << 18
    }

    fn repair(&self, input: &mut Vec<u8>) {
        reseal(input);
    }
}
