//! `runtime policy download`: its arguments. Only security-agent opens connections, so the work is done there.

use std::path::PathBuf;

use clap::ValueEnum;

/// Arguments of `runtime policy download`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  DD_API_KEY=… DD_APP_KEY=… security-agent runtime policy download --output-path /etc/atalaya/runtime-security.d/downloaded.policy\n  \
                  security-agent runtime policy download --check\n  security-agent runtime policy download --source custom --output-path -\n\n\
                  The address is runtime_security_config.policies.download_url, or that of the `site`; `api_key` and `app_key` are sent along."
)]
pub struct Args {
    /// Check that the policies load; with errors nothing is written, and the exit code is 1
    #[arg(long)]
    pub check: bool,
    /// Where to write them; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub output_path: PathBuf,
    /// Which of them
    #[arg(long, value_enum, default_value_t = Source::All)]
    pub source: Source,
}

/// Which policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// All of them
    All,
    /// `default.policy`
    Default,
    /// All but `default.policy`
    Custom,
}

/// What is wrong with policy files, one error each; what is loaded from them otherwise.
pub fn errors_of(
    paths: &[PathBuf],
    config: &atalaya_config::Config,
) -> anyhow::Result<(usize, Vec<String>)> {
    let loaded = super::load::load(None, paths, config, Vec::new())?;
    let errors = loaded.report.all_errors();
    let errors = errors.map(|error| super::lines(&error.render())).collect();
    Ok((loaded.rules.rules().len(), errors))
}
