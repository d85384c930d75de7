//! One program on devices that share the limbs of every ciphertext: the same bits, and the bytes of the formulas.

use std::sync::Arc;
use std::thread;

use aegis::limbs::{KeySwitching, placement};
use aegis::{Client, Model, Server};
use aegis_ckks::{
    Context, KeyGenerator, KeyRequest, Level, Params, Recorder, Seed, insecure_bootstrap_spec,
    insecure_levelled_spec,
};
use aegis_comm::{Communicator, Group, Local, Traffic};
#[cfg(unix)]
use aegis_comm::{Limits, Mpi};
use aegis_cpu::{Cpu, CpuOptions};
use aegis_hal::{Device, Trace};
use aegis_models::Bert;
use aegis_nn::Catalog;
use aegis_ring::Basis;
use aegis_shard::{Placement, Sharded};
#[cfg(unix)]
use aegis_testing::Launcher;
use aegis_testing::{Setup, uniform_complex};
#[cfg(unix)]
use sha2::{Digest, Sha256};

use crate::{TEXT, small_ring, tiny};

const MODES: [KeySwitching; 2] = [KeySwitching::Basic, KeySwitching::InputBroadcast];

fn cpu(params: &Params) -> Device {
    let options = CpuOptions { threads: 1, queue: true, ..CpuOptions::default() };
    Arc::new(Cpu::with_options(params.rns().clone(), options).expect("a device"))
}

/// The members of `comm` that this host drives as one device.
pub(crate) fn context(params: &Params, comm: Arc<dyn Communicator>, mode: KeySwitching) -> Context {
    let placement = placement(params, comm.ranks(), mode).expect("a placement");
    let devices = comm.local().iter().map(|_| cpu(params)).collect();
    let sharded = Sharded::new(Group::of_all(comm, 0), devices, placement).expect("a device");
    Context::new(params.clone(), Arc::new(sharded)).expect("a context")
}

/// The answer to one query, everything from fixed seeds.
fn answer(ctx: &Context, bert: &Arc<Bert>) -> Vec<u8> {
    let model = Model::new(Arc::clone(bert), ctx.params().slots(), 16).expect("a model");
    let server = Server::new(ctx, model.clone()).expect("a server");
    let (client, keys) =
        Client::generate(ctx, Seed::new([3; 32]), server.request()).expect("a client and its keys");
    let query = model.query(TEXT).expect("a query");
    let sent = client.query(&model, &query, &Seed::new([4; 32])).expect("a message");
    server.answer(&Arc::new(keys), &sent, &mut ()).expect("an evaluation")
}

/// A whole model with its bootstraps. One host drives all devices, and then each device has a host of its own.
#[test]
fn a_model_has_the_same_bits_on_any_number_of_devices() {
    let dir = tempfile::tempdir().expect("a folder");
    let bert = tiny(dir.path());
    let want = answer(&small_ring(2), &bert);
    let params = Params::insecure(insecure_bootstrap_spec(9)).expect("a ring");
    for (members, mode) in [(2, MODES[0]), (3, MODES[1]), (5, MODES[0])] {
        let ctx = context(&params, Arc::new(Local::new(members)), mode);
        assert!(answer(&ctx, &bert) == want, "other bits on {members} devices, {mode:?}");
    }
    thread::scope(|scope| {
        for comm in Local::split(2) {
            let (params, bert, want) = (&params, &bert, &want);
            scope.spawn(move || {
                let ctx = context(params, Arc::new(comm), KeySwitching::InputBroadcast);
                assert!(answer(&ctx, bert) == *want, "other bits with a host for each device");
            });
        }
    });
}

/// A process for each device, under each MPI that there is.
#[test]
#[cfg(unix)]
fn so_it_has_on_devices_in_processes() {
    let dir = tempfile::tempdir().expect("a folder");
    let want = digest(&answer(&small_ring(2), &tiny(dir.path())));
    for (i, launcher) in Launcher::all().iter().enumerate() {
        for ranks in [2, 4] {
            let folder = dir.path().join(format!("{i}-{ranks}"));
            std::fs::create_dir(&folder).expect("a folder");
            let mut command = launcher.command(ranks);
            command.arg(std::env::current_exe().expect("this binary"));
            command.args(["--exact", "limbs::rank", "--ignored", "--test-threads=1"]);
            let output = command.env(FOLDER, &folder).output().expect("a launcher");
            for rank in 0..ranks {
                let have = std::fs::read_to_string(folder.join(rank.to_string()));
                assert_eq!(have.ok().as_ref(), Some(&want), "rank {rank} of {launcher:?}: {output:?}");
            }
        }
    }
}

/// Where ranks say what they computed.
#[cfg(unix)]
const FOLDER: &str = "AEGIS_LIMBS_FOLDER";

#[test]
#[cfg(unix)]
#[ignore = "a launcher starts it, for each rank"]
fn rank() {
    let folder = std::path::PathBuf::from(std::env::var(FOLDER).expect("a folder"));
    let comm = Arc::new(Mpi::join(&Limits::default(), None).expect("all ranks start"));
    let (dir, file) = (tempfile::tempdir().expect("a folder"), folder.join(comm.rank().to_string()));
    let params = Params::insecure(insecure_bootstrap_spec(9)).expect("a ring");
    let ctx = context(&params, comm, KeySwitching::Basic);
    std::fs::write(file, digest(&answer(&ctx, &tiny(dir.path())))).expect("a writable folder");
}

#[cfg(unix)]
fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// What each member receives while `run` runs.
fn received(comm: &Arc<dyn Communicator>, run: impl FnOnce()) -> Vec<u64> {
    let before: Traffic = comm.ledger().snapshot();
    run();
    let traffic = comm.ledger().snapshot().since(&before);
    (0..comm.ranks()).map(|rank| traffic.bytes(rank)).collect()
}

/// What a whole model moves is known before it runs, to the byte: from one recorded task of each kind.
#[test]
fn the_bytes_of_a_model_are_known_before_it_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    let bert = tiny(dir.path());
    let params = Params::insecure(insecure_bootstrap_spec(9)).expect("a ring");
    for (members, mode) in [(2, MODES[0]), (3, MODES[1])] {
        let comm: Arc<dyn Communicator> = Arc::new(Local::new(members));
        let ctx = context(&params, Arc::clone(&comm), mode);
        let model = Model::new(Arc::clone(&bert), params.slots(), 16).expect("a model");
        let server = Server::new(&ctx, model.clone()).expect("a server");
        let query = model.query(TEXT).expect("a query");

        let traces: Vec<_> = (0..members).map(|_| Arc::new(Trace::of_shapes(params.rns().clone()))).collect();
        let group = Group::of_all(Arc::new(Local::new(members)), 0);
        let devices = traces.iter().map(|trace| trace.clone() as Device).collect();
        let placement = placement(&params, members, mode).expect("a placement");
        let sharded = Arc::new(Sharded::new(group, devices, placement).expect("a device"));
        let recorder = Recorder::on(&params, sharded, traces).expect("a recorder");
        let mut catalog = Catalog::on(recorder).expect("a catalog");
        let program = server.plan().program(model.network(), &query.shape.rows()).expect("a program");
        let bills = catalog.bills(&program).expect("known");
        let want: u64 = bills.iter().map(|bill| bill.totals.adopted_bytes).sum();

        let (client, keys) =
            Client::generate(&ctx, Seed::new([3; 32]), server.request()).expect("a client and its keys");
        let x = client.encrypt(&model, &query, &Seed::new([4; 32])).expect("an input");
        let have = received(&comm, || {
            server.evaluate(&Arc::new(keys), x, &mut ()).expect("an evaluation");
        });
        assert_eq!(have.iter().sum::<u64>(), want, "{members} devices, {mode:?}");
        assert!(want > 0);
    }
}

/// Rows of `limbs` that a member lacks, where it has any of `written` to compute.
fn lacking(placement: &Placement, member: usize, limbs: &Basis, written: &Basis) -> u64 {
    let computes = !placement.part(member, written).is_empty();
    if computes { (limbs.len() - placement.part(member, limbs).len()) as u64 } else { 0 }
}

/// A key switch at `l` limbs with `K` special ones moves `(P - 1) l` rows to all members together, and `2 (P - 1) K` more
/// where the special limbs are divided too; a rescale `2 (P - 1)` for each limb that it drops.
#[test]
fn key_switches_and_rescales_move_the_bytes_of_the_formulas() {
    let params = Params::insecure(insecure_levelled_spec(6, 36)).expect("a ring");
    let (row, special) = (8 * params.n() as u64, params.special().len());
    for (members, mode) in (1..=5).flat_map(|members| MODES.map(|mode| (members, mode))) {
        let comm: Arc<dyn Communicator> = Arc::new(Local::new(members));
        let ctx = context(&params, Arc::clone(&comm), mode);
        let placement = placement(&params, members, mode).expect("a placement");
        let t = Setup::with_keys(ctx, |keys, p| keys.rotation(1, p.fresh_level()));
        let values = uniform_complex(params.slots(), 1);
        for limbs in [1, 5, 10, 17, 36] {
            let level = Level(limbs as u32 - 1);
            let x = t.encrypt_at(&values, level);
            let basis = params.basis(level);
            let case = format!("{limbs} limbs, {members} devices, {mode:?}");

            let have = received(&comm, || drop(t.ev.rotate(&x, 1).expect("a key")));
            let digits = params.digits(level);
            let of_digits = |member| -> u64 {
                let lifted = |digit| params.extended_basis(level).minus(digit);
                digits.iter().map(|digit| lacking(&placement, member, digit, &lifted(digit))).sum()
            };
            let of_division = |member| 2 * lacking(&placement, member, params.special(), basis);
            let want: Vec<u64> =
                (0..members).map(|member| row * (of_digits(member) + of_division(member))).collect();
            assert_eq!(have, want, "key switch, {case}");
            // With fewer limbs some members have nothing to compute of a digit, and receive nothing for it.
            if limbs >= 2 * members {
                let divided = if mode == KeySwitching::Basic { 2 * special } else { 0 };
                let formula = row * ((members - 1) * (limbs + divided)) as u64;
                assert_eq!(have.iter().sum::<u64>(), formula, "key switch, {case}");
            }

            if limbs > 1 {
                let have = received(&comm, || drop(t.ev.rescale(&x).expect("a level")));
                let (dropped, kept) = (params.dropped(level), params.basis(Level(level.0 - 1)));
                let want = |member| 2 * row * lacking(&placement, member, dropped, kept);
                assert_eq!(have, (0..members).map(want).collect::<Vec<_>>(), "rescale, {case}");
                if limbs > members {
                    assert_eq!(have.iter().sum::<u64>(), 2 * row * (members as u64 - 1), "rescale, {case}");
                }
            }
        }
    }
}

/// Rotations of one ciphertext share its digits: with the special limbs on every device nothing else moves.
#[test]
fn a_hoisted_group_gathers_once() {
    let params = Params::insecure(insecure_levelled_spec(6, 9)).expect("a ring");
    let comm: Arc<dyn Communicator> = Arc::new(Local::new(2));
    let ctx = context(&params, Arc::clone(&comm), KeySwitching::InputBroadcast);
    let steps = [1, 2, 3, 5];
    let fresh = params.fresh_level();
    let t =
        Setup::with_keys(ctx, |keys, _| steps.iter().fold(keys, |keys, step| keys.rotation(*step, fresh)));
    let x = t.encrypt(&uniform_complex(params.slots(), 1));
    let alone = received(&comm, || drop(t.ev.rotate(&x, 1).expect("a key")));
    let group = received(&comm, || {
        let hoisted = t.ev.hoist(&x).expect("keys");
        for step in steps {
            let map = aegis_ring::Galois::rotation(step, params.n());
            drop(t.ev.rotate_hoisted(&x, &hoisted, map).expect("a key"));
        }
    });
    assert_eq!(alone, group);
    assert!(alone.iter().all(|bytes| *bytes > 0));
}

/// Every row of a key is made on one device, or on all where the limb is special: no device holds a whole key.
#[test]
fn keys_are_made_and_held_in_parts() {
    let params = Params::insecure(insecure_levelled_spec(6, 9)).expect("a ring");
    let (fresh, top) = (params.fresh_level(), params.max_level());
    let (digits, extended) = (params.digits(top).len(), params.extended_basis(top));
    for mode in MODES {
        let placement = placement(&params, 3, mode).expect("a placement");
        let cpus: Vec<Device> = (0..3).map(|_| cpu(&params)).collect();
        let group = Group::of_all(Arc::new(Local::new(3)), 0);
        let sharded = Sharded::new(group, cpus.clone(), placement.clone()).expect("a device");
        let ctx = Context::new(params.clone(), Arc::new(sharded)).expect("a context");
        let generator = KeyGenerator::new(&ctx, Seed::new([3; 32]));
        let secret = generator.secret_key();
        let request = KeyRequest::new(params.n()).rotation(1, fresh).relinearize(fresh);
        let live = || {
            ctx.device().sync().expect("a device");
            cpus.iter().map(|cpu| cpu.memory().live).collect::<Vec<_>>()
        };
        let before = live();
        let keys = generator.evaluation_keys(&secret, &request).expect("keys");
        let row = 8 * params.n();
        for (member, (after, before)) in live().into_iter().zip(before).enumerate() {
            let part = placement.part(member, &extended).len();
            assert_eq!(after - before, (keys.count() * 2 * digits * part * row) as u64, "{mode:?}");
            assert!(part < extended.len());
        }
    }
}
