//! Reading whole files with a limit, so that a wrong path does not fill the memory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// Limit for configurations, calibrations and tokenizers. The largest public tokenizer.json seen has 17 MB.
pub(crate) const SMALL: u64 = 64 << 20;
/// Limit for weights. BERT-large in F32 has 1.3 GB.
pub(crate) const WEIGHTS: u64 = 4 << 30;

/// The bytes of `path`, at most `limit` of them.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes > limit {
        return Err(Error::FileTooLarge { path: path.to_owned(), bytes, limit });
    }
    let mut data = Vec::with_capacity(bytes as usize);
    // A device or pipe reports length 0: the limit also holds while reading.
    file.take(limit + 1).read_to_end(&mut data).map_err(failed)?;
    match data.len() as u64 > limit {
        true => Err(Error::FileTooLarge { path: path.to_owned(), bytes: data.len() as u64, limit }),
        false => Ok(data),
    }
}
