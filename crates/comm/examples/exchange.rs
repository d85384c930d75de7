//! How long ranks take to exchange words: `mpirun -n 2 exchange`, or `exchange` alone for two threads.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use aegis_comm::{Communicator, Error, Group, Limits, Local};
use aegis_hal::Parcel;

/// Words of which every rank sends to every other one.
const LENGTHS: [usize; 4] = [1, 1 << 12, 1 << 17, 1 << 22];
const ROUNDS: u32 = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(unix)]
    match aegis_comm::Mpi::join(&Limits::default(), None) {
        Ok(comm) => {
            println!("{comm:?}");
            return Ok(measure(Arc::new(comm))?);
        }
        Err(Error::Mpi(aegis_comm::MpiFault::NoLauncher)) => {}
        Err(error) => return Err(error.into()),
    }
    let ranks: Vec<_> =
        Local::split(2).into_iter().map(|comm| thread::spawn(|| measure(Arc::new(comm)))).collect();
    for rank in ranks {
        rank.join().map_err(|_| "a rank panicked")??;
    }
    Ok(())
}

fn measure(comm: Arc<dyn Communicator>) -> aegis_hal::Result<()> {
    let group = Group::of_all(comm, 0);
    for words in LENGTHS {
        let parcel = Parcel::ready(vec![1; words]);
        let mut times = vec![];
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let gathered = group.all_gather("measurement", |_| words, |_| parcel.clone())?;
            gathered.iter().flatten().try_for_each(|parcel| parcel.wait().map(drop))?;
            times.push(start.elapsed());
        }
        times.sort();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        if group.local() == [0] {
            println!("{words} words: median {median:?}, worst {worst:?}");
        }
    }
    Ok(())
}
