//! Where policies come from, and the order in which they count: what is pushed to the agent, the directory, the agent's own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::document::{Document, read};
use crate::locate::File;
use crate::options::LoadOptions;
use crate::report::{LoadError, LoadReport, PolicyReport, Status};
use crate::rule::PolicyInfo;

mod files;

use files::list;
pub(crate) use files::read_file;

/// One policy that was read.
pub(crate) struct Policy {
    pub(crate) info: Arc<PolicyInfo>,
    /// How errors name it: the path, or the internal name.
    pub(crate) file_name: String,
    /// The file, if it is one.
    pub(crate) path: Option<PathBuf>,
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

/// A policy that is to be read.
struct Candidate {
    name: String,
    source: String,
    path: Option<PathBuf>,
    internal: bool,
    text: Result<String, String>,
}

/// Reads all policies in load order: the default policy, those pushed to the agent, those of files by name, the agent's own.
pub(crate) fn read_all(options: &LoadOptions, report: &mut LoadReport) -> Vec<Policy> {
    let mut policies = Vec::new();
    let mut default: Option<(String, String)> = None;
    for candidate in candidates(options, report) {
        policies.extend(read_one(candidate, options, &mut default, report));
    }
    // The default policy comes first, wherever it is from.
    policies.sort_by_key(|policy: &Policy| !policy.info.is_default);
    replace(policies, report)
}

fn candidates(options: &LoadOptions, report: &mut LoadReport) -> Vec<Candidate> {
    let given = |policy: &crate::InternalPolicy, internal| Candidate {
        name: policy.name.clone(),
        source: policy.source.clone(),
        path: None,
        internal,
        text: Ok(policy.content.clone()),
    };
    let mut found: Vec<Candidate> = options
        .remote
        .iter()
        .map(|policy| given(policy, false))
        .collect();
    let mut named = Vec::new();
    if let Some(dir) = &options.policies_dir {
        named.extend(list(dir, report));
    }
    for path in &options.paths {
        if path.is_dir() {
            named.extend(list(path, report));
        } else {
            let name = path.file_name().unwrap_or(path.as_os_str());
            named.push((name.to_string_lossy().into_owned(), path.clone()));
        }
    }
    // Of two default policies the one of that name is meant.
    named.sort_by_key(|(name, _)| name != DEFAULT);
    found.extend(named.into_iter().map(|(name, path)| Candidate {
        name,
        source: "file".to_owned(),
        text: read_file(&path),
        path: Some(path),
        internal: false,
    }));
    found.extend(options.internal.iter().map(|policy| given(policy, true)));
    found
}

/// The name of the file that is a default policy whatever its type.
const DEFAULT: &str = "default.policy";

/// Why the text is no policy at all: it could not be read, or is no YAML.
fn fails(text: Result<&Document, &String>, file_name: &str) -> Option<Vec<LoadError>> {
    match text {
        Err(message) => Some(vec![LoadError::whole(file_name, message.clone())]),
        Ok(document) => {
            (document.is_nothing() && !document.errors.is_empty()).then(|| document.errors.clone())
        }
    }
}

/// Reads the earlier text of a file that is no policy now.
fn read_earlier(
    candidate: Candidate,
    errors: Vec<LoadError>,
    options: &LoadOptions,
    default: &mut Option<(String, String)>,
    report: &mut LoadReport,
) -> Option<Policy> {
    let found = read_one(candidate, options, default, report);
    if let Some(last) = report.policies.last_mut()
        && last.status != Status::Filtered
    {
        last.status = Status::PartiallyLoaded;
        last.errors = errors;
        if let Some(first) = last.errors.first_mut() {
            first.message += "; the rules that it had before stay in force";
        }
    }
    found
}

fn read_one(
    candidate: Candidate,
    options: &LoadOptions,
    default: &mut Option<(String, String)>,
    report: &mut LoadReport,
) -> Option<Policy> {
    let Candidate {
        name,
        source,
        path,
        internal,
        text,
    } = candidate;
    let file_name = path
        .as_ref()
        .map_or_else(|| name.clone(), |path| path.display().to_string());
    let document = text.as_ref().map(|text| {
        read(File {
            name: &file_name,
            source: text,
        })
    });
    if let Some(path) = &path
        && let Some(earlier) = options.earlier.get(path)
        && text.as_deref().ok() != Some(&**earlier)
        && let Some(errors) = fails(document.as_ref().map_err(|message| *message), &file_name)
    {
        let earlier = Candidate {
            name,
            source,
            path: Some(path.clone()),
            internal,
            text: Ok(earlier.to_string()),
        };
        return read_earlier(earlier, errors, options, default, report);
    }
    let document = document.unwrap_or_default();
    let path = path.as_deref();
    let text = match text {
        Ok(text) => text,
        Err(message) => {
            let found = policy_report(&name, &source, path, "", internal);
            report.policies.push(found);
            fail(report, LoadError::whole(&file_name, message));
            return None;
        }
    };
    let version = &document.version;
    report
        .policies
        .push(policy_report(&name, &source, path, version, internal));
    let is_default = !internal && (name == DEFAULT || document.kind == "policy");
    if is_default && let Some((known, from)) = default {
        if *from == source {
            let message = format!("ignored: {known} is the default policy already");
            fail(report, LoadError::whole(&file_name, message));
        } else if let Some(last) = report.policies.last_mut() {
            // What is pushed to the agent stands for the file.
            last.status = Status::Filtered;
        }
        return None;
    }
    if is_default {
        *default = Some((name.clone(), source.clone()));
    }
    let empty = document.is_nothing();
    if !document.errors.is_empty() {
        if let Some(last) = report.policies.last_mut() {
            last.errors.extend(document.errors.iter().cloned());
            last.status = if empty {
                Status::Error
            } else {
                Status::PartiallyLoaded
            };
        }
    } else if empty && !is_default && !internal {
        let mut error = LoadError::whole(&file_name, "policy is empty".to_owned());
        error.help = Some("it has neither `rules` nor `macros`".to_owned());
        fail(report, error);
    }
    let info = PolicyInfo {
        name,
        source,
        version: document.version.clone(),
        is_default,
        internal,
    };
    Some(Policy {
        info: Arc::new(info),
        file_name,
        path: path.map(Path::to_owned),
        text,
        document,
        report: report.policies.len() - 1,
    })
}

/// Leaves out the policies that others replace.
fn replace(policies: Vec<Policy>, report: &mut LoadReport) -> Vec<Policy> {
    let base = |name: &str| name.strip_suffix(".policy").unwrap_or(name).to_owned();
    let mut gone = vec![false; policies.len()];
    for (index, policy) in policies.iter().enumerate() {
        let Some(replaced) = &policy.document.replaces else {
            continue;
        };
        if gone.get(index) == Some(&true) {
            continue;
        }
        for (other, slot) in policies.iter().zip(&mut gone) {
            let is_other = !Arc::ptr_eq(&other.info, &policy.info) && !other.info.internal;
            *slot |= is_other && base(&other.info.name) == base(replaced);
        }
    }
    let mut gone = gone.into_iter();
    let mut policies = policies;
    policies.retain(|policy| {
        let goes = gone.next().unwrap_or(false);
        if goes && let Some(found) = report.policies.get_mut(policy.report) {
            found.status = Status::Filtered;
        }
        !goes
    });
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
