//! The few bpf(2) calls that listing needs: which programs tcx has, and what the kernel knows of a program.

mod sys;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::Error;
use crate::tc::Direction;

/// What the kernel knows of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Its number.
    pub id: u32,
    /// `BPF_PROG_TYPE_…`
    pub kind: u32,
    /// The hash of its instructions.
    pub tag: [u8; 8],
    /// The name that its loader gave it. What is not UTF-8 is replaced.
    pub name: String,
    /// Who loaded it.
    pub uid: u32,
    /// When it was loaded, in nanoseconds since boot.
    pub load_time: u64,
    /// How often it ran, and for how many nanoseconds; 0 while the kernel does not count (`kernel.bpf_stats_enabled`).
    pub runs: u64,
    /// See [`runs`](Self::runs).
    pub run_time: u64,
}

/// A loaded program, held open so that its number stays its own.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
}

impl Program {
    /// Opens a program by its number. Needs CAP_SYS_ADMIN.
    pub fn open(id: u32) -> Result<Self, Error> {
        sys::program_by_id(id)
            .map(|fd| Self { fd })
            .map_err(|source| Error::Bpf {
                what: format!("opening program {id}"),
                source,
            })
    }

    /// What the kernel knows of it.
    pub fn info(&self) -> Result<ProgramInfo, Error> {
        info(self.fd.as_fd())
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What the kernel knows of a program that is open.
pub fn info(program: BorrowedFd<'_>) -> Result<ProgramInfo, Error> {
    let info = sys::program_info(program).map_err(|source| Error::Bpf {
        what: "asking about a program".into(),
        source,
    })?;
    Ok(ProgramInfo {
        id: info.id,
        kind: info.type_,
        tag: info.tag,
        name: text(&info.name),
        uid: info.created_by_uid,
        load_time: info.load_time,
        runs: info.run_cnt,
        run_time: info.run_time_ns,
    })
}

/// A name of the kernel, up to its zero byte.
fn text(name: &[std::ffi::c_char]) -> String {
    let bytes: Vec<u8> = name
        .iter()
        .take_while(|byte| **byte != 0)
        .map(|byte| byte.to_ne_bytes()[0])
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The programs that tcx runs on a side of an interface of the calling thread's namespace, in their order, each with its link.
/// A kernel before 6.6 answers `EINVAL`.
pub fn tcx_programs(
    interface: u32,
    direction: Direction,
) -> Result<Vec<(u32, Option<u32>)>, Error> {
    sys::tcx_programs(interface, direction).map_err(|source| Error::Bpf {
        what: format!("listing the {direction} programs of tcx"),
        source,
    })
}

/// An answer of libbpf: a negated error number, or what was asked for.
fn answer(code: i32) -> io::Result<i32> {
    if code < 0 {
        Err(io::Error::from_raw_os_error(code.wrapping_neg()))
    } else {
        Ok(code)
    }
}
