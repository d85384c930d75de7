//! libmpi, opened at run time: the only unsafe code of this crate.
//!
//! Nothing of MPI is known when this is compiled. Three binary interfaces are spoken: that of Open MPI 4 and 5, that
//! which MPICH and its relatives share, and the standard one of MPI 5. They differ in the type of a handle and in a few
//! numbers. `MPI_Status` is never looked into, so that its layouts need not be known.
#![allow(unsafe_code)] // C is called here

use std::ffi::{c_char, c_int, c_void};
use std::ops::Range;
use std::path::PathBuf;

use aegis_hal::Words;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use super::MpiFault;
use super::transfers::{Done, Network, Transfers};

/// Opens a library and joins the other ranks. The thread that calls this has to make all later calls.
pub(super) fn join<P: 'static>(names: &[PathBuf]) -> Result<Network<P>, MpiFault> {
    let (library, name) = open(names)?;
    // SAFETY: the handles, their types and MPI_THREAD_FUNNELED, the last argument, are those of the mpi.h of each ABI.
    unsafe {
        match Abi::of(library) {
            Abi::Standard => {
                let [world, word, errors_return] = [0x101, 0x259, 0x143].map(|n: usize| n as *mut c_void);
                Binding::join(library, name, Handles { world, word, errors_return }, 1024)
            }
            Abi::OpenMpi => {
                let world = variable(library, &name, "ompi_mpi_comm_world")?;
                let word = variable(library, &name, "ompi_mpi_uint64_t")?;
                let errors_return = variable(library, &name, "ompi_mpi_errors_return")?;
                Binding::join(library, name, Handles { world, word, errors_return }, 1)
            }
            Abi::Mpich => {
                let [world, word, errors_return]: [c_int; 3] = [0x4400_0000, 0x4c00_083e, 0x5400_0001];
                Binding::join(library, name, Handles { world, word, errors_return }, 1)
            }
        }
    }
}

/// The first of the libraries that opens, and its name. It is never closed: MPI leaves threads and handlers behind.
fn open(names: &[PathBuf]) -> Result<(&'static Library, String), MpiFault> {
    let mut tried = Vec::new();
    for name in names {
        // Open MPI's plugins look for its symbols among the global ones.
        // SAFETY: the initialisers of an MPI library may run at any time, on any thread.
        match unsafe { Library::open(Some(name.as_os_str()), RTLD_NOW | RTLD_GLOBAL) } {
            Ok(library) => return Ok((Box::leak(Box::new(library)), name.display().to_string())),
            Err(error) => tried.push(error.to_string()),
        }
    }
    Err(MpiFault::NoLibrary { tried: tried.join("; ") })
}

enum Abi {
    OpenMpi,
    Mpich,
    Standard,
}

impl Abi {
    /// # Safety
    /// The library is one of MPI.
    unsafe fn of(library: &Library) -> Self {
        type Version = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;
        // The libraries of other ABIs have this function too, and set -1.
        // SAFETY: the function has this type.
        if let Ok(version) = unsafe { library.get::<Version>(b"MPI_Abi_get_version") } {
            let (mut major, mut minor) = (-1, -1);
            // SAFETY: it may be called before MPI_Init, and the pointers are to live integers.
            if unsafe { version(&raw mut major, &raw mut minor) } == 0 && major >= 1 {
                return Self::Standard;
            }
        }
        // SAFETY: the symbol is only looked for.
        let open_mpi = unsafe { library.get::<*mut c_void>(b"ompi_mpi_comm_world") };
        if open_mpi.is_ok() { Self::OpenMpi } else { Self::Mpich }
    }
}

/// The address of a variable, which is what a handle of Open MPI is.
///
/// # Safety
/// The symbol is a variable.
unsafe fn variable(library: &Library, name: &str, symbol: &'static str) -> Result<*mut c_void, MpiFault> {
    // SAFETY: as asked of the caller.
    let found = unsafe { library.get::<*mut c_void>(symbol.as_bytes()) };
    Ok(found.map_err(|_| MpiFault::NoSymbol { library: name.to_owned(), symbol })?.into_raw())
}

/// A function by its name, of the type that is expected.
///
/// # Safety
/// The function has this type.
unsafe fn function<F: Copy>(library: &Library, name: &str, symbol: &'static str) -> Result<F, MpiFault> {
    // SAFETY: as asked of the caller.
    let found = unsafe { library.get::<F>(symbol.as_bytes()) };
    Ok(*found.map_err(|_| MpiFault::NoSymbol { library: name.to_owned(), symbol })?)
}

/// Room for the `MPI_Status` of any library: the largest known is of 32 bytes.
#[repr(C, align(16))]
struct Status([u8; 128]);

/// The predefined handles that are used.
#[derive(Clone, Copy)]
struct Handles<H> {
    world: H,
    /// `MPI_UINT64_T`.
    word: H,
    errors_return: H,
}

type Isend<H> = unsafe extern "C" fn(*const c_void, c_int, H, c_int, c_int, H, *mut H) -> c_int;
type Irecv<H> = unsafe extern "C" fn(*mut c_void, c_int, H, c_int, c_int, H, *mut H) -> c_int;
type TestAny<H> = unsafe extern "C" fn(c_int, *mut H, *mut c_int, *mut c_int, *mut Status) -> c_int;
type GetCount<H> = unsafe extern "C" fn(*const Status, H, *mut c_int) -> c_int;
type ErrorString = unsafe extern "C" fn(c_int, *mut c_char, *mut c_int) -> c_int;

/// What a transfer reads or writes: it must not move or be freed before MPI has done with it.
enum Buffer {
    Sent(Words),
    Received { words: Vec<u64>, count: usize },
}

struct Slot<P> {
    peer: usize,
    purpose: P,
    buffer: Buffer,
}

/// Transfers by a library whose handles are of type `H`.
struct Binding<H, P> {
    handles: Handles<H>,
    isend: Isend<H>,
    irecv: Irecv<H>,
    testany: TestAny<H>,
    get_count: GetCount<H>,
    error_string: ErrorString,
    finalize: unsafe extern "C" fn() -> c_int,
    /// The transfers under way: MPI's handle of each, and what it belongs to, at the same index.
    requests: Vec<H>,
    slots: Vec<Slot<P>>,
}

impl<H: Copy + 'static, P: 'static> Binding<H, P> {
    /// Calls `MPI_Init_thread`, which waits for the other ranks.
    ///
    /// # Safety
    /// The handles are those of the library, and `H` is the type of all of its handles.
    unsafe fn join(
        library: &Library,
        name: String,
        handles: Handles<H>,
        funneled: c_int,
    ) -> Result<Network<P>, MpiFault> {
        type Get<H> = unsafe extern "C" fn(H, *mut c_int) -> c_int;
        type Flag = unsafe extern "C" fn(*mut c_int) -> c_int;
        type Init = unsafe extern "C" fn(*mut c_int, *mut *mut *mut c_char, c_int, *mut c_int) -> c_int;
        // SAFETY: mpi.h declares the functions so, with `H` for handles.
        let (initialized, init, rank_of, size_of, set_errhandler, binding) = unsafe {
            let binding = Self {
                handles,
                isend: function(library, &name, "MPI_Isend")?,
                irecv: function(library, &name, "MPI_Irecv")?,
                testany: function(library, &name, "MPI_Testany")?,
                get_count: function(library, &name, "MPI_Get_count")?,
                error_string: function(library, &name, "MPI_Error_string")?,
                finalize: function(library, &name, "MPI_Finalize")?,
                requests: vec![],
                slots: vec![],
            };
            (
                function::<Flag>(library, &name, "MPI_Initialized")?,
                function::<Init>(library, &name, "MPI_Init_thread")?,
                function::<Get<H>>(library, &name, "MPI_Comm_rank")?,
                function::<Get<H>>(library, &name, "MPI_Comm_size")?,
                function::<unsafe extern "C" fn(H, H) -> c_int>(library, &name, "MPI_Comm_set_errhandler")?,
                binding,
            )
        };
        let (mut is_initialized, mut threads, mut rank, mut ranks) = (0, 0, 0, 0);
        // SAFETY: every pointer is to a live integer; MPI_Init_thread may be given no arguments; the other calls come after
        // it succeeded, on the thread that made it.
        unsafe {
            binding.check("MPI_Initialized", initialized(&raw mut is_initialized))?;
            if is_initialized != 0 {
                return Err(MpiFault::InUse);
            }
            let (argc, argv) = (std::ptr::null_mut(), std::ptr::null_mut());
            binding.check("MPI_Init_thread", init(argc, argv, funneled, &raw mut threads))?;
            if threads < funneled {
                return Err(MpiFault::NoThreads { library: name });
            }
            let errors_return = set_errhandler(handles.world, handles.errors_return);
            binding.check("MPI_Comm_set_errhandler", errors_return)?;
            binding.check("MPI_Comm_rank", rank_of(handles.world, &raw mut rank))?;
            binding.check("MPI_Comm_size", size_of(handles.world, &raw mut ranks))?;
        }
        let [rank, ranks] = [rank, ranks].map(|number| usize::try_from(number).unwrap_or(0));
        Ok(Network { rank, ranks, library: name, transfers: Box::new(binding) })
    }

    fn check(&self, call: &'static str, code: c_int) -> Result<(), MpiFault> {
        if code == 0 { Ok(()) } else { Err(MpiFault::Call { call, cause: self.text(code) }) }
    }

    /// MPI's own words for an error.
    fn text(&self, code: c_int) -> String {
        // The largest MPI_MAX_ERROR_STRING is 1024.
        let (mut text, mut length) = (vec![0u8; 8192], 0);
        // SAFETY: the buffer is larger than what any library writes.
        let outcome = unsafe { (self.error_string)(code, text.as_mut_ptr().cast(), &raw mut length) };
        text.truncate(usize::try_from(length).unwrap_or(0));
        if outcome != 0 || text.is_empty() {
            return format!("MPI error {code}");
        }
        // MPICH tells a stack, a line for each call.
        String::from_utf8_lossy(&text).lines().collect::<Vec<_>>().join(" ")
    }

    /// Remembers a transfer that MPI has accepted.
    fn begun(&mut self, code: c_int, request: H, slot: Slot<P>) -> Result<(), String> {
        if code != 0 {
            return Err(self.text(code));
        }
        self.requests.push(request);
        self.slots.push(slot);
        Ok(())
    }

    /// What became of a receive that MPI calls a success.
    fn received(&self, words: Vec<u64>, expected: usize, status: &Status) -> Result<Vec<u64>, String> {
        let mut count = 0;
        // SAFETY: the status is that of a receive of words, filled by MPI_Testany.
        let code = unsafe { (self.get_count)(status, self.handles.word, &raw mut count) };
        match usize::try_from(count) {
            _ if code != 0 => Err(self.text(code)),
            Ok(count) if count == expected => Ok(words),
            _ => Err(format!("{count} words came where {expected} were announced")),
        }
    }
}

impl<H: Copy + 'static, P: 'static> Transfers<P> for Binding<H, P> {
    fn send(
        &mut self,
        to: usize,
        lane: u16,
        words: Words,
        part: Range<usize>,
        purpose: P,
    ) -> Result<(), String> {
        let (rank, count) = (int(to)?, int(part.len())?);
        let start = words[part].as_ptr().cast();
        let (Handles { world, word, .. }, mut request) = (self.handles, self.handles.world);
        // SAFETY: `count` words from `start` on are those of the part. The slot keeps them, unchanged, until MPI is done.
        let code = unsafe { (self.isend)(start, count, word, rank, lane.into(), world, &raw mut request) };
        self.begun(code, request, Slot { peer: to, purpose, buffer: Buffer::Sent(words) })
    }

    fn receive(
        &mut self,
        from: usize,
        lane: u16,
        mut buffer: Vec<u64>,
        part: Range<usize>,
        purpose: P,
    ) -> Result<(), String> {
        let (rank, count) = (int(from)?, int(part.len())?);
        let start = buffer[part.clone()].as_mut_ptr().cast();
        let (Handles { world, word, .. }, mut request) = (self.handles, self.handles.world);
        // SAFETY: as in `send`; nobody reads the slot's buffer before MPI is done.
        let code = unsafe { (self.irecv)(start, count, word, rank, lane.into(), world, &raw mut request) };
        let buffer = Buffer::Received { words: buffer, count: part.len() };
        self.begun(code, request, Slot { peer: from, purpose, buffer })
    }

    fn poll(&mut self) -> Result<Option<Done<P>>, String> {
        let (count, requests) = (int(self.requests.len())?, self.requests.as_mut_ptr());
        let (mut index, mut is_done, mut status) = (-1, 0, Status([0; 128]));
        // SAFETY: there are `count` requests, each under way, and the other pointers are to live variables.
        let code =
            unsafe { (self.testany)(count, requests, &raw mut index, &raw mut is_done, &raw mut status) };
        // MPI_UNDEFINED, which is negative, where there is no request.
        let ended = usize::try_from(index).ok().filter(|&index| index < self.slots.len());
        let Some(index) = ended.filter(|_| code != 0 || is_done != 0) else {
            return if code == 0 { Ok(None) } else { Err(self.text(code)) };
        };
        self.requests.swap_remove(index);
        let Slot { peer, purpose, buffer } = self.slots.swap_remove(index);
        let outcome = match buffer {
            Buffer::Received { words, count } if code == 0 => self.received(words, count, &status),
            Buffer::Sent(words) if code == 0 => {
                drop(words);
                Ok(vec![])
            }
            // Who knows what a failed transfer still does to its words.
            buffer => {
                std::mem::forget(buffer);
                Err(self.text(code))
            }
        };
        Ok(Some(Done { peer, purpose, outcome }))
    }

    fn finalize(&mut self) {
        // SAFETY: no transfer is under way, and nothing is called after this.
        unsafe { (self.finalize)() };
    }
}

impl<H, P> Drop for Binding<H, P> {
    /// MPI may still read and write the words of what is under way.
    fn drop(&mut self) {
        std::mem::forget(std::mem::take(&mut self.slots));
    }
}

fn int(number: usize) -> Result<c_int, String> {
    c_int::try_from(number).map_err(|_| format!("{number} is too large for MPI"))
}
