//! Policy files on disk.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::report::{LoadError, LoadReport};

/// The largest policy file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// The `*.policy` files of the directory, `default.policy` first.
pub(super) fn list(dir: &Path, report: &mut LoadReport) -> Vec<(String, PathBuf)> {
    let dir_name = dir.display().to_string();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            let mut error = LoadError::whole(
                &dir_name,
                format!("cannot read the policy directory: {error}"),
            );
            error.help = Some("create it, or set runtime_security_config.policies.dir".to_owned());
            report.errors.push(error);
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.ends_with(".policy") && !name.starts_with('.') {
                    found.push((name, entry.path()));
                }
            }
            Err(error) => report.errors.push(LoadError::whole(
                &dir_name,
                format!("cannot read the directory: {error}"),
            )),
        }
    }
    found.sort_by(|(a, _), (b, _)| (a != "default.policy", a).cmp(&(b != "default.policy", b)));
    found
}

pub(crate) fn read_file(path: &Path) -> Result<String, String> {
    // Not a pipe or device, which could be read from for ever.
    let metadata = fs::metadata(path).map_err(|error| format!("cannot read: {error}"))?;
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    if metadata.len() > MAX_FILE {
        return Err(format!("larger than {} MiB", MAX_FILE >> 20));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)
        // It may grow while it is read.
        .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read: {error}"))?;
    String::from_utf8(bytes).map_err(|error| {
        format!(
            "not UTF-8 from byte {} on",
            error.utf8_error().valid_up_to()
        )
    })
}
