//! What was logged: the last lines of this program, log files, the journal, the kernel's messages.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use tracing_subscriber::fmt::MakeWriter;

use crate::Plan;
use crate::read::{self, End};

/// So many bytes of what this program has logged are kept in memory.
const KEPT: usize = 512 << 10;
/// So much of a log file, and of a command's output, is taken.
const MAX_LOG: u64 = 8 << 20;

static RECENT: Mutex<VecDeque<u8>> = Mutex::new(VecDeque::new());

/// Writes log lines to standard error and keeps the last of them for [`recent`]: in a container there is no log file, and the journal is elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Writer;

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut kept = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(line);
        let over = kept.len().saturating_sub(KEPT);
        kept.drain(..over);
        drop(kept);
        io::stderr().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl MakeWriter<'_> for Writer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// The last lines that this program has logged through [`Writer`].
pub fn recent() -> Vec<u8> {
    let kept = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    let mut lines: Vec<u8> = kept.iter().copied().collect();
    if lines.len() == KEPT
        && let Some(at) = lines.iter().position(|b| *b == b'\n')
    {
        lines.drain(..=at);
    }
    lines
}

/// Adds log files of these directories, the journal of both services, and the kernel's messages.
pub fn plan(plan: &mut Plan, dirs: Vec<PathBuf>, skip: PathBuf) {
    plan.add("log files", move |sink| {
        for dir in dirs {
            let Ok(entries) = std::fs::read_dir(&dir) else {
                sink.error(&format!("no log files: cannot read {}", dir.display()));
                continue;
            };
            for path in entries.flatten().map(|entry| entry.path()).take(100) {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                // Events have what was observed on the host: nothing for others.
                let events = skip
                    .file_name()
                    .is_some_and(|events| name.starts_with(&*events.to_string_lossy()));
                if events || !name.contains(".log") || name.ends_with(".gz") || !path.is_file() {
                    continue;
                }
                match read::file(&path, MAX_LOG, End::Last) {
                    Ok(content) => {
                        sink.file(&format!("logs/{name}"), content);
                    }
                    Err(error) => {
                        sink.error(&error);
                    }
                }
            }
        }
        Ok(())
    });
    plan.add_within("journal", Duration::from_secs(20), |sink| {
        let units = [
            "-u",
            "system-probe",
            "-u",
            "security-agent",
            "-u",
            "atalaya-system-probe",
            "-u",
            "atalaya-security-agent",
        ];
        let mut args = vec![
            "--no-pager",
            "--quiet",
            "-o",
            "short-iso",
            "-n",
            "20000",
            "--since",
            "-7d",
        ];
        args.extend(units);
        let text = output("journalctl", &args, Duration::from_secs(15))?;
        if text.is_empty() {
            return Err("the journal has nothing of system-probe and security-agent".into());
        }
        sink.file("logs/journal.log", text);
        Ok(())
    });
    plan.add("kernel messages", |sink| {
        sink.file("host/dmesg", kernel_messages()?);
        Ok(())
    });
}

/// The kernel's messages, without waiting for the next one.
fn kernel_messages() -> Result<Vec<u8>, String> {
    let error = |e: io::Error| format!("cannot read /dev/kmsg: {e}");
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits() as i32;
    let mut device = File::options()
        .read(true)
        .custom_flags(flags)
        .open("/dev/kmsg")
        .map_err(error)?;
    let mut out = Vec::new();
    let mut record = [0; 8192];
    while (out.len() as u64) < MAX_LOG {
        match device.read(&mut record) {
            Ok(0) => break,
            // `priority,number,microseconds,…;text` and then lines of details.
            Ok(n) => {
                let text = String::from_utf8_lossy(&record[..n]);
                let (head, rest) = text.split_once(';').unwrap_or(("", &text));
                let micros: u64 = head
                    .split(',')
                    .nth(2)
                    .and_then(|t| t.parse().ok())
                    .unwrap_or(0);
                let line = rest.lines().next().unwrap_or_default();
                out.extend_from_slice(
                    format!(
                        "[{:>5}.{:06}] {line}\n",
                        micros / 1_000_000,
                        micros % 1_000_000
                    )
                    .as_bytes(),
                );
            }
            // Overwritten while it was read: the next one is the oldest left.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) => return Err(error(e)),
        }
    }
    Ok(out)
}

/// What a command prints, at most so much and for so long.
fn output(program: &str, args: &[&str], limit: Duration) -> Result<Vec<u8>, String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("cannot run {program}: {e}"))?;
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = stdout.map(|out| out.take(MAX_LOG).read_to_end(&mut text));
        (text, read)
    });
    let end = Instant::now() + limit;
    while !reader.is_finished() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    let late = !reader.is_finished();
    // It has ended, or has said enough.
    let _ = child.kill();
    let _ = child.wait();
    let (text, _) = reader
        .join()
        .map_err(|_| format!("{program}: its output cannot be read"))?;
    if late && text.is_empty() {
        return Err(format!("{program} said nothing for {} s", limit.as_secs()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let line = format!("{}\n", "x".repeat(99));
        for _ in 0..KEPT / 100 + 50 {
            // Not through `write`: a test's standard error is for people.
            RECENT.lock().unwrap().extend(line.as_bytes());
        }
        let over = RECENT.lock().unwrap().len() - KEPT;
        RECENT.lock().unwrap().drain(..over);
        let kept = recent();
        assert!(kept.len() <= KEPT && kept.len() > KEPT - 200);
        assert!(kept.starts_with(b"xxx") && kept.ends_with(b"x\n"));
        assert_eq!(kept.len() % 100, 0);
    }

    #[test]
    fn commands_end() {
        assert_eq!(
            output("echo", &["hi"], Duration::from_secs(5)).unwrap(),
            b"hi\n"
        );
        let begun = Instant::now();
        assert!(output("sleep", &["30"], Duration::from_millis(100)).is_err());
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(output("no-such-program-here", &[], Duration::from_secs(1)).is_err());
    }
}
