//! The reader: one thread that empties both rings by timer and delivers captures in the order of time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use atalaya_model::capture::Capture;
use libbpf_rs::{AsRawLibbpf, RingBuffer, RingBufferBuilder};

use crate::assemble::Assembler;
use crate::decode::{Record, decode};
use crate::error::{Context, Error};
use crate::perf::{Inlet, PerfInlet};

/// Between two looks while events come, and at most when they do not. Each look costs two context switches, which at a low rate is more than
/// the events do; the rings hold far more than what comes in 4 ms.
const SHORTEST: Duration = Duration::from_millis(4);
const LONGEST: Duration = Duration::from_millis(20);
/// The reader's nice value. It has little to do and must do it in time: where every core is busy, a fair share comes too late for the rings.
const NICE: i32 = -10;
/// Records of the bulk ring taken at one look. What stays waits for the next, and life-cycle records younger than the last one taken wait with it.
const BULK_BATCH: usize = 2048;

/// How long a record may be under way, from when its time was taken to when it is in its perf buffer.
const UNDER_WAY_NS: u64 = 1_000_000;

/// What the reader has seen; shared with who asks.
#[derive(Debug, Default)]
pub(crate) struct ReaderStats {
    pub(crate) received: [AtomicU64; 2],
    /// Records that were written, by their sequence numbers, and were not read: what was lost on the way.
    pub(crate) gaps: [AtomicU64; 2],
    /// Bytes that waited in each ring at the last look, and the most that ever did; they stay 0 for perf buffers.
    pub(crate) waiting: [AtomicU64; 2],
    pub(crate) high_water: [AtomicU64; 2],
    pub(crate) malformed: AtomicU64,
    pub(crate) dropped_parts: AtomicU64,
}

/// The running thread; dropping it stops and joins it.
#[derive(Debug)]
pub(crate) struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    pub(crate) fn start(
        inlets: [Inlet; 2],
        stats: Arc<ReaderStats>,
        sink: Box<dyn FnMut(Capture) + Send>,
    ) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("reader".into())
            .spawn({
                let stop = Arc::clone(&stop);
                move || {
                    let outcome = run(inlets, &stats, sink, &stop, || {
                        let _ = ready.send(Ok(()));
                    });
                    if let Err(error) = outcome {
                        let _ = ready.send(Err(error));
                    }
                }
            })
            .map_err(Error::Thread)?;
        let reader = Self {
            stop,
            thread: Some(thread),
        };
        is_ready
            .recv()
            .unwrap_or_else(|_| Err(Error::Load("the reader ended at once".into())))?;
        Ok(reader)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the reader thread had panicked");
        }
    }
}

/// A way by which records come, opened.
enum Source<'a> {
    Ring(RingBuffer<'a>),
    Perf(PerfInlet),
}

fn run(
    inlets: [Inlet; 2],
    stats: &ReaderStats,
    mut sink: Box<dyn FnMut(Capture) + Send>,
    stop: &AtomicBool,
    ready: impl FnOnce(),
) -> Result<(), Error> {
    if let Err(errno) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!("the reader keeps the usual priority: {errno}");
    }
    let taken = RefCell::new(Vec::<Record>::new());
    let sequences = RefCell::new([Sequences::default(), Sequences::default()]);
    let take = |ring: usize, bytes: &[u8]| {
        stats.received[ring].fetch_add(1, Ordering::Relaxed);
        match decode(bytes) {
            Ok(record) => {
                sequences.borrow_mut()[ring].saw(record.header.cpu, record.header.seq);
                taken.borrow_mut().push(record);
            }
            Err(reason) => {
                if stats.malformed.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!(
                        "a record of the kernel side is {reason}; it is skipped, and further ones are only counted"
                    );
                }
            }
        }
    };
    let take = &take;
    let open = |inlet: Inlet, index: usize| match inlet {
        Inlet::Perf(perf) => Ok(Source::Perf(perf)),
        Inlet::Ring(map) => {
            let mut builder = RingBufferBuilder::new();
            builder
                .add(&map, move |bytes: &[u8]| {
                    take(index, bytes);
                    0
                })
                .context(|| "add a ring".into())?;
            builder
                .build()
                .map(Source::Ring)
                .context(|| "open a ring".into())
        }
    };
    let [vital, bulk] = inlets;
    let ordered = matches!(vital, Inlet::Ring(_));
    let vital = open(vital, 0)?;
    let bulk = open(bulk, 1)?;
    let fill = |source: &Source<'_>, index: usize| {
        if let Source::Ring(ring) = source {
            let bytes = waiting_bytes(ring);
            stats.waiting[index].store(bytes, Ordering::Relaxed);
            stats.high_water[index].fetch_max(bytes, Ordering::Relaxed);
        }
    };
    let look = |source: &Source<'_>, index: usize, most: Option<usize>| match (source, most) {
        (Source::Ring(ring), None) => {
            ring.consume_raw();
        }
        (Source::Ring(ring), Some(most)) => {
            ring.consume_raw_n(most);
        }
        // All there is, since it is in no order: what is left could be older than what is taken.
        (Source::Perf(perf), _) => perf.take(|bytes| take(index, bytes)),
    };
    ready();

    let mut merge = Merge::default();
    let mut assembler = Assembler::default();
    let mut pause = SHORTEST;
    while !stop.load(Ordering::Relaxed) {
        let began = if ordered { u64::MAX } else { now_ns() };
        fill(&vital, 0);
        fill(&bulk, 1);
        look(&vital, 0, None);
        merge.vital_before(&mut taken.borrow_mut());
        look(&bulk, 1, Some(BULK_BATCH));
        let capped = ordered && taken.borrow().len() >= BULK_BATCH;
        merge.bulk(&mut taken.borrow_mut(), capped);
        look(&vital, 0, None);
        merge.vital_after(&mut taken.borrow_mut());
        merge.not_after(began.saturating_sub(UNDER_WAY_NS));
        let mut any = false;
        for record in merge.due() {
            any = true;
            if let Some(capture) = assembler.feed(record) {
                sink(capture);
            }
        }
        for (ring, sequences) in sequences.borrow().iter().enumerate() {
            stats.gaps[ring].store(sequences.gaps(), Ordering::Relaxed);
        }
        stats
            .dropped_parts
            .store(assembler.dropped, Ordering::Relaxed);
        if capped {
            continue;
        }
        pause = if any || merge.holds() {
            SHORTEST
        } else {
            (pause * 2).min(LONGEST)
        };
        std::thread::sleep(pause);
    }
    Ok(())
}

/// How many bytes wait in a ring.
#[allow(
    unsafe_code,
    reason = "libbpf-rs has no way to ask for the fill of a ring"
)]
fn waiting_bytes(ring: &RingBuffer<'_>) -> u64 {
    // SAFETY: the pointer is that of a living ring buffer manager, which has one ring: the borrow keeps it alive during both calls, and
    // they only read the two positions.
    unsafe {
        let first = libbpf_sys::ring_buffer__ring(ring.as_libbpf_object().as_ptr(), 0);
        if first.is_null() {
            0
        } else {
            libbpf_sys::ring__avail_data_size(first)
        }
    }
}

/// The clock of the records.
fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000) + now.tv_nsec as u64
}

/// The sequence numbers of one ring: they count from 1 on each CPU, lost records included, so what is missing below the highest was lost. (Records
/// of one CPU may come out of order by a few, where one program interrupts another.)
#[derive(Debug, Default)]
struct Sequences {
    by_cpu: Vec<(u64, u64)>,
}

impl Sequences {
    /// More CPUs than any kernel has: a malformed record must not make the table grow.
    const CPUS: usize = 8192;

    fn saw(&mut self, cpu: u32, seq: u64) {
        let cpu = cpu as usize;
        if cpu >= Self::CPUS {
            return;
        }
        if cpu >= self.by_cpu.len() {
            self.by_cpu.resize(cpu + 1, (0, 0));
        }
        let (highest, seen) = &mut self.by_cpu[cpu];
        *highest = seq.max(*highest);
        *seen += 1;
    }

    fn gaps(&self) -> u64 {
        self.by_cpu
            .iter()
            .map(|(highest, seen)| highest.saturating_sub(*seen))
            .sum()
    }
}

/// Puts the records of both rings into one order.
///
/// A thread that opens a file and then execs has written the open first, and the rule engine must see it first. So the vital ring is read
/// before and after the bulk ring. What was there before goes out with the bulk; what came after goes out only up to the time of the last
/// bulk record, since a bulk record older than it may not have been read yet. The rest waits for the next look.
#[derive(Debug, Default)]
struct Merge {
    held: VecDeque<Record>,
    batch: Vec<Record>,
    /// Records up to here go out.
    until_ns: u64,
}

impl Merge {
    fn vital_before(&mut self, taken: &mut Vec<Record>) {
        self.batch.extend(self.held.drain(..));
        self.batch.append(taken);
    }

    fn bulk(&mut self, taken: &mut Vec<Record>, capped: bool) {
        let last = taken.iter().map(|r| r.header.time_ns).max().unwrap_or(0);
        let before = self
            .batch
            .iter()
            .map(|r| r.header.time_ns)
            .max()
            .unwrap_or(0);
        self.until_ns = if capped { last } else { last.max(before) };
        self.batch.append(taken);
    }

    fn vital_after(&mut self, taken: &mut Vec<Record>) {
        self.batch.append(taken);
    }

    /// Holds back what is younger than this: from perf buffers, where the CPUs are looked at one after the other, an older record of another
    /// CPU may not have been read yet.
    fn not_after(&mut self, limit_ns: u64) {
        self.until_ns = self.until_ns.min(limit_ns);
    }

    fn due(&mut self) -> impl Iterator<Item = Record> + use<> {
        // Stable: records of one thread keep their order even within the clock's resolution.
        self.batch.sort_by_key(|r| r.header.time_ns);
        let split = self
            .batch
            .partition_point(|r| r.header.time_ns <= self.until_ns);
        self.held.extend(self.batch.drain(split..));
        std::mem::take(&mut self.batch).into_iter()
    }

    fn holds(&self) -> bool {
        !self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use atalaya_model::capture::{Body, Header};

    use super::*;
    use crate::decode::Part;

    fn record(time_ns: u64) -> Record {
        Record {
            header: Header {
                time_ns,
                ..Header::default()
            },
            ring: 0,
            part: Part::Whole(Body::Heartbeat(time_ns)),
        }
    }

    fn times(merge: &mut Merge) -> Vec<u64> {
        merge.due().map(|r| r.header.time_ns).collect()
    }

    #[test]
    fn what_is_missing_below_the_highest_number_was_lost() {
        let mut sequences = Sequences::default();
        for (cpu, seq) in [(0, 1), (0, 3), (0, 2), (1, 1), (1, 5), (u32::MAX, 9)] {
            sequences.saw(cpu, seq);
        }
        assert_eq!(sequences.gaps(), 3);
    }

    #[test]
    fn an_exec_after_an_unread_open_waits_for_it() {
        let mut merge = Merge::default();
        merge.vital_before(&mut vec![record(1)]);
        merge.bulk(&mut vec![record(5)], false);
        merge.vital_after(&mut vec![record(4), record(9)]);
        assert_eq!(times(&mut merge), [1, 4, 5]);
        assert!(merge.holds());
        merge.vital_before(&mut vec![]);
        merge.bulk(&mut vec![record(8)], false);
        merge.vital_after(&mut vec![]);
        assert_eq!(times(&mut merge), [8, 9]);
    }

    #[test]
    fn what_is_younger_than_the_look_waits_for_other_cpus() {
        let mut merge = Merge::default();
        merge.vital_before(&mut vec![record(1), record(7)]);
        merge.bulk(&mut vec![record(9)], false);
        merge.vital_after(&mut vec![]);
        merge.not_after(5);
        assert_eq!(times(&mut merge), [1]);
        merge.vital_before(&mut vec![record(6)]);
        merge.bulk(&mut vec![], false);
        merge.vital_after(&mut vec![]);
        merge.not_after(20);
        assert_eq!(times(&mut merge), [6, 7, 9]);
    }

    #[test]
    fn a_backlog_of_files_holds_younger_execs_back() {
        let mut merge = Merge::default();
        merge.vital_before(&mut vec![record(1), record(100)]);
        merge.bulk(&mut vec![record(2), record(50)], true);
        merge.vital_after(&mut vec![record(120)]);
        assert_eq!(times(&mut merge), [1, 2, 50]);
    }
}
