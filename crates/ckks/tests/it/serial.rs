//! Files: round trips, and every kind of damage named instead of believed.

use std::sync::Arc;

use aegis_ckks::{
    Ciphertext, Error, EvaluationKeys, Evaluator, Level, PublicKey, SecretKey, insecure_bootstrap_spec,
    insecure_levelled_spec, read_spec,
};
use proptest::prelude::*;

use crate::common::{SEED, Setup, context, random_values};

fn setup() -> Setup {
    Setup::new(insecure_levelled_spec(6, 3), |r, _| r.relinearize(Level(3)).rotation(1, Level(2)))
}

fn bytes(write: impl FnOnce(&mut Vec<u8>) -> aegis_ckks::Result<()>) -> Vec<u8> {
    let mut out = vec![];
    write(&mut out).unwrap();
    out
}

#[test]
fn everything_round_trips() {
    let t = setup();
    let a = random_values(32, SEED);
    let x = t.encrypt(&a);
    let secret = SecretKey::read(&t.ctx, &bytes(|w| t.secret.write(&t.ctx, w))[..]).unwrap();
    let keys = EvaluationKeys::read(&t.ctx, &bytes(|w| t.ev.keys().write(&t.ctx, w))[..]).unwrap();
    let public = t.generator.public_key(&t.secret).unwrap();
    let public = PublicKey::read(&t.ctx, &bytes(|w| public.write(&t.ctx, w))[..]).unwrap();
    assert_eq!((secret.id(), keys.id(), public.id()), (t.secret.id(), t.secret.id(), t.secret.id()));

    let file = bytes(|w| x.write(&t.ctx, w));
    assert_eq!(&read_spec(&file[..]).unwrap(), t.ctx.params().spec());
    let y = Ciphertext::read(&t.ctx, &file[..]).unwrap();
    assert_eq!((y.level(), y.scale()), (x.level(), x.scale()));
    let ev = Evaluator::new(&t.ctx, Arc::new(keys));
    // Bit for bit what the original keys give.
    let (got, want) = (ev.mul_rescale(&y, &y).unwrap(), t.ev.mul_rescale(&x, &x).unwrap());
    let download = |c: &Ciphertext| t.ctx.device().download(c.poly().view()).unwrap();
    assert_eq!(download(&got), download(&want));
    let low = t.ev.drop_to(&x, Level(1)).unwrap();
    let back = Ciphertext::read(&t.ctx, &bytes(|w| low.write(&t.ctx, w))[..]).unwrap();
    assert_eq!(back.poly().basis(), t.ctx.params().basis(Level(1)), "limbs above the level are not written");
    let rotated = t.ev.rotate(&low, 1).unwrap();
    assert!(secret.decrypt(&t.ctx, &rotated).is_ok());
    let plain = aegis_ckks::Plaintext::encode(&t.ctx, &a, x.scale(), Level(3)).unwrap();
    assert!(secret.decrypt(&t.ctx, &public.encrypt(&t.ctx, &plain, &t.seed()).unwrap()).is_ok());
}

#[test]
fn bootstrapping_keys_round_trip() {
    let t = Setup::new(insecure_bootstrap_spec(6), |r, _| r.encapsulation());
    let keys = EvaluationKeys::read(&t.ctx, &bytes(|w| t.ev.keys().write(&t.ctx, w))[..]).unwrap();
    let x = t.encrypt_at(&random_values(32, SEED), Level(0));
    let raise = |ev: &Evaluator| t.ctx.device().download(ev.mod_raise(&x).unwrap().poly().view()).unwrap();
    assert_eq!(raise(&Evaluator::new(&t.ctx, Arc::new(keys))), raise(&t.ev));
}

#[test]
fn files_of_another_kind_preset_or_version_are_refused() {
    let t = setup();
    let file = bytes(|w| t.encrypt(&random_values(32, SEED)).write(&t.ctx, w));
    let reason = |r: aegis_ckks::Result<Ciphertext>| match r {
        Err(Error::Format { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let other = context(insecure_levelled_spec(6, 2));
    assert!(reason(Ciphertext::read(&other, &file[..])).contains("preset"));
    assert!(matches!(SecretKey::read(&t.ctx, &file[..]), Err(Error::Format { .. })));
    let mut newer = file.clone();
    newer[6] = 9;
    assert!(reason(Ciphertext::read(&t.ctx, &newer[..])).contains("version"));
    let mut longer = file.clone();
    longer.push(0);
    assert!(reason(Ciphertext::read(&t.ctx, &longer[..])).contains("follow"));
    assert!(reason(Ciphertext::read(&t.ctx, &b"PK\x03\x04 not ours"[..])).contains("not a file of aegis"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn truncated_and_flipped_files_never_pass(cut in any::<prop::sample::Index>(), bit in 0u8..8, keys in any::<bool>()) {
        let t = setup();
        let file = if keys {
            bytes(|w| t.ev.keys().write(&t.ctx, w))
        } else {
            bytes(|w| t.encrypt(&random_values(32, SEED)).write(&t.ctx, w))
        };
        let at = cut.index(file.len());
        let read = |bytes: &[u8]| {
            if keys { EvaluationKeys::read(&t.ctx, bytes).is_ok() } else { Ciphertext::read(&t.ctx, bytes).is_ok() }
        };
        prop_assert!(read(&file));
        prop_assert!(!read(&file[..at]), "cut at {at}");
        let mut flipped = file;
        flipped[at] ^= 1 << bit;
        prop_assert!(!read(&flipped), "bit {bit} of byte {at} flipped");
    }

    #[test]
    fn arbitrary_bytes_never_panic(noise in prop::collection::vec(any::<u8>(), 0..600)) {
        let t = setup();
        let mut file = bytes(|w| t.ev.keys().write(&t.ctx, w));
        let at = noise.len() % file.len();
        file.truncate(at);
        file.extend(&noise);
        prop_assert!(EvaluationKeys::read(&t.ctx, &file[..]).is_err());
        prop_assert!(Ciphertext::read(&t.ctx, &noise[..]).is_err());
    }
}
