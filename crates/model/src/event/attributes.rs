//! Events of working directories and of extended attributes.

use atalaya_model_derive::Fields;

use crate::record::EventBody;

use crate::file::File;

/// A process changed its working directory.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct ChdirEvent {
    /// The directory.
    #[nested(prefix = "file")]
    pub file: File,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
    /// The path argument as the caller gave it.
    #[field(name = "syscall.path", weight = 900)]
    pub syscall_path: String,
}

/// An extended attribute of a file was set or, for `removexattr`, taken away.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct XattrEvent {
    /// The file.
    #[nested(prefix = "file")]
    pub file: File,
    /// The attribute's name, without its namespace.
    #[field(name = "file.destination.name")]
    pub name: String,
    /// The attribute's namespace: `user`, `security`, `trusted` or `system`.
    #[field(name = "file.destination.namespace")]
    pub namespace: String,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

impl EventBody for ChdirEvent {
    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }
}

impl EventBody for XattrEvent {
    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }
}
