//! Ciphertexts that leave one device and enter another.

use std::sync::Arc;

use aegis_ckks::{Ciphertext, Context, Error, Level, Parcel, insecure_levelled_spec};
use aegis_cpu::{Cpu, CpuOptions};
use aegis_testing::{Setup, insecure, uniform_complex};

use crate::SEED;

fn bytes(ctx: &Context, x: &Ciphertext) -> Vec<u8> {
    let mut bytes = vec![];
    x.write(ctx, &mut bytes).expect("memory takes all");
    bytes
}

/// The limbs of the level travel and no others, and every bit of what is written with them.
#[test]
fn a_ciphertext_is_the_same_on_another_device() {
    let t = Setup::new(insecure(insecure_levelled_spec(8, 6)));
    let params = t.ctx.params();
    let options = CpuOptions { threads: 1, queue: true, ..CpuOptions::default() };
    let device = Cpu::with_options(params.rns().clone(), options).expect("a device");
    let other = Context::new(params.clone(), Arc::new(device)).expect("a context");
    let x = t.encrypt(&uniform_complex(params.slots(), SEED));
    for level in [Level(6), Level(2), Level(0)] {
        let x = t.ev.adjust(&x, level, params.scale(level)).expect("a level");
        let parcel = x.export(&t.ctx).expect("an export");
        assert_eq!(parcel.wait().expect("words").len(), 2 * params.basis(level).len() * params.n());
        let y = Ciphertext::adopt(&other, level, x.key_id(), &parcel).expect("a ciphertext");
        assert_eq!(bytes(&t.ctx, &x), bytes(&other, &y), "{level}");
    }
}

#[test]
fn what_is_no_ciphertext_is_refused() {
    let t = Setup::new(insecure(insecure_levelled_spec(8, 3)));
    let x = t.encrypt(&uniform_complex(t.ctx.params().slots(), SEED));
    let off = t.ev.reinterpret(&x, 2.0 * x.scale()).expect("another scale");
    assert!(matches!(off.export(&t.ctx), Err(Error::ScaleMismatch { .. })));
    let adopt = |level, words| Ciphertext::adopt(&t.ctx, level, x.key_id(), &Parcel::ready(words));
    let refused = adopt(Level(9), vec![]).expect_err("no such level");
    assert!(matches!(refused, Error::LevelTooHigh { have: Level(9), max: Level(3) }), "{refused}");
    let words = 2 * t.ctx.params().n();
    for words in [vec![], vec![0; words - 1], vec![u64::MAX; words]] {
        // A device tells of bad words when it gets to them.
        let used = adopt(Level(0), words).and_then(|y| t.secret.decrypt(&t.ctx, &y));
        assert!(matches!(used, Err(Error::Device(_))), "{used:?}");
    }
}
