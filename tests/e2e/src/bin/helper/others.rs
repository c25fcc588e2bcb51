//! Calls about other processes: children, threads, and processes of another pid namespace.

use std::io::Read;
use std::io::Write;

use crate::arguments::Arguments;
use crate::{compat, system_call};

/// A child that waits until it is killed.
fn waiting_child() -> libc::pid_t {
    // SAFETY: the child only waits; it takes no lock that another thread may hold, as there is no other thread.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        loop {
            // SAFETY: no arguments.
            unsafe { libc::pause() };
        }
    }
    child
}

fn end(child: libc::pid_t) {
    // SAFETY: our own child, not yet waited for.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
}

/// The call, with `CHILD` for a number that is the child's, and `GROUP` for that of its group as kill(2) takes it.
fn call(words: &[&str], child: libc::pid_t) -> i64 {
    let words: Vec<String> = words
        .iter()
        .map(|word| {
            word.replace("CHILD", &child.to_string())
                .replace("GROUP", &format!("-{}", std::process::id()))
        })
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["sys", number, rest @ ..] => {
            system_call(number.parse().expect("a number"), &Arguments::parse(rest))
        }
        ["int80", number, rest @ ..] => compat::call(number.parse().expect("a number"), rest),
        other => panic!("not a call: {other:?}"),
    }
}

/// Makes a call about a child of its own that waits.
pub(crate) fn with_child(words: &[&str]) -> i64 {
    let child = waiting_child();
    let result = call(words, child);
    println!("{child}");
    end(child);
    result
}

/// Makes a call about a group that is this process and two children; this process ignores signals that can be.
pub(crate) fn with_group(words: &[&str]) -> i64 {
    // SAFETY: no memory is shared; the handler is the kernel's own.
    unsafe {
        libc::setpgid(0, 0);
        libc::signal(libc::SIGUSR1, libc::SIG_IGN);
    }
    let children = [waiting_child(), waiting_child()];
    let result = call(words, children[0]);
    println!("{} {}", children[0], children[1]);
    for child in children {
        end(child);
    }
    result
}

/// Makes a call in a pid namespace of its own, as its process 1, about process 2, and tells who that is outside.
pub(crate) fn in_pid_namespace(words: &[&str]) -> i64 {
    // SAFETY: no memory is shared, there is no other thread.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWPID), 0, "unshare");
        let first = libc::fork();
        if first != 0 {
            libc::waitpid(first, std::ptr::null_mut(), 0);
            return 0;
        }
    }
    // The /proc is that of the namespace outside, and so are the numbers in it.
    let child = waiting_child();
    assert_eq!(child, 2, "a namespace of its own");
    let outer = std::fs::read_link("/proc/self").expect("/proc/self");
    let list = format!("/proc/{0}/task/{0}/children", outer.display());
    let outer_child = std::fs::read_to_string(list).expect("the list of children");
    let result = call(words, child);
    println!("{} {result}", outer_child.trim());
    let _ = std::io::stdout().flush();
    end(child);
    std::process::exit(0);
}

/// Tells the number of a thread that is not the first, and waits until its input ends.
pub(crate) fn hold_thread() -> i64 {
    std::thread::spawn(|| {
        // SAFETY: no arguments.
        println!("{}", unsafe { libc::gettid() });
        loop {
            std::thread::park();
        }
    });
    let mut rest = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut rest);
    0
}

/// Sends a signal that is ignored to its own thread.
pub(crate) fn raise(signal: i64) -> i64 {
    // SAFETY: raise() reads no memory of ours.
    i64::from(unsafe { libc::raise(i32::try_from(signal).expect("a signal")) })
}

fn one_call(words: &[&str]) -> i64 {
    let (number, rest) = words.split_first().expect("a system call");
    system_call(number.parse().expect("a number"), &Arguments::parse(rest))
}

/// Makes two system calls; what the first returns is told first.
pub(crate) fn two_calls(words: &[&str]) -> i64 {
    let mut calls = words.split(|word| *word == "then");
    println!("{}", one_call(calls.next().expect("a first call")));
    one_call(calls.next().expect("a second call"))
}

/// Changes the login uid, then makes a system call.
pub(crate) fn login_then(uid: &str, words: &[&str]) -> i64 {
    if let Err(error) = std::fs::write("/proc/self/loginuid", uid) {
        println!("refused: {error}");
        return 0;
    }
    one_call(words)
}
