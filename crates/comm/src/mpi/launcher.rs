//! What the environment tells of the launcher.

use std::path::PathBuf;

use super::MpiFault;

/// Whatever started this process as one of several.
#[derive(Debug, PartialEq)]
pub(super) struct Launcher {
    is_open_mpi: bool,
    /// How many it started, where it says so.
    ranks: Option<usize>,
}

impl Launcher {
    /// The launcher, by the variables that it sets: `mpirun` of Open MPI; `mpiexec.hydra`, or `srun --mpi=pmi2`; or one
    /// that speaks PMIx, such as `srun --mpi=pmix`.
    pub(super) fn find(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let number = |name| variable(name).map(|text| text.parse().ok());
        let open_mpi = number("OMPI_COMM_WORLD_SIZE").map(|ranks| Self { is_open_mpi: true, ranks });
        let hydra = || number("PMI_SIZE").map(|ranks| Self { is_open_mpi: false, ranks });
        let pmix = || variable("PMIX_RANK").map(|_| Self { is_open_mpi: true, ranks: None });
        open_mpi.or_else(hydra).or_else(pmix)
    }

    /// Names under which its library may be found, the likeliest first.
    pub(super) fn libraries(&self) -> Vec<PathBuf> {
        let (before, after) = if cfg!(target_os = "macos") { (".", ".dylib") } else { (".so.", "") };
        let name = |(stem, version): (&str, u32)| format!("lib{stem}{before}{version}{after}").into();
        let mut names = vec![("mpi", 12), ("mpich", 12), ("mpi_abi", 1), ("mpi_abi", 0)];
        names.insert(if self.is_open_mpi { 0 } else { names.len() }, ("mpi", 40));
        names.into_iter().map(name).collect()
    }

    /// Refuses a library that knows of other ranks: under a foreign launcher each process is alone.
    pub(super) fn check(&self, library: &str, seen: usize) -> Result<(), MpiFault> {
        match self.ranks {
            Some(launched) if launched != seen => {
                Err(MpiFault::AnotherMpi { library: library.to_owned(), launched, seen })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(variables: &[(&str, &str)]) -> Option<Launcher> {
        let value =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Launcher::find(value)
    }

    #[test]
    fn a_launcher_is_known_by_what_it_sets() {
        let is = |is_open_mpi, ranks| Some(Launcher { is_open_mpi, ranks });
        assert_eq!(find(&[("HOME", "4")]), None);
        assert_eq!(find(&[("OMPI_COMM_WORLD_SIZE", "4"), ("PMIX_RANK", "0")]), is(true, Some(4)));
        assert_eq!(find(&[("PMI_SIZE", "2"), ("PMI_RANK", "0")]), is(false, Some(2)));
        assert_eq!(find(&[("PMIX_RANK", "0")]), is(true, None));
        assert_eq!(find(&[("PMI_SIZE", "many")]), is(false, None));
    }

    #[test]
    fn a_library_that_sees_other_ranks_is_refused() {
        let launcher = Launcher { is_open_mpi: false, ranks: Some(4) };
        assert_eq!(launcher.check("libmpi", 4), Ok(()));
        let refused = launcher.check("libmpi", 1).expect_err("alone");
        assert!(refused.to_string().contains("started 4 ranks and libmpi sees 1"), "{refused}");
    }

    #[test]
    fn the_launchers_own_library_is_tried_first() {
        let first = |is_open_mpi| Launcher { is_open_mpi, ranks: None }.libraries().swap_remove(0);
        assert!(first(true).to_string_lossy().contains("40"));
        assert!(first(false).to_string_lossy().contains("12"));
    }
}
