//! Who does it, and who seems to.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::Arm;
use crate::place::{Done, Place, Step, Stop, read, tell};
use crate::programs::{copy, ended, fork, reap, tiny};
use crate::raw::{sys, sys_fd};

pub(crate) const ARMS: &[(&str, Arm)] = &[
    ("setuid_after_exec", setuid_after_exec),
    ("setuid_of_one_thread", setuid_of_one_thread),
    ("setuid_event", setuid_after_exec),
    ("thread", thread),
    ("vfork_storm", vfork_storm),
    ("pid_reuse", pid_reuse),
    ("pid_reuse_by_fork", pid_reuse_by_fork),
    ("orphan", orphan),
    ("clone_parent", clone_parent),
    ("@orphan", orphan_starter),
    ("@sibling", sibling_starter),
    ("ptrace_injection", ptrace_injection),
    ("ptrace_event", ptrace_injection),
    ("process_vm_writev", process_vm_writev),
    ("proc_mem", proc_mem),
    ("pidfd_signal", pidfd_signal),
    ("tgkill", tgkill),
    ("unshare", unshare_user),
    ("clone_newuser", clone_newuser),
];

const OTHER: u32 = 1234;

fn setuid_after_exec(place: &Place) -> Done {
    sys!(SYS_setresuid, OTHER, OTHER, OTHER).step("setresuid")?;
    std::fs::write(place.path("touched"), "").step("the file")
}

/// The C library changes the ids of all threads; the kernel, of the one that asks.
fn setuid_of_one_thread(place: &Place) -> Done {
    let (one, other) = (place.path("one"), place.path("other"));
    std::fs::write(&one, "").step("the file")?;
    std::fs::write(&other, "").step("the file")?;
    let thread = std::thread::spawn(move || -> Done {
        sys!(SYS_setresuid, OTHER, OTHER, OTHER).step("setresuid")?;
        read(one)?;
        Ok(())
    });
    thread.join().map_err(|_| "the thread died")??;
    read(other)?;
    Ok(())
}

fn thread(place: &Place) -> Done {
    let touched = place.path("touched");
    let thread = std::thread::spawn(move || -> Done {
        tell("tid", sys!(SYS_gettid).step("gettid")?);
        std::fs::write(touched, "").step("the file")
    });
    thread.join().map_err(|_| "the thread died")?
}

fn vfork_storm(place: &Place) -> Done {
    const TIMES: u32 = 300;
    let program = tiny(place, "program")?;
    for number in 0..TIMES {
        // The standard library spawns by vfork or the clone that is like it.
        let mut child = Command::new(&program)
            .arg(number.to_string())
            .spawn()
            .step("spawn")?;
        if number % 8 == 7 {
            child.wait().step("wait")?;
        }
    }
    while waitpid(Pid::from_raw(-1), None).is_ok() {}
    tell("times", TIMES);
    Ok(())
}

/// A child whose id is chosen: what runs in it is `work`.
fn fork_as(pid: i32, work: impl FnOnce() -> Done) -> Result<Pid, Stop> {
    #[repr(C, align(8))]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
    }
    let ids = [pid];
    let arguments = CloneArgs {
        exit_signal: libc::SIGCHLD as u64,
        set_tid: ids.as_ptr() as u64,
        set_tid_size: 1,
        ..CloneArgs::default()
    };
    std::io::stdout().flush().step("flush")?;
    match sys!(SYS_clone3, &raw const arguments, size_of::<CloneArgs>())
        .or_absent("clone3 with set_tid")?
    {
        0 => {
            let code = i32::from(work().is_err());
            // SAFETY: ends the child without the parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
        child => Ok(Pid::from_raw(child as i32)),
    }
}

fn pid_reuse(place: &Place) -> Done {
    let (first, second) = (copy(place, "first")?, copy(place, "second")?);
    let touched = |name: &str| {
        [
            "@touch".to_owned(),
            place.path(name).to_string_lossy().into_owned(),
        ]
    };
    let child = fork(|| Err(Command::new(&first).args(touched("a")).exec().into()))?;
    reap(child)?;
    let again = fork_as(child.as_raw(), || {
        Err(Command::new(&second).args(touched("b")).exec().into())
    })?;
    reap(again)?;
    tell("child", child);
    if again == child {
        Ok(())
    } else {
        Err("another id".into())
    }
}

fn pid_reuse_by_fork(place: &Place) -> Done {
    let first = tiny(place, "first")?;
    let child = fork(|| Err(Command::new(&first).exec().into()))?;
    reap(child)?;
    let touched = place.path("touched");
    reap(fork_as(child.as_raw(), || {
        std::fs::write(touched, "").step("the file")
    })?)?;
    tell("child", child);
    Ok(())
}

/// Runs `starter`, whose child `worker` outlives it and then makes a file.
fn started(place: &Place, how: &str) -> Done {
    let (starter, _) = (copy(place, "starter")?, copy(place, "worker")?);
    let (mut end, theirs) = std::io::pipe().step("a pipe")?;
    let dir = place.dir().to_string_lossy().into_owned();
    let status = Command::new(starter)
        .args([how, &dir])
        .stdout(theirs)
        .status();
    // Where the starter made it a child of this process, it is not the starter's to wait for.
    ended(status.step("the starter")?)?;
    // The worker holds the other end until it is done.
    std::io::copy(&mut end, &mut std::io::sink()).step("the pipe")?;
    while waitpid(Pid::from_raw(-1), None).is_ok() {}
    Ok(())
}

fn orphan(place: &Place) -> Done {
    started(place, "@orphan")
}

fn clone_parent(place: &Place) -> Done {
    started(place, "@sibling")
}

fn worker(place: &Place) -> Done {
    // Until the starter is gone, but not for ever where it stays the parent.
    let starter = nix::unistd::getppid();
    for _ in 0..200 {
        if nix::unistd::getppid() != starter {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let touched = place.path("touched").to_string_lossy().into_owned();
    Err(Command::new(place.path("worker"))
        .args(["@touch", &touched])
        .exec()
        .into())
}

fn orphan_starter(place: &Place) -> Done {
    fork(|| worker(place))?;
    Ok(())
}

fn sibling_starter(place: &Place) -> Done {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    match sys!(SYS_clone, flags, 0, 0, 0, 0).step("CLONE_PARENT")? {
        0 => worker(place),
        _ => Ok(()),
    }
}

/// Another process that waits: a copy of this program under the name `victim`.
struct Victim {
    child: std::process::Child,
}

impl Victim {
    fn start(place: &Place) -> Result<Self, Stop> {
        let path = copy(place, "victim")?;
        let touched = place.path("end").to_string_lossy().into_owned();
        let mut child = Command::new(path)
            .args(["@wait", &touched])
            .stdin(Stdio::piped())
            .spawn()
            .step("the victim")?;
        // It is where it waits when it reads.
        let stat = format!("/proc/{}/wchan", child.id());
        for _ in 0..500 {
            let where_ = std::fs::read_to_string(&stat).unwrap_or_default();
            let state =
                std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
            if where_.contains("pipe") || state.contains(") S ") && child.stdin.is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        if child.try_wait().step("wait")?.is_some() {
            return Err("the victim ended".into());
        }
        tell("victim", child.id());
        Ok(Self { child })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    fn end(mut self) -> Done {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        self.child.wait().step("wait")?;
        Ok(())
    }
}

/// Stops a victim in its system call and lets it make another: the way of injecting code.
fn ptrace_injection(place: &Place) -> Done {
    let victim = Victim::start(place)?;
    let pid = victim.pid();
    ptrace::attach(pid).or_absent("PTRACE_ATTACH")?;
    waitpid(pid, None).step("the stop")?;
    let mut registers = ptrace::getregs(pid).step("its registers")?;
    let text = place.c("injected")?;
    let at = (registers.rsp - 4096) & !7;
    let mut bytes = text.as_bytes_with_nul().to_vec();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    for (number, word) in bytes.chunks_exact(8).enumerate() {
        let word = i64::from_ne_bytes(word.try_into().map_err(|_| "a word")?);
        ptrace::write(pid, (at + 8 * number as u64) as *mut _, word).step("its memory")?;
    }
    // It stopped in read(2), behind the instruction `syscall`; no restart of that call.
    registers.rip -= 2;
    registers.orig_rax = u64::MAX;
    registers.rax = libc::SYS_openat as u64;
    registers.rdi = libc::AT_FDCWD as u64;
    registers.rsi = at;
    registers.rdx = (libc::O_CREAT | libc::O_WRONLY) as u64;
    registers.r10 = 0o600;
    ptrace::setregs(pid, registers).step("its registers")?;
    ptrace::step(pid, None).step("a step")?;
    waitpid(pid, None).step("the stop")?;
    let result = ptrace::getregs(pid).step("its registers")?.rax as i64;
    let _ = ptrace::kill(pid);
    victim.end()?;
    if result < 0 {
        return Err(format!("the injected call: {result}").into());
    }
    Ok(())
}

fn process_vm_writev(_: &Place) -> Done {
    let from = *b"injected";
    let to = *b"original";
    // A fork has the same addresses, on a stack that is a copy of this one.
    let child = fork(|| {
        nix::unistd::pause();
        Ok(())
    })?;
    let local = [libc::iovec {
        iov_base: from.as_ptr() as *mut _,
        iov_len: from.len(),
    }];
    let remote = [libc::iovec {
        iov_base: to.as_ptr() as *mut _,
        iov_len: to.len(),
    }];
    let written = sys!(
        SYS_process_vm_writev,
        child.as_raw(),
        local.as_ptr(),
        1,
        remote.as_ptr(),
        1,
        0
    );
    let written = written.or_absent("process_vm_writev");
    nix::sys::signal::kill(child, Signal::SIGKILL).step("kill")?;
    waitpid(child, None).step("wait")?;
    written?;
    Ok(())
}

fn proc_mem(place: &Place) -> Done {
    let victim = Victim::start(place)?;
    let path = format!("/proc/{}/mem", victim.pid());
    let file = std::fs::File::options()
        .write(true)
        .open(path)
        .step("its memory");
    victim.end()?;
    file?;
    Ok(())
}

fn pidfd_signal(place: &Place) -> Done {
    let victim = Victim::start(place)?;
    let fd = sys_fd!(SYS_pidfd_open, victim.pid().as_raw(), 0).or_absent("pidfd_open")?;
    let nothing: *const u8 = std::ptr::null();
    sys!(SYS_pidfd_send_signal, &fd, libc::SIGTERM, nothing, 0).or_absent("pidfd_send_signal")?;
    victim.end()
}

fn tgkill(place: &Place) -> Done {
    let victim = Victim::start(place)?;
    let pid = victim.pid().as_raw();
    sys!(SYS_tgkill, pid, pid, libc::SIGTERM).step("tgkill")?;
    victim.end()
}

fn unshare_user(_: &Place) -> Done {
    unshare(CloneFlags::CLONE_NEWUSER).or_absent("a user namespace")
}

fn clone_newuser(place: &Place) -> Done {
    let touched = place.path("touched");
    let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
    std::io::stdout().flush().step("flush")?;
    match sys!(SYS_clone, flags, 0, 0, 0, 0).or_absent("CLONE_NEWUSER")? {
        0 => {
            let _ = std::fs::write(touched, "");
            // SAFETY: ends the child without the parent's exit handlers.
            unsafe { libc::_exit(0) }
        }
        child => reap(Pid::from_raw(child as i32)),
    }
}
