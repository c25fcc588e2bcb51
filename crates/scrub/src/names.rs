//! Which names are those of secrets, and which values are none.

use regex::Regex;

/// Anywhere in the name, written in one.
const INSIDE: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "passwort",
    "kennwort",
    "contrasen",
    "contraseñ",
    "motdepasse",
    "secret",
    "apikey",
    "appkey",
    "applicationkey",
    "accesskey",
    "privatekey",
    "privkey",
    "accountkey",
    "sharedkey",
    "encryptionkey",
    "decryptionkey",
    "signingkey",
    "signkey",
    "sessionkey",
    "masterkey",
    "authkey",
    "licensekey",
    "licencekey",
    "consumerkey",
    "clientkey",
    "deploykey",
    "storagekey",
    "servicekey",
    "rootkey",
    "cryptkey",
    "credential",
    "authorization",
    "bearer",
    "connectionstring",
    "connstr",
    "communitystring",
    "keypass",
    "storepass",
    "sharedaccess",
    "sessionid",
    "sessid",
    "additionalendpoints",
    "token",
    "preshared",
    "mnemonic",
    "kubeconfig",
    "dockerconfig",
    "htpasswd",
    "userpass",
    "webhookurl",
];

/// A word of the name.
const WORDS: &[&str] = &[
    "pass",
    "pwd",
    "pw",
    "pswd",
    "psw",
    "jwt",
    "auth",
    "authority",
    "cookie",
    "cookies",
    "dsn",
    "otp",
    "totp",
    "community",
    "creds",
    "cred",
    "psk",
    "clave",
    "senha",
    "wpa",
    "apikeys",
    "xoauth",
    "passwds",
];

/// A word ends so, and is not one of [`INNOCENT`].
const ENDINGS: &[&str] = &["pass", "pwd", "passwd", "pswd"];

const INNOCENT: &[&str] = &[
    "bypass",
    "compass",
    "encompass",
    "surpass",
    "trespass",
    "underpass",
    "overpass",
    "oldpwd",
];

/// What tells of a secret, but is none: its size, its place.
const ABOUT: &[&str] = &[
    "size",
    "count",
    "enabled",
    "timeout",
    "period",
    "interval",
    "ttl",
    "limit",
    "rate",
    "max",
    "min",
    "length",
    "len",
    "expiry",
    "expiration",
    "expires",
    "age",
    "days",
    "retries",
    "port",
];

/// What tells where a secret lies.
const PLACES: &[&str] = &[
    "file",
    "path",
    "dir",
    "directory",
    "sock",
    "socket",
    "filename",
    "folder",
];

/// Only letters and digits, in lower case: `API-Key` is `apikey`.
pub(crate) fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// The words of a name: `dbPassword`, `db_password` and `DB-PASSWORD` are two.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        let ends = !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase());
        if ends && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether what goes by this name (a key of YAML or JSON, a variable, a flag, a header) is a secret.
pub fn is_secret_name(name: &str) -> bool {
    // The working directory, in every environment.
    if matches!(name, "PWD" | "OLDPWD") {
        return false;
    }
    let whole = plain(name);
    if INSIDE.iter().any(|word| whole.contains(word)) {
        // The one innocent family: what takes text apart.
        return !(whole.contains("tokeniz") || whole.contains("tokenis"))
            || whole.replacen("token", "", 1).contains("token");
    }
    words(name).iter().any(|word| {
        WORDS.contains(&word.as_str())
            || (ENDINGS.iter().any(|end| word.ends_with(end)) && !INNOCENT.contains(&word.as_str()))
    })
}

/// Names of parameters in URLs that are secrets there and would be ordinary words elsewhere.
pub(crate) fn is_secret_parameter(name: &str) -> bool {
    let whole = plain(name);
    matches!(
        whole.as_str(),
        "key"
            | "sig"
            | "signature"
            | "code"
            | "hmac"
            | "session"
            | "sid"
            | "ticket"
            | "assertion"
            | "state"
    ) || whole.ends_with("signature")
        || is_secret_name(name)
}

/// A value that is no secret even where the name is one's: nothing, a switch, what is hidden already, a reference to a secret store; behind names
/// of sizes a number, and behind names of files a path.
pub(crate) fn is_harmless(name: &str, value: &str) -> bool {
    let bare = value.trim().trim_matches(['"', '\'', ',', ';']).trim();
    if bare.is_empty() || is_masked(bare) {
        return true;
    }
    let lower = bare.to_ascii_lowercase();
    if matches!(
        lower.as_str(),
        "true"
            | "false"
            | "null"
            | "nil"
            | "none"
            | "~"
            | "yes"
            | "no"
            | "on"
            | "off"
            | "{}"
            | "[]"
            | "<unset>"
            | "<none>"
            | "undefined"
    ) {
        return true;
    }
    if let Some(handle) = bare
        .strip_prefix("ENC[")
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return handle
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    }
    let words = words(name);
    let Some(last) = words.last() else {
        return false;
    };
    if ABOUT.contains(&last.as_str()) {
        let digits = bare.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        return bare.len() <= 20
            && !digits.is_empty()
            && bare.len() - digits.len() <= 3
            && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    }
    PLACES.iter().any(|place| last.ends_with(place))
        && bare.starts_with('/')
        && bare
            .chars()
            .all(|c| c.is_alphanumeric() || "_-./@+".contains(c))
}

/// Whether it is what a scrubber leaves: nothing but a mask, or one with the last characters of a key.
pub(crate) fn is_masked(value: &str) -> bool {
    let stars = value.chars().take_while(|c| *c == '*').count();
    let rest = value.len() - stars;
    (stars >= 8 && rest == 0) || ((stars == 28 || stars == 36) && rest == 4)
}

/// What a text has that may name a secret.
pub(crate) fn hint(extra: &[String]) -> Regex {
    let mut any = String::from(
        "(?i)pass|pwd|pswd|psw|\\bpw|[_.-]pw|secret|token|key|cred|auth|cookie|jwt|bearer|dsn|conn|community|psk|otp|endpoints|mnemonic|sess|clave|senha|contrase|wpa\
         |kennwort|preshared|shared.?access|kube.?config|docker.?config|webhook|sig|hmac|code|ticket|assertion|state|sid|\\\\u00",
    );
    for name in extra {
        any.push('|');
        // Between the letters of a name there may be what `plain` leaves out.
        let letters: Vec<String> = name
            .chars()
            .map(|c| regex::escape(&c.to_string()))
            .collect();
        any.push_str(&letters.join("[^\\p{L}\\p{N}]{0,3}"));
    }
    regex(&any)
}

/// A constant expression, or one of escaped letters.
#[allow(
    clippy::expect_used,
    reason = "the expressions are constants that every test compiles; escaped letters cannot make one invalid"
)]
pub(crate) fn regex(text: &str) -> Regex {
    regex::RegexBuilder::new(text)
        .size_limit(64 << 20)
        .build()
        .expect("the expression compiles")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for name in [
            "password",
            "DB_PASSWORD",
            "dbPassword",
            "db-pass",
            "mysqlpwd",
            "api_key",
            "apiKey",
            "X-API-Key",
            "DD_APP_KEY",
            "token",
            "auth_token",
            "GITHUB_TOKEN",
            "accessToken",
            "client_secret",
            "aws_secret_access_key",
            "private_key",
            "Authorization",
            "Set-Cookie",
            "session_token",
            "consumer_key",
            "community_string",
            "snmp.authKey",
            "jwt",
            "PGPASSWORD",
            "contraseña",
            "conn_str",
            "DSN",
            "tokenizer_token",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "PWD",
            "OLDPWD",
            "user",
            "key",
            "path",
            "bypass",
            "compass",
            "author",
            "tokenizer",
            "keyboard",
            "monkey",
            "network",
            "passive",
            "classifier_handle",
            "description",
            "image",
            "sockets",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn values_that_are_none() {
        for (name, value) in [
            ("password", ""),
            ("password", "\"\""),
            ("auth_enabled", "true"),
            ("token", "null"),
            ("api_key", "********"),
            ("api_key", "****************************abcd"),
            ("token_ttl", "30s"),
            ("auth_token_file", "/etc/x/token"),
            ("api_key", "ENC[vault/api]"),
            ("cookie_cache_size", "100"),
            ("SSH_AUTH_SOCK", "/tmp/ssh-X/agent.1"),
        ] {
            assert!(is_harmless(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("password", "123456"),
            ("password", "/hunter2"),
            ("token_ttl", "hunter2hunter2"),
            ("token_file", "hunter2"),
            ("password", "truex"),
            ("api_key", "ENC[a b]x"),
            ("password", "*******"),
            ("password", "************************abcd"),
        ] {
            assert!(!is_harmless(name, value), "{name}={value}");
        }
    }
}
