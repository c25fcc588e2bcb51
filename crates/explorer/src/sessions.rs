//! Who may ask from a browser: who had a token, which only somebody on this host with the right to talk to security-agent can make.
//!
//! A token is for one use within ten minutes and travels in the fragment of the address, which browsers send to nobody. For it the page
//! gets a session, which it sends in a header: there is no cookie, so no other page can make a browser send it.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a token waits for its use.
const TOKEN: Duration = Duration::from_secs(600);
/// How long a session lasts without a request.
pub(crate) const SESSION: Duration = Duration::from_secs(12 * 3600);
/// Of each at most so many; the oldest go.
const MAX: usize = 64;

/// Tokens and sessions, each until when.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    tokens: Mutex<HashMap<String, Instant>>,
    sessions: Mutex<HashMap<String, Instant>>,
}

fn locked(map: &Mutex<HashMap<String, Instant>>) -> MutexGuard<'_, HashMap<String, Instant>> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a new secret in.
fn add(map: &Mutex<HashMap<String, Instant>>, time: Duration) -> std::io::Result<String> {
    let secret = secret()?;
    let now = Instant::now();
    let mut map = locked(map);
    map.retain(|_, until| *until > now);
    if map.len() >= MAX {
        let oldest = map.iter().min_by_key(|(_, until)| **until);
        if let Some(oldest) = oldest.map(|(secret, _)| secret.clone()) {
            map.remove(&oldest);
        }
    }
    map.insert(secret.clone(), now + time);
    Ok(secret)
}

impl Sessions {
    /// A token for one use.
    pub(crate) fn token(&self) -> std::io::Result<String> {
        add(&self.tokens, TOKEN)
    }

    /// A session for a token, which is of no use any more.
    pub(crate) fn begin(&self, token: &str) -> std::io::Result<Option<String>> {
        let until = locked(&self.tokens).remove(token);
        if until.is_none_or(|until| until < Instant::now()) {
            return Ok(None);
        }
        add(&self.sessions, SESSION).map(Some)
    }

    /// Whether this is a session; then it goes on from now.
    pub(crate) fn knows(&self, session: &str) -> bool {
        let now = Instant::now();
        match locked(&self.sessions).get_mut(session) {
            Some(until) if *until > now => {
                *until = now + SESSION;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn end(&self, session: &str) {
        locked(&self.sessions).remove(session);
    }
}

/// 256 random bits.
fn secret() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn a_token_is_for_one_use() {
        let sessions = Sessions::default();
        let token = sessions.token().unwrap();
        assert_eq!(token.len(), 64);
        assert!(sessions.begin("guess").unwrap().is_none());
        let session = sessions.begin(&token).unwrap().unwrap();
        assert!(sessions.begin(&token).unwrap().is_none());
        assert!(sessions.knows(&session) && !sessions.knows(&token));
        sessions.end(&session);
        assert!(!sessions.knows(&session));
    }

    #[test]
    fn there_are_never_too_many() {
        let sessions = Sessions::default();
        let first = sessions.token().unwrap();
        for _ in 0..MAX {
            sessions.token().unwrap();
        }
        assert_eq!(locked(&sessions.tokens).len(), MAX);
        assert!(sessions.begin(&first).unwrap().is_none());
    }
}
