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
    _files: Vec<OwnedFd>,
}

impl Arguments {
    pub(crate) fn parse(words: &[&str]) -> Self {
        let mut arguments = Self {
            values: [0; 6],
            _texts: Vec::new(),
            _lists: Vec::new(),
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
                "fd" => arguments.open(value, libc::O_PATH, false),
                "rfd" => arguments.open(value, 0, false),
                "wfd" => arguments.open(value, 0, true),
                _ => panic!("not an argument: {word}"),
            };
        }
        arguments
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
