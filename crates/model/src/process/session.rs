//! The session of a user.

use atalaya_model_derive::Fields;
use ipnet::IpNet;

use crate::fields::Cx;

/// How a user came to the host or into the container, and who that is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct UserSession {
    /// How the user came.
    #[field(name = "session_type", constants = "UserSessionTypes")]
    #[computed(name = "id", ty = String, get = UserSession::id, doc = "The id of the user's session: of the SSH session or of the Kubernetes session, whichever it is.")]
    #[computed(name = "identity", ty = String, get = UserSession::identity, doc = "Who the user is: the address and port of an SSH client, the name of a Kubernetes user.")]
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
    /// How the SSH client proved who it is.
    #[field(constants = "SSHAuthMethod")]
    pub ssh_auth_method: u32,
    /// The public key the SSH client proved it with, or empty.
    #[field]
    pub ssh_public_key: String,
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

impl UserSession {
    fn id<'a>(&'a self, _: Cx<'a>) -> String {
        match self.kind {
            SessionKind::Unknown => String::new(),
            SessionKind::Kubernetes => self.k8s_session_id.to_string(),
            SessionKind::Ssh => self.ssh_session_id.to_string(),
        }
    }

    fn identity<'a>(&'a self, _: Cx<'a>) -> String {
        match (self.kind, self.ssh_client_ip) {
            (SessionKind::Unknown, _) | (SessionKind::Ssh, None) => String::new(),
            (SessionKind::Kubernetes, _) => self.k8s_username.clone(),
            (SessionKind::Ssh, Some(ip)) => format!("{}:{}", ip.addr(), self.ssh_client_port),
        }
    }
}
