//! The programs of ours that were ever put into filters, on disk: filters outlive the process, and only its programs' numbers tell which
//! they are. Links need none of this, they end with the process.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::tc::link::ProgramId;

/// So many lines at most: a few a start.
const LINES: usize = 4096;

/// The file, one line a program: the boot in which it was loaded, its number, the digest of its instructions.
#[derive(Debug)]
pub(crate) struct Journal {
    path: Option<PathBuf>,
    boot: String,
    written: BTreeSet<ProgramId>,
}

impl Journal {
    /// Reads what is there. A file that cannot be read has nothing in it.
    pub(crate) fn open(path: Option<&Path>) -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim().to_owned();
        let text = path
            .and_then(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_default();
        let written = text
            .lines()
            .take(LINES)
            .filter_map(|line| read(line, &boot))
            .collect();
        Self {
            path: path.map(Path::to_owned),
            boot,
            written,
        }
    }

    /// The programs of former starts that are still loaded, which is because a filter holds them. Others have been forgotten by the
    /// kernel, and are dropped from the file.
    pub(crate) fn take_former(&mut self) -> BTreeSet<u32> {
        self.written
            .retain(|known| ProgramId::of_number(known.id).is_ok_and(|now| now == *known));
        if let Err(error) = self.rewrite() {
            tracing::debug!("cannot shorten the list of programs: {error}");
        }
        self.written.iter().map(|program| program.id).collect()
    }

    /// Writes down a program that is about to be put into a filter.
    pub(crate) fn note(&mut self, program: ProgramId) -> io::Result<()> {
        let Some(path) = self
            .path
            .as_ref()
            .filter(|_| !self.written.contains(&program))
        else {
            return Ok(());
        };
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(line(&self.boot, program).as_bytes())?;
        self.written.insert(program);
        Ok(())
    }

    fn rewrite(&self) -> io::Result<()> {
        let Some(path) = self.path.as_ref().filter(|path| path.exists()) else {
            return Ok(());
        };
        let text: String = self
            .written
            .iter()
            .map(|program| line(&self.boot, *program))
            .collect();
        let next = path.with_extension("new");
        File::create(&next)?.write_all(text.as_bytes())?;
        std::fs::rename(next, path)
    }
}

fn line(boot: &str, program: ProgramId) -> String {
    format!(
        "{boot} {} {:016x}\n",
        program.id,
        u64::from_be_bytes(program.tag)
    )
}

fn read(line: &str, boot: &str) -> Option<ProgramId> {
    let mut words = line.split(' ');
    // Numbers begin anew with each boot.
    (words.next()? == boot).then_some(())?;
    let id = words.next()?.parse().ok()?;
    let tag = u64::from_str_radix(words.next()?, 16).ok()?;
    Some(ProgramId {
        id,
        tag: tag.to_be_bytes(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panic")]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_got_the_number_of_ours_later_is_not_taken_for_ours() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("classifiers");
        let mut journal = Journal::open(Some(&path));
        // Number 0 is nobody's: as if the program had been unloaded.
        journal.note(ProgramId { id: 0, tag: [7; 8] }).unwrap();
        assert_eq!(Journal::open(Some(&path)).written.len(), 1);
        assert!(Journal::open(Some(&path)).take_former().is_empty());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn another_boot_has_other_numbers() {
        let program = ProgramId { id: 9, tag: [1; 8] };
        assert_eq!(read(line("a", program).trim_end(), "a"), Some(program));
        assert_eq!(read(line("a", program).trim_end(), "b"), None);
        assert_eq!(read("a nine 00", "a"), None);
        assert_eq!(read("", "a"), None);
    }
}
