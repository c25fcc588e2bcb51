//! Reference pages and sample files made from the code: `docs` writes them, `docs --check` fails when a page and the code disagree.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::util::{cargo, output, root, say};

/// Arguments of `docs`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail when a page is not what the code says.
    #[arg(long)]
    check: bool,
}

/// The pages: the file, and what the example program `reference` calls it.
const PAGES: [(&str, &str); 6] = [
    ("docs/reference/configuration.md", "configuration"),
    ("docs/reference/constants.md", "constants"),
    ("docs/reference/events.md", "events"),
    ("docs/reference/fields.md", "fields"),
    (
        "deploy/config/system-probe.yaml.sample",
        "system-probe.yaml.sample",
    ),
    (
        "deploy/config/security-agent.yaml.sample",
        "security-agent.yaml.sample",
    ),
];

/// What `docs` does.
pub(crate) fn main(args: &Args) -> Result<()> {
    if args.check {
        return check();
    }
    for (path, text) in pages()? {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        say(format!("wrote {}", path.display()));
    }
    Ok(())
}

/// Fails when a page differs from what the code prints.
pub(crate) fn check() -> Result<()> {
    let mut stale = Vec::new();
    for (path, text) in pages()? {
        if std::fs::read_to_string(&path).unwrap_or_default() != text {
            stale.push(path.display().to_string());
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    bail!(
        "not what the code says (./dev docs writes them anew): {}",
        stale.join(", ")
    )
}

/// The programs whose commands are a page of `docs/cli` each.
const PROGRAMS: [&str; 2] = ["security-agent", "system-probe"];

fn pages() -> Result<Vec<(PathBuf, String)>> {
    let programs = PROGRAMS.into_iter().map(|program| {
        let text =
            output(cargo().args(["run", "--quiet", "--package", program, "--", "reference"]))?;
        Ok((root().join(format!("docs/cli/{program}.md")), text))
    });
    PAGES
        .into_iter()
        .map(|(file, page)| {
            let text = output(cargo().args([
                "run",
                "--quiet",
                "--package",
                "xtask",
                "--example",
                "reference",
                "--",
                page,
            ]))?;
            Ok((root().join(file), text))
        })
        .chain(programs)
        .collect()
}
