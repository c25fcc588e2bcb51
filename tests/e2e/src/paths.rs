//! Where the programs under test are.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory of the built programs.
pub fn bin_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("ATALAYA_BIN_DIR") {
        return PathBuf::from(dir);
    }
    // target/debug/deps/e2e-0123456789abcdef
    let exe = std::env::current_exe().expect("the test has a path");
    exe.ancestors()
        .nth(2)
        .expect("the test lies in target/PROFILE/deps")
        .to_owned()
}

/// One of the built programs.
pub fn program(name: &str) -> PathBuf {
    let path = bin_dir().join(name);
    assert!(
        path.exists(),
        "{} is not built: run ./dev test, or cargo build -p system-probe -p security-agent -p atalaya-e2e",
        path.display()
    );
    path
}

/// The directory of the shipped policy.
pub fn policies_dir() -> PathBuf {
    match std::env::var_os("ATALAYA_POLICIES") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies"),
    }
}

/// Copies a program. By cp(1), not by this process: a descriptor open for writing that another test's child inherits
/// would make the copy's execution fail with ETXTBSY.
pub fn copy_executable(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-L")
        .arg(from)
        .arg(to)
        .status()
        .expect("cp runs");
    assert!(status.success(), "cp failed");
}
