//! Files, environment and flags become one [`Config`].

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::accepted::{accepted, accepted_env, is_above_accepted};
use crate::keys::{Config, Effect, KEYS, Key, env_name};
use crate::yaml::{self, Node, Placed, PlacedKey};

/// Where the files are when no other place is named.
const DEFAULT_DIR: &str = "/etc/atalaya";

/// Whose configuration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// system-probe
    SystemProbe,
    /// security-agent
    SecurityAgent,
}

impl Program {
    /// The name of its file.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::SystemProbe => "system-probe.yaml",
            Self::SecurityAgent => "security-agent.yaml",
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::SystemProbe => "system-probe",
            Self::SecurityAgent => "security-agent",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::SystemProbe => Self::SecurityAgent,
            Self::SecurityAgent => Self::SystemProbe,
        }
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Note,
    /// Something has no effect.
    Warning,
    /// Something was meant to have an effect and has another one.
    Error,
}

/// Something wrong with the configuration. Shown as one line, its place first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// The file, or the variable or flag.
    pub origin: String,
    /// Line and column in the file, from 1.
    pub place: Option<(u64, u64)>,
    /// What.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.origin)?;
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, " {severity}: {}", self.text)
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody has set it.
    Default,
    /// A line of a file.
    File(PathBuf, u64),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag,
    /// `config set`, until the program ends.
    Runtime,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag => f.write_str("flag"),
            Self::Runtime => f.write_str("set at run time"),
        }
    }
}

/// A value that was set, perhaps to be overridden by a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The key's full name.
    pub key: &'static str,
    /// By whom.
    pub origin: Origin,
    /// The value as it would be written in a file; hidden where it is a secret.
    pub value: String,
}

/// A configuration and what was wrong with it.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// What was wrong, in the order it was found.
    pub problems: Vec<Problem>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// Every value that was set, in the order in which they count: of one key the last wins.
    pub set: Vec<Set>,
    /// What files, variables and flags say, where `config` does not follow before a restart.
    pub(crate) written: Config,
}

/// A file that was named explicitly cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the configuration {path}: {source}")]
pub struct LoadError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// From where a configuration comes. What comes later wins: files in their order, environment, flags.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The files, and whether each must be there.
    pub files: Vec<(PathBuf, bool)>,
    /// Environment variables; those without `DD_` are ignored.
    pub env: Vec<(String, String)>,
    /// Full key names and values.
    pub flags: Vec<(&'static str, String)>,
    /// The same, set while the program runs: these win over flags.
    pub runtime: Vec<(&'static str, String)>,
}

impl Sources {
    /// This process's environment, and the files: the two of `/etc/atalaya`, those of the directory `named`, or the
    /// file `named` and the other program's file beside it.
    pub fn standard(program: Program, named: Option<&Path>) -> Self {
        let (own, other) = (program.file_name(), program.other().file_name());
        let files = match named {
            None => {
                let dir = Path::new(DEFAULT_DIR);
                vec![(dir.join(other), false), (dir.join(own), false)]
            }
            // A directory that holds neither file was not meant.
            Some(dir) if dir.is_dir() => {
                let must = !dir.join(other).exists();
                vec![(dir.join(other), false), (dir.join(own), must)]
            }
            Some(file) => {
                let name = file.file_name().and_then(|n| n.to_str());
                let beside = match name {
                    Some(n) if n == own => Some(other),
                    Some(n) if n == other => Some(own),
                    _ => None,
                };
                let beside = beside.map(|b| (file.with_file_name(b), false));
                beside
                    .into_iter()
                    .chain([(file.to_owned(), true)])
                    .collect()
            }
        };
        let env = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        Self {
            files,
            env,
            flags: Vec::new(),
            runtime: Vec::new(),
        }
    }

    /// Reads everything.
    pub fn load(self) -> Result<Loaded, LoadError> {
        let mut loaded = Loaded::default();
        for (path, must) in self.files {
            match std::fs::read(&path) {
                Ok(bytes) => {
                    let file = File {
                        name: path.display().to_string(),
                        loaded: &mut loaded,
                    };
                    file.read(&path, &bytes);
                    loaded.files.push(path);
                }
                Err(source) if must => return Err(LoadError { path, source }),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => loaded.problem(
                    Severity::Warning,
                    path.display(),
                    format!("cannot be read: {e}"),
                ),
            }
        }
        loaded.environment(&self.env);
        let flags = self.flags.into_iter().map(|flag| (flag, Origin::Flag));
        let runtime = self.runtime.into_iter().map(|set| (set, Origin::Runtime));
        for ((name, value), origin) in flags.chain(runtime) {
            match find(name) {
                Some((key, _)) => {
                    let place = match origin {
                        Origin::Flag => format!("flag for {name}"),
                        _ => "config set".to_owned(),
                    };
                    loaded.text(key, &value, place, origin);
                }
                None => loaded.problem(Severity::Error, name, "there is no such key".into()),
            }
        }
        loaded.written = loaded.config.clone();
        Ok(loaded)
    }
}

/// The key of this name, and whether the name is its alias.
pub(crate) fn find(name: &str) -> Option<(&'static Key, bool)> {
    let key = KEYS
        .iter()
        .find(|k| k.name == name || k.alias == Some(name))?;
    Some((key, key.name != name))
}

impl Loaded {
    fn problem(&mut self, severity: Severity, origin: impl ToString, text: String) {
        self.problems.push(Problem {
            severity,
            origin: origin.to_string(),
            place: None,
            text,
        });
    }

    fn environment(&mut self, env: &[(String, String)]) {
        let mut known = HashSet::new();
        for key in KEYS {
            // The alias first, so that the proper name wins.
            for name in key.alias.into_iter().chain([key.name]).map(env_name) {
                if let Some((_, value)) = env.iter().find(|(k, v)| *k == name && !v.is_empty()) {
                    let origin = Origin::Environment(name.clone());
                    self.text(key, value, name.clone(), origin);
                }
                known.insert(name);
            }
        }
        for (name, _) in env {
            // Other DD_ variables may be meant for tracers and the like.
            let ours = ["DD_RUNTIME_SECURITY_CONFIG_", "DD_EVENT_MONITORING_CONFIG_"];
            if ours.iter().any(|prefix| name.starts_with(prefix)) && !known.contains(name) {
                if let Some(key) = accepted_env(name) {
                    self.problem(Severity::Note, name, format!("has no effect: {}", key.why));
                    continue;
                }
                let nearest = nearest(name, known.iter().map(String::as_str));
                self.problem(Severity::Warning, name, unknown("variable", name, nearest));
            }
        }
    }

    fn text(&mut self, key: &'static Key, value: &str, place: String, origin: Origin) {
        if (key.set_text)(&mut self.config, value) {
            self.was_set(key, origin);
        } else {
            let shown = Node::Text(value.to_owned()).describe();
            let text = wrong(key, &shown, &self.config);
            self.problem(Severity::Error, place, text);
        }
    }

    fn was_set(&mut self, key: &'static Key, origin: Origin) {
        self.set.push(Set {
            key: key.name,
            origin,
            value: key.value(&self.config),
        });
    }

    /// Where the value of a key came from.
    pub fn origin(&self, key: &Key) -> &Origin {
        let mut set = self.set.iter().rev();
        set.find(|set| set.key == key.name)
            .map_or(&Origin::Default, |set| &set.origin)
    }
}

fn unknown(what: &str, name: &str, nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("unknown {what} `{name}`; did you mean `{nearest}`?"),
        None => format!("unknown {what} `{name}`"),
    }
}

fn wrong(key: &Key, got: &str, config: &Config) -> String {
    format!(
        "`{}` wants {}, not {got}; it stays `{}`",
        key.name,
        key.expected,
        key.value(config)
    )
}

/// The known name that this one was probably meant to be.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|k| (strsim::damerau_levenshtein(name, k), k))
        .filter(|(distance, _)| *distance <= (name.len() / 4).max(2))
        .min()
        .map(|(_, k)| k)
}

/// One file that is being read.
struct File<'a> {
    name: String,
    loaded: &'a mut Loaded,
}

impl File<'_> {
    fn read(mut self, path: &Path, bytes: &[u8]) {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => {
                let line = 1 + bytes[..e.valid_up_to()]
                    .iter()
                    .filter(|b| **b == b'\n')
                    .count() as u64;
                return self.problem(
                    Severity::Error,
                    (line, 1),
                    "is not UTF-8; the file has no effect".into(),
                );
            }
        };
        match yaml::parse(text) {
            Err(e) => {
                let text = format!("{}; the file has no effect", e.text);
                self.problem(Severity::Error, (e.line, e.column), text);
            }
            Ok(Placed {
                node: Node::Null, ..
            }) => {}
            Ok(Placed {
                node: Node::Map(entries),
                ..
            }) => {
                let mut found = Vec::new();
                self.collect("", &entries, &mut found);
                // Aliases first, so that the proper name wins.
                found.sort_by_key(|(_, is_alias, ..)| !is_alias);
                for (key, _, place, value) in found.iter().filter(|(_, is_alias, ..)| *is_alias) {
                    let wins = |(other, is_alias, _, other_value): &&(&Key, bool, _, Placed)| {
                        !is_alias
                            && other.name == key.name
                            && other_value.node != Node::Null
                            && other_value.node != value.node
                    };
                    if let Some((.., winner)) = found.iter().find(wins) {
                        let text = format!(
                            "{} in line {} sets the same and wins",
                            key.name, winner.line
                        );
                        self.problem(Severity::Warning, (place.line, place.column), text);
                    }
                }
                for (key, _, place, value) in found {
                    self.set(path, key, &place, &value);
                }
            }
            Ok(other) => {
                let text = format!("expected a map of settings, not {}", other.node.describe());
                self.problem(Severity::Error, (other.line, other.column), text);
            }
        }
    }

    /// Finds the known keys, and tells of the others.
    fn collect(
        &mut self,
        prefix: &str,
        entries: &[(PlacedKey, Placed)],
        found: &mut Vec<(&'static Key, bool, PlacedKey, Placed)>,
    ) {
        let mut names = HashSet::new();
        for (place, value) in entries {
            let name = format!("{prefix}{}", place.text.trim().to_ascii_lowercase());
            let at = (place.line, place.column);
            if !names.insert(name.clone()) {
                self.problem(
                    Severity::Warning,
                    at,
                    format!("`{name}` is here twice; the last one counts"),
                );
            }
            let is_prefix = |key: &&Key| {
                let below = |n: &str| {
                    n.strip_prefix(&*name)
                        .is_some_and(|rest| rest.starts_with('.'))
                };
                below(key.name) || key.alias.is_some_and(below)
            };
            if let Some((key, is_alias)) = find(&name) {
                found.push((key, is_alias, place.clone(), value.clone()));
            } else if let Some(key) = accepted(&name) {
                let text = format!("`{name}` has no effect: {}", key.why);
                self.problem(Severity::Note, at, text);
            } else {
                match &value.node {
                    Node::Map(entries) => self.collect(&format!("{name}."), entries, found),
                    Node::Null if is_above_accepted(&name) => {}
                    Node::Null if KEYS.iter().any(|k| is_prefix(&k)) => {}
                    other if KEYS.iter().any(|k| is_prefix(&k)) => {
                        let text =
                            format!("`{name}` wants a map of settings, not {}", other.describe());
                        self.problem(Severity::Error, (value.line, value.column), text);
                    }
                    _ => {
                        let names = KEYS
                            .iter()
                            .flat_map(|k| k.alias.into_iter().chain([k.name]));
                        let text = unknown("key", &name, nearest(&name, names));
                        self.problem(Severity::Warning, at, text);
                    }
                }
            }
        }
    }

    fn set(&mut self, path: &Path, key: &'static Key, place: &PlacedKey, value: &Placed) {
        let at = (place.line, place.column);
        if let Some(home) = key.home
            && path
                .file_name()
                .is_some_and(|n| n == home.other().file_name())
        {
            let text = format!(
                "`{}` belongs in {} (it counts here as well)",
                key.name,
                home.file_name()
            );
            self.problem(Severity::Note, at, text);
        }
        // A key without a value is a key that is not set.
        if value.node == Node::Null {
            return;
        }
        if (key.set_node)(&mut self.loaded.config, &value.node) {
            let origin = Origin::File(path.to_owned(), place.line);
            self.loaded.was_set(key, origin);
            if key.effect == Effect::Never {
                let text = format!("`{}` has no effect; its documentation says why", key.name);
                self.problem(Severity::Note, at, text);
            }
        } else {
            let text = wrong(key, &value.node.describe(), &self.loaded.config);
            self.problem(Severity::Error, (value.line, value.column), text);
        }
    }

    fn problem(&mut self, severity: Severity, place: (u64, u64), text: String) {
        self.loaded.problems.push(Problem {
            severity,
            origin: self.name.clone(),
            place: Some(place),
            text,
        });
    }
}
