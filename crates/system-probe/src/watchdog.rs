//! Signs of life for the service manager's watchdog: as long as the kernel's own come through. A probe that hangs is restarted; one that is
//! merely ill (no room on disk, a failed self-test) is not, because a restart would not help it.

use std::sync::Arc;

use anyhow::{Context, Result};
use atalaya_engine::Control;
use atalaya_host::Notifier;

/// Starts the thread, where the service manager watches.
pub(crate) fn start(notifier: &Arc<Notifier>, control: Control) -> Result<()> {
    let Some(interval) = notifier.watchdog_interval() else {
        return Ok(());
    };
    let notifier = Arc::clone(notifier);
    std::thread::Builder::new()
        .name("watchdog".into())
        .spawn(move || {
            loop {
                if control.is_alive() {
                    notifier.alive();
                }
                std::thread::sleep(interval);
            }
        })
        .context("cannot start the watchdog")?;
    Ok(())
}
