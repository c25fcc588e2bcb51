//! What the server asks of the program it serves.

use crate::proto;

/// Why a command could not be carried out. It is what the person at the terminal reads.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ControlError {
    /// It is switched off by configuration, or this build or kernel cannot do it.
    #[error("{0}")]
    Unavailable(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It was tried and went wrong.
    #[error("{0}")]
    Failed(String),
}

/// The commands of `SecurityModuleCmd`, as the engine carries them out.
///
/// Every function may block: the server calls each on a thread of its own, several at once.
pub trait RuntimeControl: Send + Sync + 'static {
    /// Everything the engine knows about its state. `Spool` and `LiveObservers` are filled in by the server.
    fn status(&self, params: &proto::GetStatusParams) -> proto::Status;

    /// Runs the self-test and waits until every event was seen or the time is up. Of two calls at once the second
    /// waits for the first, or fails.
    fn run_self_test(&self) -> proto::SecuritySelfTestResultMessage;

    /// Reads the policies again. An error leaves the former rules in force. Broken rules are no error: they are told
    /// in the answer.
    fn reload_policies(&self) -> Result<proto::ReloadPoliciesResultMessage, ControlError>;

    /// What the loaded rules filter in the kernel, and each rule's state.
    fn ruleset_report(&self) -> Result<proto::GetRuleSetReportMessage, ControlError>;

    /// The process tree as dot or JSON text in `Content`.
    fn dump_process_cache(
        &self,
        params: &proto::DumpProcessCacheParams,
    ) -> Result<proto::SecurityDumpProcessCacheMessage, ControlError>;

    /// Looks at the classifiers of every interface of every namespace.
    fn network_doctor(&self) -> Result<proto::NetworkDoctorMessage, ControlError>;

    /// What is switched on.
    fn config(&self) -> proto::SecurityConfigMessage;
}
