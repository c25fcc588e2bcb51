//! The user that security-agent runs as.

use nix::unistd::{Gid, Uid, User};

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
}

impl Account {
    /// Looks a name up; a number is taken as a user id.
    pub fn find(name: &str) -> Option<Self> {
        let user = match name.parse() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(name),
        };
        let user = user.ok().flatten()?;
        Some(Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        })
    }

    /// The user of security-agent: the configured one, else `nobody`. `None` when neither exists.
    pub fn of_agent(configured: &str) -> Option<Self> {
        Self::find(configured).or_else(|| Self::find("nobody"))
    }

    /// Who runs this program.
    pub fn own() -> (u32, u32) {
        (Uid::effective().as_raw(), Gid::effective().as_raw())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::Account;

    #[test]
    fn root_is_found_by_name_and_number() {
        assert_eq!(Account::find("root").unwrap().uid, 0);
        assert_eq!(Account::find("0").unwrap().name, "root");
        assert_eq!(Account::find("no-such-user-here"), None);
        assert_eq!(
            Account::of_agent("no-such-user-here"),
            Account::find("nobody")
        );
    }
}
