//! Makes exactly the system calls that a test asks for, from a process of its own, and prints what they returned.
//!
//! ```text
//! e2e-helper sys NUMBER ARG...        a system call
//! e2e-helper int80 NUMBER ARG...      the same through the 32-bit entry; the number is the i386 one
//! e2e-helper uring OPCODE ARG...      an io_uring operation: fd addr off len flags addr3
//! e2e-helper uring-async OPCODE ARG...    the same, run by a kernel worker
//! e2e-helper memfd-exec PROGRAM ARG...    runs a copy of a program that lies in memory only
//! e2e-helper unlinked-exec COPY ARG...    runs COPY, which unlinks itself, and makes the system call ARG...
//! e2e-helper thread-exec PROGRAM ARG...    runs a program from a thread that is not the first
//! e2e-helper storm-then COUNT PROGRAM ARG...    waits for a line, makes COUNT long execs and some forks, then runs PROGRAM
//! e2e-helper hold [NUMBER ARG...]     waits until its input ends, then makes the system call
//! e2e-helper net STEP...              calls of sockets in a network of its own: see `network.rs`; prints all results
//! e2e-helper packets STEP...          sends packets in the network that it is started in: see `packets.rs`
//! e2e-helper with-child CALL...       makes a call (`sys` or `int80`) with CHILD for the number of a child that waits
//! e2e-helper with-group CALL...       the same in a process group with two children; GROUP is the group as kill(2) takes it
//! e2e-helper pid-namespace CALL...    the same as process 1 of a pid namespace; the child is 2
//! e2e-helper hold-thread              tells the number of a second thread, and waits until its input ends
//! e2e-helper sys-then NUMBER ARG... then NUMBER ARG...    two system calls of one process
//! e2e-helper login-then UID NUMBER ARG...    a system call after a change of the login uid
//! e2e-helper raise SIGNAL             sends a signal to its own thread
//! e2e-helper new-mount PLACE          a tmpfs at a place, by fsopen, fsconfig, fsmount and move_mount
//! e2e-helper exit CODE | signal NUMBER    ends so
//! e2e-helper mprotect-two | mprotect-file PATH    of a segment to read and one to write; to write to what is open for reading
//! e2e-helper splice-used PATH        out of a file into a pipe of which every place was used before
//! e2e-helper sysctl PATH VALUE       in a network of its own: writes and prints what is then there
//! e2e-helper cgroup-write PATH       has a child, moves it there, and prints its id
//! e2e-helper init-module PATH        loads a module out of memory
//! e2e-helper bpf-map NAME | bpf-program NAME | bpf-bad-program NAME    makes a map and writes to it; loads a program that calls helpers 5 and 7
//! e2e-helper storm-open PATH COUNT | storm-exec PROGRAM COUNT
//! ```
//! An argument is `i:NUMBER`, `s:TEXT` (its address), `fd:PATH` (a directory or file opened first with O_PATH),
//! `rfd:PATH` (opened for reading), `wfd:PATH` (for writing), `l:N,N,...` (the address of 64-bit numbers), `b:BYTES` (the address
//! of bytes without an end), `map:PROT` (16 KiB of fresh memory), `pipe:w|r` (an end of a pipe), `w:N,N,@PATH,...` (`int80` only: 32-bit
//! words; a descriptor). TEXT may hold `\xHH`.
#![allow(
    unsafe_code,
    reason = "a raw system call, an interrupt and shared rings are what this program is for"
)]

mod arguments;
mod bpf;
mod compat;
mod kernel;
mod lineage;
mod memory;
mod mounts;
mod network;
mod others;
mod packets;
mod programs;
mod tamper;
mod uring;

use std::io::Write;

use arguments::Arguments;

fn main() {
    let all: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = all.iter().skip(1).map(String::as_str).collect();
    if let ["net", steps @ ..] = words.as_slice() {
        println!("{}", network::run(steps));
        return;
    }
    if let ["packets", steps @ ..] = words.as_slice() {
        packets::run(steps);
        return;
    }
    let result = match words.as_slice() {
        ["sys", number, rest @ ..] => system_call(number_of(number), &Arguments::parse(rest)),
        ["int80", number, rest @ ..] => compat::call(number_of(number), rest),
        ["uring", opcode, rest @ ..] => {
            uring::call(number_of(opcode), &Arguments::parse(rest), false)
        }
        ["uring-async", opcode, rest @ ..] => {
            uring::call(number_of(opcode), &Arguments::parse(rest), true)
        }
        ["memfd-exec", program, rest @ ..] => programs::memfd_exec(program, rest),
        ["unlinked-exec", copy, rest @ ..] => programs::unlinked_exec(copy, rest),
        ["unlink-then", copy, rest @ ..] => programs::unlink_then(copy, rest),
        ["storm-then", count, program, rest @ ..] => {
            lineage::storm_then(number_of(count), program, rest)
        }
        ["new-mount", place] => mounts::new_mount(place),
        ["hold", rest @ ..] => programs::hold(rest),
        ["thread-exec", program, rest @ ..] => programs::thread_exec(program, rest),
        ["with-child", rest @ ..] => others::with_child(rest),
        ["with-group", rest @ ..] => others::with_group(rest),
        ["pid-namespace", rest @ ..] => others::in_pid_namespace(rest),
        ["sys-then", rest @ ..] => others::two_calls(rest),
        ["login-then", uid, rest @ ..] => others::login_then(uid, rest),
        ["raise", signal] => others::raise(number_of(signal)),
        ["hold-thread"] => others::hold_thread(),
        ["exit", code] => std::process::exit(i32::try_from(number_of(code)).unwrap_or(1)),
        ["signal", signal] => programs::die(number_of(signal)),
        ["splice-used", path] => kernel::splice_used(path),
        ["sysctl", path, value] => kernel::sysctl(path, value),
        ["cgroup-write", path] => kernel::cgroup_write(path),
        ["init-module", path] => kernel::init_module(path),
        ["mprotect-two"] => memory::protect_two(),
        ["mprotect-file", path] => memory::protect_file(path),
        ["bpf-map", name] => bpf::map(name),
        ["bpf-program", name] => bpf::program(name, false),
        ["bpf-bad-program", name] => bpf::program(name, true),
        ["wreck-map", pid, name] => tamper::wreck_map(pid, name),
        ["detach-links", pid] => tamper::detach_links(pid),
        ["storm-open", path, count] => programs::storm_open(path, number_of(count)),
        ["storm-exec", program, count] => programs::storm_exec(program, number_of(count)),
        ["storm-prctl", option, count] => {
            programs::storm_prctl(number_of(option), number_of(count))
        }
        ["time-getpid", count] => programs::time_getpid(number_of(count)),
        ["storm-fork", count] => programs::storm_fork(number_of(count)),
        ["fork-tree", depth, program] => programs::fork_tree(number_of(depth), program),
        other => {
            eprintln!("e2e-helper: not understood: {other:?}");
            std::process::exit(2);
        }
    };
    // Whoever started this need not wait for the result.
    let _ = writeln!(std::io::stdout(), "{result}");
}

fn number_of(text: &str) -> i64 {
    text.parse()
        .unwrap_or_else(|_| panic!("not a number: {text}"))
}

/// One system call: what it returned, a negative errno on failure.
pub(crate) fn system_call(number: i64, arguments: &Arguments) -> i64 {
    let a = arguments.values;
    // SAFETY: the caller of the program chooses the call; addresses come from `Arguments`, which outlives the call.
    let result = unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]) };
    if result == -1 {
        return -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    result
}
