//! `SecurityModuleCmd`: passes each command on to the engine, on a thread that may block.

use std::sync::Arc;

use atalaya_spool::Spool;
use tonic::{Request, Response, Status};

use crate::proto::security_module_cmd_server::SecurityModuleCmd;
use crate::stream::Events;
use crate::{ControlError, RuntimeControl, proto};

pub(crate) struct Commands {
    control: Arc<dyn RuntimeControl>,
    spool: Spool,
    events: Arc<Events>,
}

impl Commands {
    pub(crate) fn new(control: Arc<dyn RuntimeControl>, spool: Spool, events: Arc<Events>) -> Self {
        Self {
            control,
            spool,
            events,
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

    async fn network_doctor(
        &self,
        _: Request<proto::NetworkDoctorParams>,
    ) -> Result<Response<proto::NetworkDoctorMessage>, Status> {
        self.run(|c| c.network_doctor()).await
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
