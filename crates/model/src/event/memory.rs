//! Events of memory.

use atalaya_model_derive::Fields;
use serde_json::json;

use crate::constants::names_of;
use crate::event_body;
use crate::file::File;
use crate::json::Details;
use crate::record::{EventBody, EventRecord};

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
    /// Where the memory begins; where it was asked to begin, if the call failed.
    pub address: u64,
    /// The number of bytes.
    pub length: u64,
    /// Where in the file the memory begins.
    pub offset: u64,
}

/// What memory may be used for was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Fields)]
pub struct MprotectEvent {
    /// What the memory could be used for before; of several segments, what any of them could be used for.
    #[field(constants = "Virtual Memory flags")]
    pub vm_protection: u64,
    /// What the memory may be used for from now on.
    #[field(constants = "Virtual Memory flags")]
    pub req_protection: u64,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
    /// Where the first segment that the call is about begins.
    pub start: u64,
    /// Where the last of them ends.
    pub end: u64,
}

/// Data was moved between a file and a pipe without a copy.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct SpliceEvent {
    /// The file.
    #[nested(prefix = "file")]
    pub file: File,
    /// The flags that the place in the pipe had that the call fills first, before the call: those of the buffer that was last in it.
    #[field(constants = "Pipe buffer flags")]
    pub pipe_entry_flag: u32,
    /// The flags of the last buffer in the pipe that was written to, after the call.
    #[field(constants = "Pipe buffer flags")]
    pub pipe_exit_flag: u32,
    /// What the call returned: the number of bytes, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

event_body! {
    struct MmapBody as "mmap_body" { address: u64, length: u64, offset: u64, flags: u64, protection: u64, }
}
event_body! {
    struct MprotectBody as "mprotect_body" { start: u64, end: u64, before: u64, requested: u64, }
}

impl EventBody for MmapEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: MmapBody = record.body()?;
        Some(Self {
            file: record.take_file(0).map(File::from).unwrap_or_default(),
            flags: body.flags,
            protection: body.protection,
            retval: record.retval,
            address: body.address,
            length: body.length,
            offset: body.offset,
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        if self.file.known {
            details.file(&self.file);
        }
        let told = json!({
            "address": format!("{:#x}", self.address),
            "offset": self.offset,
            "length": self.length,
            "protection": names_of("Protection constants", self.protection),
            "flags": names_of("MMap flags", self.flags),
        });
        details.section("mmap", told);
    }
}

impl EventBody for MprotectEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: MprotectBody = record.body()?;
        Some(Self {
            vm_protection: body.before,
            req_protection: body.requested,
            retval: record.retval,
            start: body.start,
            end: body.end,
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        let told = json!({
            "vm_start": format!("{:#x}", self.start),
            "vm_end": format!("{:#x}", self.end),
            "vm_protection": names_of("Virtual Memory flags", self.vm_protection),
            "req_protection": names_of("Virtual Memory flags", self.req_protection),
        });
        details.section("mprotect", told);
    }
}
event_body! {
    struct SpliceBody as "splice_body" { entry_flag: u32, exit_flag: u32, }
}

impl EventBody for SpliceEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: SpliceBody = record.body()?;
        Some(Self {
            file: record.take_file(0).map(File::from).unwrap_or_default(),
            pipe_entry_flag: body.entry_flag,
            pipe_exit_flag: body.exit_flag,
            retval: record.retval,
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        if self.file.known {
            details.file(&self.file);
        }
        let names = |flags: u32| match flags {
            0 => String::new(),
            flags => names_of("Pipe buffer flags", flags.into()),
        };
        let told = json!({
            "pipe_entry_flag": names(self.pipe_entry_flag),
            "pipe_exit_flag": names(self.pipe_exit_flag),
        });
        details.section("splice", told);
    }
}
