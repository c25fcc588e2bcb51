#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::cache::Identity;
use super::*;

fn request(path: &Path) -> HashRequest {
    HashRequest {
        pids: vec![std::process::id()],
        path: path.to_str().unwrap().to_owned(),
        inode: fs::symlink_metadata(path).map_or(0, |data| data.ino()),
        ..HashRequest::default()
    }
}

fn all() -> HashResolver {
    HashResolver::new(HashOptions {
        algorithms: HashAlgorithm::ALL.to_vec(),
        ..HashOptions::default()
    })
}

#[test]
fn known_hashes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("abc");
    fs::write(&path, "abc").unwrap();
    let found = all().resolve(&request(&path));
    assert_eq!(found.state, HashState::Done);
    // RFC 1321 and FIPS 180.
    assert_eq!(
        *found.hashes,
        [
            "md5:900150983cd24fb0d6963f7d28e17f72",
            "sha1:a9993e364706816aba3e25717850c26c9cd0d89d",
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ]
    );
}

#[test]
fn what_is_no_such_file() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link, pipe, empty, gone) = (
        dir.path().join("file"),
        dir.path().join("link"),
        dir.path().join("pipe"),
        dir.path().join("empty"),
        dir.path().join("gone"),
    );
    fs::write(&file, "x").unwrap();
    fs::write(&empty, "").unwrap();
    symlink(&file, &link).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let resolver = all();
    let state = |path: &Path| resolver.resolve(&request(path)).state;
    assert_eq!(state(&file), HashState::Done);
    // Neither followed nor waited for.
    assert_eq!(state(&link), HashState::FileOpenError);
    assert_eq!(state(&pipe), HashState::FileOpenError);
    assert_eq!(state(dir.path()), HashState::FileOpenError);
    assert_eq!(state(&empty), HashState::FileEmpty);
    assert_eq!(state(&gone), HashState::FileNotFound);
    assert_eq!(state(&file.join("below")), HashState::FileNotFound);
    assert_eq!(
        state(Path::new("relative")),
        HashState::PathnameResolutionError
    );
    assert_eq!(
        state(Path::new("/proc/self/exe")),
        HashState::FileOpenError,
        "a link of /proc's own kind"
    );
    let mut nobody = request(&file);
    nobody.pids = vec![u32::MAX];
    assert_eq!(resolver.resolve(&nobody).state, HashState::FileNotFound);
    nobody.pids.push(std::process::id());
    assert_eq!(
        resolver.resolve(&nobody).state,
        HashState::Done,
        "another process of the same root"
    );
}

#[test]
fn a_swapped_file_is_not_the_events() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tool");
    fs::write(&path, "evil").unwrap();
    let asked = request(&path);
    fs::write(dir.path().join("other"), "good").unwrap();
    fs::rename(dir.path().join("other"), &path).unwrap();
    assert_eq!(all().resolve(&asked).state, HashState::FileChanged);
}

#[test]
fn sizes_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large");
    fs::write(&path, vec![7; 2000]).unwrap();
    let resolver = HashResolver::new(HashOptions {
        max_file_size: 1999,
        ..HashOptions::default()
    });
    let mut asked = request(&path);
    assert_eq!(resolver.resolve(&asked).state, HashState::FileTooBig);
    asked.max_file_size = Some(5000);
    assert_eq!(
        resolver.resolve(&asked).state,
        HashState::FileTooBig,
        "a rule cannot raise the limit"
    );
    asked.max_file_size = Some(100);
    assert_eq!(all().resolve(&asked).state, HashState::FileTooBig);
}

#[test]
fn the_rate_is_limited_and_the_cache_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let resolver = HashResolver::new(HashOptions {
        max_rate: 2,
        ..HashOptions::default()
    });
    let old = SystemTime::now() - Duration::from_secs(3600);
    let mut states = Vec::new();
    for number in 0..4 {
        let path = dir.path().join(format!("f{number}"));
        fs::write(&path, "x").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(old).unwrap();
        states.push(resolver.resolve(&request(&path)).state);
    }
    use HashState::{Done, HashWasRateLimited};
    assert_eq!(states, [Done, Done, HashWasRateLimited, HashWasRateLimited]);
}

#[test]
fn the_cache_holds_settled_files_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, "one").unwrap();
    let resolver = all();
    let first = resolver.resolve(&request(&path));
    // Same length, and perhaps within the same tick of the clock.
    fs::write(&path, "two").unwrap();
    let second = resolver.resolve(&request(&path));
    assert_ne!(first.hashes, second.hashes);
    assert!(
        resolver
            .state()
            .cache
            .get(&Opened::find(&request(&path)).unwrap().identity)
            .is_none()
    );
    // This program is older than that.
    let own = std::env::current_exe().unwrap();
    let large = HashResolver::new(HashOptions {
        max_file_size: 1 << 30,
        ..HashOptions::default()
    });
    let identity = Opened::find(&request(&own)).unwrap().identity;
    if identity.is_settled() {
        assert_eq!(large.resolve(&request(&own)).state, HashState::Done);
        assert!(large.state().cache.get(&identity).is_some());
    }
}

#[test]
fn the_cache_is_bounded() {
    let mut cache = Cache::new(10);
    let identity = |inode| Identity {
        dev: 1,
        inode,
        size: 1,
        modified_ns: 0,
        changed_ns: 0,
    };
    for inode in 0..1000 {
        cache.put(identity(inode), Arc::default());
        // The first one is in use.
        assert!(cache.get(&identity(0)).is_some());
    }
    let kept = (0..1000).filter(|inode| cache.get(&identity(*inode)).is_some());
    assert!((5..=10).contains(&kept.count()));
}

#[test]
fn nobody_waits_past_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, "x").unwrap();
    let mut asked = request(&path);
    asked.deadline = Some(Instant::now());
    assert_eq!(all().resolve(&asked).state, HashState::HashTimedOut);
}
