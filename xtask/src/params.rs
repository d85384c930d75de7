//! The table of parameter presets, printed by `aegis params` and kept in docs/params.md.

use anyhow::{Context, Result, bail};

use crate::cargo::{cargo, output, root};

const BEGIN: &str = "<!-- begin: cargo xtask params -->";
const END: &str = "<!-- end -->";

/// Options of `cargo xtask params`.
#[derive(clap::Args)]
pub(crate) struct ParamsArgs {
    /// Fail when docs/params.md does not hold the printed table, instead of writing it there
    #[arg(long)]
    pub(crate) check: bool,
}

/// Prints the table. `aegis params` itself fails when a preset breaks a limit.
pub(crate) fn run(args: &ParamsArgs) -> Result<()> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", "aegis-cli", "--bin", "aegis", "--", "params"]);
    let table = output(&mut command)?;
    print!("{table}");
    let path = root().join("docs/params.md");
    let page = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (Some(begin), Some(end)) = (page.find(BEGIN), page.find(END)) else {
        bail!("docs/params.md has lost the marks `{BEGIN}` and `{END}`");
    };
    let updated = format!("{}{BEGIN}\n{}\n{}", &page[..begin], table.trim(), &page[end..]);
    if updated == page {
        return Ok(());
    }
    if args.check {
        bail!("docs/params.md is not up to date: run `cargo xtask params` and commit it");
    }
    std::fs::write(&path, updated).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("updated docs/params.md");
    Ok(())
}
