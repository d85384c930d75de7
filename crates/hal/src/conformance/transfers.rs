//! Limbs that leave a device and enter it again, as between two devices.

use aegis_ring::{Basis, LimbId};

use super::cases::{middle, whole};
use super::reference::Data;
use super::{Failure, Random, Slot, equal, random_data};
use crate::{Device, Error, HostData, Kernel, Parcel, Poly, Result, Shape};

pub(super) fn check(dev: &Device, seed: u64) -> std::result::Result<(), Failure> {
    let n = dev.rns().n();
    let all: Basis = (0..dev.rns().moduli().len() as u16).map(LimbId).collect();
    let some: Basis = all.iter().rev().filter(|l| l.0 != 1).collect();
    for (from, to, limbs) in [
        (whole(2, &all, n), whole(2, &all, n), &all),
        (middle(2, &all, n), middle(2, &some, n), &some),
        (middle(1, &some, n / 4), whole(1, &all, n / 4), &some),
        (whole(0, &all, n), whole(0, &all, n), &all),
        (whole(3, &all, n), whole(3, &all, n), &Basis::new([])),
    ] {
        transfer(dev, (&from, &to), limbs, seed)?;
    }
    refusals(dev)
}

/// Exports `limbs` of one buffer and adopts them in another, the words coming after the launch that waits for them.
fn transfer(
    dev: &Device,
    (from, to): (&Slot, &Slot),
    limbs: &Basis,
    seed: u64,
) -> std::result::Result<(), Failure> {
    let mut random = Random(seed);
    let case = || format!("{limbs:?} of {from:?} to {to:?}");
    let refused = |error| Failure::Refused { seed, case: case(), error };
    let [source, mut want] = [from, to].map(|slot| random_data(dev, &slot.shape, &mut random));
    let (input, mut out) = (upload(dev, &source).map_err(refused)?, upload(dev, &want).map_err(refused)?);
    let words = dev
        .export(input.slice(from.first, from.count), limbs)
        .and_then(|parcel| parcel.wait())
        .map_err(refused)?;

    let mut laid_out = vec![];
    for (poly, limb) in (0..from.count).flat_map(|poly| limbs.iter().map(move |limb| (poly, limb))) {
        let row = source.row(from.first + poly, limb);
        laid_out.extend_from_slice(row);
        want.row_mut(to.first + poly, limb).copy_from_slice(row);
    }
    equal(&words, &laid_out, seed, case)?;

    let (promise, late) = Parcel::promise();
    let sender = std::thread::spawn(move || promise.keep_shared(Ok(words)));
    let mut adopt = || {
        dev.adopt(out.slice_mut(to.first, to.count), limbs, &late)?;
        let mut copy = dev.alloc(to.shape.clone())?;
        dev.launch(&Kernel::Copy, to.shape.basis(), copy.view_mut(), &[out.view()])?;
        dev.download(copy.view())
    };
    let have = adopt();
    sender.join().expect("it only keeps a promise");
    equal(&have.map_err(refused)?, &want.words, seed, case)
}

fn upload(dev: &Device, data: &Data) -> Result<Poly> {
    dev.upload(data.shape.clone(), HostData::residues(data.words.clone()))
}

/// What does not fit is refused at once where the host can know it, and otherwise poisons what it was meant for.
fn refusals(dev: &Device) -> std::result::Result<(), Failure> {
    let wrong = |case: &str, result: String| Err(Failure::Accepted { case: case.into(), result });
    let n = dev.rns().n();
    let (zero, both) = (Basis::new([LimbId(0)]), Basis::new([LimbId(0), LimbId(1)]));
    let alloc = || {
        let setup = |error| Failure::Refused { seed: 0, case: "alloc".into(), error };
        dev.alloc(Shape::new(1, zero.clone(), n)).map_err(setup)
    };
    match dev.export(alloc()?.view(), &both) {
        Err(Error::MissingLimb { limb: LimbId(1), .. }) => {}
        other => return wrong("an export of a missing limb", format!("{other:?}")),
    }
    match dev.adopt(alloc()?.view_mut(), &both, &Parcel::ready(vec![0; 2 * n])) {
        Err(Error::MissingLimb { limb: LimbId(1), .. }) => {}
        other => return wrong("a missing limb adopted", format!("{other:?}")),
    }
    let lost = Error::Device("lost on its way".into());
    for (case, parcel) in [
        ("too few words adopted", Parcel::ready(vec![0; n - 1])),
        ("no residues adopted", Parcel::ready(vec![u64::MAX; n])),
        ("a parcel that failed", Parcel::failed(lost.clone())),
    ] {
        let mut out = alloc()?;
        let result = dev.adopt(out.view_mut(), &zero, &parcel).and_then(|()| dev.download(out.view()));
        match result {
            Err(Error::Operands { op: "adopt", .. }) => {}
            // Of several ranks, those whose words were good hear it from the others.
            Err(Error::Peer { .. }) => {}
            Err(error) if error == lost => {}
            other => return wrong(case, format!("{other:?}")),
        }
        // The device goes on, and reports the failure once.
        drop(dev.sync());
        dev.sync().map_err(|error| Failure::Refused { seed: 0, case: case.into(), error })?;
    }
    Ok(())
}
