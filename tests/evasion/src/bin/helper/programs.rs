//! Which program runs, and which seems to.

use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Arm;
use crate::place::{Done, Place, Step, Stop, c, inode, read, tell};
use crate::raw::{sys, sys_fd};

pub(crate) const ARMS: &[(&str, Arm)] = &[
    ("memfd", memfd),
    ("execveat_empty_path", execveat_empty_path),
    ("execveat_dirfd", execveat_dirfd),
    ("exec_proc_fd", exec_proc_fd),
    ("exec_symlink", exec_symlink),
    ("exec_hardlink", exec_hardlink),
    ("loader", loader),
    ("loader_first_name", loader),
    ("script", script),
    ("script_inode", script),
    ("script_symlink", script_symlink),
    ("script_by_descriptor", script_by_descriptor),
    ("script_of_script", script_of_script),
    ("script_as_argument", script_as_argument),
    ("script_as_argument_first_name", script_as_argument),
    ("deleted_program", deleted_program),
    ("replaced_program", replaced_program),
    ("argv0", argv0),
    ("empty_argv", empty_argv),
    ("argv_overwritten", argv_overwritten),
    ("env_overwritten", env_overwritten),
    ("args_flood", args_flood),
    ("envs_flood", envs_flood),
    ("preload", preload),
    ("comm", comm),
    ("comm_of_another", comm_of_another),
    ("exec_chain", exec_chain),
    ("thread_exec", thread_exec),
    // What the copies of this program do, by the row that has made them.
    ("@touch", touch),
    ("@unlink_and_touch", unlink_and_touch),
    ("@wait", wait),
];

/// The smallest 64-bit program there is: exit(0), no libraries.
pub(crate) fn tiny_elf() -> Vec<u8> {
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
    elf
}

fn program(path: PathBuf, bytes: &[u8]) -> Result<PathBuf, Stop> {
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(&path)
        .step("a program")?;
    file.write_all(bytes).step("a program")?;
    // The umask.
    file.set_permissions(PermissionsExt::from_mode(0o755))
        .step("its mode")?;
    Ok(path)
}

/// Makes a program that ends at once.
pub(crate) fn tiny(place: &Place, name: &str) -> Result<PathBuf, Stop> {
    program(place.path(name), &tiny_elf())
}

/// Makes a copy of this program.
pub(crate) fn copy(place: &Place, name: &str) -> Result<PathBuf, Stop> {
    let own = std::fs::read("/proc/self/exe").step("this program")?;
    program(place.path(name), &own)
}

/// Runs a program to its end.
pub(crate) fn run(program: &Path, words: &[&str]) -> Done {
    let status = Command::new(program).args(words).status();
    ended(status.step(&format!("running {}", program.display()))?)
}

pub(crate) fn ended(status: std::process::ExitStatus) -> Done {
    if status.success() {
        return Ok(());
    }
    Err(Stop::Failed(format!("the program it ran: {status}")))
}

/// Does something in a forked child and waits for its end.
pub(crate) fn forked(work: impl FnOnce() -> Done) -> Done {
    let child = fork(work)?;
    reap(child)
}

/// Does something in a forked child: its id.
pub(crate) fn fork(work: impl FnOnce() -> Done) -> Result<nix::unistd::Pid, Stop> {
    // What is buffered would be written by both.
    std::io::stdout().flush().step("flush")?;
    // SAFETY: these programs have one thread when they fork.
    match unsafe { nix::unistd::fork() }.step("fork")? {
        nix::unistd::ForkResult::Parent { child } => Ok(child),
        nix::unistd::ForkResult::Child => {
            let code = match work() {
                Ok(()) => 0,
                Err(Stop::Unavailable(why)) => {
                    eprintln!("{why}");
                    77
                }
                Err(Stop::Failed(why)) => {
                    eprintln!("{why}");
                    1
                }
            };
            let _ = std::io::stdout().flush();
            // SAFETY: ends the child without the parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
    }
}

/// Waits for a child's end.
pub(crate) fn reap(child: nix::unistd::Pid) -> Done {
    use nix::sys::wait::{WaitStatus, waitpid};
    match waitpid(child, None).step("wait")? {
        WaitStatus::Exited(_, 0) => Ok(()),
        WaitStatus::Exited(_, 77) => Err(Stop::Unavailable("the child says so".to_owned())),
        other => Err(Stop::Failed(format!("the child: {other:?}"))),
    }
}

/// A memfd with a program in it.
fn in_memory(name: &str) -> Result<OwnedFd, Stop> {
    let name = c(name)?;
    // No close-on-exec: an interpreter would not find it.
    let fd = sys_fd!(SYS_memfd_create, &name, 0).or_absent("memfd_create")?;
    let mut file = std::fs::File::from(fd);
    file.write_all(&tiny_elf()).step("the program")?;
    Ok(file.into())
}

/// `execveat` of a program without a name of its own, in a child.
fn execveat(fd: &OwnedFd, path: &CString, flags: i32) -> Done {
    forked(|| {
        let (argv, envp) = (
            [c"innocent".as_ptr(), std::ptr::null()],
            [std::ptr::null::<i8>()],
        );
        sys!(SYS_execveat, fd, path, argv.as_ptr(), envp.as_ptr(), flags).step("execveat")?;
        Ok(())
    })
}

fn memfd(_: &Place) -> Done {
    execveat(&in_memory("evasion-memfd")?, &c("")?, libc::AT_EMPTY_PATH)
}

fn execveat_empty_path(place: &Place) -> Done {
    let path = tiny(place, "program")?;
    tell("inode", inode(&path)?);
    let file = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
        .step("O_PATH")?;
    execveat(&file.into(), &c("")?, libc::AT_EMPTY_PATH)
}

fn execveat_dirfd(place: &Place) -> Done {
    tell("inode", inode(&tiny(place, "program")?)?);
    let sub = read(place.directory("sub")?)?;
    execveat(&sub.into(), &c("../program")?, 0)
}

fn exec_proc_fd(place: &Place) -> Done {
    let path = tiny(place, "program")?;
    tell("inode", inode(&path)?);
    let file = read(path)?;
    // SAFETY: a copy of an open descriptor, which stays open over the exec.
    let kept = unsafe { OwnedFd::from_raw_fd(libc::dup(file.as_raw_fd())) };
    run(
        Path::new(&format!("/proc/self/fd/{}", kept.as_raw_fd())),
        &[],
    )
}

fn exec_symlink(place: &Place) -> Done {
    let path = tiny(place, "program")?;
    tell("inode", inode(&path)?);
    symlink(path, place.path("innocent")).step("symlink")?;
    run(&place.path("innocent"), &[])
}

fn exec_hardlink(place: &Place) -> Done {
    let path = tiny(place, "program")?;
    tell("inode", inode(&path)?);
    std::fs::hard_link(path, place.path("other")).step("link")?;
    run(&place.path("other"), &[])
}

fn loader(place: &Place) -> Done {
    let path = copy(place, "program")?;
    tell("inode", inode(&path)?);
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    if !loader.exists() {
        return Err(Stop::Unavailable("no loader".to_owned()));
    }
    let touched = place.path("touched");
    run(
        loader,
        &[
            &path.to_string_lossy(),
            "@touch",
            &touched.to_string_lossy(),
        ],
    )
}

fn script_file(place: &Place, name: &str, text: &str) -> Result<PathBuf, Stop> {
    let path = program(place.path(name), text.as_bytes())?;
    Ok(path)
}

fn script(place: &Place) -> Done {
    let path = script_file(place, "script", "#!/bin/sh\nexit 0\n")?;
    tell("inode", inode(&path)?);
    tell(
        "shell",
        std::fs::canonicalize("/bin/sh").step("/bin/sh")?.display(),
    );
    run(&path, &[])
}

fn script_symlink(place: &Place) -> Done {
    let path = script_file(place, "script", "#!/bin/sh\nexit 0\n")?;
    symlink(path, place.path("innocent")).step("symlink")?;
    run(&place.path("innocent"), &[])
}

fn script_by_descriptor(place: &Place) -> Done {
    if !Path::new("/dev/fd").exists() {
        return Err(Stop::Unavailable(
            "no /dev/fd for the shell to open".to_owned(),
        ));
    }
    let path = c(script_file(place, "script", "#!/bin/sh\nexit 0\n")?
        .as_os_str()
        .as_encoded_bytes())?;
    // Without close-on-exec: the interpreter opens /dev/fd/N.
    let fd = sys_fd!(SYS_openat, libc::AT_FDCWD, &path, libc::O_RDONLY).step("open")?;
    execveat(&fd, &c("")?, libc::AT_EMPTY_PATH)
}

fn script_of_script(place: &Place) -> Done {
    let inner = script_file(place, "inner", "#!/bin/sh\nexit 0\n")?;
    let outer = script_file(place, "outer", &format!("#!{}\n", inner.display()))?;
    tell("inode", inode(&outer)?);
    run(&outer, &[])
}

fn script_as_argument(place: &Place) -> Done {
    let path = script_file(place, "script", "exit 0\n")?;
    tell("inode", inode(&path)?);
    run(Path::new("/bin/sh"), &[&path.to_string_lossy()])
}

fn deleted_program(place: &Place) -> Done {
    let path = copy(place, "program")?;
    run(
        &path,
        &[
            "@unlink_and_touch",
            &place.path("touched").to_string_lossy(),
        ],
    )
}

fn replaced_program(place: &Place) -> Done {
    let path = copy(place, "program")?;
    tell("inode", inode(&path)?);
    tiny(place, "innocent")?;
    let mut command = Command::new(&path);
    command.args(["@wait", &place.path("touched").to_string_lossy()]);
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .spawn()
        .step("the program")?;
    std::fs::rename(place.path("innocent"), &path).step("rename")?;
    // It goes on when its input ends.
    drop(child.stdin.take());
    ended(child.wait().step("wait")?)
}

fn argv0(place: &Place) -> Done {
    let path = tiny(place, "program")?;
    ended(
        Command::new(path)
            .arg0("[kworker/0:1]")
            .status()
            .step("the program")?,
    )
}

fn empty_argv(place: &Place) -> Done {
    let path = c(tiny(place, "program")?.as_os_str().as_encoded_bytes())?;
    forked(|| {
        let nothing = [std::ptr::null::<i8>()];
        sys!(SYS_execve, &path, nothing.as_ptr(), nothing.as_ptr()).step("execve")?;
        Ok(())
    })
}

/// Two fields of `/proc/self/stat`, counted from 1: the ends of a part of this process's memory.
fn memory(first: usize) -> Result<(usize, usize), Stop> {
    let text = std::fs::read_to_string("/proc/self/stat").step("stat")?;
    let (_, rest) = text.rsplit_once(')').ok_or("no name in stat")?;
    // The third field is the first after the name.
    let mut numbers = rest.split_ascii_whitespace().skip(first - 3);
    let mut next = || {
        numbers
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or("no address in stat")
    };
    Ok((next()?, next()?))
}

fn overwrite((start, end): (usize, usize), with: &str) {
    for (at, byte) in (start..end - 1).zip(with.bytes().cycle()) {
        // SAFETY: this process's own arguments or environment, which are bytes that can be written.
        unsafe { (at as *mut u8).write_volatile(byte) }
    }
}

fn argv_overwritten(place: &Place) -> Done {
    let touched = place.path("touched");
    overwrite(memory(48)?, "/usr/sbin/sshd -D ");
    std::fs::write(touched, "").step("the file")
}

fn env_overwritten(place: &Place) -> Done {
    let path = copy(place, "program")?;
    let words = [
        "@touch",
        &*place.path("touched").to_string_lossy(),
        "environment",
    ]
    .map(str::to_owned);
    ended(
        Command::new(path)
            .args(words)
            .env("EVASION_MARK", "1")
            .status()
            .step("the program")?,
    )
}

fn args_flood(place: &Place) -> Done {
    let path = tiny(place, "program")?;
    let padding = "x".repeat(128 * 1024 - 1);
    run(&path, &["first", &padding, "--reverse-shell"])
}

fn envs_flood(place: &Place) -> Done {
    let path = tiny(place, "program")?;
    let padding = "x".repeat(64 * 1024);
    let mut command = Command::new(path);
    command
        .env_clear()
        .env("AAA_PADDING", padding)
        .env("LD_PRELOAD", "/evil.so");
    ended(command.status().step("the program")?)
}

fn preload(place: &Place) -> Done {
    let path = tiny(place, "program")?;
    ended(
        Command::new(path)
            .env("LD_PRELOAD", "/evil.so")
            .status()
            .step("the program")?,
    )
}

fn comm(place: &Place) -> Done {
    nix::sys::prctl::set_name(c"sshd\x1b[2K").step("PR_SET_NAME")?;
    std::fs::write(place.path("touched"), "").step("the file")
}

/// A name that is not set by prctl but by writing to /proc, as for another thread.
fn comm_of_another(place: &Place) -> Done {
    std::fs::write("/proc/self/comm", "kworker/0:1").step("comm")?;
    std::fs::write(place.path("touched"), "").step("the file")
}

fn exec_chain(place: &Place) -> Done {
    let (a, b, end) = (copy(place, "a")?, copy(place, "b")?, tiny(place, "end")?);
    let words = [b, end].map(|path| path.to_string_lossy().into_owned());
    run(&a, &["@touch", "", "exec", &words[0], &words[1]])
}

fn thread_exec(place: &Place) -> Done {
    let path = tiny(place, "program")?;
    forked(|| {
        tell("child", std::process::id());
        std::io::stdout().flush().step("flush")?;
        let error = std::thread::spawn(move || Command::new(path).exec()).join();
        Err(Stop::Failed(format!("exec: {error:?}")))
    })
}

/// `@touch FILE [environment]`: makes a file; `@touch "" exec PROGRAM PROGRAM`: becomes one program after the other.
fn touch(place: &Place) -> Done {
    let words: Vec<_> = std::env::args_os().skip(3).collect();
    match words.split_first() {
        Some((word, rest)) if word == "exec" => {
            let error = match rest {
                [end] => Command::new(end).exec(),
                [next, end @ ..] => Command::new(next)
                    .args(["@touch", "", "exec"])
                    .args(end)
                    .exec(),
                [] => return Err("nothing to execute".into()),
            };
            return Err(error.into());
        }
        Some((word, _)) if word == "environment" => overwrite(memory(50)?, "INNOCENT=1 "),
        _ => {}
    }
    std::fs::write(place.dir(), "").step("the file")
}

fn unlink_and_touch(place: &Place) -> Done {
    let own = std::fs::read_link("/proc/self/exe").step("this program")?;
    std::fs::remove_file(own).step("unlink")?;
    touch(place)
}

/// Makes a file when its input has ended.
fn wait(place: &Place) -> Done {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).step("input")?;
    touch(place)
}
