//! The explorer's page: what is built of it is a part of the repository, so that building the programs takes no npm.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::util::{root, run, say};

/// Arguments of `page`.
#[derive(clap::Args)]
pub(crate) struct Args {}

fn npm(arguments: &[&str]) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(root().join("explorer")).args(arguments);
    npm
}

/// What `page` does: builds it anew.
pub(crate) fn main(_: &Args) -> Result<()> {
    install()?;
    run(&mut npm(&["run", "build"]))
}

/// The packages of the lock file.
fn install() -> Result<()> {
    run(&mut npm(&[
        "ci",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]))
    .context("npm is needed for the explorer's page")
}

/// Whether the sources are without errors, and what is in the repository was made of them.
pub(crate) fn check() -> Result<()> {
    install()?;
    run(&mut npm(&["run", "check"]))?;
    let dir = tempfile::tempdir()?;
    let out = dir
        .path()
        .to_str()
        .context("the temporary directory has no UTF-8 name")?;
    run(&mut npm(&[
        "run",
        "build",
        "--",
        "--outDir",
        out,
        "--emptyOutDir",
    ]))?;
    let (old, new) = (files(&root().join("explorer/dist"))?, files(dir.path())?);
    ensure!(!new.is_empty(), "nothing was built");
    let names = old.keys().chain(new.keys());
    let different: Vec<String> = names
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| name.display().to_string())
        .collect();
    if !different.is_empty() {
        bail!(
            "explorer/dist is not what explorer/src gives ({}): cargo xtask page",
            different.join(", ")
        );
    }
    say("the page is what its sources give");
    Ok(())
}

fn files(dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in
            std::fs::read_dir(&next).with_context(|| format!("cannot read {}", next.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.insert(path.strip_prefix(dir)?.to_owned(), std::fs::read(&path)?);
            }
        }
    }
    Ok(found)
}
