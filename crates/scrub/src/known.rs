//! What is a secret whatever its name.

use regex::{Captures, Regex, RegexSet};

use crate::MASK;
use crate::names::regex;

/// What is put in the place of a match.
#[derive(Clone, Copy, Debug)]
enum With {
    /// This text, where `$1` is the first group.
    Text(&'static str),
    /// The match with all but its last four characters starred.
    LastFour,
    /// The same of what is no part of a longer name, as a container's.
    UserInfo,
}

const TABLE: &[(&str, With)] = &[
    // scheme://user:password@host, to the last @ of the word, because passwords have / and @ too.
    (
        r#"([a-zA-Z][a-zA-Z0-9+.\-]*://)([^\s/?#:@"'<>]*):([^\s"'<>]+)@"#,
        With::Text("$1$2:********@"),
    ),
    // A token in the place of the user.
    (
        r#"([a-zA-Z][a-zA-Z0-9+.\-]*://)([^\s/?#:@"'<>]{16,})@"#,
        With::UserInfo,
    ),
    // Go's MySQL driver, and Oracle's.
    (
        r"([\w.\-]+):(\S+)@(tcp|udp|unix)\(",
        With::Text("$1:********@$3("),
    ),
    (
        r#"(?i)(:(?:thin|oci):[^/\s"']+)/([^@\s"']+)@"#,
        With::Text("$1/********@"),
    ),
    // What follows the name of a scheme of authentication.
    (
        r#"(?i)\b(bearer)[ =:]+[A-Za-z0-9+/=._~:\-]{6,}"#,
        With::Text("$1 ********"),
    ),
    (
        r#"(?i)\b(basic|negotiate|ntlm|digest|aws4-hmac-sha256|apikey)\s+[A-Za-z0-9+/=._~\-]{12,}"#,
        With::Text("$1 ********"),
    ),
    // Arguments of well-known programs.
    (
        r#"(\s(?:-u|-U|--user|--proxy-user|--userpwd)[ =]?["']?[^\s:%"'/]+[:%])([^\s"']+)"#,
        With::Text("$1********"),
    ),
    (
        r#"(?i)(\b(?:mysql|mariadb|mysqldump|mysqladmin|mysqlimport|mongo|mongosh|mongodump|sqlcmd|isql|bcp)\b[^|;&\n]*?\s-p ?)["']?([^\s"'-][^\s"']*)["']?"#,
        With::Text("$1********"),
    ),
    (
        r#"(\b(?:sshpass|useradd|usermod)\b[^|;&\n]*?\s-p ?)["']?([^\s"']+)["']?"#,
        With::Text("$1********"),
    ),
    (
        r#"(\b(?:docker|podman|nerdctl|helm|buildah|skopeo)\b[^|;&\n]*\blogin\b[^|;&\n]*?\s-p[ =]?)["']?([^\s"']+)["']?"#,
        With::Text("$1********"),
    ),
    (
        r#"(\bldap\w+\b[^|;&\n]*?\s-w ?)["']?([^\s"']+)["']?"#,
        With::Text("$1********"),
    ),
    (
        r#"(\bredis-cli\b[^|;&\n]*?\s-a ?)["']?([^\s"']+)["']?"#,
        With::Text("$1********"),
    ),
    (
        r#"(\bhtpasswd\b[^|;&\n]*\s)([^\s"'-][^\s"']*)(\s*)$"#,
        With::Text("$1********$3"),
    ),
    (
        r#"([^\s:'"]+:)[^\s'"|]+(['"]?\s*\|\s*(?:sudo\s+)?chpasswd)"#,
        With::Text("$1********$2"),
    ),
    (
        r#"(?i)(\b(?:machine|login)\b.*\bpassword\s+)\S+"#,
        With::Text("$1********"),
    ),
    // XML and HTML.
    (
        r#"(?i)(<[\w.:-]*(?:pass|pwd|secret|token|api-?_?key|credential)[\w.:-]*(?:\s[^<>]*)?>)[^<]+"#,
        With::Text("$1********"),
    ),
    // Hashes of passwords.
    (
        r#"\$(?:1|2[abxy]?|5|6|7|y|gy|md5|sha1|apr1|argon2(?:id|i|d)|scrypt|pbkdf2[\w-]*)\$[^\s:"',]{6,}"#,
        With::Text(MASK),
    ),
    // Tokens of known makers.
    (
        r"\b(?:AKIA|ASIA|AROA|AIDA|ANPA|ABIA|ACCA)[A-Z0-9]{16}\b",
        With::Text(MASK),
    ),
    (
        r"\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}",
        With::Text(MASK),
    ),
    (
        r"\bgl(?:pat|ptt|dt|rt|soat|cbt|ft|agent)-[A-Za-z0-9_\-.]{16,}",
        With::Text(MASK),
    ),
    (
        r"\bxox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{8,}|\bxapp-[A-Za-z0-9-]{8,}",
        With::Text(MASK),
    ),
    (
        r"(hooks\.slack\.com/(?:services|workflows|triggers)/)[A-Za-z0-9/_-]+",
        With::Text("$1********"),
    ),
    (
        r"(discord(?:app)?\.com/api/(?:v\d+/)?webhooks/)[\w/-]+",
        With::Text("$1********"),
    ),
    (
        r"(webhook\.office\.com/webhookb2/)\S+",
        With::Text("$1********"),
    ),
    (
        r"\b(?:sk|rk|pk|whsec)_(?:live_|test_)?[A-Za-z0-9]{16,}",
        With::Text(MASK),
    ),
    (r"\bsk-[A-Za-z0-9_-]{16,}", With::Text(MASK)),
    (
        r"\bAIza[A-Za-z0-9_-]{30,}|\bya29\.[A-Za-z0-9_-]{16,}|\bGOCSPX-[A-Za-z0-9_-]{16,}",
        With::Text(MASK),
    ),
    (
        r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){0,3}",
        With::Text(MASK),
    ),
    (
        r"\bnpm_[A-Za-z0-9]{20,}|\bpypi-[A-Za-z0-9_-]{16,}|\bhf_[A-Za-z0-9]{20,}|\bcio[A-Za-z0-9]{32}\b|\brubygems_[a-f0-9]{32,}",
        With::Text(MASK),
    ),
    (
        r"\bd(?:op|oo|or)_v1_[a-f0-9]{32,}|\bdckr_pat_[A-Za-z0-9_-]{16,}|\bdp\.(?:pt|st|ct|sa)\.[A-Za-z0-9.]{16,}",
        With::Text(MASK),
    ),
    (
        r"\b(?:hvs|hvb|hvr)\.[A-Za-z0-9_-]{16,}|\b[sb]\.[A-Za-z0-9]{24}\b",
        With::Text(MASK),
    ),
    (
        r"\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
        With::Text(MASK),
    ),
    (r"\b\d{8,10}:AA[A-Za-z0-9_-]{30,}", With::Text(MASK)),
    (r"\bAGE-SECRET-KEY-1[A-Z0-9]{20,}", With::Text(MASK)),
    (
        r"\bglsa_[A-Za-z0-9_]{20,}|\bNRAK-[A-Z0-9]{16,}|\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}\b|\bATATT3[A-Za-z0-9_=-]{16,}|\btskey-[A-Za-z0-9-]{16,}",
        With::Text(MASK),
    ),
    // Datadog's own.
    (r"\bddapp_[A-Za-z0-9]{20,}", With::LastFour),
    (r"\bDDRCM_[A-Za-z0-9+/=_-]{16,}", With::LastFour),
    (r"\bddpat_[A-Za-z0-9_.-]{16,}", With::LastFour),
    (r"\b[0-9a-fA-F]{40}\b", With::LastFour),
    (r"\b[0-9a-fA-F]{32}\b", With::LastFour),
];

/// The rules, compiled.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    set: RegexSet,
    each: Vec<(Regex, With)>,
}

impl Rules {
    #[allow(clippy::expect_used, reason = "constants that every test compiles")]
    pub(crate) fn new() -> Self {
        let texts = TABLE.iter().map(|(text, _)| *text);
        let set = regex::RegexSetBuilder::new(texts)
            .size_limit(256 << 20)
            .dfa_size_limit(16 << 20)
            .build();
        Self {
            set: set.expect("the expressions compile"),
            each: TABLE
                .iter()
                .map(|(text, with)| (regex(text), *with))
                .collect(),
        }
    }

    /// The text without them; `None` where there is none.
    pub(crate) fn replace(&self, text: &str) -> Option<String> {
        let mut changed: Option<String> = None;
        for index in &self.set.matches(text) {
            let (regex, with) = &self.each[index];
            let now = changed.as_deref().unwrap_or(text);
            let next = regex.replace_all(now, |found: &Captures<'_>| with.replacement(found));
            changed = Some(next.into_owned());
        }
        changed
    }
}

impl With {
    fn replacement(self, found: &Captures<'_>) -> String {
        match self {
            Self::Text(text) => {
                let mut out = String::new();
                found.expand(text, &mut out);
                out
            }
            Self::LastFour => mask(&found[0]),
            Self::UserInfo => format!("{}{MASK}@", &found[1]),
        }
    }
}

/// The mask of a value: of an API or application key, or what is as long and as plain, the last four characters stay.
pub(crate) fn mask(value: &str) -> String {
    let bare = value.trim().trim_matches(['"', '\'']);
    let key = matches!(bare.len(), 32 | 40) && bare.bytes().all(|b| b.is_ascii_hexdigit());
    let named = ["ddapp_", "DDRCM_", "ddpat_"]
        .iter()
        .any(|prefix| bare.starts_with(prefix))
        && bare.len() >= 24
        && bare.is_ascii();
    if key || named {
        let stars = if named { 36 } else { bare.len() - 4 };
        format!("{}{}", "*".repeat(stars), &bare[bare.len() - 4..])
    } else {
        MASK.to_owned()
    }
}
