//! What the server asks of the program it serves.

use std::sync::Arc;

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

    /// Watches for a while who causes events and cost.
    fn top(&self, params: &proto::TopParams) -> Result<proto::TopMessage, ControlError>;

    /// The network namespaces and their interfaces.
    fn dump_network_namespace(
        &self,
        params: &proto::DumpNetworkNamespaceParams,
    ) -> Result<proto::DumpNetworkNamespaceMessage, ControlError> {
        let _ = params;
        Err(ControlError::Unavailable(
            "this system-probe watches no network namespaces".into(),
        ))
    }

    /// What the kernel's filters hold.
    fn dump_discarders(&self) -> Result<proto::DumpDiscardersMessage, ControlError> {
        Err(ControlError::Unavailable(
            "this system-probe has no filters in the kernel".into(),
        ))
    }

    /// Looks at the classifiers of every interface of every namespace.
    fn network_doctor(&self) -> Result<proto::NetworkDoctorMessage, ControlError>;

    /// Collects what goes into a flare, and sends it piece by piece until `send` returns `false`: nobody waits any more.
    fn flare(&self, send: &mut dyn FnMut(proto::FlareMessage) -> bool) -> Result<(), ControlError> {
        let _ = send;
        Err(ControlError::Unavailable(
            "this system-probe collects nothing for flares".into(),
        ))
    }

    /// What is switched on.
    fn config(&self) -> proto::SecurityConfigMessage;
}

/// What concerns the configuration, as the program carries it out. Every function may block, as those of [`RuntimeControl`].
pub trait SettingsControl: Send + Sync + std::fmt::Debug + 'static {
    /// The settings that are in force, and where each came from.
    fn settings(&self) -> proto::SettingsMessage;

    /// Changes one until the next start.
    fn set(
        &self,
        params: proto::SetSettingParams,
    ) -> Result<proto::ReloadConfigMessage, ControlError>;

    /// Reads the configuration and the policies again. On an error everything stays as it was.
    fn reload(&self) -> Result<proto::ReloadConfigMessage, ControlError>;

    /// Tells when others are to read theirs again.
    fn watch(&self) -> tokio::sync::watch::Receiver<proto::ConfigChange>;
}

/// Collects what goes into a flare: the program around the engine, which knows its files and has its capabilities.
pub trait FlareSource: Send + Sync + std::fmt::Debug {
    /// As [`RuntimeControl::flare`]; `control` is the engine, to ask it.
    fn collect(
        &self,
        control: Arc<dyn RuntimeControl>,
        send: &mut dyn FnMut(proto::FlareMessage) -> bool,
    );
}
