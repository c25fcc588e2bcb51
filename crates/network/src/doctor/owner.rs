//! Whose a program is: the processes that hold it, and the paths that it is pinned at.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::bpf;
use crate::netns::Places;

/// How many entries of BPF file systems are looked at.
const PINS: usize = 20_000;
/// How deep directories are followed.
const DEPTH: usize = 12;
/// How many holders, and paths, of a program are told.
const TOLD: usize = 8;

/// A process that holds a program, or a link of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Holder {
    /// Its pid.
    pub pid: u32,
    /// Its name, at most 15 bytes, which it can choose itself.
    pub comm: String,
    /// Its executable; empty where that cannot be read.
    pub executable: String,
}

/// Who holds a program.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Owner {
    /// The processes. A program that `tc` loaded has none: it is gone.
    pub processes: Vec<Holder>,
    /// Where it, or a link of it, is pinned.
    pub pinned: Vec<String>,
}

/// The owners of all programs of the host.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    of: BTreeMap<u32, Owner>,
}

impl Owners {
    /// Looks through the descriptors of all processes, and the BPF file systems that can be reached.
    pub(crate) fn find(places: &Places) -> Self {
        let mut owners = Self::default();
        owners.processes(&places.proc);
        let mut left = PINS;
        for (root, shown) in bpf_mounts(&places.proc) {
            owners.pins(&root, &shown, DEPTH, &mut left);
        }
        owners
    }

    /// Who holds a program.
    pub(crate) fn of(&self, program: u32) -> Owner {
        self.of.get(&program).cloned().unwrap_or_default()
    }

    fn processes(&mut self, proc: &Path) {
        for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let process = entry.path();
            for fd in fs::read_dir(process.join("fd"))
                .into_iter()
                .flatten()
                .flatten()
            {
                let target = fs::read_link(fd.path()).unwrap_or_default();
                let bpf = [&b"anon_inode:bpf-prog"[..], b"anon_inode:bpf_link"];
                if !bpf.contains(&target.as_os_str().as_bytes()) {
                    continue;
                }
                let info = fs::read_to_string(process.join("fdinfo").join(fd.file_name()));
                let Some(program) = info.ok().and_then(|info| bpf::program_in(&info)) else {
                    continue;
                };
                let holders = &mut self.of.entry(program).or_default().processes;
                if holders.len() < TOLD && holders.iter().all(|holder| holder.pid != pid) {
                    holders.push(holder(&process, pid));
                }
            }
        }
    }

    fn pins(&mut self, directory: &Path, shown: &Path, depth: usize, left: &mut usize) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if *left == 0 {
                return;
            }
            *left -= 1;
            let (path, shown) = (entry.path(), shown.join(entry.file_name()));
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth > 0 => self.pins(&path, &shown, depth - 1, left),
                Ok(kind) if kind.is_file() => {
                    if let Some(program) = bpf::pinned_program(&path) {
                        let pinned = &mut self.of.entry(program).or_default().pinned;
                        let text = shown.to_string_lossy().into_owned();
                        if pinned.len() < TOLD && !pinned.contains(&text) {
                            pinned.push(text);
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

fn holder(process: &Path, pid: u32) -> Holder {
    let comm = fs::read(process.join("comm")).unwrap_or_default();
    let executable = fs::read_link(process.join("exe")).unwrap_or_default();
    Holder {
        pid,
        comm: String::from_utf8_lossy(comm.trim_ascii_end()).into_owned(),
        executable: executable.to_string_lossy().into_owned(),
    }
}

/// The BPF file systems of this mount namespace and of the host's: how each is reached, and its name there.
fn bpf_mounts(proc: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut mounts = Vec::new();
    for (process, root) in [("self", None), ("1", Some(proc.join("1/root")))] {
        let text = fs::read_to_string(proc.join(process).join("mountinfo")).unwrap_or_default();
        for line in text.lines().filter(|line| line.contains(" - bpf ")) {
            let Some(shown) = line.split(' ').nth(4).map(PathBuf::from) else {
                continue;
            };
            let path = match &root {
                Some(root) => root.join(shown.strip_prefix("/").unwrap_or(&shown)),
                None => shown.clone(),
            };
            if !mounts.iter().any(|(_, other)| *other == shown) {
                mounts.push((path, shown));
            }
        }
    }
    mounts
}
