//! Files: round trips, and every kind of damage named instead of believed.

use std::sync::{Arc, LazyLock};

use aegis_ckks::{
    BootstrapSpec, Ciphertext, Context, Damage, Error, ErrorKind, EvaluationKeys, Evaluator, FileKind,
    InvalidFile, KeyRequest, Level, Levels, PRESETS, Params, ParamsSpec, PublicKey, SecretKey, file_kind,
    insecure_bootstrap_spec, insecure_levelled_spec, read_spec,
};
use aegis_testing::{Setup, insecure, uniform_complex};
use proptest::prelude::*;

use crate::SEED;

fn setup() -> Setup {
    Setup::with_keys(insecure(insecure_levelled_spec(6, 3)), |r, _| {
        r.relinearize(Level(3)).rotation(1, Level(2))
    })
}

fn bytes(write: impl FnOnce(&mut Vec<u8>) -> aegis_ckks::Result<()>) -> Vec<u8> {
    let mut out = vec![];
    write(&mut out).unwrap();
    out
}

#[test]
fn everything_round_trips() {
    let t = setup();
    let a = uniform_complex(32, SEED);
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
fn parameters_round_trip_and_are_checked_anew() {
    for spec in PRESETS {
        let params = Params::try_from(spec.clone()).unwrap();
        let file = bytes(|w| params.write(w));
        assert_eq!(Params::read(&file[..]).unwrap().digest(), params.digest());
        assert_eq!(&read_spec(&file[..]).unwrap(), spec);
        for at in [3, 20, 60, file.len() - 1] {
            let mut flipped = file.clone();
            flipped[at] ^= 1;
            assert!(Params::read(&flipped[..]).is_err(), "byte {at}");
            assert!(Params::read(&file[..at]).is_err(), "cut at {at}");
        }
    }
    let weak = bytes(|w| Params::insecure(insecure_levelled_spec(13, 8)).unwrap().write(w));
    assert!(matches!(Params::read(&weak[..]), Err(Error::Params(_))), "fewer than 128 bits");
}

#[test]
fn bootstrapping_keys_round_trip() {
    let t = Setup::with_keys(insecure(insecure_bootstrap_spec(6)), |r, _| r.encapsulation());
    let keys = EvaluationKeys::read(&t.ctx, &bytes(|w| t.ev.keys().write(&t.ctx, w))[..]).unwrap();
    let x = t.encrypt_at(&uniform_complex(32, SEED), Level(0));
    let raise = |ev: &Evaluator| t.ctx.device().download(ev.mod_raise(&x).unwrap().poly().view()).unwrap();
    assert_eq!(raise(&Evaluator::new(&t.ctx, Arc::new(keys))), raise(&t.ev));
}

#[test]
fn files_of_another_kind_preset_or_version_are_refused() {
    let t = setup();
    let file = bytes(|w| t.encrypt(&uniform_complex(32, SEED)).write(&t.ctx, w));
    let fault = |r: aegis_ckks::Result<Ciphertext>| match r {
        Err(Error::Format { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    let other = insecure(insecure_levelled_spec(6, 2));
    let refused = Ciphertext::read(&other, &file[..]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::KeySet);
    assert!(
        matches!(fault(Err(refused)), InvalidFile::OtherParams { have, .. } if have == t.ctx.params().name())
    );
    let refused = SecretKey::read(&t.ctx, &file[..]).map(drop).unwrap_err();
    let other_kind = InvalidFile::OtherKind(Some(FileKind::Ciphertext));
    assert!(matches!(&refused, Error::Format { fault, .. } if *fault == other_kind), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Input);
    let mut newer = file.clone();
    newer[6] = 9;
    let refused = Ciphertext::read(&t.ctx, &newer[..]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert_eq!(fault(Err(refused)), InvalidFile::Version { have: 9, want: 2 });
    let mut longer = file.clone();
    longer.push(0);
    let trailing = InvalidFile::Damaged(Damage::Trailing);
    assert_eq!(fault(Ciphertext::read(&t.ctx, &longer[..])), trailing);
    assert_eq!(fault(Ciphertext::read(&t.ctx, &b"PK\x03\x04 not ours"[..])), InvalidFile::NotOurs);
    assert_eq!(file_kind(&file), Some(FileKind::Ciphertext));
    for bytes in [&b""[..], b"AEGIS", b"AEGIS\x06", b"PK\x03\x04 not ours"] {
        assert_eq!(file_kind(bytes), None, "{bytes:?}");
    }
}

/// One file of every kind, on a ring small enough to read thousands of times.
struct Files {
    ctx: Context,
    files: [Vec<u8>; 4],
}

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let t = setup();
    let public = t.generator.public_key(&t.secret).unwrap();
    let files = [
        bytes(|w| t.secret.write(&t.ctx, w)),
        bytes(|w| public.write(&t.ctx, w)),
        bytes(|w| t.ev.keys().write(&t.ctx, w)),
        bytes(|w| t.encrypt(&uniform_complex(32, SEED)).write(&t.ctx, w)),
    ];
    Files { ctx: t.ctx, files }
});

fn read_as(kind: usize, file: &[u8]) -> aegis_ckks::Result<()> {
    let ctx = &FILES.ctx;
    match kind {
        0 => SecretKey::read(ctx, file).map(drop),
        1 => PublicKey::read(ctx, file).map(drop),
        2 => EvaluationKeys::read(ctx, file).map(drop),
        _ => Ciphertext::read(ctx, file).map(drop),
    }
}

/// The header of a secret key file for a parameter set that need not exist.
fn header(spec: &[u8]) -> Vec<u8> {
    let length = (spec.len() as u32).to_le_bytes();
    [&b"AEGIS\x01\x02\0"[..], &length, spec, &[0; 32]].concat()
}

/// What a server does with the first bytes it is sent: an answer, whatever primes they ask for. A search that walks
/// through a whole range of candidates would take minutes here.
fn answered(file: &[u8]) -> Option<ParamsSpec> {
    let spec = read_spec(file).ok();
    drop(spec.clone().map(Params::try_from));
    spec
}

/// Every cut and every flipped bit of the part of a file that is read before its keys are known.
#[test]
fn damaged_headers_are_answered() {
    for spec in PRESETS.iter().cloned().chain([insecure_levelled_spec(6, 3), insecure_bootstrap_spec(6)]) {
        let whole = header(&postcard::to_stdvec(&spec).unwrap());
        assert_eq!(answered(&whole), Some(spec));
        for at in 0..whole.len() {
            assert!(read_spec(&whole[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                let read = answered(&flipped);
                // Magic, version and length have no second meaning; the kind has, and the digest is not read
                // yet.
                let framing = at < 5 || (6..8).contains(&at) || (9..12).contains(&at);
                assert!(read.is_none() || !framing, "bit {bit} of byte {at} flipped");
            }
        }
    }
    assert_eq!(
        read_spec(&FILES.files[0][..]).unwrap(),
        insecure_levelled_spec(6, 3),
        "the header as written"
    );
}

/// A file with other bytes before its checksum, which is made to match again.
fn resealed(mut body: Vec<u8>) -> Vec<u8> {
    let digest = blake3::hash(&body);
    body.extend(digest.as_bytes());
    body
}

/// A key at the wrong end of the chain would serve no bootstrap: refused when read, not in the middle of one.
#[test]
fn encapsulation_keys_of_the_wrong_level_are_refused() {
    let t = Setup::with_keys(insecure(insecure_bootstrap_spec(6)), |r, _| r.encapsulation());
    let top = t.ctx.params().max_level();
    let file = bytes(|w| t.ev.keys().write(&t.ctx, w));
    let body = &file[..file.len() - 32];
    assert_eq!(resealed(body.to_vec()), file);
    let refused = |body: Vec<u8>| {
        let read = EvaluationKeys::read(&t.ctx, &resealed(body)[..]).map(drop);
        let want = InvalidFile::Damaged(Damage::EncapsulationLevel);
        assert!(matches!(&read, Err(Error::Format { fault, .. }) if *fault == want), "{read:?}");
    };
    // Magic, kind, version, length, spec, digest, key set; then entries of tag, map, level, seed and residues.
    let first = 12 + postcard::to_stdvec(t.ctx.params().spec()).unwrap().len() + 32 + 16;
    assert_eq!(body[first..first + 9], [3, 0, 0, 0, 0, 0, 0, 0, 0], "to the sparse secret, level 0");
    for level in [Level(1), top] {
        let mut patched = body.to_vec();
        patched[first + 5..first + 9].copy_from_slice(&level.0.to_le_bytes());
        refused(patched);
    }
    // The other key one level lower, whole: a relinearization key under the tag of the way back, which ends
    // the file.
    let entry = |level| {
        let request = KeyRequest::new(t.ctx.params().n()).relinearize(level);
        let keys = t.generator.evaluation_keys(&t.secret, &request).unwrap();
        let mut file = bytes(|w| keys.write(&t.ctx, w));
        file[first] = 4;
        file[first..file.len() - 32].to_vec()
    };
    let last = body.len() - entry(top).len();
    assert_eq!(body[last..last + 5], [4, 0, 0, 0, 0], "to the dense secret");
    let spliced = |level| [&body[..last], &entry(level)].concat();
    assert!(EvaluationKeys::read(&t.ctx, &resealed(spliced(top))[..]).is_ok());
    refused(spliced(top.down(1).unwrap()));
}

/// Sets that no one ships but that a file may name, near enough to real ones for their primes to be searched.
fn arbitrary_spec() -> impl Strategy<Value = ParamsSpec> {
    let bits = prop_oneof![8 => 21u32..=50, 1 => 15u32..=51];
    let levels = (0u32..40, prop::collection::vec(bits.clone(), 1..4), any::<bool>());
    let chain = prop::collection::vec(levels, 1..5);
    let boot = prop::option::of((1u32..8, 0u32..12, 1u32..8, 32u32..=64, 1u32..40, 0u32..10));
    let sizes = (12u32..=18, bits.clone(), 15u32..=110, bits, 1u32..=33, 0.0..1.1f64);
    (chain, boot, sizes).prop_map(|(chain, boot, (log_n, base_bits, other, special_bits, count, digit))| {
        let sum = |bits: &[u32]| bits.iter().sum();
        let special = f64::from(special_bits * count);
        ParamsSpec {
            name: "arbitrary".into(),
            log_n,
            base_bits,
            // As a rule the scale of one run of levels: there the search follows the drift of the scales.
            scale_log2: chain
                .iter()
                .find(|(_, _, canonical)| *canonical)
                .map_or(other, |(_, bits, _)| sum(bits)),
            levels: chain
                .into_iter()
                .map(|(count, bits, _)| Levels { count, limb_bits: bits.into() })
                .collect(),
            special_bits,
            special_count: count,
            digit_bits: (f64::from(base_bits) + digit * (special - f64::from(base_bits))).max(0.0) as u32,
            bootstrap: boot.map(|(down, eval, up, weight, range, doubles)| BootstrapSpec {
                slots_to_coeffs: down,
                eval_mod: eval,
                coeffs_to_slots: up,
                ephemeral_weight: weight,
                range,
                double_angles: doubles,
                degree: 31,
                message_ratio_log2: 12,
            }),
        }
    })
}

/// Chains whose next prime is wanted outside of its range: by the rest of a level of two limbs, or by a drift
/// of the scale that no prime below 2^50 can pull back.
#[test]
fn primes_wanted_out_of_range_are_answered() {
    for (log_n, count, limb_bits) in [(13, 1, vec![22, 50]), (17, 40, vec![50])] {
        let spec = ParamsSpec {
            name: "out of range".into(),
            log_n,
            base_bits: 50,
            levels: vec![Levels { count, limb_bits: limb_bits.into() }].into(),
            scale_log2: 50,
            special_bits: 50,
            special_count: 2,
            digit_bits: 60,
            bootstrap: None,
        };
        answered(&header(&postcard::to_stdvec(&spec).unwrap()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn truncated_and_flipped_files_never_pass(cut in any::<prop::sample::Index>(), bit in 0u8..8) {
        for (kind, file) in FILES.files.iter().enumerate() {
            let at = cut.index(file.len());
            prop_assert!(read_as(kind, file).is_ok());
            prop_assert!(read_as(kind, &file[..at]).is_err(), "kind {kind} cut at {at}");
            let mut flipped = file.clone();
            flipped[at] ^= 1 << bit;
            prop_assert!(read_as(kind, &flipped).is_err(), "bit {bit} of byte {at} of kind {kind} flipped");
        }
    }

    #[test]
    fn arbitrary_specs_are_answered(spec in arbitrary_spec()) {
        prop_assert_eq!(answered(&header(&postcard::to_stdvec(&spec).unwrap())), Some(spec));
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        at in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        for (kind, file) in FILES.files.iter().enumerate() {
            let kept = &file[..at.index(file.len())];
            prop_assert!(read_as(kind, &[kept, &noise].concat()).is_err());
            prop_assert!(read_as(kind, &noise).is_err());
        }
    }
}
