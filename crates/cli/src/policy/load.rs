//! Policy files as system-probe would load them on this host.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use atalaya_config::Config;
use atalaya_policy::{HostFacts, InternalPolicy, LoadError, LoadOptions, LoadReport, RuleSet};
use atalaya_secl::nearest;

/// Which policy files a command is about.
#[derive(clap::Args, Debug)]
pub(crate) struct Files {
    /// Policy files, and directories of `*.policy` files
    #[arg(value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Directory of the policy files, where none are named [default: runtime_security_config.policies.dir]
    #[arg(long, value_name = "DIR")]
    policies_dir: Option<PathBuf>,
}

/// What was loaded, and from where.
pub(crate) struct LoadedFiles {
    /// The files and directories, for people.
    pub(crate) from: String,
    pub(crate) rules: RuleSet,
    pub(crate) report: LoadReport,
}

impl Files {
    /// Files beside those of `--policies-dir`, or of the configuration where nothing is named.
    pub(crate) fn load(
        &self,
        config: &Config,
        internal: Vec<InternalPolicy>,
    ) -> Result<LoadedFiles> {
        let dir = match &self.policies_dir {
            Some(dir) => Some(dir.as_path()),
            None if self.paths.is_empty() => Some(config.policies_dir.as_path()),
            None => None,
        };
        load(dir, &self.paths, config, internal)
    }

    /// The same, but where nothing is named and there are no policies, that is none.
    pub(crate) fn load_if_any(
        &self,
        config: &Config,
        internal: Vec<InternalPolicy>,
    ) -> Result<LoadedFiles> {
        let is_named = self.policies_dir.is_some() || !self.paths.is_empty();
        if is_named || config.policies_dir.is_dir() {
            return self.load(config, internal);
        }
        load(None, &[], config, internal)
    }
}

impl LoadedFiles {
    /// Why there is no rule of this id in force.
    pub(crate) fn missing(&self, id: &str) -> String {
        let mut reports = self.report.policies.iter().flat_map(|policy| &policy.rules);
        if let Some(found) = reports.find(|rule| rule.id == id) {
            let errors: Vec<_> = found.errors.iter().map(LoadError::render).collect();
            return match (errors.is_empty(), &found.filter_reason) {
                (false, _) => errors.join("\n"),
                (true, Some(reason)) => format!("the rule `{id}` is not in force: {reason}"),
                (true, None) => format!("the rule `{id}` is not in force"),
            };
        }
        let ids = self
            .rules
            .rules()
            .iter()
            .map(|rule| rule.written_id.as_str());
        let near = match nearest(id, ids) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => String::new(),
        };
        format!("there is no rule `{id}` in {}{near}", self.from)
    }
}

/// The policies of a directory, or of the configuration; where there is none configured, only `internal`.
pub(crate) fn load_if_any(
    dir: Option<&Path>,
    config: &Config,
    internal: Vec<InternalPolicy>,
) -> Result<LoadedFiles> {
    let configured = Some(config.policies_dir.as_path()).filter(|dir| dir.is_dir());
    load(dir.or(configured), &[], config, internal)
}

/// Loads a directory, further files, and policies from memory. That a file is missing is an error; that one is bad is in
/// the report.
pub(crate) fn load(
    dir: Option<&Path>,
    paths: &[PathBuf],
    config: &Config,
    internal: Vec<InternalPolicy>,
) -> Result<LoadedFiles> {
    if let Some(dir) = dir {
        ensure!(
            dir.is_dir(),
            "there is no policy directory {} (give one with --policies-dir, or set runtime_security_config.policies.dir)",
            dir.display()
        );
    }
    for path in paths {
        ensure!(
            path.exists(),
            "there is no policy file or directory {}",
            path.display()
        );
    }
    let options = LoadOptions {
        policies_dir: dir.map(Path::to_owned),
        paths: paths.to_owned(),
        internal,
        host: host_facts(config),
        agent_version: config.policies_agent_version.get().clone(),
        ..LoadOptions::default()
    };
    let (rules, report) = RuleSet::load(atalaya_model::schema(), &options);
    let named = dir
        .into_iter()
        .chain(paths.iter().map(PathBuf::as_path))
        .map(|path| path.display().to_string());
    Ok(LoadedFiles {
        from: named.collect::<Vec<_>>().join(", "),
        rules,
        report,
    })
}

/// What `filters` of policies are checked against.
fn host_facts(config: &Config) -> HostFacts {
    let mut facts = HostFacts {
        envs: std::env::vars().map(|(k, v)| format!("{k}={v}")).collect(),
        ..HostFacts::default()
    };
    let uname = rustix::system::uname();
    facts.set_kernel_release(&uname.release().to_string_lossy());
    facts.hostname = match config.hostname.as_str() {
        "" => uname.nodename().to_string_lossy().into_owned(),
        name => name.to_owned(),
    };
    if let Ok(text) = atalaya_host::paths::os_release() {
        facts.set_os_release(&text);
    }
    facts
}
