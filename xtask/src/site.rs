//! One site of all that is written: the documentation of the crates, and the Markdown of the repository, in target/doc.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::{cargo, libraries, output, root, run};
use crate::tidy::tracked_files;

/// Repository files are found below this folder of the site, so that no page has the name of a crate.
const PAGES: &str = "repository";

const HEAD: &str = "head.html";
/// Put into the head of every page: rustdoc renders Markdown without a style.
const STYLE: &str = "<style>
body { max-width: 60em; margin: 2em auto; padding: 0 1em; font-family: sans-serif; line-height: 1.4; }
pre, code { background: #f4f4f4; } pre { padding: 0.6em; overflow-x: auto; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { border: 1px solid #ccc; padding: 0.2em 0.5em; }
</style>";

/// Builds target/doc/index.html and what it leads to; fails on a warning of rustdoc and on a link to nothing.
pub(crate) fn build() -> Result<()> {
    run(cargo().args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    let site = root().join("target/doc");
    let files = tracked_files()?;
    let pages: Vec<&str> = files.iter().map(String::as_str).filter(|f| is_page(f)).collect();
    fs::write(site.join(HEAD), STYLE).with_context(|| format!("cannot write {}", site.display()))?;
    let mut broken = Vec::new();
    for page in &pages {
        let text = fs::read_to_string(root().join(page)).with_context(|| format!("cannot read {page}"))?;
        let (text, targets) = with_links_of_the_site(page, &text, &files);
        for target in targets {
            match target {
                Target::File(file) => copy(&file, &site)?,
                Target::Nothing(link) => broken.push(format!("{page} links to {link}, which is not there")),
            }
        }
        render(&site.join(PAGES).join(page), &text)?;
    }
    render(&site.join("index.md"), &index(&pages)?)?;
    if !broken.is_empty() {
        bail!("{}", broken.join("\n"));
    }
    eprintln!("{}", site.join("index.html").display());
    Ok(())
}

fn is_page(path: &str) -> bool {
    path.ends_with(".md") && !path.starts_with('.')
}

/// Where a link leads that needs more than another ending.
#[derive(Debug, PartialEq)]
enum Target {
    /// A file that is no page, copied as it is.
    File(String),
    Nothing(String),
}

/// A page with its relative links changed to where they lead on the site.
fn with_links_of_the_site(page: &str, text: &str, files: &[String]) -> (String, Vec<Target>) {
    let (mut out, mut targets) = (String::new(), Vec::new());
    let mut parts = text.split("](");
    out += parts.next().unwrap_or_default();
    for part in parts {
        out += "](";
        let Some((link, rest)) = part.split_once(')').filter(|(link, _)| is_relative(link)) else {
            out += part;
            continue;
        };
        let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
        let file = resolved(page, path);
        let in_folder = |f: &&String| f.strip_prefix(&file).is_some_and(|rest| rest.starts_with('/'));
        out += &if let Some(name) =
            file.strip_prefix("crates/").filter(|_| files.contains(&format!("{file}/src/lib.rs")))
        {
            let name = if name == "aegis" { name.to_owned() } else { format!("aegis_{name}") };
            format!("{}{name}/index.html", "../".repeat(1 + page.matches('/').count()))
        } else if is_page(&file) && files.contains(&file) {
            format!("{}.html", path.trim_end_matches(".md"))
        } else if files.contains(&file) {
            targets.push(Target::File(file));
            path.to_owned()
        } else if files.iter().any(|f| in_folder(&f)) {
            // A folder's pages stand together in the index.
            format!("{}index.html", "../".repeat(1 + page.matches('/').count()))
        } else {
            targets.push(Target::Nothing(link.to_owned()));
            path.to_owned()
        };
        out += &anchor.map_or(String::new(), |anchor| format!("#{anchor}"));
        out += ")";
        out += rest;
    }
    (out, targets)
}

fn is_relative(link: &str) -> bool {
    !(link.is_empty()
        || link.contains("://")
        || link.starts_with(['#', '<'])
        || link.contains(char::is_whitespace))
}

/// The path from the root of the repository that `link` on `page` names.
fn resolved(page: &str, link: &str) -> String {
    let mut path = PathBuf::from(page);
    path.pop();
    for component in Path::new(link).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path.to_string_lossy().replace('\\', "/")
}

fn copy(file: &str, site: &Path) -> Result<()> {
    let to = site.join(PAGES).join(file);
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::copy(root().join(file), &to).map(|_| ()).with_context(|| format!("cannot write {}", to.display()))
}

/// The front page: every library, and every page by its folder.
fn index(pages: &[&str]) -> Result<String> {
    let mut text = String::from("# aegis\n\n## Crates\n");
    for package in libraries()? {
        let name = package["name"].as_str().context("a package without a name")?;
        let description = package["description"].as_str().unwrap_or_default();
        text += &format!("- [{name}]({}/index.html): {description}\n", name.replace('-', "_"));
    }
    let mut folder = None;
    for page in pages {
        let here = page.rsplit_once('/').map_or("", |(folder, _)| folder);
        if folder.replace(here) != Some(here) {
            text += &format!("\n## {}\n", if here.is_empty() { "Repository" } else { here });
        }
        let source = fs::read_to_string(root().join(page)).with_context(|| format!("cannot read {page}"))?;
        let title = source.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or(page);
        text += &format!("- [{title}]({PAGES}/{}.html)\n", page.trim_end_matches(".md"));
    }
    Ok(text)
}

/// Writes the Markdown and lets rustdoc make a page of it, which takes a title.
fn render(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a page has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    let mut rustdoc = Command::new("rustdoc");
    rustdoc.current_dir(root()).arg(path).arg("--output").arg(folder);
    rustdoc.arg("--html-in-header").arg(root().join("target/doc").join(HEAD));
    output(&mut rustdoc)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_pages_of_the_site() {
        let files =
            ["README.md", "docs/style.md", "docs/decisions/0001.md", "LICENSE", "crates/hal/src/lib.rs"]
                .map(str::to_owned);
        let text = "[a](../README.md#top) [b](style.md) [c](https://x.org/a.md) [d](../crates/hal) [e](#here) \
            [f](decisions) [g](../LICENSE) [h](gone.md)";
        let (text, targets) = with_links_of_the_site("docs/style.md", text, &files);
        let want = "[a](../README.html#top) [b](style.html) [c](https://x.org/a.md) [d](../../aegis_hal/index.html) \
            [e](#here) [f](../../index.html) [g](../LICENSE) [h](gone.md)";
        assert_eq!(text, want);
        assert_eq!(targets, [Target::File("LICENSE".into()), Target::Nothing("gone.md".into())]);
    }
}
