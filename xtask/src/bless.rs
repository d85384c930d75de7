//! Renewing what tests and checks compare with, after a change that was meant.

use anyhow::Result;

use crate::cargo::{cargo, run};
use crate::{api, model, params};

/// Options of `cargo xtask bless`.
#[derive(clap::Args)]
pub(crate) struct BlessArgs {
    /// Only these; all of them when none is named
    #[arg(value_enum)]
    only: Vec<What>,
    /// Golden texts of one crate alone, e.g. aegis-nn
    #[arg(long, short)]
    package: Option<String>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum What {
    /// What tests compare by `expect-test`
    Golden,
    /// Public API of each library: `crates/*/api.txt`
    Api,
    /// The table in docs/params.md
    Params,
}

/// Writes what is found. A test that fails for another reason still fails.
pub(crate) fn bless(args: &BlessArgs) -> Result<()> {
    if let Some(package) = &args.package {
        return golden(&["--package", package]);
    }
    let asked = |what| args.only.is_empty() || args.only.contains(&what);
    if asked(What::Api) {
        api::bless()?;
    }
    if asked(What::Params) {
        params::run(&params::ParamsArgs { check: false })?;
    }
    if asked(What::Golden) {
        golden(&["--workspace", "--tests", "--no-fail-fast"])?;
        match model::fetch() {
            Ok(_) => golden(&["--package", "aegis-models", "--test", "it", "minilm", "--", "--ignored"])?,
            Err(error) => {
                eprintln!("note: no model ({error:#}); tests that need its weights keep their texts")
            }
        }
    }
    Ok(())
}

fn golden(tests: &[&str]) -> Result<()> {
    run(cargo().arg("test").args(tests).env("UPDATE_EXPECT", "1"))
}
