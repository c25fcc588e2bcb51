//! Stored events: the files that security-agent writes, and what is on their lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use atalaya_config::Config;
use serde_json::Value;

/// The longest line that is read.
pub(crate) const MAX_LINE: u64 = 16 << 20;
/// How a line of the events file begins, and how far from there its time is at most.
const ENVELOPE: &[u8] = b"{\"ddsource\":";
const MAX_HEAD: usize = 4096;

/// The events file, and the older ones that are there, the newest first.
pub(crate) fn stored_files(config: &Config) -> Vec<PathBuf> {
    let newest = config.events_file.clone();
    let older = (1..=config.events_file_max_files).map(|number| {
        let mut name = newest.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    });
    let older: Vec<PathBuf> = older.take_while(|file| file.exists()).collect();
    std::iter::once(newest).chain(older).collect()
}

/// The lines of a file, one after the other in one buffer.
pub(crate) struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    line: Vec<u8>,
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// With its line feed, if it has one.
    Whole(&'a [u8]),
    /// Longer than [`MAX_LINE`]: it was passed over.
    TooLong,
}

impl Lines {
    /// Those of a file; `-` is standard input.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::new(Box::new(io::stdin())));
        }
        Ok(Self::new(Box::new(File::open(path)?)))
    }

    pub(crate) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self {
            reader: BufReader::with_capacity(64 << 10, reader),
            line: Vec::new(),
        }
    }

    /// The next one; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        // What one long line took is not kept for all that follow.
        if self.line.capacity() > 1 << 20 {
            self.line = Vec::new();
        }
        self.line.clear();
        let mut limited = (&mut self.reader).take(MAX_LINE);
        let length = limited.read_until(b'\n', &mut self.line)?;
        if length == 0 {
            return Ok(None);
        }
        if length as u64 == MAX_LINE && self.line.last() != Some(&b'\n') {
            self.reader.skip_until(b'\n')?;
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Whole(&self.line)))
    }
}

/// An event and what is stored with it.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Its number.
    pub(crate) id: Option<u64>,
    /// When it was, in milliseconds since 1970.
    pub(crate) time_ms: Option<i64>,
    /// The id of the rule that it was stored for, as the policy file has it.
    pub(crate) rule: Option<String>,
    pub(crate) event: Value,
}

impl Stored {
    /// From a line of the events file, which has the event inside, or the event itself.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        let mut value: Value = match std::str::from_utf8(line) {
            Ok(text) => serde_json::from_str(text).ok()?,
            Err(_) => serde_json::from_str(&String::from_utf8_lossy(line)).ok()?,
        };
        let id = value["event_id"].as_u64();
        let time_ms = value["timestamp"].as_i64();
        let tags = value["ddtags"].as_str().unwrap_or_default();
        let tag = tags
            .split(',')
            .find_map(|tag| tag.strip_prefix("source_rule_id:"));
        let tag = tag.map(str::to_owned);
        let event = match value.get_mut("message") {
            Some(message) if message.is_object() => message.take(),
            _ => value,
        };
        let known = || event.pointer("/agent/rule_id")?.as_str().map(str::to_owned);
        let date = || event["date"].as_str()?.parse::<jiff::Timestamp>().ok();
        let rule = tag.or_else(known);
        let time_ms = time_ms.or_else(|| Some(date()?.as_millisecond()));
        event.is_object().then_some(Self {
            id,
            time_ms,
            rule,
            event,
        })
    }
}

/// The time of a line of the events file, without parsing it. Quotes in texts are escaped, so the key is found nowhere else.
pub(crate) fn time_of(line: &[u8]) -> Option<i64> {
    const KEY: &[u8] = b"\"timestamp\":";
    let head = line.get(..line.len().min(MAX_HEAD))?;
    if !head.starts_with(ENVELOPE) {
        return None;
    }
    let at = head.windows(KEY.len()).position(|part| part == KEY)?;
    let digits = head.get(at + KEY.len()..)?;
    let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(digits.get(..length)?)
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_line_that_is_too_long_does_not_hide_the_next() {
        let long = io::repeat(b'x').take(MAX_LINE + 5);
        let text = io::Cursor::new(b"a\n".to_vec())
            .chain(long)
            .chain(io::Cursor::new(b"\nlast".to_vec()));
        let mut lines = Lines::new(Box::new(text));
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"a\n")));
        assert_eq!(lines.next().unwrap(), Some(Line::TooLong));
        assert_eq!(lines.next().unwrap(), Some(Line::Whole(b"last")));
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn times_and_rules_of_lines() {
        let line = br#"{"ddsource":"r","hostname":"a\"timestamp\":1,","timestamp":1763980000123,"ddtags":"env:x,source_rule_id:one,b","event_id":7,"message":{"date":"2026-11-23T09:08:07Z","agent":{"rule_id":"group"}}}"#;
        assert_eq!(time_of(line), Some(1_763_980_000_123));
        let stored = Stored::parse(line).unwrap();
        assert_eq!((stored.id, stored.time_ms), (Some(7), time_of(line)));
        assert_eq!(stored.rule.as_deref(), Some("one"));
        // The event alone.
        let line =
            br#"{"date":"2026-11-23T09:08:07.5Z","agent":{"rule_id":"group"},"x":{"timestamp":5}}"#;
        assert_eq!(time_of(line), None);
        let stored = Stored::parse(line).unwrap();
        assert_eq!(stored.time_ms, Some(1_795_424_887_500));
        assert_eq!(stored.rule.as_deref(), Some("group"));
        assert!(Stored::parse(b"[1]").is_none() && Stored::parse(b"{").is_none());
        assert!(Stored::parse(b"\"\xff\"").is_none());
    }
}
