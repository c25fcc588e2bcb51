//! The log of a program that runs until it is stopped: lines on standard error, for the service manager to keep.

use atalaya_config::{LogLevel, Problem, Severity};
use tracing_subscriber::EnvFilter;

/// How much is logged, to be changed while the program runs.
pub struct LogControl(Box<dyn Fn(EnvFilter) + Send + Sync>);

impl std::fmt::Debug for LogControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogControl").finish_non_exhaustive()
    }
}

impl LogControl {
    /// From here on so much is logged.
    pub fn set(&self, level: LogLevel) {
        self.0(EnvFilter::new(level.as_str()));
    }
}

/// Begins to log. Once in a program.
pub fn init(level: LogLevel) -> LogControl {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(atalaya_collect::logs::Writer)
        .with_ansi(false)
        .with_target(false)
        .with_env_filter(EnvFilter::new(level.as_str()))
        .with_filter_reloading();
    let handle = subscriber.reload_handle();
    subscriber.init();
    LogControl(Box::new(move |filter| {
        // It fails only when the subscriber is gone, and with it who would read of it.
        let _ = handle.reload(filter);
    }))
}

/// Tells what is wrong with a configuration.
pub fn problems(problems: &[Problem]) {
    for problem in problems {
        match problem.severity {
            Severity::Note => tracing::info!("{problem}"),
            Severity::Warning => tracing::warn!("{problem}"),
            Severity::Error => tracing::error!("{problem}"),
        }
    }
}
