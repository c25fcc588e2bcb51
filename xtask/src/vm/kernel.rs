//! Kernels: Debian's own cloud packages, downloaded and unpacked, never installed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::made;
use crate::util::{command, output, run, say};

/// A kernel series, and the meta package that names its newest build. Old builds vanish from the mirror, so that only
/// the meta package can be relied on.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    meta: &'static str,
}

/// The series that are tested.
pub(crate) const SERIES: [Series; 2] = [
    Series {
        name: "6.1",
        meta: "linux-image-cloud-amd64",
    },
    Series {
        name: "6.12",
        meta: "linux-image-6.12-cloud-amd64",
    },
];

/// An unpacked kernel.
pub(crate) struct Kernel {
    pub(crate) version: String,
    pub(crate) vmlinuz: PathBuf,
    pub(crate) modules: PathBuf,
}

/// The newest kernel of a series: from the mirror, or the cached one when the mirror has none or is out of reach.
pub(crate) fn get(cache: &Path, series: &str) -> Result<Kernel> {
    let known = SERIES
        .iter()
        .find(|known| known.name == series)
        .with_context(|| format!("unknown kernel series {series}"))?;
    let dir = cache.join(format!("kernel-{series}"));
    if !dir.exists() {
        made(&dir, |dir| fetch(known.meta, dir))
            .with_context(|| format!("no kernel {series} could be had"))?;
    }
    find(&dir)
}

fn fetch(meta: &str, dir: &Path) -> Result<()> {
    let package = match resolve(meta) {
        Ok(package) => package,
        Err(_) => {
            run(command("apt-get").args(["-q", "update"]))?;
            resolve(meta)?
        }
    };
    say(format!("downloading {package}"));
    std::fs::create_dir_all(dir)?;
    let download = || {
        run(command("apt-get")
            .current_dir(dir)
            .args(["-q", "-o", "APT::Sandbox::User=root", "download"])
            .arg(&package))
    };
    if download().is_err() {
        // The package lists are older than the mirror.
        run(command("apt-get").args(["-q", "update"]))?;
        download()?;
    }
    let deb = only_entry(dir, |name| name.ends_with(".deb"))?;
    run(command("dpkg").arg("-x").arg(&deb).arg(dir))?;
    std::fs::remove_file(&deb)?;
    let kernel = find(dir)?;
    // The packages carry no modules.dep.
    run(command("/sbin/depmod")
        .arg("-b")
        .arg(dir)
        .arg(&kernel.version))
}

/// The package that a meta package stands for.
fn resolve(meta: &str) -> Result<String> {
    let answer = output(command("apt-cache").args(["depends", meta]))?;
    answer
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .map(str::to_owned)
        .with_context(|| format!("{meta} names no kernel"))
}

fn find(dir: &Path) -> Result<Kernel> {
    let vmlinuz = only_entry(&dir.join("boot"), |name| name.starts_with("vmlinuz-"))?;
    let name = vmlinuz.file_name().unwrap_or_default().to_string_lossy();
    let version = name.trim_start_matches("vmlinuz-").to_owned();
    let modules = dir.join("lib/modules").join(&version);
    Ok(Kernel {
        version,
        vmlinuz,
        modules,
    })
}

fn only_entry(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        if wanted(&entry.file_name().to_string_lossy()) {
            return Ok(entry.path());
        }
    }
    bail!("nothing fitting in {}", dir.display())
}
