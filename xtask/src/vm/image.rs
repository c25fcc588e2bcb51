//! What a machine boots from: a root image, an initrd with a few modules, and the payload it is to run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::kernel::Kernel;
use super::made;
use crate::util::{cargo, command, key, on_path, output, run, say};

/// What is in the root image besides Debian's minimal base. The guest runs the host's own binaries, so that it is the
/// host's release and has the libraries they link.
const PACKAGES: &str = "libelf1,zlib1g,libzstd1,kmod,procps,iproute2,util-linux,mount,bash";

/// The modules that a boot needs, and those that the tests of packets do; nothing in the guest loads one by itself.
const MODULES: [&str; 9] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "ext4",
    "overlay",
    "veth",
    "sch_ingress",
    "cls_bpf",
];

const INIT: &str = include_str!("init.sh");
const GUEST: &str = include_str!("guest.sh");

/// The root file system (ext4). Every boot writes to a snapshot, so that it stays as made.
pub(crate) fn root(cache: &Path) -> Result<PathBuf> {
    let image = cache.join(format!("root-{}.ext4", key(PACKAGES)));
    made(&image, |image| {
        say("making the root image (mmdebstrap, about a minute)");
        let dir = image.with_extension("dir");
        let _ = std::fs::remove_dir_all(&dir);
        run(command("mmdebstrap")
            .args(["--variant=minbase", "--quiet"])
            .arg(format!("--include={PACKAGES}"))
            .args([
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-exclude=/usr/share/locale/*",
                "--dpkgopt=path-exclude=/usr/share/man/*",
            ])
            .arg("bookworm")
            .arg(&dir))?;
        run(command("/sbin/mke2fs")
            .args(["-q", "-t", "ext4", "-d"])
            .arg(&dir)
            .arg(image)
            .arg("3G"))?;
        std::fs::remove_dir_all(&dir)?;
        Ok(())
    })?;
    Ok(image)
}

/// The initrd: busybox, modules, and the two scripts.
pub(crate) fn initrd(cache: &Path, kernel: &Kernel) -> Result<PathBuf> {
    let key = key(&format!("{INIT}{GUEST}{MODULES:?}"));
    let initrd = cache.join(format!("initrd-{}-{key}.cpio.zst", kernel.version));
    made(&initrd, |initrd| {
        let work = tempfile::tempdir()?;
        let dir = work.path();
        for name in ["bin", "dev", "proc", "sys", "newroot", "lib"] {
            std::fs::create_dir(dir.join(name))?;
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .context("busybox-static is not installed")?;
        std::fs::copy(busybox, dir.join("bin/busybox"))?;
        write_executable(&dir.join("init"), INIT)?;
        write_executable(&dir.join("guest.sh"), GUEST)?;
        for (number, module) in modules(kernel)?.iter().enumerate() {
            unpack_module(module, &dir.join(format!("lib/{number:02}.ko")))?;
        }
        let mut make = Command::new("sh");
        make.current_dir(dir)
            .args([
                "-ec",
                "find . | cpio -o -H newc --quiet | zstd -q -3 -o \"$1\"",
                "sh",
            ])
            .arg(initrd);
        run(&mut make)
    })?;
    Ok(initrd)
}

/// A module that depends on no other and does nothing, for tests that load one.
pub(crate) fn dummy_module(kernel: &Kernel) -> Option<PathBuf> {
    let dir = kernel.modules.join("kernel/drivers/net");
    let names = ["dummy.ko", "dummy.ko.xz"];
    names
        .map(|name| dir.join(name))
        .into_iter()
        .find(|file| file.exists())
}

/// The files of [`MODULES`] and of all they depend on, in the order to load them.
fn modules(kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let path = kernel.modules.join("modules.dep");
    let table = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let mut order: Vec<PathBuf> = Vec::new();
    for wanted in MODULES {
        let line = table.lines().find(|line| {
            let file = line.split(':').next().unwrap_or_default();
            let name = file.rsplit('/').next().unwrap_or_default();
            name.split('.').next() == Some(wanted)
        });
        // Not a module of this kernel: built in.
        let Some((file, needs)) = line.and_then(|line| line.split_once(':')) else {
            continue;
        };
        for file in needs.split_whitespace().rev().chain([file]) {
            let file = kernel.modules.join(file);
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    Ok(order)
}

pub(crate) fn unpack_module(from: &Path, to: &Path) -> Result<()> {
    if from.extension().is_some_and(|extension| extension == "xz") {
        let file = std::fs::File::create(to)?;
        return run(command("xz").arg("-dc").arg(from).stdout(file));
    }
    std::fs::copy(from, to).with_context(|| format!("cannot read {}", from.display()))?;
    Ok(())
}

fn write_executable(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The files the guest gets in `/work`.
#[derive(Default, Clone)]
pub(crate) struct Payload {
    files: Vec<(PathBuf, String)>,
}

impl Payload {
    /// Adds a file or a directory under its own name.
    pub(crate) fn add(&mut self, path: &Path) -> Result<()> {
        let name = path
            .file_name()
            .with_context(|| format!("{} has no name", path.display()))?;
        self.add_as(path, &name.to_string_lossy());
        Ok(())
    }

    /// Adds a file or a directory under a name or relative path.
    pub(crate) fn add_as(&mut self, path: &Path, name: &str) {
        self.files.push((path.to_owned(), name.to_owned()));
    }

    /// Writes the payload as a tar file, which the guest reads from a raw disk.
    pub(crate) fn write(&self, tar: &Path, script: &str) -> Result<()> {
        let stage = tempfile::tempdir()?;
        write_executable(&stage.path().join("run.sh"), script)?;
        for (path, name) in &self.files {
            let to = stage.path().join(name);
            if let Some(parent) = to.parent() {
                std::fs::create_dir_all(parent)?;
            }
            run(command("cp").arg("-rL").arg(path).arg(&to))?;
        }
        // Raw disks come in sectors of 512 bytes; tar's records are multiples of that.
        run(command("tar")
            .args(["--owner=0", "--group=0", "-cf"])
            .arg(tar)
            .arg("-C")
            .arg(stage.path())
            .arg("."))
    }
}

/// Builds the end-to-end suite and adds it with all it needs.
pub(crate) fn add_suite(payload: &mut Payload) -> Result<()> {
    let built = build()?;
    for binary in &built.binaries {
        let name = binary.file_name().unwrap_or_default().to_string_lossy();
        payload.add_as(binary, &format!("bin/{name}"));
    }
    for (name, suite) in &built.suites {
        payload.add_as(suite, &format!("suites/{name}"));
    }
    for tool in &built.tools {
        let name = tool.file_name().unwrap_or_default().to_string_lossy();
        payload.add_as(tool, &format!("bin/{name}"));
    }
    payload.add_as(&crate::util::root().join("policies"), "policies");
    // What the tests compare with, where it is at hand.
    for name in ["backend_linux.schema.json", "default.policy"] {
        let file = crate::util::root().join("../shared/reference").join(name);
        if file.exists() {
            payload.add_as(&file, &format!("reference/{name}"));
        }
    }
    Ok(())
}

/// The end-to-end suites among the tests that cargo builds: what runs everywhere, and what needs a machine made for it.
const SUITES: [&str; 3] = ["e2e", "evasion", "fixtures"];

/// Executables that cargo made.
pub(crate) struct Built {
    /// The two programs and the tests' helper.
    pub(crate) binaries: Vec<PathBuf>,
    /// The end-to-end test suites, by name.
    pub(crate) suites: Vec<(String, PathBuf)>,
    /// Examples of the sensor that machines need.
    pub(crate) tools: Vec<PathBuf>,
}

impl Built {
    /// One of the programs or tools.
    pub(crate) fn program(&self, name: &str) -> Result<&Path> {
        let mut found = self.binaries.iter().chain(&self.tools);
        let found = found.find(|path| path.file_name().is_some_and(|file| file == name));
        Ok(found
            .with_context(|| format!("{name} was not built"))?
            .as_path())
    }
}

/// Builds the two programs and the end-to-end suites, unoptimised as `cargo test` has them.
pub(crate) fn build() -> Result<Built> {
    let mut binaries = Vec::new();
    let mut suites = Vec::new();
    let mut tools = Vec::new();
    let messages = output(cargo().args([
        "build",
        "--message-format=json",
        "-p",
        "system-probe",
        "-p",
        "security-agent",
        "-p",
        "atalaya-e2e",
        "-p",
        "atalaya-evasion",
        "-p",
        "atalaya-sensor",
        "--bins",
        "--tests",
        "--example",
        "refuse_ringbuf",
        "--example",
        "verifier",
    ]))?;
    for line in messages.lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        let Some(executable) = message["executable"].as_str() else {
            continue;
        };
        let kinds = message["target"]["kind"].as_array();
        let kind = kinds.and_then(|kinds| kinds.first()?.as_str());
        match (kind, message["profile"]["test"].as_bool()) {
            (Some("bin"), Some(false)) => binaries.push(PathBuf::from(executable)),
            // The other packages' own tests are no business of a virtual machine.
            (Some("example"), Some(false)) => tools.push(PathBuf::from(executable)),
            (Some("test"), _) => {
                let name = message["target"]["name"].as_str();
                if let Some(name) = name.filter(|name| SUITES.contains(name)) {
                    suites.push((name.to_owned(), PathBuf::from(executable)));
                }
            }
            _ => {}
        }
    }
    if suites.is_empty() {
        bail!("cargo built no end-to-end suite");
    }
    binaries.sort();
    suites.sort();
    binaries.dedup();
    Ok(Built {
        binaries,
        suites,
        tools,
    })
}

/// The programs that a machine needs and that are not installed.
pub(crate) fn tools_missing() -> Vec<&'static str> {
    [
        "qemu-system-x86_64",
        "mmdebstrap",
        "cpio",
        "zstd",
        "xz",
        "dpkg",
    ]
    .into_iter()
    .filter(|program| !on_path(program))
    .collect()
}
