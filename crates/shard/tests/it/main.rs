//! The suite of `aegis-hal` on devices made of devices.

use std::sync::Arc;
use std::thread;

use aegis_comm::{Communicator, Group, Local};
use aegis_cpu::{Cpu, CpuOptions};
use aegis_hal::{Backend, Device, Error, HostData, Kernel, PeerFault, Shape, conformance};
use aegis_ring::{Basis, LimbId, Rns, primes};
use aegis_shard::{Placement, Sharded};

const LIMBS: usize = 6;

fn ring() -> Arc<Rns> {
    let mut taken = vec![];
    for bits in [50, 40, 28, 28, 50, 36] {
        let range = 1 << (bits - 1)..1 << bits;
        taken.push(primes::nearest_ntt_prime((range.end - 1) as f64, range, 5, &taken).unwrap());
    }
    Arc::new(Rns::new(5, &taken).unwrap())
}

fn basis(limbs: impl IntoIterator<Item = u16>) -> Basis {
    limbs.into_iter().map(LimbId).collect()
}

fn cpu(rns: &Arc<Rns>) -> Device {
    let options = CpuOptions { threads: 1, queue: true, ..CpuOptions::default() };
    Arc::new(Cpu::with_options(Arc::clone(rns), options).unwrap())
}

/// Every limb once, some on all members, all on all, and a member that has nothing.
fn placements(members: usize) -> Vec<Placement> {
    let dealt = Placement::deal(members, LIMBS, &basis([4, 2, 0])).unwrap();
    let mut idle: Vec<Vec<usize>> = (0..LIMBS).map(|limb| vec![limb % members]).collect();
    idle.iter_mut().for_each(|holders| *holders = vec![holders[0].saturating_sub(1)]);
    let twice = (0..LIMBS).map(|limb| vec![limb % members, (limb + 1) % members]).collect::<Vec<_>>();
    vec![
        dealt.replicated(&basis([1, 4])),
        dealt.replicated(&basis(0..LIMBS as u16)),
        dealt,
        Placement::new(members, &idle).unwrap(),
        Placement::new(members, &twice).unwrap(),
    ]
}

/// A device of these devices, driven by one host.
fn sharded(devices: Vec<Device>, placement: Placement) -> Device {
    let group = Group::of_all(Arc::new(Local::new(devices.len())), 0);
    Arc::new(Sharded::new(group, devices, placement).unwrap())
}

#[test]
fn one_host_that_drives_all_members_conforms() {
    let rns = ring();
    for members in 1..=5 {
        for (i, placement) in placements(members).into_iter().enumerate() {
            let dev = sharded((0..members).map(|_| cpu(&rns)).collect(), placement);
            conformance::check(&dev, 1).unwrap_or_else(|e| panic!("{members} members, placement {i}: {e}"));
        }
    }
}

#[test]
fn a_host_for_each_member_conforms() {
    let rns = ring();
    for members in 2..=4 {
        for (i, placement) in placements(members).into_iter().enumerate() {
            thread::scope(|scope| {
                for comm in Local::split(members) {
                    let (rns, placement) = (Arc::clone(&rns), placement.clone());
                    scope.spawn(move || {
                        let group = Group::of_all(Arc::new(comm), 0);
                        let dev: Device = Arc::new(Sharded::new(group, vec![cpu(&rns)], placement).unwrap());
                        conformance::check(&dev, 1)
                            .unwrap_or_else(|e| panic!("{members} members, placement {i}: {e}"));
                    });
                }
            });
        }
    }
}

#[test]
fn devices_made_of_devices_are_devices() {
    let rns = ring();
    let pair = || sharded(vec![cpu(&rns), cpu(&rns)], Placement::deal(2, LIMBS, &basis([1, 3])).unwrap());
    let placement = Placement::deal(3, LIMBS, &basis([])).unwrap().replicated(&basis([5]));
    let dev = sharded(vec![pair(), cpu(&rns), pair()], placement);
    conformance::check(&dev, 1).unwrap();
}

/// The table of `keyswitch-over-devices`: what a member lacks of the limbs that are read, once, and nothing for limb-wise
/// kernels.
#[test]
fn members_receive_what_they_lack_and_no_more() {
    let (rns, from, to) = (ring(), basis(0..4), basis(4..6));
    let n = rns.n();
    for members in 1..=5 {
        let comm: Arc<dyn Communicator> = Arc::new(Local::new(members));
        let placement = Placement::deal(members, LIMBS, &basis([])).unwrap();
        let group = Group::of_all(Arc::clone(&comm), 0);
        let devices = (0..members).map(|_| cpu(&rns)).collect();
        let dev = Sharded::new(group, devices, placement.clone()).unwrap();
        let all = basis(0..LIMBS as u16);
        let data = HostData::coefficients(vec![1; 2 * n]);
        let mut x = dev.upload(Shape::new(2, all.clone(), n), data).unwrap();
        let mut y = dev.alloc(Shape::new(2, to.clone(), n)).unwrap();
        dev.run(&Kernel::Ntt, &all, x.view_mut(), &[]).unwrap();
        assert_eq!(comm.ledger().snapshot().bytes(0), 0, "limb-wise kernels");

        dev.run(&Kernel::ModUp { from: from.clone() }, &to, y.view_mut(), &[x.view()]).unwrap();
        let lacks = |member| {
            let writes = !placement.part(member, &to).is_empty();
            if writes { from.len() - placement.part(member, &from).len() } else { 0 }
        };
        let want: Vec<u64> = (0..members).map(|member| (2 * lacks(member) * n * 8) as u64).collect();
        let traffic = comm.ledger().snapshot();
        assert_eq!((0..members).map(|member| traffic.bytes(member)).collect::<Vec<_>>(), want);
        dev.sync().unwrap();
    }
}

#[test]
fn a_lost_member_poisons_what_waits_for_it() {
    let (rns, from, to) = (ring(), basis(0..2), basis(2..4));
    let mut comms = Local::split(2);
    drop(comms.pop());
    let group = Group::of_all(Arc::new(comms.remove(0)), 0);
    let placement = Placement::deal(2, LIMBS, &basis([])).unwrap();
    let dev = Sharded::new(group, vec![cpu(&rns)], placement).unwrap();
    let x = dev.alloc(Shape::new(1, from.clone(), rns.n())).unwrap();
    let mut y = dev.alloc(Shape::new(1, to.clone(), rns.n())).unwrap();
    dev.run(&Kernel::ModUp { from }, &to, y.view_mut(), &[x.view()]).unwrap();
    assert_eq!(dev.sync(), Err(Error::Peer { rank: 1, fault: PeerFault::Gone }));
}

#[test]
fn devices_that_are_no_one_device_are_refused() {
    use aegis_shard::Error;
    let rns = ring();
    let other = Arc::new(Rns::new(4, &[97, 193]).unwrap());
    let make = |devices: Vec<Device>, members, limbs| {
        let group = Group::of_all(Arc::new(Local::new(2)), 0);
        let placement = Placement::deal(members, limbs, &basis([])).unwrap();
        Sharded::new(group, devices, placement).err()
    };
    assert_eq!(make(vec![cpu(&rns)], 2, LIMBS), Some(Error::Devices { have: 1, want: 2 }));
    assert_eq!(make(vec![cpu(&rns), cpu(&other)], 2, LIMBS), Some(Error::Ring(1)));
    assert_eq!(make(vec![cpu(&rns), cpu(&rns)], 3, LIMBS), Some(Error::Members { have: 3, want: 2 }));
    assert_eq!(make(vec![cpu(&rns), cpu(&rns)], 2, 4), Some(Error::Unplaced(LimbId(4))));

    let pair = || sharded(vec![cpu(&rns), cpu(&rns)], Placement::deal(2, LIMBS, &basis([])).unwrap());
    let (a, b) = (pair(), pair());
    let foreign = a.alloc(Shape::new(1, basis([0]), rns.n())).unwrap();
    assert!(matches!(b.download(foreign.view()), Err(aegis_hal::Error::WrongDevice)));
}
