//! `file` objects.

use serde::Serialize;

use super::Time;
use crate::fields::Cx;
use crate::file::File;
use crate::process::{group_name, user_name};

/// A file, and what an event says of it.
#[derive(Serialize, Default)]
pub(crate) struct FileJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) path: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) extension: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path_resolution_error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mount_id: Option<u32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) filesystem: &'a str,
    pub(crate) uid: i64,
    pub(crate) gid: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) user: std::sync::Arc<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) group: std::sync::Arc<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) attribute_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) attribute_namespace: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) flags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) modification_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) change_time: Option<Time>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) hashes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mount_visible: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mount_detached: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destination: Option<Box<FileJson<'a>>>,
}

impl<'a> FileJson<'a> {
    pub(crate) fn new(file: &'a File, cx: Cx<'_>) -> Self {
        let mut json = Self {
            path: &file.path,
            name: file.name(),
            extension: file.extension(),
            path_resolution_error: file.path_error(),
            filesystem: &file.filesystem,
            hashes: file.known_hashes(),
            ..Self::default()
        };
        if file.known {
            json.inode = Some(file.inode);
            json.mode = Some(u32::from(file.mode));
            json.mount_id = Some(file.mount_id);
            json.uid = file.uid.into();
            json.gid = file.gid.into();
            json.user = user_name(file.uid, cx);
            json.group = group_name(file.gid, cx);
            json.modification_time = Time::known(file.modification_time);
            json.change_time = Time::known(file.change_time);
            json.mount_visible = Some(!file.detached);
            json.mount_detached = Some(file.detached);
        }
        json
    }

    /// What a call makes of a file whose owner it leaves.
    pub(crate) fn with_mode(file: &File, mode: u32) -> Box<Self> {
        Box::new(Self {
            mode: Some(mode),
            uid: file.uid.into(),
            gid: file.gid.into(),
            ..Self::default()
        })
    }
}
