//! Kernels: Debian's own cloud packages, downloaded and unpacked, never installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use super::made;
use crate::util::{command, output, run, say};

/// A kernel series, and the meta package that names its newest build. Old builds vanish from the mirror, so that only
/// the meta package can be relied on.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    meta: &'static str,
    /// The archive and the suite that have it: not the system's own sources, so that every Debian has every kernel.
    suite: (&'static str, &'static str),
}

const ARCHIVE: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://deb.debian.org/debian-security";

/// The series that are tested. `backport` is whatever Debian has backported last to its stable release.
pub(crate) const SERIES: [Series; 4] = [
    Series {
        name: "5.10",
        meta: "linux-image-cloud-amd64",
        suite: (SECURITY, "bullseye-security"),
    },
    Series {
        name: "6.1",
        meta: "linux-image-cloud-amd64",
        suite: (SECURITY, "bookworm-security"),
    },
    Series {
        name: "6.12",
        meta: "linux-image-6.12-cloud-amd64",
        suite: (SECURITY, "bookworm-security"),
    },
    Series {
        name: "backport",
        meta: "linux-image-cloud-amd64",
        suite: (ARCHIVE, "trixie-backports"),
    },
];

/// How long an unpacked kernel is good before the mirror is asked for a newer one.
const FRESH: Duration = Duration::from_secs(7 * 24 * 3600);

/// The names of the packages that an unpacked kernel is made of, in its directory.
const PACKAGES: &str = "packages";

/// An unpacked kernel.
pub(crate) struct Kernel {
    pub(crate) version: String,
    pub(crate) vmlinuz: PathBuf,
    pub(crate) modules: PathBuf,
}

/// The newest kernel of a series: from the cache when it is from this week, else from the mirror, else the cached one all the same.
pub(crate) fn get(cache: &Path, series: &str) -> Result<Kernel> {
    let known = SERIES
        .iter()
        .find(|known| known.name == series)
        .with_context(|| format!("unknown kernel series {series}"))?;
    let dir = cache.join(format!("kernel-{series}"));
    if dir.exists() {
        if !fresh(&dir)
            && let Err(error) = renew(cache, known, &dir)
        {
            say(format!(
                "kernel {series}: the cached one is used, no newer one could be had: {error:#}"
            ));
        }
    } else {
        let apt = Apt::new(cache, known)?;
        let packages = apt.resolve(known.meta);
        packages
            .and_then(|packages| made(&dir, |dir| apt.fetch(&packages, dir)))
            .with_context(|| format!("no kernel {series} could be had"))?;
    }
    find(&dir)
}

/// Whether the mirror need not be asked again.
fn fresh(dir: &Path) -> bool {
    let modified = std::fs::metadata(dir.join(PACKAGES)).and_then(|file| file.modified());
    // A directory without the list is from a run of an earlier version of this program.
    let modified = modified.or_else(|_| std::fs::metadata(dir)?.modified());
    modified.is_ok_and(|time| {
        SystemTime::now()
            .duration_since(time)
            .is_ok_and(|age| age < FRESH)
    })
}

/// Puts a newer kernel in the place of the cached one.
fn renew(cache: &Path, known: &Series, dir: &Path) -> Result<()> {
    let apt = Apt::new(cache, known)?;
    let packages = apt.resolve(known.meta)?;
    let list = dir.join(PACKAGES);
    if std::fs::read_to_string(&list).is_ok_and(|had| had == packages.join("\n")) {
        std::fs::write(&list, packages.join("\n"))?;
        return Ok(());
    }
    let newer = dir.with_extension("newer");
    made(&newer, |newer| apt.fetch(&packages, newer))?;
    std::fs::remove_dir_all(dir)?;
    std::fs::rename(&newer, dir)?;
    Ok(())
}

/// apt with package lists of its own: it changes nothing of the system's and needs none of its sources.
struct Apt {
    config: PathBuf,
}

impl Apt {
    fn new(cache: &Path, series: &Series) -> Result<Self> {
        let (archive, suite) = series.suite;
        let dir = cache.join(format!("apt-{suite}"));
        std::fs::create_dir_all(dir.join("lists/partial"))?;
        std::fs::create_dir_all(dir.join("archives/partial"))?;
        let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
        std::fs::write(
            dir.join("sources.list"),
            format!("deb [signed-by={keys}] {archive} {suite} main\n"),
        )?;
        let config = dir.join("apt.conf");
        let at = dir.display();
        std::fs::write(
            &config,
            format!(
                "Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
                 Dir::State::lists \"{at}/lists\";\nDir::State::status \"/dev/null\";\nDir::Cache \"{at}/\";\n\
                 APT::Sandbox::User \"root\";\nAPT::Architecture \"amd64\";\nAcquire::Languages \"none\";\n\
                 Acquire::Retries \"2\";\n"
            ),
        )?;
        let apt = Self { config };
        // Lists of an earlier week name packages that are gone.
        run(apt.command("apt-get").args(["-qq", "update"]))
            .with_context(|| format!("{suite} is out of reach"))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command(program);
        command.env("APT_CONFIG", &self.config);
        command
    }

    /// The packages that a meta package stands for.
    fn resolve(&self, meta: &str) -> Result<Vec<String>> {
        let answer =
            output(
                self.command("apt-cache")
                    .args(["depends", "--recurse", "--important", meta]),
            )?;
        let packages = kernel_packages(&answer);
        if packages.is_empty() {
            bail!("{meta} names no kernel");
        }
        Ok(packages)
    }

    /// Downloads and unpacks the packages into a new directory.
    fn fetch(&self, packages: &[String], dir: &Path) -> Result<()> {
        say(format!("downloading {}", packages.join(", ")));
        std::fs::create_dir_all(dir)?;
        run(self
            .command("apt-get")
            .current_dir(dir)
            .args(["-q", "download"])
            .args(packages))?;
        while let Ok(deb) = only_entry(dir, |name| name.ends_with(".deb")) {
            run(command("dpkg").arg("-x").arg(&deb).arg(dir))?;
            std::fs::remove_file(&deb)?;
        }
        let kernel = find(dir)?;
        // The packages carry no modules.dep.
        run(command("/sbin/depmod")
            .arg("-b")
            .arg(kernel_root(dir))
            .arg(&kernel.version))?;
        std::fs::write(dir.join(PACKAGES), packages.join("\n"))?;
        Ok(())
    }
}

/// The packages with a kernel's version in their names, in the output of `apt-cache depends --recurse`: one up to 6.x, three
/// from 7.x on (the image without its files, the image's files, the modules).
fn kernel_packages(depends: &str) -> Vec<String> {
    let mut packages: Vec<String> = depends
        .lines()
        .filter(|line| !line.starts_with([' ', '<', '|']))
        .filter(|name| {
            ["linux-image-", "linux-binary-", "linux-modules-"]
                .iter()
                .filter_map(|prefix| name.strip_prefix(prefix))
                // Only a version starts with a digit and has its patch level: `6.12-cloud-amd64` is another meta package.
                .any(|rest| {
                    rest.starts_with(|c: char| c.is_ascii_digit())
                        && rest
                            .split(['-', '+'])
                            .next()
                            .is_some_and(|version| version.split('.').count() == 3)
                })
        })
        .map(str::to_owned)
        .collect();
    packages.sort();
    packages.dedup();
    packages
}

/// What depmod takes for the root: newer packages have their modules in `usr/lib`.
fn kernel_root(dir: &Path) -> PathBuf {
    if dir.join("lib/modules").exists() {
        dir.to_owned()
    } else {
        dir.join("usr")
    }
}

fn find(dir: &Path) -> Result<Kernel> {
    let all = kernel_root(dir).join("lib/modules");
    let modules = only_entry(&all, |_| true)?;
    let version = modules.file_name().unwrap_or_default().to_string_lossy();
    // In /boot up to 6.x, beside the modules from 7.x on.
    let places = [
        dir.join("boot").join(format!("vmlinuz-{version}")),
        modules.join("vmlinuz"),
    ];
    let vmlinuz = places
        .into_iter()
        .find(|path| path.exists())
        .with_context(|| format!("linux {version} came without its image"))?;
    Ok(Kernel {
        version: version.into_owned(),
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

#[cfg(test)]
mod tests {
    use super::{SERIES, kernel_packages};

    #[test]
    fn a_kernel_of_one_package_is_found_behind_its_meta_package() {
        let depends = "linux-image-6.12-cloud-amd64\n  Depends: linux-image-6.12.117+deb12-cloud-amd64\n\
                       linux-image-6.12.117+deb12-cloud-amd64\n  Depends: kmod\n    |busybox\nkmod\nlinux-base\n";
        assert_eq!(
            kernel_packages(depends),
            ["linux-image-6.12.117+deb12-cloud-amd64"]
        );
    }

    #[test]
    fn a_kernel_in_three_packages_is_found_whole() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-base-cloud-amd64\nlinux-base-cloud-amd64\n\
                       linux-image-7.3.4+deb13-cloud-amd64\nlinux-modules-cloud-amd64\nlinux-base\n\
                       linux-base-7.3.4+deb13-cloud-amd64\nlinux-binary-7.3.4+deb13-cloud-amd64\n\
                       linux-modules-7.3.4+deb13-cloud-amd64\n<debconf-2.0>\n";
        assert_eq!(
            kernel_packages(depends),
            [
                "linux-binary-7.3.4+deb13-cloud-amd64",
                "linux-image-7.3.4+deb13-cloud-amd64",
                "linux-modules-7.3.4+deb13-cloud-amd64"
            ]
        );
    }

    #[test]
    fn series_have_names_of_their_own() {
        for (number, series) in SERIES.iter().enumerate() {
            assert!(
                SERIES[..number]
                    .iter()
                    .all(|other| other.name != series.name)
            );
        }
    }
}
