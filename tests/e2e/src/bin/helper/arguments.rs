//! Arguments of system calls, from the command line.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Up to six arguments and what they point to.
pub(crate) struct Arguments {
    /// The values as the kernel gets them.
    pub(crate) values: [i64; 6],
    _texts: Vec<CString>,
    _lists: Vec<Vec<i64>>,
    _bytes: Vec<Vec<u8>>,
    _files: Vec<OwnedFd>,
}

impl Arguments {
    pub(crate) fn parse(words: &[&str]) -> Self {
        let mut arguments = Self {
            values: [0; 6],
            _texts: Vec::new(),
            _lists: Vec::new(),
            _bytes: Vec::new(),
            _files: Vec::new(),
        };
        for (position, word) in words.iter().enumerate() {
            let (kind, value) = word.split_once(':').unwrap_or(("", word));
            arguments.values[position] = match kind {
                "i" => value
                    .parse()
                    .unwrap_or_else(|_| panic!("not a number: {word}")),
                "s" => {
                    let text = CString::new(unescape(value)).expect("no zero byte in a text");
                    let address = text.as_ptr() as i64;
                    arguments._texts.push(text);
                    address
                }
                "l" => {
                    let list: Vec<i64> = value
                        .split(',')
                        .map(|number| number.parse().expect("a list of numbers"))
                        .collect();
                    let address = list.as_ptr() as i64;
                    arguments._lists.push(list);
                    address
                }
                "b" => {
                    let bytes = unescape(value);
                    let address = bytes.as_ptr() as i64;
                    arguments._bytes.push(bytes);
                    address
                }
                "map" => fresh_memory(value, 0),
                "pipe" => arguments.pipe(value),
                "fd" => arguments.open(value, libc::O_PATH, false),
                "rfd" => arguments.open(value, 0, false),
                "wfd" => arguments.open(value, 0, true),
                _ => panic!("not an argument: {word}"),
            };
        }
        arguments
    }

    /// An end of a fresh pipe: `w` of an empty one, `r` of one that has been written to.
    fn pipe(&mut self, end: &str) -> i64 {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let number = match end {
            "w" => writer.as_raw_fd(),
            _ => {
                std::io::Write::write_all(&mut writer, b"in the pipe").expect("room in a pipe");
                reader.as_raw_fd()
            }
        };
        self._files.extend([reader.into(), writer.into()]);
        number.into()
    }

    fn open(&mut self, path: &str, flags: i32, write: bool) -> i64 {
        let file = std::fs::File::options()
            .read(!write)
            .write(write)
            .custom_flags(flags)
            .open(path)
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        let number = i64::from(file.as_raw_fd());
        self._files.push(file.into());
        number
    }
}

/// Four pages of fresh memory with this protection, and between other pages, so that it is a segment of its own.
pub(crate) fn fresh_memory(protection: &str, flags: i32) -> i64 {
    const PAGES: usize = 4096;
    let protection = protection.parse().expect("a number");
    let none = libc::PROT_NONE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: fresh memory that nothing else knows of; the second call is within the first's.
    unsafe {
        let all = libc::mmap(std::ptr::null_mut(), 6 * PAGES, none, flags, -1, 0);
        assert!(all != libc::MAP_FAILED, "no memory");
        let inner = all.cast::<u8>().add(PAGES).cast();
        assert_eq!(libc::mprotect(inner, 4 * PAGES, protection), 0);
        inner as i64
    }
}

/// Replaces `\xHH` by the byte.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes
            .get(at..at + 4)
            .and_then(|part| part.strip_prefix(b"\\x"))
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}
