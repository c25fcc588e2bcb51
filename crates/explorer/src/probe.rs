//! What system-probe is asked.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use atalaya_api::Client;
use atalaya_api::proto::{
    DumpProcessCacheParams, GetStatusParams, NetworkDoctorMessage, NetworkDoctorParams,
    RunSelfTestParams, SecuritySelfTestResultMessage, Status,
};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::error::ApiError;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a self-test or the doctor may take.
const LONG: Duration = Duration::from_secs(60);
/// For how long a status is good: many who ask are one who asks.
const FRESH: Duration = Duration::from_secs(1);

/// Who knows the way to it.
#[derive(Debug)]
pub(crate) struct Probe {
    socket: PathBuf,
    status: Mutex<Option<(Instant, Status)>>,
    /// One self-test at a time.
    self_test: Mutex<()>,
}

impl Probe {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            status: Mutex::new(None),
            self_test: Mutex::new(()),
        }
    }

    pub(crate) fn socket(&self) -> &std::path::Path {
        &self.socket
    }

    async fn ask<T>(
        &self,
        patience: Duration,
        work: impl AsyncFnOnce(Client) -> Result<T, tonic::Status>,
    ) -> Result<T, ApiError> {
        let answer = timeout(patience, async {
            let client = Client::connect(&self.socket)
                .await
                .map_err(|e| e.to_string())?;
            work(client)
                .await
                .map_err(|status| status.message().to_owned())
        });
        match answer.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(ApiError::unreachable(error)),
            Err(_) => {
                let seconds = patience.as_secs();
                Err(ApiError::unreachable(format!(
                    "system-probe does not answer within {seconds} s"
                )))
            }
        }
    }

    pub(crate) async fn status(&self) -> Result<Status, ApiError> {
        let mut known = self.status.lock().await;
        if let Some((at, status)) = known.as_ref()
            && at.elapsed() < FRESH
        {
            return Ok(status.clone());
        }
        let ask =
            async |mut client: Client| client.commands.get_status(GetStatusParams::default()).await;
        let status = self.ask(PATIENCE, ask).await?.into_inner();
        *known = Some((Instant::now(), status.clone()));
        Ok(status)
    }

    pub(crate) async fn doctor(&self) -> Result<NetworkDoctorMessage, ApiError> {
        let ask =
            async |mut client: Client| client.commands.network_doctor(NetworkDoctorParams {}).await;
        Ok(self.ask(LONG, ask).await?.into_inner())
    }

    pub(crate) async fn self_test(&self) -> Result<SecuritySelfTestResultMessage, ApiError> {
        let _one = self.self_test.lock().await;
        let ask =
            async |mut client: Client| client.commands.run_self_test(RunSelfTestParams {}).await;
        Ok(self.ask(LONG, ask).await?.into_inner())
    }

    /// The process with its living relatives, as JSON.
    pub(crate) async fn processes(&self, pid: u32) -> Result<Vec<u8>, ApiError> {
        let params = DumpProcessCacheParams {
            with_args: true,
            format: "json".into(),
            pid,
        };
        let ask = async |mut client: Client| client.commands.dump_process_cache(params).await;
        Ok(self.ask(PATIENCE, ask).await?.into_inner().content)
    }
}
