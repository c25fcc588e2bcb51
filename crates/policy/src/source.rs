//! Where policies come from: the directory, in order, and the agent itself.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::document::{Document, read};
use crate::locate::File;
use crate::options::LoadOptions;
use crate::report::{LoadError, LoadReport, PolicyReport, Status};
use crate::rule::PolicyInfo;

/// The largest policy file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// One policy that was read.
pub(crate) struct Policy {
    pub(crate) info: Arc<PolicyInfo>,
    /// How errors name it: the path, or the internal name.
    pub(crate) file_name: String,
    pub(crate) text: String,
    pub(crate) document: Document,
    /// The position of its report.
    pub(crate) report: usize,
}

impl Policy {
    pub(crate) fn file(&self) -> File<'_> {
        File {
            name: &self.file_name,
            source: &self.text,
        }
    }
}

/// Reads all policies in load order: `default.policy`, the others by name, those of the agent.
pub(crate) fn read_all(options: &LoadOptions, report: &mut LoadReport) -> Vec<Policy> {
    let mut policies: Vec<Policy> = Vec::new();
    let mut default: Option<String> = None;
    let mut add = |report: &mut LoadReport,
                   name: String,
                   path: Option<&Path>,
                   source: &str,
                   text: Result<String, String>| {
        let internal = path.is_none();
        let file_name = path.map_or_else(|| name.clone(), |path| path.display().to_string());
        let text = match text {
            Ok(text) => text,
            Err(message) => {
                report
                    .policies
                    .push(policy_report(&name, source, path, "", internal));
                fail(report, LoadError::whole(&file_name, message));
                return;
            }
        };
        let document = read(File {
            name: &file_name,
            source: &text,
        });
        report.policies.push(policy_report(
            &name,
            source,
            path,
            &document.version,
            internal,
        ));
        let is_default = !internal && (name == "default.policy" || document.kind == "policy");
        if is_default && let Some(known) = &default {
            fail(
                report,
                LoadError::whole(
                    &file_name,
                    format!("ignored: {known} is the default policy already"),
                ),
            );
            return;
        }
        if is_default {
            default = Some(name.clone());
        }
        if !document.errors.is_empty() {
            let empty = document.rules.is_empty() && document.macros.is_empty();
            if let Some(last) = report.policies.last_mut() {
                last.errors.extend(document.errors.iter().cloned());
                last.status = if empty {
                    Status::Error
                } else {
                    Status::PartiallyLoaded
                };
            }
        } else if document.rules.is_empty()
            && document.macros.is_empty()
            && !is_default
            && !internal
        {
            fail(
                report,
                LoadError::whole(&file_name, "policy is empty".to_owned()),
            );
        }
        if let Some(replaced) = &document.replaces {
            policies.retain(|policy| {
                let goes = policy.info.name.trim_end_matches(".policy")
                    == replaced.trim_end_matches(".policy");
                if goes && let Some(report) = report.policies.get_mut(policy.report) {
                    report.status = Status::Filtered;
                }
                !goes
            });
        }
        let info = PolicyInfo {
            name,
            source: source.to_owned(),
            version: document.version.clone(),
            is_default,
            internal,
        };
        let report = report.policies.len() - 1;
        policies.push(Policy {
            info: Arc::new(info),
            file_name,
            text,
            document,
            report,
        });
    };
    let mut files = Vec::new();
    if let Some(dir) = &options.policies_dir {
        files.extend(list(dir, report));
    }
    for path in &options.paths {
        if path.is_dir() {
            files.extend(list(path, report));
        } else {
            let name = path.file_name().unwrap_or(path.as_os_str());
            files.push((name.to_string_lossy().into_owned(), path.clone()));
        }
    }
    // The default policy comes first, wherever it was named.
    files.sort_by_key(|(name, _)| name != "default.policy");
    for (name, path) in files {
        let text = read_file(&path);
        add(report, name, Some(&path), "file", text);
    }
    for internal in &options.internal {
        add(
            report,
            internal.name.clone(),
            None,
            &internal.source,
            Ok(internal.content.clone()),
        );
    }
    policies
}

fn policy_report(
    name: &str,
    source: &str,
    path: Option<&Path>,
    version: &str,
    internal: bool,
) -> PolicyReport {
    PolicyReport {
        name: name.to_owned(),
        source: source.to_owned(),
        path: path.map(|path| path.display().to_string()),
        version: version.to_owned(),
        internal,
        status: Status::Loaded,
        macros: Vec::new(),
        rules: Vec::new(),
        errors: Vec::new(),
    }
}

/// Rejects the policy last reported.
fn fail(report: &mut LoadReport, error: LoadError) {
    if let Some(last) = report.policies.last_mut() {
        last.status = Status::Error;
        last.errors.push(error);
    }
}

/// The `*.policy` files of the directory, `default.policy` first.
fn list(dir: &Path, report: &mut LoadReport) -> Vec<(String, std::path::PathBuf)> {
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

fn read_file(path: &Path) -> Result<String, String> {
    // Not a pipe or device, which could be read from for ever.
    let metadata = fs::metadata(path).map_err(|error| format!("cannot read: {error}"))?;
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    if metadata.len() > MAX_FILE {
        return Err(format!("larger than {} MiB", MAX_FILE >> 20));
    }
    let bytes = fs::read(path).map_err(|error| format!("cannot read: {error}"))?;
    String::from_utf8(bytes).map_err(|error| {
        format!(
            "not UTF-8 from byte {} on",
            error.utf8_error().valid_up_to()
        )
    })
}
