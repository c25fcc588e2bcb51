//! Families of processes.

use std::io::BufRead;

/// Forks a child that ends at once, and waits for it.
fn fork_and_end() {
    // SAFETY: the child does nothing but end; this process has one thread.
    unsafe {
        match libc::fork() {
            0 => libc::_exit(0),
            -1 => {}
            child => {
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
        }
    }
}

/// Runs a program whose exec takes all the room that a record has for arguments and environment.
fn run_with_long_arguments() {
    let long = "x".repeat(20_000);
    let status = std::process::Command::new("/bin/true")
        .arg(&long)
        .env("LONG", &long)
        .status();
    assert!(status.is_ok_and(|status| status.success()));
}

/// Waits for a line, fills the ring of life-cycle records with large ones and then with small ones to the last gap, then runs a
/// program as one more child and waits for it.
pub(crate) fn storm_then(count: i64, program: &str, words: &[&str]) -> i64 {
    println!("ready");
    let mut line = String::new();
    let _ = std::io::stdin().lock().read_line(&mut line);
    for _ in 0..count {
        run_with_long_arguments();
    }
    for _ in 0..2 * count {
        fork_and_end();
    }
    let status = std::process::Command::new(program).args(words).status();
    status.map_or(-1, |status| status.code().unwrap_or(-1).into())
}
