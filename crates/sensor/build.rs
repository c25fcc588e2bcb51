//! Compiles the eBPF object with clang. libbpf's headers are those of the libbpf that is linked.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
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
            "the sensor knows no system calls of {other}: add them to syscalls.tbl and kernel.h"
        ),
    };
    let clang = tool("CLANG", &["clang-19", "clang"]);
    let strip = tool("LLVM_STRIP", &["llvm-strip-19", "llvm-strip"]);
    let objcopy = tool("LLVM_OBJCOPY", &["llvm-objcopy-19", "llvm-objcopy"]);
    let calls = syscalls();
    write(&out, "shapes.h", &shapes_header(&calls));
    write(&out, "syscalls.rs", &syscalls_table(&calls));
    // The same sources twice: see "LEGACY" in base.h.
    for (object, source, define) in [
        ("atalaya", "atalaya", None),
        ("legacy", "atalaya", Some("-DLEGACY")),
        ("probe", "probe", None),
        ("layout", "layout", None),
        ("tasks", "tasks", None),
        ("tasks_legacy", "tasks", Some("-DLEGACY")),
        ("sockets", "sockets", None),
        ("sockets_legacy", "sockets", Some("-DLEGACY")),
    ] {
        let headers = out.display().to_string();
        let types = out.join(format!("{object}.btf"));
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
            .args(define)
            .args([
                format!("-D__TARGET_ARCH_{target}"),
                format!("-I{include}"),
                format!("-I{headers}"),
                "-c".into(),
                format!("src/bpf/{source}.bpf.c"),
                "-o".into(),
                out.display().to_string(),
            ]));
        // DWARF is four fifths of the object; BTF, which the loader needs, stays.
        run(Command::new(&strip).arg("-g").arg(&out));
        run(Command::new(&objcopy)
            .arg(format!("--dump-section=.BTF={}", types.display()))
            .args([&out, Path::new("/dev/null")]));
    }
}

/// A line of `syscalls.tbl`.
struct Calls {
    event: String,
    shape: String,
    native: Vec<u32>,
    compat: Vec<u32>,
}

fn syscalls() -> Vec<Calls> {
    let path = "src/bpf/syscalls.tbl";
    let text = fs::read_to_string(path).expect("syscalls.tbl can be read");
    let numbers = |list: &str, at: usize| -> Vec<u32> {
        list.split(',')
            .filter(|number| *number != "-")
            .map(|number| {
                number
                    .parse()
                    .unwrap_or_else(|_| panic!("{path}:{at}: {number} is no number"))
            })
            .collect()
    };
    let lines = text.lines().zip(1..);
    lines
        .filter(|(line, _)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(line, at)| {
            let [event, shape, native, compat] = line.split_whitespace().collect::<Vec<_>>()[..]
            else {
                panic!("{path}:{at}: a line is an event, a shape, and two lists of numbers")
            };
            Calls {
                event: event.to_owned(),
                shape: if shape == "-" { event } else { shape }.to_owned(),
                native: numbers(native, at),
                compat: numbers(compat, at),
            }
        })
        .collect()
}

/// Numbers of the shapes: the place of the line, from 1.
fn shapes_header(calls: &[Calls]) -> String {
    let mut header = String::from("enum shape {\n");
    for (call, number) in calls.iter().zip(1..) {
        let name = call.shape.to_uppercase();
        writeln!(header, "\tSHAPE_{name} = {number},").expect("a string takes it");
    }
    header + "};\n"
}

fn syscalls_table(calls: &[Calls]) -> String {
    let mut table = String::new();
    for (name, numbers) in [
        ("NATIVE", (|c| &c.native) as fn(&Calls) -> &Vec<u32>),
        ("COMPAT", |c| &c.compat),
    ] {
        writeln!(table, "pub(crate) const {name}: &[Syscall] = &[").expect("a string takes it");
        for (call, shape) in calls.iter().zip(1..) {
            let kind: String = call.event.split('_').map(capitalised).collect();
            for number in numbers(call) {
                writeln!(
                    table,
                    "Syscall {{ number: {number}, shape: {shape}, kind: CaptureKind::{kind} }},"
                )
                .expect("a string takes it");
            }
        }
        table += "];\n";
    }
    table
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

fn write(out: &Path, name: &str, text: &str) {
    fs::write(out.join(name), text).expect("cargo's output directory can be written");
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
