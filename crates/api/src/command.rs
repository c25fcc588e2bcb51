//! `SecurityModuleCmd`: passes each command on to the engine, on a thread that may block.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use atalaya_spool::Spool;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::proto::security_module_cmd_server::SecurityModuleCmd;
use crate::stream::Events;
use crate::{ControlError, RuntimeControl, SettingsControl, proto};

pub(crate) struct Commands {
    control: Arc<dyn RuntimeControl>,
    settings: Option<Arc<dyn SettingsControl>>,
    stopped: watch::Receiver<bool>,
    spool: Spool,
    events: Arc<Events>,
    /// A flare is being collected: one at a time, since it reads a lot.
    flare: Arc<AtomicBool>,
}

impl Commands {
    pub(crate) fn new(
        control: Arc<dyn RuntimeControl>,
        settings: Option<Arc<dyn SettingsControl>>,
        stopped: watch::Receiver<bool>,
        spool: Spool,
        events: Arc<Events>,
    ) -> Self {
        Self {
            control,
            settings,
            stopped,
            spool,
            events,
            flare: Arc::default(),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        command: impl FnOnce(&dyn RuntimeControl) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let control = Arc::clone(&self.control);
        match tokio::task::spawn_blocking(move || command(&*control)).await {
            Ok(Ok(answer)) => Ok(Response::new(answer)),
            Ok(Err(e)) => Err(e.into()),
            // A panic, already printed by its hook; the server goes on.
            Err(_) => Err(Status::internal(
                "the command failed unexpectedly; system-probe's log tells more",
            )),
        }
    }
}

impl Commands {
    /// The same for what concerns the configuration.
    async fn configure<T: Send + 'static>(
        &self,
        command: impl FnOnce(&dyn SettingsControl) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let settings = self.settings()?;
        self.run(move |_| command(&*settings)).await
    }

    fn settings(&self) -> Result<Arc<dyn SettingsControl>, Status> {
        let settings = self.settings.as_ref().map(Arc::clone);
        settings.ok_or_else(|| {
            Status::failed_precondition("this system-probe has no configuration that can be asked")
        })
    }
}

impl From<ControlError> for Status {
    fn from(error: ControlError) -> Self {
        let text = error.to_string();
        match error {
            ControlError::Unavailable(_) => Self::failed_precondition(text),
            ControlError::Invalid(_) => Self::invalid_argument(text),
            ControlError::Failed(_) => Self::aborted(text),
        }
    }
}

#[tonic::async_trait]
impl SecurityModuleCmd for Commands {
    async fn dump_process_cache(
        &self,
        request: Request<proto::DumpProcessCacheParams>,
    ) -> Result<Response<proto::SecurityDumpProcessCacheMessage>, Status> {
        let params = request.into_inner();
        self.run(move |c| c.dump_process_cache(&params)).await
    }

    async fn get_config(
        &self,
        _: Request<proto::GetConfigParams>,
    ) -> Result<Response<proto::SecurityConfigMessage>, Status> {
        self.run(|c| Ok(c.config())).await
    }

    async fn get_status(
        &self,
        request: Request<proto::GetStatusParams>,
    ) -> Result<Response<proto::Status>, Status> {
        let params = request.into_inner();
        let spool = self.spool.clone();
        let events = Arc::clone(&self.events);
        self.run(move |c| {
            let mut status = c.status(&params);
            status.spool = Some(spool_status(&spool));
            status.live_observers = events.observers();
            Ok(status)
        })
        .await
    }

    async fn run_self_test(
        &self,
        _: Request<proto::RunSelfTestParams>,
    ) -> Result<Response<proto::SecuritySelfTestResultMessage>, Status> {
        self.run(|c| Ok(c.run_self_test())).await
    }

    async fn get_rule_set_report(
        &self,
        _: Request<proto::GetRuleSetReportParams>,
    ) -> Result<Response<proto::GetRuleSetReportMessage>, Status> {
        self.run(|c| c.ruleset_report()).await
    }

    async fn reload_policies(
        &self,
        _: Request<proto::ReloadPoliciesParams>,
    ) -> Result<Response<proto::ReloadPoliciesResultMessage>, Status> {
        self.run(|c| c.reload_policies()).await
    }

    async fn top(
        &self,
        request: Request<proto::TopParams>,
    ) -> Result<Response<proto::TopMessage>, Status> {
        let params = request.into_inner();
        self.run(move |c| c.top(&params)).await
    }

    async fn get_settings(
        &self,
        _: Request<proto::GetSettingsParams>,
    ) -> Result<Response<proto::SettingsMessage>, Status> {
        self.configure(|s| Ok(s.settings())).await
    }

    async fn set_setting(
        &self,
        request: Request<proto::SetSettingParams>,
    ) -> Result<Response<proto::ReloadConfigMessage>, Status> {
        let params = request.into_inner();
        self.configure(move |s| s.set(params)).await
    }

    async fn reload_config(
        &self,
        _: Request<proto::ReloadConfigParams>,
    ) -> Result<Response<proto::ReloadConfigMessage>, Status> {
        self.configure(|s| s.reload()).await
    }

    type WatchConfigStream = ReceiverStream<Result<proto::ConfigChange, Status>>;

    async fn watch_config(
        &self,
        _: Request<proto::WatchConfigParams>,
    ) -> Result<Response<Self::WatchConfigStream>, Status> {
        let mut changes = self.settings()?.watch();
        let mut stopped = self.stopped.clone();
        let (forward, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            changes.mark_changed();
            loop {
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return },
                    () = forward.closed() => return,
                    _ = stopped.wait_for(|stop| *stop) => return,
                }
                let change = changes.borrow_and_update().clone();
                if forward.send(Ok(change)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn dump_network_namespace(
        &self,
        request: Request<proto::DumpNetworkNamespaceParams>,
    ) -> Result<Response<proto::DumpNetworkNamespaceMessage>, Status> {
        let params = request.into_inner();
        self.run(move |c| c.dump_network_namespace(&params)).await
    }

    async fn dump_discarders(
        &self,
        _: Request<proto::DumpDiscardersParams>,
    ) -> Result<Response<proto::DumpDiscardersMessage>, Status> {
        self.run(|c| c.dump_discarders()).await
    }

    async fn network_doctor(
        &self,
        _: Request<proto::NetworkDoctorParams>,
    ) -> Result<Response<proto::NetworkDoctorMessage>, Status> {
        self.run(|c| c.network_doctor()).await
    }

    type GetFlareStream = ReceiverStream<Result<proto::FlareMessage, Status>>;

    async fn get_flare(
        &self,
        _: Request<proto::GetFlareParams>,
    ) -> Result<Response<Self::GetFlareStream>, Status> {
        let Some(running) = Running::begin(&self.flare) else {
            return Err(Status::aborted(
                "another flare is being made; try again in a minute",
            ));
        };
        let (sender, receiver) = mpsc::channel(4);
        let control = Arc::clone(&self.control);
        tokio::task::spawn_blocking(move || {
            let _running = running;
            let end = Instant::now() + FLARE_TIME;
            // A client that reads no more ends it at the next piece, or when the time is over.
            let send = |mut message: Result<proto::FlareMessage, Status>| loop {
                match sender.try_send(message) {
                    Ok(()) => return true,
                    Err(TrySendError::Full(again)) if Instant::now() < end => {
                        message = again;
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    Err(_) => return false,
                }
            };
            if let Err(error) = control.flare(&mut |message| send(Ok(message))) {
                send(Err(error.into()));
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// So long may collecting and sending a flare take.
const FLARE_TIME: Duration = Duration::from_secs(180);

/// The only one that collects a flare.
struct Running(Arc<AtomicBool>);

impl Running {
    fn begin(flag: &Arc<AtomicBool>) -> Option<Self> {
        (!flag.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(flag)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn spool_status(spool: &Spool) -> proto::SpoolStatus {
    let stats = spool.stats();
    proto::SpoolStatus {
        dir: stats.dir.display().to_string(),
        bytes: stats.bytes,
        max_bytes: stats.max_bytes,
        records: stats.records,
        first_offset: stats.first_offset,
        next_offset: stats.next_offset,
        dropped: stats.dropped,
        corrupt: stats.corrupt,
        in_memory: stats.in_memory,
        error: stats.error.unwrap_or_default(),
        consumers: stats
            .consumers
            .into_iter()
            .map(|c| proto::ConsumerStatus {
                name: c.name,
                next_offset: c.next_offset,
                lag: c.lag,
                missed: c.missed,
                connected: c.readers > 0,
            })
            .collect(),
        id: spool.id().to_owned(),
    }
}
