//! Events of working directories and of extended attributes.

use atalaya_model_derive::Fields;

use crate::file::File;
use crate::json::{Details, FileJson};
use crate::record::EventBody;

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
    /// The attribute's name, with its namespace (`user.mime_type`).
    #[field(name = "file.destination.name")]
    pub name: String,
    /// The attribute's namespace: `user`, `security`, `trusted` or `system`.
    #[field(name = "file.destination.namespace")]
    pub namespace: String,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

impl XattrEvent {
    /// The event of a call on a file; its second text is the attribute's name.
    pub(crate) fn of(file: File, attribute: String, retval: i64) -> Self {
        let namespace = attribute.split_once('.').map_or("", |(space, _)| space);
        Self {
            namespace: namespace.to_owned(),
            name: attribute,
            file,
            retval,
        }
    }
}

impl EventBody for ChdirEvent {
    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.file(&self.file);
        details.syscall(serde_json::json!({ "path": self.syscall_path }));
    }
}

impl EventBody for XattrEvent {
    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.file(&self.file).destination = Some(Box::new(FileJson {
            attribute_name: &self.name,
            attribute_namespace: &self.namespace,
            uid: self.file.uid.into(),
            gid: self.file.gid.into(),
            ..FileJson::default()
        }));
    }
}
