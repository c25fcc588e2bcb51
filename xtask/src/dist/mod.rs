//! `dist`: what is handed out: a .deb, an .rpm, and an image for containers, from the two programs as they were built.

mod image;
mod packages;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::util::{cargo, root, run, say, target_dir};

/// Arguments of `dist`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Take the programs from this directory instead of building them (release)
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Where to write; default: dist in the target directory
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The version that packages and image carry
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    version: String,
    /// Only these
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Deb,
    Rpm,
    Image,
}

/// What all kinds are made from.
pub(crate) struct Parts {
    /// The directory of the programs.
    pub(crate) bin: PathBuf,
    pub(crate) output: PathBuf,
    pub(crate) version: String,
}

impl Parts {
    /// A program.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.bin.join(name);
        if !path.exists() {
            bail!(
                "{} is not built: cargo build -p system-probe -p security-agent -p atalaya-entrypoint",
                path.display()
            );
        }
        Ok(path)
    }
}

/// What `dist` does. The last lines name the files.
pub(crate) fn main(args: &Args) -> Result<()> {
    let bin = match &args.bin_dir {
        Some(dir) => std::path::absolute(dir)?,
        None => {
            say("building system-probe, security-agent and atalaya-entrypoint (release)");
            let programs = ["system-probe", "security-agent", "atalaya-entrypoint"];
            let packages = programs.iter().flat_map(|program| ["-p", program]);
            run(cargo()
                .args(["build", "--release", "--locked"])
                .args(packages))?;
            target_dir().join("release")
        }
    };
    let output = args
        .output
        .clone()
        .map_or_else(|| Ok(target_dir().join("dist")), std::path::absolute)?;
    std::fs::create_dir_all(&output)
        .with_context(|| format!("cannot create {}", output.display()))?;
    let parts = Parts {
        bin,
        output,
        version: args.version.clone(),
    };
    let wanted = |kind| args.only.is_empty() || args.only.contains(&kind);
    let mut made = Vec::new();
    let packages = [(Kind::Deb, "deb"), (Kind::Rpm, "rpm")];
    for (_, format) in packages.into_iter().filter(|(kind, _)| wanted(*kind)) {
        say(format!("packing .{format}"));
        made.push(packages::make(&parts, format)?);
    }
    if wanted(Kind::Image) {
        say("packing the image");
        made.push(image::make(&parts)?);
    }
    for path in made {
        println!("{}", path.display());
    }
    Ok(())
}

/// A file of the repository.
pub(crate) fn repository(name: &str) -> PathBuf {
    root().join(name)
}

/// A copy of a program without what debuggers want, where binutils are there; as it is, where they are not.
pub(crate) fn stripped(program: &Path, to: &Path) -> Result<()> {
    std::fs::copy(program, to).with_context(|| format!("cannot copy {}", program.display()))?;
    if crate::util::on_path("strip") {
        run(crate::util::command("strip")
            .arg("--strip-unneeded")
            .arg(to))?;
    }
    Ok(())
}
