//! The spool as its users see it: order, restarts, acknowledgement, quota, a disk that refuses.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use atalaya_spool::{Error, Limits, MAX_RECORD, Next, Reader, Record, Spool};

const NOW: Duration = Duration::ZERO;
const SOON: Duration = Duration::from_secs(5);

fn small() -> Limits {
    Limits {
        max_bytes: 4096,
        segment_bytes: 512,
        memory_bytes: 1024,
        max_consumers: 3,
    }
}

fn get(reader: &mut Reader) -> Record {
    match reader.next(SOON) {
        Next::Record(record) => record,
        other => panic!("a record was expected, not {other:?}"),
    }
}

fn drain(reader: &mut Reader) -> Vec<Record> {
    std::iter::from_fn(|| match reader.next(NOW) {
        Next::Record(record) => Some(record),
        _ => None,
    })
    .collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "seg"))
        .collect();
    all.sort();
    all
}

/// The directory as it would be found after a `kill -9`: copied while the spool is still open.
fn killed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for path in segments(dir) {
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    fs::copy(dir.join("id"), copy.path().join("id")).unwrap();
    fs::create_dir(copy.path().join("consumers")).unwrap();
    for entry in fs::read_dir(dir.join("consumers")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(
            entry.path(),
            copy.path().join("consumers").join(entry.file_name()),
        )
        .unwrap();
    }
    copy
}

#[test]
fn records_come_in_order_and_numbered() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Limits::default()).unwrap();
    for i in 0..1000u32 {
        assert_eq!(spool.append(&i.to_le_bytes()), u64::from(i) + 1);
    }
    let mut reader = spool.reader("a").unwrap();
    for i in 0..1000u32 {
        let record = get(&mut reader);
        assert_eq!((record.offset, record.missed), (u64::from(i) + 1, 0));
        assert_eq!(record.data, i.to_le_bytes());
    }
    assert_eq!(reader.next(NOW), Next::Timeout);
}

#[test]
fn a_reader_waits_for_the_next_record() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Limits::default()).unwrap();
    let mut reader = spool.reader("a").unwrap();
    let waiting = thread::spawn(move || get(&mut reader));
    thread::sleep(Duration::from_millis(50));
    spool.append(b"late");
    assert_eq!(waiting.join().unwrap().data, b"late");
}

#[test]
fn closing_ends_readers_after_the_last_record() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Limits::default()).unwrap();
    let mut reader = spool.reader("a").unwrap();
    spool.append(b"last");
    let waiting = thread::spawn(move || (get(&mut reader), reader.next(SOON)));
    spool.close();
    let (record, end) = waiting.join().unwrap();
    assert_eq!((record.data.as_slice(), end), (&b"last"[..], Next::Closed));
}

#[test]
fn numbers_and_acknowledgements_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), small()).unwrap();
    for i in 0..20u8 {
        spool.append(&[i; 10]);
    }
    let mut reader = spool.reader("a").unwrap();
    for _ in 0..5 {
        get(&mut reader);
    }
    assert_eq!(spool.ack("a", 5).unwrap(), 6);
    // Read, but not acknowledged: comes again.
    get(&mut reader);

    let copy = killed(dir.path());
    let again = Spool::open(copy.path(), small()).unwrap();
    assert_eq!(again.id(), spool.id());
    assert_eq!(again.append(b"new"), 21);
    let records = drain(&mut again.reader("a").unwrap());
    assert_eq!(
        records.iter().map(|r| r.offset).collect::<Vec<_>>(),
        (6..=21).collect::<Vec<_>>()
    );
    assert!(records.iter().all(|r| r.missed == 0));
    assert_eq!(records[15].data, b"new");
    assert_eq!(again.stats().corrupt, 0);
}

#[test]
fn acknowledged_segments_go_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), small()).unwrap();
    let mut reader = spool.reader("a").unwrap();
    for _ in 0..60 {
        spool.append(&[1; 40]);
    }
    assert!(segments(dir.path()).len() > 3);
    let last = drain(&mut reader).last().unwrap().offset;
    assert_eq!(last, 60);
    spool.ack("a", last).unwrap();
    assert_eq!(
        segments(dir.path()).len(),
        1,
        "only the segment that may grow is left"
    );
    let stats = spool.stats();
    assert_eq!(
        (
            stats.dropped,
            stats.consumers[0].lag,
            stats.consumers[0].missed
        ),
        (0, 0, 0)
    );
    drop((spool, reader));
    let spool = Spool::open(dir.path(), small()).unwrap();
    assert_eq!(spool.append(b"x"), 61);
}

#[test]
fn even_without_segments_no_number_is_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), small()).unwrap();
    let _reader = spool.reader("a").unwrap();
    for _ in 0..10 {
        spool.append(b"x");
    }
    spool.ack("a", 10).unwrap();
    drop((spool, _reader));
    for path in segments(dir.path()) {
        fs::remove_file(path).unwrap();
    }
    let spool = Spool::open(dir.path(), small()).unwrap();
    assert_eq!(spool.append(b"y"), 11);
    let records = drain(&mut spool.reader("a").unwrap());
    assert_eq!(
        (records.len(), records[0].offset, records[0].missed),
        (1, 11, 0)
    );
}

#[test]
fn the_slowest_consumer_keeps_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), small()).unwrap();
    let (_a, mut b) = (spool.reader("a").unwrap(), spool.reader("b").unwrap());
    for _ in 0..30 {
        spool.append(&[1; 40]);
    }
    spool.ack("a", 30).unwrap();
    assert_eq!(drain(&mut b).len(), 30);
    let stats = spool.stats();
    assert_eq!((stats.consumers[0].lag, stats.consumers[1].lag), (0, 30));
    spool.forget("b");
    assert_eq!(segments(dir.path()).len(), 1);
}

#[test]
fn the_quota_deletes_the_oldest_and_tells_who_missed_it() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), small()).unwrap();
    let mut reader = spool.reader("a").unwrap();
    spool.append(&[0; 40]);
    assert_eq!(get(&mut reader).offset, 1);
    for _ in 0..500 {
        spool.append(&[0; 40]);
    }
    let stats = spool.stats();
    assert!(stats.bytes <= 4096, "{stats:?}");
    assert_eq!(stats.dropped, stats.first_offset - 1);
    assert_eq!(stats.records, stats.next_offset - stats.first_offset);
    let on_disk: u64 = segments(dir.path())
        .iter()
        .map(|p| fs::metadata(p).unwrap().len())
        .sum();
    assert_eq!(on_disk, stats.bytes);

    let first = get(&mut reader);
    assert_eq!(first.offset, stats.first_offset);
    assert_eq!(first.missed, first.offset - 2);
    let rest = drain(&mut reader);
    assert_eq!(rest.last().unwrap().offset, 501);
    assert!(rest.iter().all(|r| r.missed == 0));

    // The consumer that comes back after a restart is told as well, and the number stays when it is acknowledged.
    drop(reader);
    let missed = get(&mut spool.reader("a").unwrap()).missed;
    assert_eq!(missed, stats.first_offset - 1);
    spool.ack("a", 501).unwrap();
    assert_eq!(spool.stats().consumers[0].missed, missed);
    drop(spool);
    let spool = Spool::open(dir.path(), small()).unwrap();
    assert_eq!(spool.stats().consumers[0].missed, missed);
}

#[test]
fn an_observer_sees_only_what_is_new_and_is_told_what_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Limits::default()).unwrap();
    spool.append(b"old");
    let mut observer = spool.observer(10);
    assert_eq!(observer.next(NOW), Next::Timeout);
    for _ in 0..100 {
        spool.append(b"new");
    }
    let records = drain(&mut observer);
    assert_eq!(
        (records[0].offset, records[0].missed, records.len()),
        (97, 95, 5)
    );
    assert!(spool.stats().consumers.is_empty());
}

#[test]
fn a_torn_tail_is_cut_wherever_it_was_torn() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Limits::default()).unwrap();
    for i in 0..3u8 {
        spool.append(&[i; 9]);
    }
    let path = segments(dir.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let last = whole.len() - 16 - 9;
    for len in last..whole.len() {
        let copy = killed(dir.path());
        let torn = copy.path().join(path.file_name().unwrap());
        fs::write(&torn, &whole[..len]).unwrap();
        let spool = Spool::open(copy.path(), Limits::default()).unwrap();
        assert_eq!(fs::metadata(&torn).unwrap().len(), last as u64);
        assert_eq!(spool.append(b"again"), 3, "torn at {len}");
        let records = drain(&mut spool.reader("a").unwrap());
        assert_eq!(
            records.iter().map(|r| r.offset).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert_eq!(records[2].data, b"again");
    }
}

#[test]
fn a_segment_cut_anywhere_opens() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Limits::default()).unwrap();
    for i in 0..4u8 {
        spool.append(&[i; 5]);
    }
    let path = segments(dir.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    for len in 0..=whole.len() {
        let copy = killed(dir.path());
        fs::write(copy.path().join(path.file_name().unwrap()), &whole[..len]).unwrap();
        let spool = Spool::open(copy.path(), Limits::default()).unwrap();
        let left = len.saturating_sub(16) / 21;
        assert_eq!(
            drain(&mut spool.reader("a").unwrap()).len(),
            left,
            "cut at {len}"
        );
        assert_eq!(spool.append(b"x"), left as u64 + 1);
    }
}

#[test]
fn a_flipped_bit_costs_one_record_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Limits::default()).unwrap();
    for i in 0..6u8 {
        spool.append(&[i; 5]);
    }
    let path = segments(dir.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    for bit in 16 * 8..whole.len() * 8 {
        let copy = killed(dir.path());
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(copy.path().join(path.file_name().unwrap()), &bytes).unwrap();
        let spool = Spool::open(copy.path(), Limits::default()).unwrap();
        let hit = (bit / 8 - 16) / 21;
        let records = drain(&mut spool.reader("a").unwrap());
        let offsets: Vec<_> = records.iter().map(|r| r.offset).collect();
        let expected: Vec<_> = (1..=6).filter(|o| *o != hit as u64 + 1).collect();
        assert_eq!(offsets, expected, "bit {bit}");
        let missed: u64 = records.iter().map(|r| r.missed).sum();
        assert_eq!(
            missed,
            u64::from(hit < 5),
            "bit {bit}: the last one is a torn tail"
        );
    }
}

#[test]
fn damage_while_it_is_open_is_skipped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), small()).unwrap();
    for i in 0..30u8 {
        spool.append(&[i; 40]);
    }
    let paths = segments(dir.path());
    let mut bytes = fs::read(&paths[0]).unwrap();
    bytes[16 + 20] ^= 1;
    fs::write(&paths[0], bytes).unwrap();
    // A whole segment that is gone, and one whose header is damaged.
    fs::remove_file(&paths[1]).unwrap();
    fs::write(&paths[2], b"rubbish").unwrap();
    let records = drain(&mut spool.reader("a").unwrap());
    assert_eq!(records[0].offset, 2);
    assert_eq!(records.last().unwrap().offset, 30);
    let missed: u64 = records.iter().map(|r| r.missed).sum();
    assert_eq!(missed + records.len() as u64, 30);
    assert_eq!(spool.stats().corrupt, 3);
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), small()).unwrap();
    assert!(matches!(
        Spool::open(dir.path(), small()),
        Err(Error::Locked(_))
    ));
    spool.close();
    Spool::open(dir.path(), small()).unwrap();
}

#[test]
fn names_are_checked_and_limited() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), small()).unwrap();
    assert!(matches!(spool.reader("../x"), Err(Error::BadName(_))));
    for name in ["a", "b", "c", "a"] {
        spool.reader(name).unwrap();
    }
    assert!(matches!(spool.reader("d"), Err(Error::TooManyConsumers(3))));
    assert!(matches!(spool.ack("d", 0), Err(Error::UnknownConsumer(_))));
    assert!(matches!(
        spool.ack("a", 1),
        Err(Error::AckBeyondEnd { offset: 1, next: 1 })
    ));
    spool.append(b"x");
    spool.append(b"y");
    assert_eq!(spool.ack("a", 2).unwrap(), 3);
    assert_eq!(
        spool.ack("a", 1).unwrap(),
        3,
        "an old acknowledgement changes nothing"
    );
}

#[test]
fn a_damaged_offset_file_means_everything_again() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), small()).unwrap();
    spool.append(b"x");
    let reader = spool.reader("a").unwrap();
    spool.ack("a", 1).unwrap();
    drop((spool, reader));
    fs::write(dir.path().join("consumers/a"), "rubbish").unwrap();
    let spool = Spool::open(dir.path(), small()).unwrap();
    assert_eq!(drain(&mut spool.reader("a").unwrap()).len(), 1);
}

#[test]
fn a_disk_that_refuses_only_costs_memory_and_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), small()).unwrap();
    let mut reader = spool.reader("a").unwrap();
    spool.append(b"on disk");
    assert_eq!(get(&mut reader).offset, 1);
    // No new segment can be made in a directory that is gone (permissions would not stop root).
    let away = dir.path().with_extension("away");
    fs::rename(dir.path(), &away).unwrap();
    for i in 0..100u8 {
        spool.append(&[i; 40]);
    }
    let stats = spool.stats();
    assert!(stats.error.is_some() && stats.in_memory > 0, "{stats:?}");
    assert!(stats.dropped > 0, "memory is bounded: {stats:?}");
    // Readers go on, from disk and from memory, and are told of the gap.
    let records = drain(&mut reader);
    assert_eq!(records.last().unwrap().offset, 101);
    let missed: u64 = records.iter().map(|r| r.missed).sum();
    assert_eq!(missed + records.len() as u64, 100);
    // The disk comes back, and what was in memory is written.
    fs::rename(&away, dir.path()).unwrap();
    for _ in 0..100 {
        if spool.stats().in_memory == 0 {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let stats = spool.stats();
    assert_eq!((stats.in_memory, stats.error), (0, None));
    let last = spool.append(b"after");
    assert_eq!(get(&mut reader).offset, last);
    let copy = killed(dir.path());
    let again = Spool::open(copy.path(), small()).unwrap();
    let offsets: Vec<_> = drain(&mut again.reader("a").unwrap())
        .iter()
        .map(|r| r.offset)
        .collect();
    assert_eq!(*offsets.last().unwrap(), last);
    assert!(offsets.is_sorted());
}

/// A file system of 64 KiB, gone with the value.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|s| s.success()).then(|| Self(dir))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_costs_only_memory_and_is_tried_again() {
    let Some(disk) = Tmpfs::new() else {
        eprintln!("skipped: needs root to mount a small tmpfs");
        return;
    };
    let limits = Limits {
        max_bytes: 1 << 20,
        segment_bytes: 64 << 10,
        memory_bytes: 64 << 10,
        max_consumers: 3,
    };
    let filler = disk.0.path().join("filler");
    fs::write(&filler, vec![0; 40 << 10]).unwrap();
    let spool = Spool::open(disk.0.path().join("spool"), limits).unwrap();
    let mut reader = spool.reader("a").unwrap();
    for i in 0..50u8 {
        spool.append(&[i; 1000]);
    }
    let stats = spool.stats();
    assert!(
        stats.error.as_ref().is_some_and(|e| e.contains("space")),
        "{stats:?}"
    );
    assert!(stats.in_memory > 20 && stats.dropped == 0, "{stats:?}");
    let records = drain(&mut reader);
    assert_eq!(records.len(), 50);
    fs::remove_file(filler).unwrap();
    for _ in 0..100 {
        if spool.stats().in_memory == 0 {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(spool.stats().error, None);
    drop(reader);
    // Everything is there once, and in order, although a write was cut short in the middle.
    let records = drain(&mut spool.reader("a").unwrap());
    for (i, record) in records.iter().enumerate() {
        assert_eq!((record.offset, record.missed), (i as u64 + 1, 0));
        assert_eq!(record.data, [i as u8; 1000]);
    }
    assert_eq!((records.len(), spool.stats().corrupt), (50, 0));
}

#[test]
fn without_a_directory_the_newest_are_in_memory() {
    let spool = Spool::in_memory(small(), "no place").unwrap();
    let mut reader = spool.reader("a").unwrap();
    for _ in 0..100 {
        spool.append(&[7; 100]);
    }
    let records = drain(&mut reader);
    assert_eq!((records.len(), records[0].missed), (10, 90));
    spool.ack("a", 100).unwrap();
    let stats = spool.stats();
    assert_eq!(
        (stats.in_memory, stats.dropped, stats.error.as_deref()),
        (0, 90, Some("no place"))
    );
}

#[test]
fn a_record_that_is_too_long_is_dropped_and_a_long_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), small()).unwrap();
    let mut reader = spool.reader("a").unwrap();
    spool.append(&vec![0; MAX_RECORD + 1]);
    spool.append(&vec![1; MAX_RECORD]);
    spool.append(b"small");
    let record = get(&mut reader);
    // The long one was more than the quota, and made place for the next.
    assert_eq!(
        (record.offset, record.missed, record.data.as_slice()),
        (3, 2, &b"small"[..])
    );
    assert_eq!(spool.stats().dropped, 2);
}

#[test]
fn readers_and_a_writer_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        max_bytes: 64 << 20,
        segment_bytes: 32 << 10,
        ..Limits::default()
    };
    let spool = Spool::open(dir.path(), limits).unwrap();
    let readers: Vec<_> = ["a", "b", "c"]
        .map(|name| {
            let spool = spool.clone();
            let mut reader = spool.reader(name).unwrap();
            thread::spawn(move || {
                for expected in 1..=20_000u64 {
                    let record = get(&mut reader);
                    assert_eq!((record.offset, record.missed), (expected, 0));
                    assert_eq!(record.data, expected.to_le_bytes());
                    if expected % 100 == 0 {
                        spool.ack(name, expected).unwrap();
                    }
                }
            })
        })
        .into();
    for i in 1..=20_000u64 {
        spool.append(&i.to_le_bytes());
    }
    for reader in readers {
        reader.join().unwrap();
    }
    assert_eq!(spool.stats().dropped, 0);
}
