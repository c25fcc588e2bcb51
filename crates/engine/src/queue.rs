//! Between the sensor's reader thread and the event loop: two bounded queues behind one short lock.
//!
//! Where a queue is full, the reader waits: the kernel's rings are the larger buffer, and what they cannot hold is
//! counted there. For file captures it waits only so long, so that the vital ring is read again in time; then they are
//! dropped and counted by kind and cgroup. Life-cycle captures are never dropped here. So a storm of opens costs opens, not
//! the process tree.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atalaya_model::capture::{Body, Capture, CaptureKind, Loss};
use rustc_hash::FxHashMap;

/// Bounds of the two queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Life-cycle captures.
    pub vital: usize,
    /// File captures.
    pub bulk: usize,
    /// Bytes of strings in each queue, roughly: an exec can carry an argument list of 128 kB.
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            vital: 4096,
            bulk: 4096,
            bytes: 4 << 20,
        }
    }
}

/// How long file captures wait for room, all together, in each window of twice that time. The vital ring is not read meanwhile; it holds
/// hundreds of execs.
const PATIENCE: Duration = Duration::from_millis(50);

/// Of the bulk queue, one in so many places is left to others by each cgroup: a flood in it does not cost them their events.
const LEFT: usize = 4;

/// How many (kind, cgroup) pairs losses are counted for; beyond, they are counted under cgroup 0.
const LOSS_KEYS: usize = 1024;

/// The two queues.
#[derive(Debug)]
pub(crate) struct Queues {
    limits: QueueLimits,
    state: Mutex<State>,
    /// There is something to take.
    filled: Condvar,
    /// There is room again.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    vital: VecDeque<Capture>,
    vital_bytes: usize,
    bulk: VecDeque<Capture>,
    bulk_bytes: usize,
    /// How many of `bulk` are of which cgroup.
    bulk_of: FxHashMap<u64, usize>,
    closed: bool,
    taker_waits: bool,
    /// The window of waiting: when it began, and how much of it was spent waiting.
    window: Option<Instant>,
    waited: Duration,
    lost: FxHashMap<(CaptureKind, u64), u64>,
    high_water: usize,
}

/// The kind of a capture.
pub(crate) fn kind_of(capture: &Capture) -> CaptureKind {
    match &capture.body {
        Body::Fork(_) => CaptureKind::Fork,
        Body::Exec(_) => CaptureKind::Exec,
        Body::Exit(_) => CaptureKind::Exit,
        Body::Heartbeat(_) => CaptureKind::Heartbeat,
        Body::Cgroup(_) => CaptureKind::Cgroup,
        Body::File(call) => call.kind,
        Body::Event(event) => event.kind(),
    }
}

impl Queues {
    /// Empty queues.
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements that can panic (there are none but allocation).
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a capture. Waits when it is a life-cycle capture and there is no room.
    pub(crate) fn push(&self, capture: Capture) {
        let weight = weight(&capture);
        let is_vital = kind_of(&capture).is_life_cycle();
        let mut state = self.lock();
        if is_vital {
            while !state.closed
                && (state.vital.len() >= self.limits.vital
                    || (state.vital_bytes >= self.limits.bytes && !state.vital.is_empty()))
            {
                state = self
                    .emptied
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.closed {
                return;
            }
            state.vital_bytes += weight;
            state.vital.push_back(capture);
        } else {
            if state.closed {
                return;
            }
            let cgroup_id = capture.header.cgroup_id;
            let share = self.limits.bulk - self.limits.bulk / LEFT;
            let full = |state: &State| {
                state.bulk.len() >= self.limits.bulk
                    || state.bulk_bytes >= self.limits.bytes
                    || state.bulk_of.get(&cgroup_id).is_some_and(|of| *of >= share)
            };
            if full(&state) {
                let now = Instant::now();
                if state
                    .window
                    .is_none_or(|began| now.duration_since(began) >= 2 * PATIENCE)
                {
                    state.window = Some(now);
                    state.waited = Duration::ZERO;
                }
                let left = PATIENCE.saturating_sub(state.waited);
                if !left.is_zero() {
                    let waited = self
                        .emptied
                        .wait_timeout_while(state, left, |state| !state.closed && full(state));
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    state.waited += now.elapsed();
                }
            }
            if state.closed {
                return;
            }
            if full(&state) {
                let mut key = (kind_of(&capture), capture.header.cgroup_id);
                if state.lost.len() >= LOSS_KEYS && !state.lost.contains_key(&key) {
                    key.1 = 0;
                }
                *state.lost.entry(key).or_default() += 1;
                return;
            }
            state.bulk_bytes += weight;
            *state.bulk_of.entry(cgroup_id).or_default() += 1;
            state.bulk.push_back(capture);
        }
        let length = state.vital.len() + state.bulk.len();
        state.high_water = state.high_water.max(length);
        if state.taker_waits {
            state.taker_waits = false;
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Moves every life-cycle capture and at most `most` file captures to the back of the two deques, waiting until
    /// there are any. Returns `false` when the queues were closed and are empty.
    pub(crate) fn take(
        &self,
        vital: &mut VecDeque<Capture>,
        bulk: &mut VecDeque<Capture>,
        most: usize,
        timeout: Duration,
    ) -> bool {
        let until = Instant::now() + timeout;
        let mut state = self.lock();
        while state.vital.is_empty() && (most == 0 || state.bulk.is_empty()) && !state.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state.taker_waits = true;
            state = self
                .filled
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.taker_waits = false;
        let had_vital = !state.vital.is_empty();
        let had_bulk = !state.bulk.is_empty();
        if vital.is_empty() {
            std::mem::swap(vital, &mut state.vital);
        } else {
            vital.append(&mut state.vital);
        }
        state.vital_bytes = 0;
        let count = most.min(state.bulk.len());
        if count == state.bulk.len() && bulk.is_empty() {
            std::mem::swap(bulk, &mut state.bulk);
            state.bulk_bytes = 0;
            state.bulk_of.clear();
        } else {
            let State {
                bulk: waiting,
                bulk_of,
                ..
            } = &mut *state;
            for capture in waiting.drain(..count) {
                if let Some(of) = bulk_of.get_mut(&capture.header.cgroup_id) {
                    *of -= 1;
                }
                bulk.push_back(capture);
            }
            bulk_of.retain(|_, of| *of > 0);
            let freed: usize = bulk.iter().rev().take(count).map(weight).sum();
            state.bulk_bytes = state.bulk_bytes.saturating_sub(freed);
        }
        // A reader that waits for room is woken when there is some worth waking up for.
        let is_roomy =
            state.bulk.len() <= self.limits.bulk / 2 && state.bulk_bytes <= self.limits.bytes / 2;
        let more = !state.closed || !vital.is_empty() || !bulk.is_empty();
        drop(state);
        if had_vital || had_bulk && is_roomy {
            self.emptied.notify_all();
        }
        more
    }

    /// Ends it: pushes are ignored from now on, and `take` returns `false` once it is empty.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    /// What was dropped since the last call.
    pub(crate) fn take_losses(&self) -> Vec<Loss> {
        std::mem::take(&mut self.lock().lost)
            .into_iter()
            .map(|((kind, cgroup_id), count)| Loss {
                kind,
                cgroup_id,
                count,
            })
            .collect()
    }

    /// Captures waiting now, and the most that ever waited.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let state = self.lock();
        (state.vital.len() + state.bulk.len(), state.high_water)
    }

    /// The bytes of strings that wait, roughly, and how many may.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let state = self.lock();
        (state.vital_bytes + state.bulk_bytes, 2 * self.limits.bytes)
    }
}

/// The memory a capture takes, roughly.
fn weight(capture: &Capture) -> usize {
    let strings = |list: &[String]| list.iter().map(|s| s.len() + 24).sum::<usize>();
    // The struct itself and what is boxed.
    700 + match &capture.body {
        Body::Exec(exec) => {
            strings(&exec.args) + strings(&exec.envs) + exec.file.path.len() + exec.filename.len()
        }
        Body::File(call) => {
            call.file.path.len()
                + call.arg_path.len()
                + call.arg_path2.len()
                + call.destination.as_ref().map_or(0, |file| file.path.len())
        }
        // A few texts at most; the struct itself is the larger part.
        Body::Event(event) => size_of_val(&**event) + 256,
        Body::Fork(_) | Body::Exit(_) | Body::Heartbeat(_) | Body::Cgroup(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use atalaya_model::capture::{Exit, FileCall, FileFields, Header};
    use std::sync::Arc;

    fn open(cgroup_id: u64) -> Capture {
        Capture {
            header: Header {
                cgroup_id,
                ..Header::default()
            },
            body: Body::File(Box::new(FileCall {
                kind: CaptureKind::Open,
                retval: 0,
                file: FileFields::default(),
                destination: None,
                flags: 0,
                mode: 0,
                uid: 0,
                gid: 0,
                atime_ns: 0,
                mtime_ns: 0,
                arg_path: String::new(),
                arg_path2: String::new(),
                dirfd: 0,
            })),
        }
    }

    fn exit() -> Capture {
        Capture {
            header: Header::default(),
            body: Body::Exit(Exit::default()),
        }
    }

    const LIMITS: QueueLimits = QueueLimits {
        vital: 4,
        bulk: 3,
        bytes: 1 << 20,
    };

    #[test]
    fn a_storm_of_opens_costs_opens() {
        let queues = Queues::new(LIMITS);
        for _ in 0..10 {
            queues.push(open(7));
        }
        queues.push(exit());
        let (mut vital, mut bulk) = (VecDeque::new(), VecDeque::new());
        assert!(queues.take(&mut vital, &mut bulk, 2, Duration::ZERO));
        assert_eq!((vital.len(), bulk.len()), (1, 2));
        assert!(queues.take(&mut vital, &mut bulk, 2, Duration::ZERO));
        assert_eq!((vital.len(), bulk.len()), (1, 3));
        assert_eq!(
            queues.take_losses(),
            [Loss {
                kind: CaptureKind::Open,
                cgroup_id: 7,
                count: 7
            }]
        );
        assert_eq!(queues.take_losses(), []);
        assert_eq!(queues.lock().bulk_bytes, 0);
    }

    #[test]
    fn the_reader_waits_for_room_and_nothing_vital_is_lost() {
        let queues = Arc::new(Queues::new(LIMITS));
        let pusher = {
            let queues = Arc::clone(&queues);
            std::thread::spawn(move || {
                for _ in 0..100 {
                    queues.push(exit());
                }
            })
        };
        let (mut vital, mut bulk) = (VecDeque::new(), VecDeque::new());
        let mut seen = 0;
        while seen < 100 {
            assert!(queues.take(&mut vital, &mut bulk, 8, Duration::from_secs(5)));
            seen += vital.drain(..).count();
        }
        pusher.join().unwrap();
        assert_eq!(queues.take_losses(), []);
    }

    #[test]
    fn a_burst_of_files_waits_for_the_loop() {
        let queues = Arc::new(Queues::new(LIMITS));
        let pusher = {
            let queues = Arc::clone(&queues);
            std::thread::spawn(move || {
                for _ in 0..1000 {
                    queues.push(open(7));
                }
            })
        };
        let (mut vital, mut bulk) = (VecDeque::new(), VecDeque::new());
        let mut seen = 0;
        while seen < 1000 && queues.take_losses().is_empty() {
            assert!(queues.take(&mut vital, &mut bulk, 2, Duration::from_secs(5)));
            seen += bulk.drain(..).count();
        }
        assert_eq!(seen, 1000);
        pusher.join().unwrap();
    }

    #[test]
    fn a_flood_in_one_cgroup_leaves_room_for_another() {
        let limits = QueueLimits { bulk: 80, ..LIMITS };
        let limits = QueueLimits {
            bytes: 1 << 30,
            ..limits
        };
        let queues = Queues::new(limits);
        for _ in 0..200 {
            queues.push(open(7));
        }
        for _ in 0..20 {
            queues.push(open(8));
        }
        let (mut vital, mut bulk) = (VecDeque::new(), VecDeque::new());
        assert!(queues.take(&mut vital, &mut bulk, 100, Duration::from_secs(5)));
        let of = |cgroup| {
            let of = bulk.iter().filter(|c| c.header.cgroup_id == cgroup);
            of.count()
        };
        assert_eq!((of(7), of(8)), (60, 20));
        let losses = queues.take_losses();
        assert_eq!(losses.len(), 1);
        assert_eq!((losses[0].cgroup_id, losses[0].count), (7, 140));
        assert!(queues.lock().bulk_of.is_empty());
    }

    #[test]
    fn closing_frees_both_ends() {
        let queues = Arc::new(Queues::new(LIMITS));
        for _ in 0..4 {
            queues.push(exit());
        }
        let pusher = {
            let queues = Arc::clone(&queues);
            std::thread::spawn(move || queues.push(exit()))
        };
        std::thread::sleep(Duration::from_millis(20));
        queues.close();
        pusher.join().unwrap();
        let (mut vital, mut bulk) = (VecDeque::new(), VecDeque::new());
        assert!(queues.take(&mut vital, &mut bulk, 8, Duration::from_secs(5)));
        assert_eq!(vital.len(), 4, "what was there is still delivered");
        vital.clear();
        assert!(!queues.take(&mut vital, &mut bulk, 8, Duration::from_secs(5)));
    }
}
