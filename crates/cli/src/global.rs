//! The arguments that every command takes.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Result;
use atalaya_config::{Config, Loaded, Program, Severity, Sources};
use clap::Args;

/// The arguments that every command takes.
#[derive(Args, Debug, Clone, Default)]
pub struct Global {
    /// Configuration file, or a directory with system-probe.yaml and security-agent.yaml. May be given several times;
    /// the last one wins
    #[arg(
        short = 'c',
        long = "cfgpath",
        visible_alias = "config",
        value_name = "FILE",
        global = true
    )]
    config: Vec<PathBuf>,
    /// Another configuration file, that of system-probe
    #[arg(long, value_name = "FILE", global = true)]
    sysprobe_config: Option<PathBuf>,
    /// No colours
    #[arg(short = 'n', long, global = true)]
    no_color: bool,
}

impl Global {
    /// From where the configuration comes: these files or the usual ones, and the environment.
    pub fn sources(&self, program: Program) -> Sources {
        let mut files = self.config.iter();
        let mut sources = Sources::standard(program, files.next().map(PathBuf::as_path));
        sources.files.extend(files.map(|f| (f.clone(), true)));
        if let Some(file) = &self.sysprobe_config {
            sources.files.insert(0, (file.clone(), true));
        }
        sources
    }

    /// Reads the configuration, with its problems, which the caller tells.
    ///
    /// # Errors
    /// A file that was named cannot be read.
    pub fn load(&self, program: Program) -> Result<Loaded> {
        Ok(self.sources(program).load()?)
    }

    /// Reads the configuration. What is wrong with it goes to stderr.
    ///
    /// # Errors
    /// A file that was named cannot be read.
    pub fn config(&self, program: Program) -> Result<Config> {
        Ok(self.load_and_tell(program)?.config)
    }

    /// Reads the configuration. What is wrong with it goes to stderr.
    ///
    /// # Errors
    /// A file that was named cannot be read.
    pub fn load_and_tell(&self, program: Program) -> Result<Loaded> {
        let loaded = self.load(program)?;
        let problems = loaded.problems.iter();
        for problem in problems.filter(|p| p.severity >= Severity::Warning) {
            eprintln!("{}", atalaya_api::sanitize(&problem.to_string()));
        }
        Ok(loaded)
    }

    /// Whether to print colours.
    pub fn color(&self) -> bool {
        !self.no_color
            && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            && std::io::stdout().is_terminal()
    }
}
