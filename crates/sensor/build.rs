//! Compiles the eBPF object with clang. libbpf's headers are those of the libbpf that is linked.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=src/bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let include = env::var("DEP_BPF_INCLUDE").expect("libbpf-sys sets its include directory");
    let target = match env::var("CARGO_CFG_TARGET_ARCH")
        .expect("cargo sets the target")
        .as_str()
    {
        "x86_64" => "x86",
        other => panic!(
            "the sensor knows no system calls of {other}: add them to syscalls.rs and kernel.h"
        ),
    };
    let clang = tool("CLANG", &["clang-19", "clang"]);
    let strip = tool("LLVM_STRIP", &["llvm-strip-19", "llvm-strip"]);
    for object in ["atalaya", "probe", "layout"] {
        let out = out.join(format!("{object}.bpf.o"));
        run(Command::new(&clang)
            .args([
                "-g",
                "-O2",
                "-target",
                "bpf",
                "-mcpu=v3",
                "-Wall",
                "-Werror",
                "-Wno-missing-declarations",
            ])
            .args([
                format!("-D__TARGET_ARCH_{target}"),
                format!("-I{include}"),
                "-c".into(),
                format!("src/bpf/{object}.bpf.c"),
                "-o".into(),
                out.display().to_string(),
            ]));
        // DWARF is four fifths of the object; BTF, which the loader needs, stays.
        run(Command::new(&strip).arg("-g").arg(&out));
    }
}

fn tool(variable: &str, names: &[&str]) -> String {
    if let Ok(name) = env::var(variable) {
        return name;
    }
    for name in names {
        if Command::new(name)
            .arg("--version")
            .output()
            .is_ok_and(|o| o.status.success())
        {
            return (*name).to_owned();
        }
    }
    panic!(
        "none of {} found: apt-get install clang-19 llvm-19, or set {variable}",
        names.join(", ")
    );
}

fn run(command: &mut Command) {
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?} failed");
}
