//! What each program costs this kernel's verifier: one line a program, `cargo xtask verifier` compares them with the reviewed ones.
//!
//! ```text
//! VERIFIER: kernel RELEASE
//! VERIFIER: PROGRAM SECTION INSTRUCTIONS PEAK_STATES STACK_BYTES
//! VERIFIER: PROGRAM SECTION refused REASON
//! VERIFIER: PROGRAM SECTION absent
//! VERIFIER: end
//! ```
//! With the name of a program it prints the verifier's whole log of that one instead.
//!
//! Programs of all tiers are loaded, whichever the sensor would choose. `absent`: the kernel has no such hook, or none for anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Mutex};

use atalaya_sensor::ObjectTypes;
use libbpf_rs::{ObjectBuilder, OpenObject, PrintLevel};

/// The objects that the sensor loads, and their compilations for kernels before 5.17.
static OBJECTS: [(&[u8], &[u8]); 2] = [
    (
        include_bytes!(concat!(env!("OUT_DIR"), "/atalaya.bpf.o")),
        include_bytes!(concat!(env!("OUT_DIR"), "/legacy.bpf.o")),
    ),
    (
        include_bytes!(concat!(env!("OUT_DIR"), "/tasks.bpf.o")),
        include_bytes!(concat!(env!("OUT_DIR"), "/tasks_legacy.bpf.o")),
    ),
];

/// What the sensor says of the kernel's types to the object for current kernels. The others need nothing.
static TYPES: LazyLock<Option<ObjectTypes>> = LazyLock::new(|| {
    ObjectTypes::of_this_kernel(include_bytes!(concat!(env!("OUT_DIR"), "/atalaya.btf"))).ok()
});

/// The program by which the sensor chooses between the two compilations.
static PROBES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe.bpf.o"));
const PROBE: &str = "probe_current";

/// `BPF_LOG_STATS`: the statistics, without the log of every instruction.
const STATISTICS: u32 = 4;
/// `BPF_LOG_LEVEL1`.
const EVERYTHING: u32 = 1;

/// What libbpf said during one load.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn keep(_: PrintLevel, text: String) {
    if let Ok(mut said) = SAID.lock() {
        said.push(text);
    }
}

fn take_said() -> Vec<String> {
    SAID.lock()
        .map(|mut said| std::mem::take(&mut *said))
        .unwrap_or_default()
}

/// Loads these programs of the object and none other. What libbpf says of it comes besides.
fn load(
    object: &[u8],
    programs: &BTreeSet<String>,
    level: u32,
) -> (Result<(), libbpf_rs::Error>, Vec<String>) {
    take_said();
    let result = open(object, programs, level).and_then(|open| open.load().map(drop));
    (result, take_said())
}

fn open(
    object: &[u8],
    programs: &BTreeSet<String>,
    level: u32,
) -> Result<OpenObject, libbpf_rs::Error> {
    let mut builder = ObjectBuilder::default();
    let mut open = builder.open_memory(object)?;
    for mut program in open.progs_mut() {
        let wanted = programs.contains(&*program.name().to_string_lossy());
        program.set_autoload(wanted);
        program.set_log_level(if wanted { level } else { 0 });
    }
    // The sensor sets these sizes itself, and they are nothing to the verifier.
    for mut map in open.maps_mut() {
        if map.max_entries() == 0 {
            map.set_max_entries(256 << 10)?;
        }
        if let (".rodata.types", Some(types)) = (&*map.name().to_string_lossy(), &*TYPES) {
            map.set_initial_value(types.numbers())?;
        }
    }
    Ok(open)
}

/// `prog 'NAME': …` of libbpf.
fn program_of(line: &str) -> Option<&str> {
    let rest = line.split_once("prog '")?.1;
    Some(rest.split_once('\'')?.0)
}

/// Instructions, peak states and stack bytes in what the verifier says at its end.
fn statistics(log: &str) -> Option<(u64, u64, u64)> {
    let line = log.lines().find(|line| line.starts_with("processed "))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| words.get(at)?.parse::<u64>().ok();
    let peak = words.iter().position(|word| *word == "peak_states")?;
    // One number for each of its functions: the deepest frame is what a change shows in.
    let stack = log
        .lines()
        .find_map(|line| line.strip_prefix("stack depth "))
        .into_iter()
        .flat_map(|depths| depths.split('+'))
        .filter_map(|depth| depth.trim().parse().ok())
        .max();
    Some((number(1)?, number(peak + 1)?, stack.unwrap_or(0)))
}

/// Why the kernel does not take a program; `None` when it has no place for it at all.
fn refusal(object: &[u8], name: &str, said: &[String], error: &libbpf_rs::Error) -> Option<String> {
    let text = said.concat();
    let absent = ["failed to find kernel BTF type ID", "-ESRCH", "-EPERM"];
    if absent.iter().any(|words| text.contains(words)) {
        return None;
    }
    let (_, said) = load(object, &BTreeSet::from([name.to_owned()]), EVERYTHING);
    let text = said.concat();
    let verdict = text
        .split_once("\nprocessed ")
        .and_then(|(before, _)| before.lines().rev().find(|line| !line.trim().is_empty()));
    Some(verdict.map_or_else(|| error.to_string(), |line| line.trim().to_owned()))
}

fn measure(object: &[u8]) -> Result<(), libbpf_rs::Error> {
    let sections: BTreeMap<String, String> = ObjectBuilder::default()
        .open_memory(object)?
        .progs()
        .map(|program| {
            let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
            (text(program.name()), text(program.section()))
        })
        .collect();
    let mut left: BTreeSet<String> = sections.keys().cloned().collect();
    // A load ends at the first program that the kernel does not take: the next has those that did not get their turn.
    while !left.is_empty() {
        let before = left.len();
        let (result, said) = load(object, &left, STATISTICS);
        // The last complaint is the one that ended the load.
        let culprit = said
            .iter()
            .rev()
            .filter(|text| result.is_err() && text.contains("failed"))
            .find_map(|text| program_of(text))
            .map(str::to_owned);
        for text in &said {
            if let Some(name) = program_of(text)
                && let Some((instructions, peak, stack)) = statistics(text)
                && culprit.as_deref() != Some(name)
                && left.remove(name)
            {
                let section = &sections[name];
                println!("VERIFIER: {name} {section} {instructions} {peak} {stack}");
            }
        }
        let Err(error) = result else {
            // What was loaded without a word about it.
            for name in &left {
                println!("VERIFIER: {name} {} 0 0 0", sections[name]);
            }
            break;
        };
        let Some(name) = culprit.filter(|name| sections.contains_key(name)) else {
            eprint!("{}", said.concat());
            return Err(error);
        };
        let section = &sections[&name];
        match refusal(object, &name, &said, &error) {
            Some(why) => println!("VERIFIER: {name} {section} refused {why}"),
            None => println!("VERIFIER: {name} {section} absent"),
        }
        left.remove(&name);
        if left.len() == before {
            eprint!("{}", said.concat());
            return Err(error);
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    libbpf_rs::set_print(Some((PrintLevel::Debug, keep)));
    let (probed, _) = load(PROBES, &BTreeSet::from([PROBE.to_owned()]), 0);
    let objects = OBJECTS.map(|(current, legacy)| if probed.is_ok() { current } else { legacy });
    if let Some(name) = std::env::args().nth(1) {
        for object in objects {
            let (_, said) = load(object, &BTreeSet::from([name.clone()]), EVERYTHING);
            let of_it = |text: &&String| program_of(text) == Some(&name);
            said.iter().filter(of_it).for_each(|text| print!("{text}"));
        }
        return Ok(());
    }
    let release = nix::sys::utsname::uname()?;
    println!("VERIFIER: kernel {}", release.release().to_string_lossy());
    for object in objects {
        measure(object)?;
    }
    println!("VERIFIER: end");
    Ok(())
}
