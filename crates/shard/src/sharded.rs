//! The device made of devices.

use std::sync::Arc;

use aegis_comm::Group;
use aegis_hal::{
    Backend, Device, Error, HostData, Kernel, Memory, Misfit, Parcel, Poly, Result, Shape, View, ViewMut,
    Words,
};
use aegis_ring::{Basis, Rns};

use crate::Placement;

/// What one buffer is made of: on each device that is driven here a buffer of the limbs that its member holds.
struct Parts {
    of: Arc<()>,
    polys: Vec<Poly>,
}

/// Devices as one: each holds and computes the limbs that a [`Placement`] gives to its member of a group. Where a
/// kernel reads limbs that it does not write ([`Kernel::gathers`]), those that a member lacks are sent to it, in
/// coefficient form and at no other time.
///
/// A host may drive all members, or each its own (threads, processes): then every one of them makes the same calls in the
/// same order, and [`Backend::download`] and [`Backend::export`] give all of them the same words. One host makes its
/// calls from one thread at a time.
///
/// Results have the bits of a single device. A member that is lost poisons what waits for it with [`Error::Peer`]. A
/// failure poisons the part of the member where it happened: launches on limbs of other members go on until one needs
/// its limbs, and a download fails for all. Exported words are not wiped: what a client keeps secret belongs on a device
/// of its own.
pub struct Sharded {
    rns: Arc<Rns>,
    group: Group,
    /// One for each member that is driven here.
    devices: Vec<Device>,
    placement: Placement,
    id: Arc<()>,
}

impl Sharded {
    /// These devices as one, in the order of the members of `group` that are driven here.
    ///
    /// # Errors
    /// [`crate::Error`] for another number of devices or members, rings that differ, a placement of another ring.
    pub fn new(
        group: Group,
        devices: Vec<Device>,
        placement: Placement,
    ) -> std::result::Result<Self, crate::Error> {
        let (have, want) = (devices.len(), group.local().len());
        let Some(first) = devices.first().filter(|_| have == want) else {
            return Err(crate::Error::Devices { have, want });
        };
        let rns = Arc::clone(first.rns());
        if let Some(other) = devices.iter().position(|device| **device.rns() != *rns) {
            return Err(crate::Error::Ring(other));
        }
        let (have, want) = (placement.members(), group.members().len());
        if have != want {
            return Err(crate::Error::Members { have, want });
        }
        if let Some(limb) = (placement.limbs()..rns.moduli().len()).next() {
            return Err(crate::Error::Unplaced(aegis_ring::LimbId(limb as u16)));
        }
        Ok(Self { rns, group, devices, placement, id: Arc::new(()) })
    }

    /// Where limbs live.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// The members, and what they received.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The members that are driven here, with their devices.
    fn here(&self) -> impl Iterator<Item = (usize, usize, &Device)> {
        self.group
            .local()
            .iter()
            .zip(&self.devices)
            .enumerate()
            .map(|(d, (member, device))| (d, *member, device))
    }

    fn part_shape(&self, member: usize, shape: &Shape) -> Shape {
        Shape::new(shape.batch(), self.placement.part(member, shape.basis()), shape.n())
    }

    fn assemble(&self, shape: Shape, polys: Vec<Poly>) -> Poly {
        Poly::from_buffer(shape, Parts { of: Arc::clone(&self.id), polys })
    }

    /// The part of an operand on a device that is driven here.
    fn part<'a>(&self, view: View<'a>, device: usize) -> Result<View<'a>> {
        let parts = view.poly().buffer::<Parts>()?;
        if !Arc::ptr_eq(&parts.of, &self.id) {
            return Err(Error::WrongDevice);
        }
        Ok(parts.polys[device].slice(view.first(), view.count()))
    }

    fn part_mut<'a>(&self, out: &'a mut ViewMut<'_>, device: usize) -> Result<ViewMut<'a>> {
        let (first, count) = (out.first(), out.count());
        let parts = out.poly_mut().buffer_mut::<Parts>()?;
        if !Arc::ptr_eq(&parts.of, &self.id) {
            return Err(Error::WrongDevice);
        }
        Ok(parts.polys[device].slice_mut(first, count))
    }

    /// Sends limbs of a view to members that lack them. For each member driven here, what it received: limbs and words.
    fn exchange(
        &self,
        reason: &'static str,
        view: View<'_>,
        limbs: &Basis,
        needs: impl Fn(usize) -> bool,
    ) -> Result<Vec<Vec<(Basis, Parcel)>>> {
        let sent = |from, to| if needs(to) { self.placement.sent(limbs, from, to) } else { Basis::new([]) };
        // What several members lack leaves its device once.
        let mut exported: Vec<(usize, Basis, Parcel)> = vec![];
        for (d, from, device) in self.here() {
            for to in (0..self.group.members().len()).filter(|to| *to != from) {
                let limbs = sent(from, to);
                if !limbs.is_empty() && !exported.iter().any(|(f, l, _)| *f == from && *l == limbs) {
                    // Whoever waits for it has to hear of a failure too.
                    let parcel = device.export(self.part(view, d)?, &limbs).unwrap_or_else(Parcel::failed);
                    exported.push((from, limbs, parcel));
                }
            }
        }
        let words = |from, to| view.shape_of(&sent(from, to)).words();
        let parcel = |from: usize, to: usize| {
            let limbs = sent(from, to);
            let known = exported.iter().find(|(f, l, _)| *f == from && *l == limbs);
            known.map_or_else(|| Parcel::ready(vec![]), |(_, _, parcel)| parcel.clone())
        };
        let received = self.group.exchange(reason, words, parcel)?;
        let members = self.group.local().iter();
        Ok(members
            .zip(received)
            .map(|(to, parcels)| {
                let of = |(from, parcel): (usize, Option<Parcel>)| Some((sent(from, *to), parcel?));
                parcels.into_iter().enumerate().filter_map(of).collect()
            })
            .collect())
    }

    /// A kernel that reads `from` of its one input, and none of the limbs that it writes.
    fn launch_gathered(
        &self,
        kernel: &Kernel,
        (from, limbs): (&Basis, &Basis),
        mut out: ViewMut<'_>,
        input: View<'_>,
    ) -> Result<()> {
        let writes = |member| limbs.iter().any(|limb| self.placement.holds(member, limb));
        let received = self.exchange(kernel.name(), input, from, writes)?;
        for ((d, member, device), received) in self.here().zip(received) {
            let mine = self.placement.part(member, limbs);
            if mine.is_empty() {
                continue;
            }
            let (part, held) = (self.part(input, d)?, self.placement.part(member, from));
            if received.is_empty() {
                device.run(kernel, &mine, self.part_mut(&mut out, d)?, &[part])?;
                continue;
            }
            let mut whole = device.alloc(input.shape_of(from))?;
            device.launch(&Kernel::Copy, &held, whole.view_mut(), &[part])?;
            for (limbs, parcel) in &received {
                device.adopt(whole.view_mut(), limbs, parcel)?;
            }
            device.run(kernel, &mine, self.part_mut(&mut out, d)?, &[whole.view()])?;
        }
        Ok(())
    }
}

impl Backend for Sharded {
    fn rns(&self) -> &Arc<Rns> {
        &self.rns
    }

    fn alloc(&self, shape: Shape) -> Result<Poly> {
        shape.check(&self.rns)?;
        let part =
            |(_, member, device): (usize, usize, &Device)| device.alloc(self.part_shape(member, &shape));
        let polys = self.here().map(part).collect::<Result<_>>()?;
        Ok(self.assemble(shape, polys))
    }

    fn upload(&self, shape: Shape, data: HostData) -> Result<Poly> {
        shape.check(&self.rns)?;
        if self.reads_words() {
            data.check(&self.rns, &shape)?;
        }
        let part = |(_, member, device): (usize, usize, &Device)| {
            let part = self.part_shape(member, &shape);
            let data = match &data {
                HostData::Residues(words) if part != shape && self.reads_words() => {
                    HostData::residues(rows(words, &shape, part.basis()))
                }
                shared => shared.clone(),
            };
            device.upload(part, data)
        };
        let polys = self.here().map(part).collect::<Result<_>>()?;
        Ok(self.assemble(shape, polys))
    }

    fn download(&self, view: View<'_>) -> Result<Vec<u64>> {
        let parcel = self.export(view, view.poly().basis())?;
        if !self.reads_words() {
            return Ok(vec![0; view.shape_of(view.poly().basis()).words()]);
        }
        Ok(Arc::unwrap_or_clone(parcel.wait()?))
    }

    fn export(&self, view: View<'_>, limbs: &Basis) -> Result<Parcel> {
        view.check_limbs("export", limbs)?;
        let all_here = self.devices.len() == self.group.members().len();
        let mut parcels: Vec<(Basis, Parcel)> = vec![];
        let mut missing = limbs.clone();
        for (d, member, device) in self.here() {
            let held = self.placement.part(member, &missing);
            missing = missing.minus(&held);
            parcels.push((held.clone(), device.export(self.part(view, d)?, &held)?));
            if !all_here {
                break;
            }
        }
        // Other hosts want the words too, and have some of them.
        if !all_here {
            let received = self.exchange("export", view, limbs, |_| true)?;
            parcels.extend(received.into_iter().next().into_iter().flatten());
        }
        if !self.reads_words() {
            return Ok(Parcel::ready(vec![]));
        }
        let shape = view.shape_of(limbs);
        let (bases, parcels): (Vec<Basis>, Vec<Parcel>) = parcels.into_iter().unzip();
        Ok(Parcel::join(&parcels, move |words| interleaved(&shape, &bases, words)))
    }

    fn adopt(&self, mut out: ViewMut<'_>, limbs: &Basis, parcel: &Parcel) -> Result<()> {
        out.as_view().check_limbs("adopt", limbs)?;
        let shape = out.as_view().shape_of(limbs);
        for (d, member, device) in self.here() {
            let mine = self.placement.part(member, limbs);
            let (shape, part) = (shape.clone(), mine.clone());
            let rows = move |words: &[Words]| {
                let words = words.first().map_or(&[][..], |words| words);
                let (have, want) = (words.len(), shape.words());
                if have != want {
                    return Err(Error::Operands { op: "adopt", misfit: Misfit::DataLength { have, want } });
                }
                Ok(rows(words, &shape, &part))
            };
            let whole = mine == *limbs || !self.reads_words();
            let part = if whole { parcel.clone() } else { Parcel::join(std::slice::from_ref(parcel), rows) };
            device.adopt(self.part_mut(&mut out, d)?, &mine, &part)?;
        }
        Ok(())
    }

    fn reads_words(&self) -> bool {
        self.devices.iter().all(|device| device.reads_words())
    }

    fn launch(&self, kernel: &Kernel, limbs: &Basis, mut out: ViewMut<'_>, ins: &[View<'_>]) -> Result<()> {
        kernel.check(&self.rns, limbs, &out, ins)?;
        let facts = kernel.facts();
        match facts.gathers {
            Some(from) if !facts.reads_written => {
                return self.launch_gathered(kernel, (from, limbs), out, ins[0]);
            }
            // What is gathered in evaluation form would be transformed by every member: its lowering gathers after that.
            Some(from) if !self.placement.is_local(limbs, from) => {
                return Err(Error::Unsupported(facts.name));
            }
            _ => {}
        }
        for (d, member, device) in self.here() {
            let mine = self.placement.part(member, limbs);
            if mine.is_empty() {
                continue;
            }
            let ins = ins.iter().map(|view| self.part(*view, d)).collect::<Result<Vec<_>>>()?;
            device.run(&kernel.restricted(limbs, &mine), &mine, self.part_mut(&mut out, d)?, &ins)?;
        }
        Ok(())
    }

    /// Waits for all devices that are driven here.
    fn sync(&self) -> Result<()> {
        let results: Vec<_> = self.devices.iter().map(|device| device.sync()).collect();
        results.into_iter().collect()
    }

    /// Of all devices that are driven here together; the peak is the sum of theirs.
    fn memory(&self) -> Memory {
        let all = self.devices.iter().map(|device| device.memory());
        let sum = |a: Memory, b: Memory| Memory {
            limit: a.limit.zip(b.limit).map(|(a, b)| a.saturating_add(b)),
            live: a.live.saturating_add(b.live),
            peak: a.peak.saturating_add(b.peak),
        };
        all.reduce(sum).unwrap_or(Memory { limit: None, live: 0, peak: 0 })
    }
}

/// The rows of some limbs of words laid out for all limbs of a shape, which they fill.
fn rows(words: &[u64], shape: &Shape, limbs: &Basis) -> Vec<u64> {
    let (basis, n) = (shape.basis(), shape.n());
    let positions: Vec<usize> = limbs.iter().filter_map(|limb| basis.position(limb)).collect();
    let mut rows = Vec::with_capacity(shape.batch() * positions.len() * n);
    for poly in 0..if positions.is_empty() { 0 } else { shape.batch() } {
        for position in &positions {
            rows.extend_from_slice(&words[(poly * basis.len() + position) * n..][..n]);
        }
    }
    rows
}

/// Words laid out for the limbs of a shape, from those of bases that make them up.
fn interleaved(shape: &Shape, bases: &[Basis], words: &[Words]) -> Result<Vec<u64>> {
    let n = shape.n();
    for (basis, words) in bases.iter().zip(words) {
        let (have, want) = (words.len(), shape.batch() * basis.len() * n);
        if have != want {
            return Err(Error::Operands { op: "export", misfit: Misfit::DataLength { have, want } });
        }
    }
    let place = |limb| {
        let parts = bases.iter().enumerate();
        parts.filter_map(|(i, basis)| Some((i, basis.len(), basis.position(limb)?))).next()
    };
    let places: Vec<_> = shape.basis().iter().filter_map(place).collect();
    let mut all = Vec::with_capacity(shape.words());
    for poly in 0..if places.is_empty() { 0 } else { shape.batch() } {
        for (part, limbs, position) in &places {
            all.extend_from_slice(&words[*part][(poly * limbs + position) * n..][..n]);
        }
    }
    Ok(all)
}
