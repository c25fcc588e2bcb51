//! What a program can tell of itself and of its host, for a flare: files, each from a collector that has a time limit and may fail alone.
//!
//! - [`Plan`] holds the collectors and runs them; what each brings, and what goes wrong, are [`Part`]s.
//! - [`mod@config`]: configuration files, the values in force, policies. [`mod@host`]: the kernel and the machine. [`mod@process`]: a process as
//!   `/proc` shows it. [`mod@logs`]: the last lines that this program has logged, log files, the journal, the kernel's messages.
//! - [`mod@read`] reads files that may be huge, endless, or no files at all.
//!
//! Every size is bounded, nothing is changed, and nothing is read that could wait for somebody (pipes, terminals).
#![forbid(unsafe_code)]

pub mod config;
pub mod host;
pub mod logs;
pub mod process;
pub mod read;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use atalaya_scrub::Scrubber;

/// A file of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path below the archive's top directory.
    pub name: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// What a run brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A file.
    File(File),
    /// Something could not be had: the collector, and why.
    Error(String, String),
    /// A collector has ended: its name, and how long it took.
    Done(String, Duration),
}

/// How long a collector may take that does not say otherwise.
const LIMIT: Duration = Duration::from_secs(10);
/// How many collectors of the past may hang before no run is begun any more.
const MAX_HANGING: usize = 16;

/// Collectors that were given up and have not ended yet.
static HANGING: AtomicUsize = AtomicUsize::new(0);

/// Where a collector puts what it finds.
#[derive(Debug)]
pub struct Sink {
    parts: SyncSender<Message>,
    collector: String,
    scrubber: Option<Arc<Scrubber>>,
}

enum Message {
    Part(Part),
    End,
}

impl Sink {
    /// Puts a file. `false`: nobody waits for it any more, and the collector may end.
    pub fn file(&self, name: &str, content: impl Into<Vec<u8>>) -> bool {
        let mut content = content.into();
        if let Some(scrubber) = &self.scrubber {
            content = scrubber.scrub_bytes(&content).into_bytes();
        }
        self.send(Part::File(File {
            name: name.to_owned(),
            content,
        }))
    }

    /// Tells of something that could not be had, while the rest goes on.
    pub fn error(&self, text: &str) -> bool {
        self.send(Part::Error(self.collector.clone(), text.to_owned()))
    }

    fn send(&self, part: Part) -> bool {
        self.parts.send(Message::Part(part)).is_ok()
    }
}

type Work = Box<dyn FnOnce(&Sink) -> Result<(), String> + Send>;

struct Collector {
    name: &'static str,
    limit: Duration,
    work: Work,
}

/// Collectors, in their order.
#[derive(Default)]
pub struct Plan {
    collectors: Vec<Collector>,
}

impl Plan {
    /// Adds a collector with the usual time limit.
    pub fn add(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&Sink) -> Result<(), String> + Send + 'static,
    ) {
        self.add_within(name, LIMIT, work);
    }

    /// Adds a collector with a time limit of its own.
    pub fn add_within(
        &mut self,
        name: &'static str,
        limit: Duration,
        work: impl FnOnce(&Sink) -> Result<(), String> + Send + 'static,
    ) {
        self.collectors.push(Collector {
            name,
            limit,
            work: Box::new(work),
        });
    }

    /// Runs one collector after the other, each on a thread of its own, for at most `total` together. With a scrubber every file goes
    /// through it. `take` returns whether it wants more. One that hangs is left behind, with what it has brought kept.
    pub fn run(
        self,
        scrubber: Option<&Arc<Scrubber>>,
        total: Duration,
        mut take: impl FnMut(Part) -> bool,
    ) {
        let end = Instant::now() + total;
        for collector in self.collectors {
            let name = collector.name;
            let refused = if HANGING.load(Ordering::Relaxed) >= MAX_HANGING {
                Some("too many collectors of former runs still hang")
            } else if Instant::now() >= end {
                Some("no time was left for it")
            } else {
                None
            };
            let wanted = match refused {
                Some(why) => take(Part::Error(name.to_owned(), why.to_owned())),
                None => run(collector, scrubber.cloned(), end, &mut take),
            };
            if !wanted {
                return;
            }
        }
    }
}

fn run(
    collector: Collector,
    scrubber: Option<Arc<Scrubber>>,
    end: Instant,
    take: &mut impl FnMut(Part) -> bool,
) -> bool {
    let Collector { name, limit, work } = collector;
    let (parts, received) = sync_channel(4);
    let sink = Sink {
        parts,
        collector: name.to_owned(),
        scrubber,
    };
    let begun = Instant::now();
    let thread = std::thread::Builder::new()
        .name(format!("flare-{name}").chars().take(15).collect())
        .spawn(move || {
            HANGING.fetch_add(1, Ordering::Relaxed);
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&sink)));
            let error = match done {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(_) => Some("it failed unexpectedly (a bug)".to_owned()),
            };
            if let Some(error) = error {
                sink.error(&error);
            }
            HANGING.fetch_sub(1, Ordering::Relaxed);
            let _ = sink.parts.send(Message::End);
        });
    if let Err(error) = thread {
        return take(Part::Error(
            name.to_owned(),
            format!("no thread for it: {error}"),
        ));
    }
    let deadline = end.min(begun + limit);
    loop {
        match received.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Message::Part(part)) => {
                if !take(part) {
                    return false;
                }
            }
            Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => {
                return take(Part::Done(name.to_owned(), begun.elapsed()));
            }
            Err(RecvTimeoutError::Timeout) => {
                let late = format!(
                    "it was not done after {:.1} s and is left behind",
                    begun.elapsed().as_secs_f64()
                );
                return take(Part::Error(name.to_owned(), late));
            }
        }
    }
}

/// A name that stays inside the archive, and that every program that unpacks it can write.
pub fn safe_name(name: &str) -> String {
    let parts = name
        .split('/')
        .filter(|part| !matches!(*part, "" | "." | ".."));
    let safe: Vec<String> = parts
        .map(|part| {
            let shown = |c: char| {
                if c.is_ascii_alphanumeric() || "._-+@:=".contains(c) {
                    c
                } else {
                    '_'
                }
            };
            part.chars().take(120).map(shown).collect()
        })
        .collect();
    if safe.is_empty() {
        "unnamed".to_owned()
    } else {
        safe.join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(plan: Plan, total: Duration) -> Vec<Part> {
        let mut parts = Vec::new();
        plan.run(Some(&Arc::new(Scrubber::default())), total, |part| {
            parts.push(part);
            true
        });
        parts
    }

    #[test]
    fn each_collector_fails_alone() {
        let mut plan = Plan::default();
        plan.add("fails", |_| Err("no such thing".into()));
        plan.add("panics", |_| panic!("a test of a panic"));
        plan.add_within("hangs", Duration::from_millis(50), |sink| {
            sink.file("first", "kept");
            std::thread::sleep(Duration::from_secs(2));
            sink.file("late", "");
            Ok(())
        });
        plan.add("works", |sink| {
            sink.file("a.yaml", "password: x1y2\nuser: bob\n");
            Ok(())
        });
        let begun = Instant::now();
        let parts = run(plan, Duration::from_secs(10));
        assert!(begun.elapsed() < Duration::from_secs(2));
        let errors: Vec<_> = parts
            .iter()
            .filter_map(|part| match part {
                Part::Error(name, text) => Some(format!("{name}: {text}")),
                _ => None,
            })
            .collect();
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert_eq!(errors[0], "fails: no such thing");
        assert!(errors[1].starts_with("panics: it failed"), "{errors:?}");
        assert!(
            errors[2].starts_with("hangs: it was not done after"),
            "{errors:?}"
        );
        let files: Vec<_> = parts
            .iter()
            .filter_map(|part| match part {
                Part::File(file) => Some((
                    file.name.as_str(),
                    String::from_utf8_lossy(&file.content).into_owned(),
                )),
                _ => None,
            })
            .collect();
        let scrubbed = "password: \"********\"\nuser: bob\n";
        assert_eq!(
            files,
            [
                ("first", "kept".to_owned()),
                ("a.yaml", scrubbed.to_owned())
            ]
        );
    }

    #[test]
    fn the_whole_has_a_limit_too() {
        let mut plan = Plan::default();
        for _ in 0..3 {
            plan.add("slow", |_| {
                std::thread::sleep(Duration::from_millis(200));
                Ok(())
            });
        }
        let parts = run(plan, Duration::from_millis(100));
        assert_eq!(parts.len(), 3);
        assert!(
            parts.iter().all(|part| matches!(part, Part::Error(..))),
            "{parts:?}"
        );
    }

    #[test]
    fn names_stay_inside() {
        for (name, safe) in [
            ("etc/a.yaml", "etc/a.yaml"),
            ("../../etc/shadow", "etc/shadow"),
            ("/abs/./x", "abs/x"),
            ("a b\n\u{202e}c", "a_b__c"),
            ("..", "unnamed"),
        ] {
            assert_eq!(safe_name(name), safe);
        }
    }
}
