//! `file` objects.

use serde::Serialize;

use super::Time;
use crate::fields::Cx;
use crate::file::File;
use crate::process::{group_name, user_name};

/// A file, and what an event says of it.
#[derive(Serialize, Default)]
pub(super) struct FileJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) path: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) extension: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path_resolution_error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mount_id: Option<u32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) filesystem: &'a str,
    pub(super) uid: i64,
    pub(super) gid: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) user: std::sync::Arc<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) group: std::sync::Arc<str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) flags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) access_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) modification_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) change_time: Option<Time>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) hashes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mount_visible: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mount_detached: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) destination: Option<Box<FileJson<'a>>>,
}

impl<'a> FileJson<'a> {
    pub(super) fn new(file: &'a File, cx: Cx<'_>) -> Self {
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
    pub(super) fn with_mode(file: &File, mode: u32) -> Box<Self> {
        Box::new(Self {
            mode: Some(mode),
            uid: file.uid.into(),
            gid: file.gid.into(),
            ..Self::default()
        })
    }
}
