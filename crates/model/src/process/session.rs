//! The session of a user.

use std::sync::{Arc, OnceLock};

use atalaya_model_derive::Fields;
use ipnet::IpNet;

use crate::fields::Cx;

/// How a user came to the host or into the container, and who that is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct UserSession {
    /// How the user came.
    #[field(name = "session_type", constants = "UserSessionTypes")]
    #[computed(name = "id", ty = String, get = UserSession::id, doc = "The id of the user's session: of the SSH session or of the Kubernetes session, whichever it is, else of the login as the audit system numbers it.")]
    #[computed(name = "identity", ty = String, get = UserSession::identity, doc = "Who the user is: the address and port of an SSH client, the name of a Kubernetes user, else the name of the user that logged in.")]
    pub kind: SessionKind,
    /// The id of the Kubernetes session.
    #[field]
    pub k8s_session_id: u64,
    /// The name of the Kubernetes user that started the process.
    #[field]
    pub k8s_username: String,
    /// The uid that Kubernetes knows that user by.
    #[field]
    pub k8s_uid: String,
    /// The groups of that user in Kubernetes.
    #[field]
    pub k8s_groups: Vec<String>,
    /// The id of the SSH session on this host.
    #[field]
    pub ssh_session_id: u64,
    /// The address of the SSH client.
    #[field]
    pub ssh_client_ip: Option<IpNet>,
    /// The port of the SSH client.
    #[field]
    pub ssh_client_port: u16,
    /// How the SSH client proved who it is, when the server's log has told.
    #[computed(name = "ssh_auth_method", ty = i64, get = UserSession::ssh_auth_method, constants = "SSHAuthMethod", doc = "How the SSH client proved who it is.")]
    #[computed(name = "ssh_public_key", ty = String, get = UserSession::ssh_public_key, doc = "The fingerprint of the public key the SSH client proved it with, or empty.")]
    pub ssh_auth: Arc<OnceLock<SshAuth>>,
    /// The session that a login began, as the audit system numbers it; 0 where there was none.
    pub login: u32,
    /// The id of the user that logged in.
    pub login_uid: u32,
}

/// How an SSH client proved who it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SshAuth {
    /// 0 is unknown, 1 a password, 2 a public key.
    pub method: u32,
    /// The key's fingerprint, or empty.
    pub public_key: String,
}

impl SshAuth {
    /// The method's name in rules and in JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.method {
            1 => "password",
            2 => "public_key",
            _ => "unknown",
        }
    }
}

/// How a user came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum SessionKind {
    /// Not known.
    #[default]
    Unknown = 0,
    /// Through the Kubernetes API.
    Kubernetes = 1,
    /// Through SSH.
    Ssh = 2,
}

impl crate::fields::FieldValue for SessionKind {
    const TYPE: atalaya_secl::model::Type = atalaya_secl::model::Type::Int;
    fn value(&self) -> atalaya_secl::model::Value<'_> {
        atalaya_secl::model::Value::Int(*self as i64)
    }
}

impl SessionKind {
    /// The name in rules and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Kubernetes => "k8s",
            Self::Ssh => "ssh",
        }
    }
}

impl UserSession {
    /// See the field.
    pub(crate) fn id<'a>(&'a self, _: Cx<'a>) -> String {
        match self.kind {
            SessionKind::Unknown if self.login == 0 => String::new(),
            SessionKind::Unknown => self.login.to_string(),
            SessionKind::Kubernetes => self.k8s_session_id.to_string(),
            SessionKind::Ssh => self.ssh_session_id.to_string(),
        }
    }

    fn ssh_auth_method(&self, _: Cx<'_>) -> i64 {
        self.ssh_auth.get().map_or(0, |auth| auth.method.into())
    }

    fn ssh_public_key<'a>(&'a self, _: Cx<'a>) -> String {
        let auth = self.ssh_auth.get();
        auth.map_or_else(String::new, |auth| auth.public_key.clone())
    }

    /// See the field.
    pub(crate) fn identity<'a>(&'a self, cx: Cx<'a>) -> String {
        match (self.kind, self.ssh_client_ip) {
            (SessionKind::Unknown, _) if self.login != 0 => {
                super::user_name(self.login_uid, cx).to_string()
            }
            (SessionKind::Unknown, _) | (SessionKind::Ssh, None) => String::new(),
            (SessionKind::Kubernetes, _) => self.k8s_username.clone(),
            (SessionKind::Ssh, Some(ip)) => format!("{}:{}", ip.addr(), self.ssh_client_port),
        }
    }
}
