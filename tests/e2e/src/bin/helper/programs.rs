//! Ways to run and end programs.

use std::ffi::CString;
use std::io::Read;

use crate::arguments::Arguments;
use crate::system_call;

fn texts(words: &[&str]) -> Vec<CString> {
    words
        .iter()
        .map(|word| CString::new(*word).expect("no zero byte"))
        .collect()
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts
        .iter()
        .map(|text| text.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// Runs a copy of a program that lies in memory only.
pub(crate) fn memfd_exec(program: &str, words: &[&str]) -> i64 {
    let bytes = std::fs::read(program).expect("the program can be read");
    // SAFETY: a constant name.
    let fd = unsafe { libc::memfd_create(c"e2e-memfd".as_ptr(), 0) };
    assert!(fd >= 0, "memfd_create");
    std::fs::write(format!("/proc/self/fd/{fd}"), bytes).expect("the copy can be written");
    let mut all = vec!["in-memory"];
    all.extend(words);
    let arguments = texts(&all);
    let argv = pointers(&arguments);
    let envp = [std::ptr::null::<libc::c_char>()];
    // SAFETY: both arrays end with a null pointer and outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd,
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// Replaces this process by `copy`, which unlinks its own file before it makes the system call `words`.
pub(crate) fn unlinked_exec(copy: &str, words: &[&str]) -> i64 {
    use std::os::unix::process::CommandExt;
    let error = std::process::Command::new(copy)
        .arg("unlink-then")
        .arg(copy)
        .args(words)
        .exec();
    panic!("{copy}: {error}");
}

/// Unlinks a file, then makes a system call.
pub(crate) fn unlink_then(path: &str, words: &[&str]) -> i64 {
    std::fs::remove_file(path).expect("the copy can be removed");
    let (number, rest) = words.split_first().expect("a system call");
    system_call(number.parse().expect("a number"), &Arguments::parse(rest))
}

/// Replaces this process from a thread that is not its first: the kernel ends the others and gives it the first one's id.
pub(crate) fn thread_exec(program: &str, words: &[&str]) -> i64 {
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new(program);
    command.args(words);
    let error = std::thread::spawn(move || command.exec()).join();
    panic!("{program}: {error:?}");
}

/// Waits until its input ends, then makes a system call, if one is given.
pub(crate) fn hold(words: &[&str]) -> i64 {
    println!("holding");
    let mut rest = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut rest);
    words.split_first().map_or(0, |(number, rest)| {
        system_call(number.parse().expect("a number"), &Arguments::parse(rest))
    })
}

/// Ends by a signal.
pub(crate) fn die(signal: i64) -> i64 {
    let signal = i32::try_from(signal).expect("a signal");
    // SAFETY: no core file, then a signal to ourselves.
    unsafe {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        libc::raise(signal);
    }
    0
}

/// Opens and closes a file many times; returns how often that worked.
pub(crate) fn storm_open(path: &str, count: i64) -> i64 {
    (0..count)
        .filter(|_| std::fs::File::open(path).is_ok())
        .count() as i64
}

/// Runs a program many times, one after the other; returns how often that worked.
pub(crate) fn storm_exec(program: &str, count: i64) -> i64 {
    (0..count)
        .filter(|number| {
            std::process::Command::new(program)
                .arg(number.to_string())
                .status()
                .is_ok_and(|status| status.success())
        })
        .count() as i64
}

/// The time that the cheapest system call takes, in nanoseconds: the best of several runs.
pub(crate) fn time_getpid(count: i64) -> i64 {
    let run = || {
        let began = std::time::Instant::now();
        for _ in 0..count {
            // SAFETY: takes nothing and changes nothing.
            unsafe { libc::syscall(libc::SYS_getpid) };
        }
        i64::try_from(began.elapsed().as_nanos()).unwrap_or(i64::MAX) / count.max(1)
    };
    (0..5).map(|_| run()).min().unwrap_or_default()
}

/// Makes the same harmless call many times; returns how often.
pub(crate) fn storm_prctl(option: i64, count: i64) -> i64 {
    let option = i32::try_from(option).expect("an option");
    for _ in 0..count {
        // SAFETY: a number; no memory is passed.
        unsafe { libc::prctl(option, 50_000, 0, 0, 0) };
    }
    count
}

/// Makes processes that end at once, one after the other; returns how many.
pub(crate) fn storm_fork(count: i64) -> i64 {
    let mut made = 0;
    for _ in 0..count {
        // SAFETY: the child does nothing but end; this program has one thread.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends this process.
            unsafe { libc::_exit(0) }
        }
        let mut status = 0;
        // SAFETY: our own child and a variable of our own.
        if child > 0 && unsafe { libc::waitpid(child, &raw mut status, 0) } == child {
            made += 1;
        }
    }
    made
}

/// A fork bomb with an end: each process makes two, so deep; those at the end run the program.
pub(crate) fn fork_tree(depth: i64, program: &str) -> i64 {
    let program = CString::new(program).expect("no zero byte");
    grow(depth, &program)
}

fn grow(depth: i64, program: &CString) -> i64 {
    let mut failed = 0;
    let children: Vec<_> = (0..2)
        .map(|_| {
            // SAFETY: one thread; the child makes system calls and a vector.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let failed = if depth > 1 {
                    grow(depth - 1, program)
                } else {
                    run(program)
                };
                // SAFETY: ends this process.
                unsafe { libc::_exit(i32::from(failed != 0)) }
            }
            child
        })
        .collect();
    for child in children {
        let mut status = 0;
        // SAFETY: our own child and a variable of our own.
        if child < 0 || unsafe { libc::waitpid(child, &raw mut status, 0) } != child || status != 0
        {
            failed += 1;
        }
    }
    failed
}

/// Becomes the program; returns where that fails.
fn run(program: &CString) -> i64 {
    let argv = [program.as_ptr(), std::ptr::null()];
    let envp = [std::ptr::null::<libc::c_char>()];
    // SAFETY: both arrays end with a null pointer and outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    1
}
