//! The program a process runs.

use std::sync::OnceLock;

use atalaya_model_derive::Fields;

use crate::capture::Exec;
use crate::context::Context;
use crate::fields::Cx;
use crate::file::{File, basename};
use crate::process::args;

/// The program a process runs: its files, arguments and environment. Shared by a process and what it forks.
#[derive(Debug, Default, Fields)]
pub struct Image {
    /// The file that was executed: the script, for a script.
    #[nested(prefix = "file")]
    pub file: File,
    /// The interpreter, when `file` is a script.
    #[nested(prefix = "interpreter.file")]
    pub interpreter: Option<File>,
    /// The path as the caller gave it.
    pub filename: String,
    /// The working directory at the time of the exec.
    pub cwd: String,
    /// The arguments, `argv[0]` included.
    #[computed(name = "argv0", ty = String, get = Image::argv0_field, weight = 100, doc = "The first argument: what the caller says the program is called.")]
    #[computed(name = "argv", ty = Vec<String>, get = Image::args_field, weight = 500, doc = "The arguments after the first one.")]
    #[computed(name = "args", ty = String, get = Image::joined, weight = 500, doc = "The arguments after the first one, joined by blanks.")]
    #[computed(name = "args_flags", ty = Vec<String>, get = Image::flags, weight = 500, doc = "The names of the flags among the arguments: `-la` gives `l`, `a` and `la`, `--all` gives `all`.")]
    #[computed(name = "args_options", ty = Vec<String>, get = Image::options, weight = 500, doc = "The options with a value among the arguments, as `name=value`: of `--name=value`, `--name value`, `-n value`.")]
    pub argv: Vec<String>,
    /// Whether arguments are missing or cut.
    #[field]
    pub args_truncated: bool,
    /// The environment, as `NAME=value`.
    #[field(name = "envp", weight = 100)]
    #[computed(name = "envs", ty = Vec<String>, get = Image::envs, weight = 100, doc = "The names of the environment's variables; `NAME=value` for those that configuration lists.")]
    pub envp: Vec<String>,
    /// Whether variables are missing or cut.
    #[field]
    pub envs_truncated: bool,
    /// Derived lists, made when first asked for.
    pub derived: Derived,
}

/// What an image's arguments and environment are turned into when first asked for.
#[derive(Debug, Default)]
pub struct Derived {
    joined: OnceLock<String>,
    flags: OnceLock<Vec<String>>,
    options: OnceLock<Vec<String>>,
    envs: OnceLock<Vec<String>>,
    invoked: OnceLock<Option<String>>,
}

/// A field that is made of an image's arguments or environment when it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    /// `args`.
    Joined,
    /// `args_flags`.
    Flags,
    /// `args_options`.
    Options,
    /// `envs`.
    Envs,
}

impl Image {
    /// The image that an exec record tells of; takes the record's strings.
    pub fn take(exec: &mut Exec) -> Self {
        Self {
            file: std::mem::take(&mut exec.file).into(),
            interpreter: exec.interpreter.take().map(File::from),
            filename: std::mem::take(&mut exec.filename),
            cwd: std::mem::take(&mut exec.cwd),
            argv: std::mem::take(&mut exec.args),
            args_truncated: exec.args_truncated,
            envp: std::mem::take(&mut exec.envs),
            envs_truncated: exec.envs_truncated,
            derived: Derived::default(),
        }
    }

    /// `argv[0]`, or empty.
    #[must_use]
    pub fn argv0(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    /// The arguments after `argv[0]`.
    #[must_use]
    pub fn args(&self) -> &[String] {
        self.argv.get(1..).unwrap_or_default()
    }

    /// The value of a variable of the environment.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<&str> {
        self.envp
            .iter()
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The names of the environment's variables; `NAME=value` for those that configuration lists.
    pub fn env_names(&self, context: &Context) -> &[String] {
        self.derived
            .envs
            .get_or_init(|| args::env_names(&self.envp, &context.envs_with_value))
    }

    /// The absolute path that the program was started by, where it is another than the file's own: through a symbolic
    /// link. Rules on the file's path and name match it too.
    #[must_use]
    pub fn invoked_path(&self) -> Option<&str> {
        if self.filename == self.file.path {
            return None;
        }
        let path = if args::is_clean(&self.filename) {
            Some(self.filename.as_str())
        } else {
            self.derived
                .invoked
                .get_or_init(|| args::clean(&self.cwd, &self.filename))
                .as_deref()
        };
        path.filter(|path| *path != self.file.path)
    }

    /// The last element of [`Self::invoked_path`], where it is another than the file's own.
    #[must_use]
    pub fn invoked_name(&self) -> Option<&str> {
        self.invoked_path()
            .map(basename)
            .filter(|name| *name != self.file.name())
    }

    /// Whether the test holds for any of the texts that the field yields, without the list that [`Fields::get`] makes.
    ///
    /// [`Fields::get`]: crate::fields::Fields::get
    pub(crate) fn any_word(
        &self,
        words: Words,
        context: &Context,
        test: &mut dyn FnMut(&str) -> bool,
    ) -> bool {
        match words {
            Words::Joined => args::with_joined(self.args().iter().map(String::as_str), " ", test),
            Words::Flags => args::any_flag(self.args(), test),
            Words::Options => args::any_option(self.args(), test),
            Words::Envs => self
                .envp
                .iter()
                .any(|pair| test(args::env_name(pair, &context.envs_with_value))),
        }
    }

    fn argv0_field<'a>(&'a self, _: Cx<'a>) -> &'a str {
        self.argv0()
    }

    fn args_field<'a>(&'a self, _: Cx<'a>) -> &'a [String] {
        self.args()
    }

    fn joined<'a>(&'a self, _: Cx<'a>) -> &'a str {
        self.derived.joined.get_or_init(|| self.args().join(" "))
    }

    fn flags<'a>(&'a self, _: Cx<'a>) -> &'a [String] {
        self.derived.flags.get_or_init(|| args::flags(self.args()))
    }

    fn options<'a>(&'a self, _: Cx<'a>) -> &'a [String] {
        self.derived
            .options
            .get_or_init(|| args::options(self.args()))
    }

    fn envs<'a>(&'a self, cx: Cx<'a>) -> &'a [String] {
        self.env_names(cx.context)
    }
}
