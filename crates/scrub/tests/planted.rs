//! Property: whatever a secret looks like, wherever it is written in the usual forms, it does not come through.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::LazyLock;

use atalaya_scrub::Scrubber;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

static SCRUBBER: LazyLock<Scrubber> = LazyLock::new(Scrubber::default);

/// What every secret has in its middle, and nothing else.
const CORE: &str = "ZqCoreQz";

/// Any characters but those that cannot be in a line.
fn secret() -> impl Strategy<Value = String> {
    let any = r#"[ -~äñ漢\t]{0,12}"#;
    (any, any).prop_map(|(before, after)| format!("{before}{CORE}{after}"))
}

/// One that does not begin as if it were in marks: without JSON, YAML or an argument vector around nobody can tell.
fn bare() -> impl Strategy<Value = String> {
    secret().prop_map(|secret| {
        secret
            .trim_start_matches([' ', '\t', '"', '\'', '`', '\\'])
            .to_owned()
    })
}

/// One word, as in a shell without marks.
fn word() -> impl Strategy<Value = String> {
    let any = r"[A-Za-z0-9,;:!$%&()*+./<=>?@^_{|}~#\[\]-]{0,12}";
    (any, any).prop_map(|(before, after)| format!("{before}{CORE}{after}"))
}

fn name() -> impl Strategy<Value = String> {
    let noun = prop::sample::select(vec![
        "password",
        "passwd",
        "api_key",
        "apiKey",
        "app_key",
        "token",
        "secret",
        "client_secret",
        "private_key",
        "access_key",
        "Authorization",
        "DB_PASS",
        "MYSQL_PWD",
        "credentials",
        "session_token",
        "jwt",
        "X-Api-Key",
        "auth",
    ]);
    ("([a-z]{1,6}[_.-]){0,2}", noun).prop_map(|(prefix, noun)| format!("{prefix}{noun}"))
}

/// JSON with the secret below the name, among other things.
fn tree(name: String, secret: Value) -> impl Strategy<Value = Value> {
    let harmless = prop_oneof![
        any::<i32>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        Just(Value::Null),
        Just(json!({"a": [1, "x"]})),
    ];
    let wrapped = prop_oneof![
        Just(secret.clone()),
        Just(json!([1, secret.clone()])),
        Just(json!({"deep": {"er": [secret]}}))
    ];
    (
        prop::collection::vec(("[a-z]{1,5}", harmless), 0..4),
        wrapped,
        0usize..4,
        any::<bool>(),
    )
        .prop_map(move |(others, secret, depth, last)| {
            let mut map = Map::new();
            if !last {
                map.insert(name.clone(), secret.clone());
            }
            map.extend(others);
            map.insert(name.clone(), secret);
            (0..depth).fold(Value::Object(map), |inner, level| {
                if level % 2 == 0 {
                    json!({"list": [inner, 1]})
                } else {
                    json!({"inner": inner, "z": 1})
                }
            })
        })
}

fn named_tree() -> impl Strategy<Value = Value> {
    (name(), secret()).prop_flat_map(|(name, secret)| tree(name, secret.into()))
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let scrubbed = SCRUBBER.scrub(text);
    prop_assert!(!scrubbed.contains(CORE), "{text:?}\n -> {scrubbed:?}");
    Ok(())
}

fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn json(value in named_tree()) {
        check(&value.to_string())?;
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        check(&pretty)?;
        // In a log line; in a string of JSON; and still JSON afterwards.
        check(&format!("2026-11-23T21:00:00Z INFO event={value} done"))?;
        check(&json!({"msg": value.to_string()}).to_string())?;
        prop_assert!(serde_json::from_str::<Value>(&SCRUBBER.scrub(&pretty)).is_ok());
    }

    #[test]
    fn cut_json(value in named_tree(), at in 0.0f64..1.0) {
        let text = value.to_string();
        let mut cut = (text.len() as f64 * at) as usize;
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        check(&text[..cut])?;
    }

    #[test]
    fn yaml(value in named_tree()) {
        let text = serde_saphyr::to_string(&value).unwrap();
        check(&text)?;
        // All of it a comment.
        let comment: String = text.lines().map(|line| format!("# {line}\n")).collect();
        check(&comment)?;
    }

    #[test]
    fn yaml_block(name in name(), lines in prop::collection::vec(secret(), 1..4), style in "[|>][+-]?", indent in 1usize..5) {
        let block: String = lines.iter().map(|line| format!("{}x{line}\n", " ".repeat(indent))).collect();
        let text = format!("a: 1\n{name}: {style}\n{block}b: 2\n");
        check(&text)?;
        prop_assert!(SCRUBBER.scrub(&text).ends_with("b: 2\n"));
    }

    #[test]
    fn environment(name in name(), secret in bare(), word in word()) {
        let name = name.replace(['.', '-'], "_");
        check(&format!("A=1\n{name}={secret}\nB=2\n"))?;
        check(&format!("export {name}={}\n", shell(&word)))?;
        check(&json!({"envs": [format!("{name}={secret}")]}).to_string())?;
        let value = SCRUBBER.scrub_value(&name, &secret);
        prop_assert!(!value.contains(CORE), "{value}");
    }

    #[test]
    fn arguments(name in name(), secret in secret(), word in word()) {
        let flag = format!("--{name}");
        let vectors = [
            vec!["run".to_owned(), format!("{flag}={secret}"), "-v".into()],
            vec!["run".into(), flag.clone(), format!("x{secret}"), "-v".into()],
            vec!["mysql".into(), format!("-p{word}"), "base".into()],
            vec!["curl".into(), "-u".into(), format!("bob:{secret}"), "https://h".into()],
        ];
        for args in vectors {
            let scrubbed = SCRUBBER.scrub_args(&args);
            prop_assert!(scrubbed.iter().all(|arg| !arg.contains(CORE)), "{args:?} -> {scrubbed:?}");
            prop_assert_eq!(scrubbed.len(), args.len());
            check(&json!({"args": args}).to_string())?;
        }
        check(&format!("x run {flag}={word} -v"))?;
        check(&format!("x run {flag} x{word} -v"))?;
    }

    #[test]
    fn log_lines(name in name(), secret in bare(), word in word()) {
        check(&format!("2026-11-23T21:00:00Z INFO login user=bob {name}={word} n=1"))?;
        check(&format!("2026-11-23T21:00:00Z INFO login {name}: {secret}"))?;
        check(&format!("INFO {name}={secret:?} n=1"))?;
        check(&format!("INFO Config {{ a: 1, {name}: {secret:?}, b: Some({secret:?}) }}").replace(&format!("b: Some({secret:?})"), "b: 2"))?;
        check(&format!("INFO {name}=Some({secret:?}) n=1"))?;
    }

    #[test]
    fn urls(user in "[a-z]{0,6}", password in "[A-Za-z0-9!$&()*+,;=._~:@/%-]{0,10}", name in name()) {
        let password = format!("{password}{CORE}");
        check(&format!("x postgres://{user}:{password}@host:5432/base?a=1 y"))?;
        check(&format!("GET /x?a=1&{name}={CORE}%20x&b=2 HTTP/1.1"))?;
    }

    #[test]
    fn anything_goes_in(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = SCRUBBER.scrub(&text);
        let _ = SCRUBBER.scrub_bytes(&bytes);
    }

    /// Text of the characters that mean something.
    #[test]
    fn structure_goes_in(text in "[\\[\\]{}\"':,=#\n \\\\a-c-]{0,120}(password|token)?[\\[\\]{}\"':,=#\n \\\\a-c-]{0,120}") {
        let once = SCRUBBER.scrub(&text);
        let _ = SCRUBBER.scrub(&once);
    }
}
