//! Events of memory.

use atalaya_model_derive::Fields;

use crate::record::EventBody;

use crate::file::File;

/// Memory was mapped.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct MmapEvent {
    /// The file, where the memory is one's.
    #[nested(prefix = "file")]
    pub file: File,
    /// How the memory is mapped.
    #[field(constants = "MMap flags")]
    pub flags: u64,
    /// What the memory may be used for.
    #[field(constants = "Protection constants")]
    pub protection: u64,
    /// What the call returned: an address, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

/// What memory may be used for was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Fields)]
pub struct MprotectEvent {
    /// What the memory could be used for before.
    #[field(constants = "Virtual Memory flags")]
    pub vm_protection: u64,
    /// What the memory may be used for from now on.
    #[field(constants = "Virtual Memory flags")]
    pub req_protection: u64,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

/// Data was moved between a file and a pipe without a copy.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct SpliceEvent {
    /// The file.
    #[nested(prefix = "file")]
    pub file: File,
    /// The flags of the first buffer of the pipe that was written to, before the call.
    #[field(constants = "Pipe buffer flags")]
    pub pipe_entry_flag: u32,
    /// The flags of the last buffer of the pipe that was written to, after the call.
    #[field(constants = "Pipe buffer flags")]
    pub pipe_exit_flag: u32,
    /// What the call returned: the number of bytes, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

impl EventBody for MmapEvent {}
impl EventBody for MprotectEvent {}
impl EventBody for SpliceEvent {}
