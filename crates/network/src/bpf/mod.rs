//! The few bpf(2) calls that listing and reading programs need: which programs tcx has, what the kernel knows of a program, what it
//! consists of, and the contents of maps that it refers to.

mod sys;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

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

/// Has the kernel count how often each program runs, and for how long, until what this returns is dropped. It costs each run of every
/// program of the host some 20 ns. Needs CAP_SYS_ADMIN, and Linux 5.8.
pub fn count_run_time() -> Result<OwnedFd, Error> {
    sys::count_run_time().map_err(|source| Error::Bpf {
        what: "having the kernel count the programs' time".into(),
        source,
    })
}

/// What a program consists of.
#[derive(Debug, Clone, Default)]
pub struct Code {
    /// Its translated instructions, eight bytes each.
    pub instructions: Vec<u8>,
    /// The maps that it uses.
    pub maps: Vec<u32>,
    /// The first instruction of each function, as far as the kernel knows (it has that from BTF).
    pub functions: Vec<usize>,
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

    /// What it consists of.
    pub fn code(&self) -> Result<Code, Error> {
        let code = sys::program_code(self.fd.as_fd()).map_err(|source| Error::Bpf {
            what: "reading a program's instructions".into(),
            source,
        })?;
        let first = |record: &[u8]| Some(u32::from_ne_bytes(*record.first_chunk()?) as usize);
        let functions = code
            .functions
            .chunks_exact(code.function_size.max(4))
            .filter_map(first)
            .collect();
        Ok(Code {
            instructions: code.instructions,
            maps: code.maps,
            functions,
        })
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A map, held open.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    info: libbpf_sys::bpf_map_info,
}

impl Map {
    /// Opens a map by its number. Needs CAP_SYS_ADMIN.
    pub fn open(id: u32) -> Result<Self, Error> {
        let open = || {
            let fd = sys::map_by_id(id)?;
            let info = sys::map_info(fd.as_fd())?;
            Ok(Self { fd, info })
        };
        open().map_err(|source| Error::Bpf {
            what: format!("opening map {id}"),
            source,
        })
    }

    /// What an array of one element holds, if nobody can change it any more: it is read-only to programs, and frozen for all others.
    pub fn constant(&self) -> Option<Vec<u8>> {
        const ARRAY: u32 = libbpf_sys::BPF_MAP_TYPE_ARRAY;
        let info = &self.info;
        let constant = (info.type_, info.max_entries) == (ARRAY, 1)
            && info.map_flags & libbpf_sys::BPF_F_RDONLY_PROG != 0
            && self.frozen();
        constant
            .then(|| sys::map_lookup(self.fd.as_fd(), 0, info.value_size as usize).ok())
            .flatten()
    }

    /// Whether no system call can change it; only `/proc` tells.
    fn frozen(&self) -> bool {
        let path = format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .any(|line| line.split_whitespace().eq(["frozen:", "1"]))
    }

    /// The programs in an array of programs; None of other maps.
    pub fn programs(&self) -> Option<Vec<u32>> {
        if self.info.type_ != libbpf_sys::BPF_MAP_TYPE_PROG_ARRAY {
            return None;
        }
        let id = |index| {
            let value = sys::map_lookup(self.fd.as_fd(), index, size_of::<u32>()).ok()?;
            Some(u32::from_ne_bytes(*value.first_chunk()?))
        };
        Some((0..self.info.max_entries).filter_map(id).collect())
    }
}

/// The programs that have a part replaced by an extension (`freplace`).
pub fn extended_programs() -> Result<Vec<u32>, Error> {
    let failed = |source| Error::Bpf {
        what: "listing links".into(),
        source,
    };
    let (mut id, mut extended) = (0, Vec::new());
    while let Some(next) = sys::next_link(id).map_err(failed)? {
        id = next;
        // A link may go meanwhile.
        let Ok(Some((program, target))) = sys::tracing_link(id) else {
            continue;
        };
        let kind = Program::open(program).and_then(|program| program.info());
        if kind.is_ok_and(|info| info.kind == libbpf_sys::BPF_PROG_TYPE_EXT) {
            extended.push(target);
        }
    }
    Ok(extended)
}

/// The program that is pinned at a path, itself or by its link; None of maps, and of what cannot be opened.
pub fn pinned_program(path: &std::path::Path) -> Option<u32> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    program_behind(sys::pinned(&path).ok()?.as_fd())
}

/// The program that a descriptor of a program or link is of: `/proc` tells both alike.
fn program_behind(fd: BorrowedFd<'_>) -> Option<u32> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    program_in(&std::fs::read_to_string(path).ok()?)
}

/// The program that a text of `/proc/PID/fdinfo` tells of.
pub(crate) fn program_in(fdinfo: &str) -> Option<u32> {
    let line = fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("prog_id:"))?;
    line.trim().parse().ok()
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
