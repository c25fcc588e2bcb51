//! `runtime network doctor`: looks at the classifiers of the host, whether or not a system-probe is running.

use std::io::Write;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use atalaya_config::Config;
use atalaya_engine::{ClassifierDoctor, ClassifiersSeen};
use atalaya_network::doctor::{self, Options, Report};

use crate::preflight;

/// How long it may take to look at all: a host may have thousands of interfaces.
const PATIENCE: Duration = Duration::from_secs(25);

/// What the doctor is to know of the configuration.
pub(crate) fn options(config: &Config) -> Options {
    let settings = crate::network::settings(config);
    let only = settings
        .only
        .map(|only| only.read().unwrap_or_else(PoisonError::into_inner).clone());
    Options {
        enabled: config.enabled && config.network_enabled,
        ingress: config.network_ingress_enabled,
        priority: settings.priority,
        prefer_tcx: settings.prefer_tcx,
        only,
        places: settings.places,
        ..Options::default()
    }
}

/// What the thread is to do.
type Request = Box<dyn FnOnce() + Send>;

/// The doctor of a running system-probe: a thread that keeps the capabilities which the others drop.
#[derive(Debug)]
pub(crate) struct Doctor {
    options: Mutex<Options>,
    requests: Sender<Request>,
}

impl Doctor {
    /// Starts the thread, which ends with this. To be called before capabilities are dropped.
    pub(crate) fn start(config: &Config) -> Result<Self> {
        let (requests, received) = channel::<Request>();
        std::thread::Builder::new()
            .name("network-doctor".into())
            .spawn(move || {
                if let Err(error) = preflight::drop_for_doctor() {
                    tracing::warn!("the network doctor keeps what it does not need: {error:#}");
                }
                for work in received {
                    work();
                }
            })?;
        Ok(Self {
            options: Mutex::new(options(config)),
            requests,
        })
    }

    /// Takes over what a reload has changed.
    pub(crate) fn configure(&self, config: &Config) {
        *self.options.lock().unwrap_or_else(PoisonError::into_inner) = options(config);
    }
}

impl ClassifierDoctor for Doctor {
    fn examine(&self, seen: ClassifiersSeen) -> Result<Report, String> {
        let options = self
            .options
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let options = Options {
            ours: seen.programs,
            packets: seen.packets,
            ..options
        };
        self.privileged(move || doctor::examine(&options))
    }
}

impl Doctor {
    /// Lets the thread do something that takes its capabilities, and waits for it, but not for ever.
    pub(crate) fn privileged<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let (answer, answered) = channel();
        let gone = || "the network doctor has ended unexpectedly; system-probe's log tells more";
        let request: Request = Box::new(move || {
            // Who asked may have gone.
            let _ = answer.send(work());
        });
        self.requests.send(request).map_err(|_| gone())?;
        answered
            .recv_timeout(PATIENCE)
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => "the network doctor takes too long".to_owned(),
                RecvTimeoutError::Disconnected => gone().to_owned(),
            })
    }
}

/// Prints the report. 0: well; 1: a person should do something.
pub(crate) fn run(config: &Config, json: bool, all: bool) -> Result<ExitCode> {
    let report = doctor::examine(&options(config));
    let mut out = std::io::stdout().lock();
    // That nobody reads it any more (`| head`) is no error.
    if json {
        let text = serde_json::to_string_pretty(&report)?;
        let _ = writeln!(out, "{}", atalaya_api::sanitize_json(&text));
    } else {
        for line in doctor::text(&report, all).lines() {
            let _ = writeln!(out, "{}", atalaya_api::sanitize(line));
        }
    }
    Ok(if report.trouble {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
