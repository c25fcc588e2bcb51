//! Each filter means what it means to libpcap: on random packets, the program made here and the one that libpcap makes (without optimizing, since
//! that changes which loads come first) say the same. libpcap is opened when the test runs: nothing is linked to it.
#![allow(unsafe_code, reason = "a C library is called, in this test only")]

mod samples;

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use atalaya_pcap::{Filter, Link, Packet};
use samples::{Random, filter, packet};

/// `struct bpf_program`
#[repr(C)]
struct Program {
    length: u32,
    instructions: *mut c_void,
}

type OpenDead = unsafe extern "C" fn(c_int, c_int) -> *mut c_void;
type Compile = unsafe extern "C" fn(*mut c_void, *mut Program, *const c_char, c_int, u32) -> c_int;
type Run = unsafe extern "C" fn(*const c_void, *const u8, u32, u32) -> u32;
type Free = unsafe extern "C" fn(*mut Program);
type GetErr = unsafe extern "C" fn(*mut c_void) -> *const c_char;

struct Libpcap {
    handle: *mut c_void,
    compile: Compile,
    run: Run,
    free: Free,
    get_err: GetErr,
}

impl Libpcap {
    fn open(link: Link) -> Option<Self> {
        // SAFETY: a library of the system by its name; its constructors do nothing but set it up.
        let library = unsafe { libc::dlopen(c"libpcap.so.0.8".as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            return None;
        }
        let symbol = |name: &CStr| {
            // SAFETY: the library stays open, the name ends in a zero.
            let found = unsafe { libc::dlsym(library, name.as_ptr()) };
            assert!(!found.is_null(), "libpcap has no {name:?}");
            found
        };
        // SAFETY: the types are those of pcap.h.
        unsafe {
            let open: OpenDead = std::mem::transmute(symbol(c"pcap_open_dead"));
            let number = match link {
                Link::Ethernet => 1,
                Link::RawIp => 12,
            };
            let handle = open(number, 65535);
            assert!(!handle.is_null());
            Some(Self {
                handle,
                compile: std::mem::transmute::<*mut c_void, Compile>(symbol(c"pcap_compile")),
                run: std::mem::transmute::<*mut c_void, Run>(symbol(c"bpf_filter")),
                free: std::mem::transmute::<*mut c_void, Free>(symbol(c"pcap_freecode")),
                get_err: std::mem::transmute::<*mut c_void, GetErr>(symbol(c"pcap_geterr")),
            })
        }
    }

    fn compile(&self, text: &str) -> Result<Program, String> {
        let text = CString::new(text).expect("no zero in it");
        let mut program = Program {
            length: 0,
            instructions: std::ptr::null_mut(),
        };
        // SAFETY: a live handle, a program to fill in, a text that ends in a zero.
        let failed =
            unsafe { (self.compile)(self.handle, &raw mut program, text.as_ptr(), 0, u32::MAX) };
        if failed != 0 {
            // SAFETY: libpcap keeps the message in the handle.
            let message = unsafe { CStr::from_ptr((self.get_err)(self.handle)) };
            return Err(message.to_string_lossy().into_owned());
        }
        Ok(program)
    }

    fn matches(&self, program: &Program, bytes: &[u8]) -> bool {
        let length = bytes.len() as u32;
        // SAFETY: a program that libpcap made, and a packet with its length.
        unsafe { (self.run)(program.instructions, bytes.as_ptr(), length, length) != 0 }
    }
}

fn open(link: Link) -> Option<Libpcap> {
    let library = Libpcap::open(link);
    if library.is_none() {
        eprintln!("SKIPPED: libpcap.so.0.8 is not installed (Debian: libpcap0.8)");
    }
    library
}

fn compare(
    libpcap: &Libpcap,
    link: Link,
    text: &str,
    random: &mut Random,
    packets: u32,
) -> Option<u32> {
    let (theirs, ours) = match (libpcap.compile(text), Filter::new(text)) {
        (Ok(theirs), Ok(ours)) => (theirs, ours),
        (Err(_), Err(_)) => return None,
        (Err(message), Ok(_)) => panic!("libpcap does not take {text:?}: {message}"),
        (Ok(_), Err(error)) => panic!("{text:?}: {error}"),
    };
    let mut passed = 0;
    for _ in 0..packets {
        let bytes = packet(random, link == Link::Ethernet);
        let said = ours.program(link).matches(&Packet {
            bytes: &bytes,
            len: bytes.len() as u32,
            ..Packet::default()
        });
        passed += u32::from(said);
        assert_eq!(
            said,
            libpcap.matches(&theirs, &bytes),
            "{text:?} on {bytes:02x?}\n{}",
            ours.program(link)
        );
    }
    let mut theirs = theirs;
    // SAFETY: made by libpcap, freed once.
    unsafe { (libpcap.free)(&raw mut theirs) };
    Some(passed)
}

fn random_filters(link: Link) {
    let Some(libpcap) = open(link) else { return };
    let mut random = Random::new(42);
    let (mut passed, mut refused) = (0, 0);
    for _ in 0..4000 {
        let text = filter(&mut random, link == Link::Ethernet);
        match compare(&libpcap, link, &text, &mut random, 50) {
            Some(count) => passed += count,
            None => refused += 1,
        }
    }
    assert!(refused < 200, "{refused} filters were refused");
    // The test is worth something only if both answers are common.
    assert!((20_000..180_000).contains(&passed), "{passed} of 200000");
}

#[test]
fn random_filters_mean_the_same_on_ethernet() {
    random_filters(Link::Ethernet);
}

#[test]
fn random_filters_mean_the_same_on_bare_ip() {
    random_filters(Link::RawIp);
}

#[test]
fn filters_of_the_manual_mean_the_same() {
    let Some(libpcap) = open(Link::Ethernet) else {
        return;
    };
    let mut random = Random::new(7);
    for text in include_str!("manual.txt").lines() {
        let taken = compare(&libpcap, Link::Ethernet, text, &mut random, 300);
        assert!(taken.is_some(), "{text:?} was refused");
    }
}

#[test]
fn what_libpcap_refuses_is_refused() {
    let Some(libpcap) = open(Link::Ethernet) else {
        return;
    };
    for text in include_str!("refused.txt").lines() {
        assert!(libpcap.compile(text).is_err(), "libpcap takes {text:?}");
        assert!(Filter::new(text).is_err(), "{text:?} was taken");
    }
}
