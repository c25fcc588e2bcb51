//! All processes there are, from an iterator of the kernel: the process tree's second source.

use std::io::Read;

use atalaya_model::capture::Task;
use libbpf_rs::{Iter, Link, Object};

use crate::decode::{Part, decode};
use crate::error::{Context, Error};
use crate::{iterator, log};

/// The iterator, for current kernels and for those before 5.17; see `base.h`.
static CURRENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tasks.bpf.o"));
static LEGACY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tasks_legacy.bpf.o"));

/// What the iterator uses of the maps that the headers declare.
const MAPS: [&str; 3] = ["buffers", "counts", "losses"];
/// Buffers of which one is taken at a time, on whatever CPU. In the object for old kernels each CPU has more.
const BUFFERS_PER_CPU: usize = 6;
/// The kernel fills a page or more at a time.
const CHUNK: usize = 64 << 10;
/// More than this of one pass is not read: a hundred thousand processes and more.
const LIMIT: usize = 256 << 20;

/// The loaded iterator.
#[derive(Debug)]
pub struct Tasks {
    link: Link,
    // Held for as long as it is linked.
    _object: Object,
}

impl Tasks {
    /// Loads the iterator. Takes a tenth of a second, most of it for the kernel's type information.
    pub fn open() -> Result<Self, Error> {
        log::install();
        Self::open_object(CURRENT).or_else(|_| Self::open_object(LEGACY))
    }

    fn open_object(object: &[u8]) -> Result<Self, Error> {
        let cpus = libbpf_rs::num_possible_cpus().context(|| "count CPUs".into())?;
        let (object, link) = iterator::attach(object, "processes", |map, name| {
            if !MAPS.contains(&name) {
                map.set_autocreate(false)
            } else if name == "buffers" {
                map.set_max_entries((cpus * BUFFERS_PER_CPU) as u32)
            } else {
                Ok(())
            }
        })?;
        Ok(Self {
            link,
            _object: object,
        })
    }

    /// Every process but those that have ended and were not waited for. Takes a few microseconds a process.
    pub fn scan(&self) -> Result<Vec<Task>, Error> {
        let mut iter =
            Iter::new(&self.link).context(|| "begin to iterate over processes".into())?;
        let mut bytes = Vec::new();
        let mut chunk = vec![0; CHUNK];
        let mut tasks = Vec::new();
        loop {
            let read = match iter.read(&mut chunk) {
                Ok(0) => return Ok(tasks),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Error::Load(format!("iterate over processes: {error}")));
                }
            };
            bytes.extend_from_slice(&chunk[..read]);
            let taken = take_records(&bytes, &mut tasks);
            bytes.drain(..taken);
            if tasks.len() * size_of::<Task>() > LIMIT {
                return Ok(tasks);
            }
        }
    }
}

/// Decodes the whole records at the beginning; returns how many bytes those are. What cannot be a record ends it: there is no finding the
/// next one.
fn take_records(bytes: &[u8], into: &mut Vec<Task>) -> usize {
    let mut at = 0;
    while let Some(size) = bytes
        .get(at + 4..at + 8)
        .and_then(|size| size.first_chunk())
    {
        let size = u32::from_le_bytes(*size) as usize;
        if size < 8 {
            return bytes.len();
        }
        let Some(record) = bytes.get(at..at + size) else {
            break;
        };
        if let Ok(record) = decode(record)
            && let Part::Task(task) = record.part
        {
            into.push(*task);
        }
        at += size;
    }
    at
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn bytes_that_are_no_records_end_it() {
        let mut tasks = Vec::new();
        assert_eq!(take_records(&[], &mut tasks), 0);
        assert_eq!(take_records(&[1; 7], &mut tasks), 0);
        assert_eq!(take_records(&[0; 64], &mut tasks), 64);
        assert_eq!(take_records(&[9, 0, 0, 0, 99, 0, 0, 0, 1], &mut tasks), 0);
        assert!(tasks.is_empty());
    }

    #[test]
    fn this_process_and_its_parent_are_there() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: tasks::this_process_and_its_parent_are_there: not root");
            return;
        }
        let tasks = match Tasks::open() {
            Ok(tasks) => tasks,
            Err(Error::Load(why))
                if why.contains("EPERM") || why.contains("Operation not permitted") =>
            {
                eprintln!("SKIPPED: tasks::this_process_and_its_parent_are_there: {why}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let scan = tasks.scan().unwrap();
        let find = |pid: u32| scan.iter().find(|task| task.header.pid == pid);
        let me = find(std::process::id()).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert_eq!(me.exe.path, exe.to_str().unwrap());
        assert!(me.exe.known && !me.is_fork && !me.is_kthread);
        assert_eq!(me.header.start_low, me.start_time_ns as u32);
        let parent = find(me.header.ppid).unwrap();
        assert_eq!(parent.header.pid, std::os::unix::process::parent_id());
        assert!(parent.start_time_ns <= me.start_time_ns);
        assert!(find(2).is_some_and(|two| two.is_kthread && !two.exe.known));
        // One record a process, and one for each that /proc has.
        let mut pids: Vec<u32> = scan.iter().map(|task| task.header.pid).collect();
        pids.sort_unstable();
        let all = pids.len();
        pids.dedup();
        assert_eq!(all, pids.len());
        let again = tasks.scan().unwrap();
        assert!(again.iter().any(|task| task.header.pid == me.header.pid));
    }
}
