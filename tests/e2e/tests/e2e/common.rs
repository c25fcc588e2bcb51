//! What several topics check or make.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use atalaya_e2e::{Helper, Probe, at, has_args, text};
use serde_json::Value;

/// Checks the parts that every file event of a successful call has.
pub(crate) fn check_event(event: &Value, name: &str, path: &str, helper: &Helper) {
    assert_eq!(text(event, "/evt/name"), name, "{event:#}");
    assert_eq!(text(event, "/evt/category"), "File Activity", "{event:#}");
    assert_eq!(text(event, "/evt/outcome"), "Success", "{event:#}");
    assert_eq!(text(event, "/file/path"), path, "{event:#}");
    let last = path.rsplit('/').next().unwrap();
    assert_eq!(text(event, "/file/name"), last, "{event:#}");
    check_process(event, helper);
}

/// Checks that the event's process is the helper that made the call.
pub(crate) fn check_process(event: &Value, helper: &Helper) {
    let executable = Helper::path().canonicalize().unwrap();
    assert_eq!(at(event, "/process/pid"), helper.pid, "{event:#}");
    assert_eq!(
        text(event, "/process/executable/path"),
        executable.to_string_lossy(),
        "{event:#}"
    );
    assert!(
        has_args(event, "sys") || has_args(event, "int80") || has_args(event, "uring"),
        "{event:#}"
    );
    assert_eq!(at(event, "/process/credentials/euid"), 0, "{event:#}");
    assert_eq!(at(event, "/process/ppid"), std::process::id(), "{event:#}");
    let own = std::env::current_exe().unwrap().canonicalize().unwrap();
    let ancestors = at(event, "/process/ancestors").as_array().unwrap();
    assert_eq!(
        text(&ancestors[0], "/executable/path"),
        own.to_string_lossy(),
        "{event:#}"
    );
    assert_eq!(at(ancestors.last().unwrap(), "/pid"), 1, "{event:#}");
}

/// Checks the event's inode, mode and owner against the file as it is.
pub(crate) fn check_file(event: &Value, at_pointer: &str, path: &str) {
    let file = std::fs::symlink_metadata(path).unwrap();
    let field = |name: &str| at(event, &format!("{at_pointer}/{name}")).clone();
    assert_eq!(field("inode"), file.ino(), "{event:#}");
    assert_eq!(
        field("mode").as_u64().unwrap() & 0o7777,
        u64::from(file.mode() & 0o7777),
        "{event:#}"
    );
    assert_eq!(field("uid"), file.uid(), "{event:#}");
    assert_eq!(field("gid"), file.gid(), "{event:#}");
}

/// Makes an empty file with these permissions.
pub(crate) fn make_file(path: &str, mode: u32) {
    std::fs::write(path, "").unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Writes the smallest 64-bit program there is: exit(0), no libraries.
pub(crate) fn tiny_program(path: &Path) {
    // mov edi, 0; mov eax, 60; syscall
    let code = [0xbf, 0, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    elf.extend(0x40_0078_u64.to_le_bytes()); // entry
    elf.extend(64_u64.to_le_bytes()); // program headers
    elf.extend(0_u64.to_le_bytes());
    elf.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(1_u32.to_le_bytes()); // PT_LOAD
    elf.extend(5_u32.to_le_bytes()); // read, execute
    elf.extend(0_u64.to_le_bytes());
    elf.extend(0x40_0000_u64.to_le_bytes());
    elf.extend(0x40_0000_u64.to_le_bytes());
    let size = (0x78 + code.len()) as u64;
    elf.extend(size.to_le_bytes());
    elf.extend(size.to_le_bytes());
    elf.extend(0x1000_u64.to_le_bytes());
    elf.extend(code);
    write_program(path, &elf);
}

/// Writes the smallest i386 program that opens a file for writing, creating it with mode 0600, and exits.
pub(crate) fn tiny_i386_open(path: &Path, target: &str) {
    let base = 0x0804_8000_u32;
    let flags = (libc::O_WRONLY | libc::O_CREAT) as u32;
    let code_len = 5 * 4 + 2 + 5 + 5 + 2;
    let text_at = base + 52 + 32 + code_len;
    let mut code = Vec::new();
    let mov = |register: u8, value: u32, code: &mut Vec<u8>| {
        code.push(0xb8 + register);
        code.extend(value.to_le_bytes());
    };
    mov(0, 5, &mut code); // eax: open
    mov(3, text_at, &mut code); // ebx
    mov(1, flags, &mut code); // ecx
    mov(2, 0o600, &mut code); // edx
    code.extend([0xcd, 0x80]);
    mov(0, 1, &mut code); // eax: exit
    mov(3, 0, &mut code);
    code.extend([0xcd, 0x80]);
    assert_eq!(code.len(), code_len as usize);
    let mut elf = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    elf.extend([2, 0, 3, 0, 1, 0, 0, 0]);
    elf.extend((base + 52 + 32).to_le_bytes());
    elf.extend(52_u32.to_le_bytes());
    elf.extend(0_u32.to_le_bytes());
    elf.extend(0_u32.to_le_bytes());
    for half in [52_u16, 32, 1, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    let size = 52 + 32 + code_len + target.len() as u32 + 1;
    for word in [1, 0, base, base, size, size, 5, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf.extend(target.as_bytes());
    elf.push(0);
    write_program(path, &elf);
}

/// Writes a program through a file that no child of this process can hold open for writing (ETXTBSY).
fn write_program(path: &Path, bytes: &[u8]) {
    let source: PathBuf = path.with_extension("source");
    std::fs::write(&source, bytes).unwrap();
    atalaya_e2e::copy_executable(&source, path);
    std::fs::remove_file(&source).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The decimal form of flags or a mode, as the helper takes them.
pub(crate) fn int(value: impl Into<i64>) -> String {
    format!("i:{}", value.into())
}

/// A text argument.
pub(crate) fn string(value: &str) -> String {
    format!("s:{value}")
}

/// `AT_FDCWD`.
pub(crate) const CWD: &str = "i:-100";

/// Runs a shell script in the directory that the test acts in.
pub(crate) fn shell(probe: &Probe, script: &str) {
    let output = Command::new("sh")
        .args(["-ec", script])
        .current_dir(probe.work())
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
}

/// Where the v2 cgroup hierarchy is.
pub(crate) fn cgroup2() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|words| words.get(2) == Some(&"cgroup2"))
        .map(|words| PathBuf::from(words[1]))
}

/// Runs a shell script in a cgroup, which is made and removed. Whether that worked.
pub(crate) fn in_cgroup(group: &Path, script: &str) -> bool {
    if std::fs::create_dir_all(group).is_err() {
        return false;
    }
    let script = format!("echo $$ > '{}/cgroup.procs'; {script}", group.display());
    let status = Command::new("sh").args(["-ec", &script]).status().unwrap();
    remove_group(group);
    status.success()
}

/// A cgroup can be removed a moment after its last process ended.
pub(crate) fn remove_group(path: &Path) {
    atalaya_e2e::wait_for(std::time::Duration::from_secs(2), || {
        std::fs::remove_dir(path).ok()
    });
}
