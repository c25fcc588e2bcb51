//! System calls through `int 0x80`, which a 64-bit program may use as well: the kernel then takes the number for an
//! i386 one and looks at 32 bits of each argument, so that texts must lie low in memory.

use std::arch::asm;
use std::os::fd::IntoRawFd;

use crate::arguments::{fresh_memory, unescape};

/// One call through the 32-bit entry.
pub(crate) fn call(number: i64, words: &[&str]) -> i64 {
    let size = 1 << 16;
    // SAFETY: a fresh anonymous mapping, checked below.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    assert!(base != libc::MAP_FAILED, "no memory below 4 GiB");
    let mut used = 0;
    let mut values = [0_u64; 5];
    for (position, word) in words.iter().enumerate() {
        values[position] = match word.split_once(':') {
            Some(("i", value)) => {
                let value: i64 = value.parse().expect("a number");
                // The kernel takes the low half.
                (value as u64) & 0xffff_ffff
            }
            Some(("map", value)) => fresh_memory(value, libc::MAP_32BIT) as u64,
            Some(("rfd", path)) => opened(path),
            Some(("pipe", _)) => {
                let (reader, writer) = std::io::pipe().expect("a pipe");
                std::mem::forget(reader);
                writer.into_raw_fd() as u64
            }
            // Text, or the address of 32-bit words, of which @PATH is a descriptor.
            Some((kind @ ("s" | "w"), value)) => {
                let text = match kind {
                    "s" => unescape(value),
                    _ => value.split(',').flat_map(word_of).collect(),
                };
                assert!(used + text.len() < size, "texts too long");
                // SAFETY: inside the mapping, by the assertion above; the byte after the text is zero.
                let address = unsafe {
                    let address = base.cast::<u8>().add(used);
                    address.copy_from_nonoverlapping(text.as_ptr(), text.len());
                    address
                };
                used += text.len() + 1;
                address as u64
            }
            _ => panic!("not an argument: {word}"),
        };
    }
    enter(number, values)
}

/// The call itself, with the values as they are.
pub(crate) fn enter(number: i64, values: [u64; 5]) -> i64 {
    let [a, b, c, d, e] = values; // and the sixth is 0
    let result: u64;
    // SAFETY: the convention of the i386 entry; rbx is LLVM's own and so is saved by hand, r8 to r11 are lost.
    unsafe {
        asm!(
            "push rbp",
            "xchg {a}, rbx",
            "xor ebp, ebp",
            "int 0x80",
            "xchg {a}, rbx",
            "pop rbp",
            a = inout(reg) a => _,
            inlateout("rax") number as u64 => result,
            in("rcx") b,
            in("rdx") c,
            in("rsi") d,
            in("rdi") e,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    i64::from(result as u32 as i32)
}

fn opened(path: &str) -> u64 {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    file.into_raw_fd() as u64
}

fn word_of(word: &str) -> [u8; 4] {
    let number = match word.strip_prefix('@') {
        Some(path) => opened(path),
        None => word.parse().expect("a number"),
    };
    (number as u32).to_le_bytes()
}
