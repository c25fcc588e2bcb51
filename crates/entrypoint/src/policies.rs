//! `copy-policies FROM… TO`: policy files of several directories in one, for a pod whose own are in a ConfigMap. There is no shell in the
//! image that could do it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Copies all `*.policy` files; one of a later directory replaces that of an earlier one. Returns how many there are.
pub(crate) fn copy(directories: &[OsString]) -> Result<usize, String> {
    let [from @ .., to] = directories else {
        return Err("copy-policies FROM… TO".into());
    };
    if from.is_empty() {
        return Err("copy-policies FROM… TO".into());
    }
    let to = Path::new(to);
    std::fs::create_dir_all(to).map_err(|error| format!("{}: {error}", to.display()))?;
    let mut names = std::collections::BTreeSet::new();
    for dir in from {
        for file in policies(Path::new(dir))? {
            let Some(name) = file.file_name().map(OsString::from) else {
                continue;
            };
            std::fs::copy(&file, to.join(&name))
                .map_err(|error| format!("{}: {error}", file.display()))?;
            names.insert(name);
        }
    }
    Ok(names.len())
}

/// Those that are files, or links to files as a ConfigMap has them.
fn policies(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == "policy") && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn later_directories_win_and_links_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["shipped", "map/..data"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::fs::write(at("shipped/default.policy"), "shipped").unwrap();
        std::fs::write(at("shipped/kept.policy"), "kept").unwrap();
        std::fs::write(at("map/..data/default.policy"), "own").unwrap();
        std::fs::write(at("map/notes.txt"), "no policy").unwrap();
        std::os::unix::fs::symlink("..data/default.policy", at("map/default.policy")).unwrap();
        let directories = ["shipped", "map", "out"].map(|name| at(name).into_os_string());
        assert_eq!(copy(&directories), Ok(2));
        let read = |name: &str| std::fs::read_to_string(at("out").join(name));
        assert_eq!(read("default.policy").unwrap(), "own");
        assert_eq!(read("kept.policy").unwrap(), "kept");
        assert!(read("notes.txt").is_err());
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(copy(&["/one".into()]).is_err());
        let error = copy(&["/no/such/dir".into(), "/tmp".into()]).unwrap_err();
        assert!(error.contains("/no/such/dir"), "{error}");
    }
}
