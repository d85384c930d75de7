//! What the command line takes.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Transformer inference on encrypted text.
///
/// A client makes keys, encrypts and decrypts; a server that never holds the secret key evaluates.
#[derive(Parser)]
#[command(name = "aegis", version, disable_help_subcommand = true)]
pub(crate) struct Aegis {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Client: makes a secret key and the evaluation keys a model needs
    Keygen(Keygen),
    /// Client: tokenises, embeds and encrypts a text, or several short ones together
    Encrypt(Encrypt),
    /// Server: runs the encrypted model; needs no secret
    Eval(Eval),
    /// Client: decrypts a result to the embedding of each text, one a line
    Decrypt(Decrypt),
    /// All of it in one process: keys, encryption, evaluation, decryption
    Embed(Embed),
    /// Embeds a sentence under encryption, ranks five documents by it, compares with the plain model
    Demo(Demo),
    /// Makes the calibration of a model: constants of its approximations, fitted to texts
    Calibrate(Calibrate),
    /// Says what an inference takes: memory, bootstraps, keys, and what it is made of
    Plan(Plan),
    /// Prints the parameter presets with their security, as a table
    Params,
}

/// How the device and the output behave.
#[derive(Args, Clone, Copy)]
pub(crate) struct Run {
    /// Worker threads; results do not depend on it [default: all cores]
    #[arg(long)]
    pub(crate) threads: Option<std::num::NonZeroUsize>,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// On how many devices a run computes.
#[derive(Args, Clone, Copy)]
pub(crate) struct Devices {
    /// Devices that divide the limbs of every ciphertext and key; results do not depend on it. Each has `--threads` workers,
    /// or its part of the cores [default: 1; with MPI one for each rank]
    #[arg(long)]
    pub(crate) devices: Option<std::num::NonZeroUsize>,
    /// How devices switch keys together: `basic` divides everything, `input-broadcast` moves less, and every device holds
    /// and computes the special limbs of all keys
    #[arg(long, value_enum, default_value = "basic")]
    pub(crate) key_switching: KeySwitching,
}

/// How devices reach each other.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Comm {
    /// All in this process.
    Local,
    /// A process for each, started by an MPI launcher; docs/many-devices.md
    Mpi,
}

/// See [`aegis::limbs::KeySwitching`].
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum KeySwitching {
    Basic,
    InputBroadcast,
}

/// How much memory a run may take.
#[derive(Args, Clone, Copy)]
pub(crate) struct Memory {
    /// Memory that this process may take, as 12GiB: what needs more is refused before it starts [default: what the machine
    /// has free]
    #[arg(long = "memory", value_name = "SIZE", value_parser = crate::memory::parse)]
    pub(crate) limit: Option<u64>,
}

/// Where randomness comes from.
#[derive(Args, Clone, Copy)]
pub(crate) struct Seed {
    /// Reproduces a run. NOT SECRET: whoever knows the number has the keys; leave it out to protect anything
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

/// Which parameters a file may bring.
#[derive(Args, Clone, Copy)]
pub(crate) struct Parameters {
    /// Take keys of parameters that are no preset's. They are still refused below 128 bits of security, but may ask for
    /// any amount of memory and time
    #[arg(long)]
    pub(crate) allow_custom_parameters: bool,
}

/// Whether a result may be shown to others.
#[derive(Args, Clone, Copy)]
pub(crate) struct Rounding {
    /// Round the embedding to multiples of 2^-BITS, 1 to 10, before anything is printed or computed from it. Do so before
    /// others see it: exact decryptions tell about the secret key. More bits are refused: a finer grid would come near the
    /// noise and leave it to be read, and is no more accurate
    #[arg(long = "round", value_name = "BITS", value_parser = clap::value_parser!(u32).range(1..=MAX_ROUND_BITS))]
    pub(crate) bits: Option<u32>,
}

/// As clap counts.
const MAX_ROUND_BITS: i64 = aegis_models::MAX_ROUND_BITS as i64;

#[derive(Args)]
pub(crate) struct Keygen {
    /// Parameter preset, one of those that `aegis params` lists
    #[arg(long, default_value = crate::presets::DEFAULT)]
    pub(crate) preset: String,
    /// Model directory (config.json, model.safetensors, tokenizer.json, aegis-calibration.json)
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// Folder for secret.key and eval.keys
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Longest text that the keys will serve, in tokens [default: 64, or what the model takes if that is less]
    #[arg(long)]
    pub(crate) max_tokens: Option<usize>,
    /// Replace keys that are already there; what was encrypted under them is lost. The old ones wait in `old-keys` until
    /// the new ones stand
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) seed: Seed,
    #[command(flatten)]
    pub(crate) run: Run,
}

#[derive(Args)]
pub(crate) struct Encrypt {
    /// Folder with secret.key
    #[arg(long)]
    pub(crate) keys: PathBuf,
    /// Model directory, with its calibration: a text that it does not cover is refused
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The text; `-` reads all of standard input. May be given several times: short texts share the ciphertext, and the
    /// server learns how many tokens each has. A text written here stands in the system's list of processes and in the
    /// shell's history: prefer `-` or --text-file for one that nobody is to see
    #[arg(long, required_unless_present = "text_file")]
    pub(crate) text: Vec<String>,
    /// A file with one text a line
    #[arg(long, conflicts_with = "text")]
    pub(crate) text_file: Option<PathBuf>,
    /// Where the ciphertext goes; only an older query is replaced
    #[arg(long)]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) parameters: Parameters,
    #[command(flatten)]
    pub(crate) seed: Seed,
    #[command(flatten)]
    pub(crate) run: Run,
}

#[derive(Args)]
pub(crate) struct Eval {
    /// The client's eval.keys
    #[arg(long)]
    pub(crate) eval_keys: PathBuf,
    /// Model directory
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The client's ciphertext
    #[arg(long = "in")]
    pub(crate) input: PathBuf,
    /// Where the encrypted result goes; only an older result is replaced
    #[arg(long)]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) checkpoint: Checkpoint,
    #[command(flatten)]
    pub(crate) memory: Memory,
    #[command(flatten)]
    pub(crate) devices: Devices,
    #[command(flatten)]
    pub(crate) parameters: Parameters,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// How a run outlives its process.
#[derive(Args)]
pub(crate) struct Checkpoint {
    /// Folder, new or empty, to write down in how far the run is. The checkpoint goes when the result is written
    #[arg(long = "checkpoint", value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// Go on from the checkpoint in the folder, to the same bits; from the beginning where there is none yet
    #[arg(long, requires = "folder")]
    pub(crate) resume: bool,
    /// Seconds from one checkpoint to the next; 0 for one after every task
    #[arg(long = "checkpoint-every", value_name = "SECONDS", default_value_t = 60, requires = "folder")]
    pub(crate) every: u64,
}

#[derive(Args)]
pub(crate) struct Decrypt {
    /// Folder with secret.key
    #[arg(long)]
    pub(crate) keys: PathBuf,
    /// The server's result
    #[arg(long = "in")]
    pub(crate) input: PathBuf,
    #[command(flatten)]
    pub(crate) rounding: Rounding,
    #[command(flatten)]
    pub(crate) parameters: Parameters,
    #[command(flatten)]
    pub(crate) run: Run,
}

#[derive(Args)]
pub(crate) struct Embed {
    /// Model directory
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// A text; may be given several times: the keys then serve all of them, and short texts share a run. `-` reads one from
    /// standard input: a text written here stands in the system's list of processes and in the shell's history
    #[arg(long, required_unless_present = "text_file")]
    pub(crate) text: Vec<String>,
    /// A file with one more text a line
    #[arg(long)]
    pub(crate) text_file: Option<PathBuf>,
    /// Parameter preset
    #[arg(long, default_value = crate::presets::DEFAULT)]
    pub(crate) preset: String,
    /// Compare with the plain model
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) memory: Memory,
    #[command(flatten)]
    pub(crate) devices: Devices,
    /// Where the devices are: in this process, or each in a process of its own under `mpirun`, all with the same arguments
    /// and files
    #[arg(long, value_enum, default_value = "local")]
    pub(crate) comm: Comm,
    #[command(flatten)]
    pub(crate) rounding: Rounding,
    #[command(flatten)]
    pub(crate) seed: Seed,
    #[command(flatten)]
    pub(crate) run: Run,
}

#[derive(Args)]
pub(crate) struct Demo {
    /// Model directory
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The sentence to embed under encryption; `-` reads it from standard input, so that it stands in no list of processes
    #[arg(long, default_value = "How can I keep my medical questions private when I ask a computer?")]
    pub(crate) text: String,
    /// A file with the sentence
    #[arg(long, conflicts_with = "text")]
    pub(crate) text_file: Option<PathBuf>,
    /// Parameter preset
    #[arg(long, default_value = crate::presets::DEFAULT)]
    pub(crate) preset: String,
    /// Worker threads [default: all cores]
    #[arg(long)]
    pub(crate) threads: Option<std::num::NonZeroUsize>,
    #[command(flatten)]
    pub(crate) memory: Memory,
    #[command(flatten)]
    pub(crate) devices: Devices,
    #[command(flatten)]
    pub(crate) seed: Seed,
}

#[derive(Args)]
pub(crate) struct Calibrate {
    /// Model directory; a calibration in it is not read
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// A file with texts of the kind that will be encrypted, hundreds of them, one a line
    #[arg(long)]
    pub(crate) text_file: PathBuf,
    /// Longest text that the calibration is to cover, in tokens [default: what the model takes]
    #[arg(long)]
    pub(crate) max_tokens: Option<usize>,
    /// Name of the constants, which goes into the file
    #[arg(long, default_value = "aegis calibrate")]
    pub(crate) name: String,
    /// Where the calibration goes; only an older calibration is replaced. It serves as aegis-calibration.json in the model
    /// directory, on client and server alike
    #[arg(long)]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) run: Run,
}

#[derive(Args)]
pub(crate) struct Plan {
    /// Model directory with its calibration, or `bert-base`: the shape of BERT-Base with stand-in constants
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// Longest text, in tokens
    #[arg(long)]
    pub(crate) tokens: usize,
    /// Parameter preset
    #[arg(long, default_value = crate::presets::DEFAULT)]
    pub(crate) preset: String,
    /// Memory of the device, as 12GiB: a plan that needs more is printed, and the command fails
    #[arg(long, value_name = "SIZE", value_parser = crate::memory::parse)]
    pub(crate) memory: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
