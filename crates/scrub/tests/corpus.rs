//! Planted secrets: none may come through, and what stands around them must stay.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use atalaya_scrub::Scrubber;

const S: &str = "hunter2-Zq7";

/// A text with `§` for the secret, and what must still be there.
const CORPUS: &[(&str, &[&str])] = &[
    // YAML
    ("password: §", &["password:"]),
    ("password: '§ x'", &["password:"]),
    (
        "a:\n  b:\n    db_password: §\n    user: bob\n",
        &["user: bob", "db_password"],
    ),
    ("# api_key: §\nsite: eu\n", &["site: eu"]),
    ("#   token: §\n", &["token"]),
    ("password: |\n  §\n  more §\nuser: bob\n", &["user: bob"]),
    ("password: >-\n  §\n\n  # §\nuser: bob\n", &["user: bob"]),
    (
        "password:\n  value: §\n  deeper:\n    - §\nuser: bob\n",
        &["user: bob"],
    ),
    ("tokens:\n- §\n- x§\nuser: bob\n", &["user: bob"]),
    (
        "list:\n- token:\n  - §\n  user: bob\n- user: eve\n",
        &["user: bob", "user: eve"],
    ),
    ("tokens: [a§, §]\nuser: bob\n", &["user: bob"]),
    ("tokens: [\n  a§,\n  §\n]\nuser: bob\n", &["user: bob"]),
    ("tokens: {\na: §,\nb: §\n}\nuser: bob\n", &["user: bob"]),
    ("db: {user: bob, password: §}\n", &["user: bob"]),
    (
        "db: {user: bob, password: {a: [§, x]}, host: h}\n",
        &["user: bob"],
    ),
    ("? password\n: x\napi_key: §\n", &[]),
    ("\"password\": \"§\"\nuser: bob\n", &["user: bob"]),
    ("'client secret': '§ it''s §'\nuser: bob\n", &["user: bob"]),
    ("password: &anchor §\nuser: bob\n", &["user: bob"]),
    ("password: \"§\n  §\"\nuser: bob\n", &["user: bob"]),
    ("password: \"a\\\"§\"\n", &[]),
    (
        "additional_endpoints:\n  \"https://app.x.com\":\n    - §\n    - y§\nsite: eu\n",
        &["site: eu"],
    ),
    (
        "env:\n  - name: DB_PASSWORD\n    value: §\n  - name: USER\n    value: bob\n",
        &["value: bob", "DB_PASSWORD"],
    ),
    (
        "env:\n  - value: §\n    name: DB_PASSWORD\n  - value: bob\n    name: USER\n",
        &["value: bob"],
    ),
    (
        "args:\n  - --password\n  - §\n  - --verbose\n",
        &["--verbose"],
    ),
    ("args:\n  - \"--token\"\n  - \"§ x\"\n  - run\n", &["run"]),
    (
        "args: [\"--api-key\", \"§\", \"--verbose\"]\n",
        &["--verbose"],
    ),
    ("command: mysql -u root -p§ -h db\n", &["-h db"]),
    (
        "url: postgres://bob:§@db:5432/x\n",
        &["postgres://bob:", "@db:5432/x"],
    ),
    (
        "script: |\n  export PGPASSWORD=§\n  echo hi\n",
        &["echo hi"],
    ),
    ("password:\t§\r\nuser: bob\r\n", &["user: bob\r\n"]),
    // JSON
    (
        "{\"password\":\"§\",\"user\":\"bob\"}",
        &["\"user\":\"bob\""],
    ),
    (
        "{\"password\": \"a\\\"§\", \"user\": \"bob\"}",
        &["\"user\": \"bob\""],
    ),
    (
        "{\"p\\u0061ssword\": \"§\", \"user\": \"bob\"}",
        &["\"user\": \"bob\""],
    ),
    (
        "{\n  \"db\": {\n    \"password\": [\n      \"§\",\n      {\"x\": \"§\"}\n    ],\n    \"user\": \"bob\"\n  }\n}\n",
        &["\"user\": \"bob\""],
    ),
    (
        "{\"token\":\n \"§\",\n \"user\":\"bob\"}",
        &["\"user\":\"bob\""],
    ),
    (
        "{\"env\":[{\"name\":\"API_TOKEN\",\"value\":\"§\"},{\"name\":\"USER\",\"value\":\"bob\"}]}",
        &["bob"],
    ),
    ("{\"env\":[{\"value\":\"§\",\"name\":\"API_TOKEN\"}]}", &[]),
    (
        "{\"envs\":[\"PASSWORD=§ and §\",\"USER=bob\"]}",
        &["USER=bob"],
    ),
    (
        "{\"args\":[\"curl\",\"-u\",\"bob:§\",\"https://h\"]}",
        &["https://h"],
    ),
    (
        "{\"args\":[\"x\",\"--password\",\"§, with \\\"§\\\"\",\"-v\"]}",
        &["-v"],
    ),
    (
        "{\"body\":\"{\\\"password\\\":\\\"§ and §\\\"}\",\"n\":1}",
        &["\"n\":1"],
    ),
    (
        "{\"a\":\"{\\\"b\\\":\\\"{\\\\\\\"token\\\\\\\":\\\\\\\"§\\\\\\\"}\\\"}\",\"n\":1}",
        &["\"n\":1"],
    ),
    (
        "{\"auths\":{\"https://r.io\":{\"auth\":\"§\"}}}",
        &["auths"],
    ),
    ("{\"password\":\"§\",\"user\":", &["user"]),
    ("{\"password\":\"§", &[]),
    (
        "{\"msg\":\"login failed, password: § x\",\"n\":1}",
        &["\"n\":1"],
    ),
    ("{'password': '§', 'user': 'bob'}", &["'user': 'bob'"]),
    (
        "{\"headers\":{\"X-Auth-Token\":\"§\",\"Cookie\":\"a=§\"},\"n\":1}",
        &["\"n\":1"],
    ),
    // Logs
    (
        "2026-11-23T21:00:00Z  INFO db: connecting user=bob password=§ host=h",
        &["user=bob", "host=h"],
    ),
    (
        "2026-11-23T21:00:00Z ERROR token: §\n2026-11-23T21:00:01Z INFO next",
        &["INFO next"],
    ),
    (
        "INFO request headers={\"Authorization\":\"Bearer §\",\"Host\":\"h\"} done",
        &["\"Host\":\"h\"", "done"],
    ),
    ("INFO Config { user: \"bob\", password: \"§ §\" }", &["bob"]),
    (
        "INFO Config { user: \"bob\", token: Some(\"§ §\"), n: 1 }",
        &["bob"],
    ),
    ("INFO, token=Some(\"§ §\") n=1", &["n=1"]),
    (
        "\u{1b}[3mpassword\u{1b}[0m\u{1b}[2m=\u{1b}[0m§ n=1",
        &["password="],
    ),
    ("map[password:§ user:bob]", &["user:bob"]),
    ("password=\"§ §\" n=1", &["n=1"]),
    ("password=\"§\"§ n=1", &["password="]),
    ("msg=\"secret_key=§ x\" n=1", &["n=1"]),
    ("GET Authorization=Bearer § n=1", &[]),
    ("INFO, x: authorization=Bearer § n=1", &["n=1"]),
    ("> Proxy-Authorization: Basic §", &["Proxy-Authorization"]),
    ("Set-Cookie: sid=§; Path=/", &["Set-Cookie"]),
    ("config[password]=§", &["config"]),
    ("the \"api_key\" => \"§ x\", n => 1", &["n => 1"]),
    // Environment and arguments
    ("PGPASSWORD=§", &["PGPASSWORD"]),
    ("export DB_PASS=\"§ §\"\nUSER=bob", &["USER=bob"]),
    ("password = my § phrase\nuser = bob", &["user = bob"]),
    ("SECRET_KEY_BASE=a,b;c§&d\nUSER=bob", &["USER=bob"]),
    ("run --password § --verbose", &["--verbose"]),
    ("run --password '§ §' --verbose", &["--verbose"]),
    ("run --token=§ --verbose", &["--verbose"]),
    ("docker run -e \"TOKEN=§ §\" image", &["image"]),
    ("docker login -u bob -p § reg.io", &["reg.io"]),
    ("curl -u bob:§ https://h/x", &["https://h/x"]),
    ("curl -H 'X-Api-Token: §' https://h/x", &["https://h/x"]),
    ("mysqldump -h db -p§ base", &["base"]),
    ("sshpass -p § ssh h", &["ssh h"]),
    ("redis-cli -h h -a § ping", &["ping"]),
    ("echo 'bob:§' | chpasswd", &["chpasswd"]),
    ("openssl rsa -passin pass:§ -in k", &["-in k"]),
    ("ldapsearch -D cn=x -w § -b y", &["-b y"]),
    ("machine h login bob password §", &["machine h"]),
    // URLs and connection strings
    ("https://bob:§@h/x?a=1", &["https://bob:", "@h/x?a=1"]),
    ("amqp://bob:a/b@c§@h:5672/v", &["@h:5672/v"]),
    ("redis://:§@h:6379", &["@h:6379"]),
    (
        "GET /x?user=bob&access_token=§&n=1 HTTP/1.1",
        &["user=bob", "&n=1 HTTP/1.1"],
    ),
    ("https://h/x?sig=§&n=1", &["&n=1"]),
    ("https://s3/x?X-Amz-Signature=§&n=1", &["&n=1"]),
    ("bob:§@tcp(h:3306)/db", &["tcp(h:3306)/db"]),
    ("jdbc:oracle:thin:bob/§@//h:1521/x", &["h:1521/x"]),
    (
        "Server=h;User=bob;Password=§;Timeout=3",
        &["Server=h;User=bob"],
    ),
    (
        "<password>§</password><user>bob</user>",
        &["<user>bob</user>"],
    ),
    // Keys
    (
        "-----BEGIN RSA PRIVATE KEY-----\n§\nabc\n-----END RSA PRIVATE KEY-----\nuser: bob",
        &["user: bob"],
    ),
    (
        "{\"k\":\"-----BEGIN PRIVATE KEY-----\\n§\\n-----END PRIVATE KEY-----\\n\",\"n\":1}",
        &["\"n\":1"],
    ),
];

#[test]
fn no_planted_secret_comes_through() {
    let scrubber = Scrubber::default();
    let mut wrong = Vec::new();
    for (text, kept) in CORPUS {
        let text = text.replace('§', S);
        let scrubbed = scrubber.scrub(&text);
        if scrubbed.contains("hunter2") || scrubbed.contains("Zq7") {
            wrong.push(format!("LEAK {text:?}\n  -> {scrubbed:?}"));
        }
        for part in *kept {
            if !scrubbed.contains(part) {
                wrong.push(format!("LOST {part:?} of {text:?}\n  -> {scrubbed:?}"));
            }
        }
        let again = scrubber.scrub(&scrubbed);
        if again != scrubbed {
            wrong.push(format!("NOT STABLE {scrubbed:?}\n  -> {again:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn secrets_by_their_form() {
    let scrubber = Scrubber::default();
    let hex32 = "0123456789abcdef0123456789abcdef";
    let hex40 = "0123456789abcdef0123456789abcdef01234567";
    let made = |prefix: &str, n: usize| {
        format!(
            "{prefix}{}",
            "Ab3dE5gH".repeat(8).chars().take(n).collect::<String>()
        )
    };
    for secret in [
        hex32.to_owned(),
        hex40.to_owned(),
        made("ghp_", 36),
        made("github_pat_", 60),
        made("glpat-", 20),
        made("xoxb-123-", 24),
        made("sk_live_", 24),
        made("sk-ant-api03-", 40),
        made("AIza", 35),
        "AKIAIOSFODNN7EXAMPLE".to_owned(),
        made("hvs.", 24),
        made("npm_", 36),
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9"
            .to_owned(),
        made("ddapp_", 34),
        "$6$rounds=5000$saltsalt$abcdefghijk".to_owned(),
        "$2b$12$abcdefghijklmnopqrstuv".to_owned(),
        made("DDRCM_", 60),
        made("https://hooks.slack.com/services/T00/B00/", 24),
        made("SG.aaaaaaaaaaaaaaaaaaaaaa.", 43),
        made("Bearer ", 30),
    ] {
        for text in [
            secret.clone(),
            format!("x {secret} y"),
            format!("\"{secret}\""),
            format!("a={secret},b"),
            format!("[{secret}]"),
            format!("k: {secret}"),
        ] {
            let scrubbed = scrubber.scrub(&text);
            let tail = &secret[secret.len() - 8..];
            assert!(!scrubbed.contains(tail), "{text} -> {scrubbed}");
        }
    }
    assert_eq!(
        scrubber.scrub(&format!("api_key: {hex32}")),
        format!("api_key: \"{}cdef\"", "*".repeat(28))
    );
    assert_eq!(
        scrubber.scrub_value("DD_API_KEY", hex32),
        format!("{}cdef", "*".repeat(28))
    );
    // A container's id is longer and no key.
    let container = format!("{hex32}{hex32}");
    assert_eq!(scrubber.scrub(&container), container);
}

#[test]
fn what_is_no_secret_stays() {
    let scrubber = Scrubber::default();
    for text in [
        "runtime_security_config:\n  enabled: true\n  network:\n    classifier_priority: 10\n",
        "2026-11-23T21:00:00.123456Z  INFO system-probe is ready\n",
        "{\"evt\":{\"name\":\"open\"},\"file\":{\"path\":\"/etc/passwd\",\"inode\":7},\"n\":[1,2,[3]]}",
        "open.file.path == \"/etc/shadow\" && process.file.name not in [\"passwd\", \"sshd\"]",
        "cookie_cache_size: 100\nauth_enabled: true\ntoken_file: /var/run/x/token\n",
        "PWD=/root\nHOME=/root\nSSH_AUTH_SOCK=/tmp/x\n",
        "ffffffff81000000 T _stext\nffffffff81000000 t key_lookup [keys]\n",
        "it's a line { with [ brackets \" and 'quotes\n",
        "usage: program [OPTIONS] <FILE>\n\n  -v, --verbose  Say more\n",
        "https://h:8080/x?a=1&b=2\nuser@host.example\n",
    ] {
        assert_eq!(scrubber.scrub(text), text);
    }
}

#[test]
fn encodings_and_separators() {
    let scrubber = Scrubber::default();
    let text = format!("password: {S}\nuser: bob\n");
    let le: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain(text.encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    let be: Vec<u8> = [0xfe, 0xff]
        .into_iter()
        .chain(text.encode_utf16().flat_map(u16::to_be_bytes))
        .collect();
    let bom: Vec<u8> = [0xef, 0xbb, 0xbf].into_iter().chain(text.bytes()).collect();
    let broken: Vec<u8> = [0xc3, 0x28, b'\n']
        .into_iter()
        .chain(text.bytes())
        .collect();
    let environ = format!("A=1\0DB_PASSWORD={S}\0USER=bob\0");
    for bytes in [&le[..], &be, &bom, &broken, environ.as_bytes()] {
        let scrubbed = scrubber.scrub_bytes(bytes);
        assert!(
            !scrubbed.contains(S) && scrubbed.contains("bob"),
            "{scrubbed:?}"
        );
    }
}

#[test]
fn extra_names() {
    let scrubber = Scrubber::new(&["My-Thing".to_owned(), "x.y".to_owned()]);
    for text in [
        "my_thing: §",
        "{\"myThing\":\"§\"}",
        "MY_THING=§",
        "a x.y=§",
        "x_y: §",
    ] {
        let scrubbed = scrubber.scrub(&text.replace('§', S));
        assert!(!scrubbed.contains(S), "{scrubbed}");
    }
    assert!(
        Scrubber::default()
            .scrub(&format!("my_thing: {S}"))
            .contains(S)
    );
}

#[test]
fn a_key_cut_at_either_end() {
    let scrubber = Scrubber::default();
    let key = format!(
        "{}\n",
        "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0NTY3ODkwMTIzNDU2Nzg5MDEyMzQ1".to_owned()
    )
    .repeat(5);
    for text in [
        format!("a\n-----BEGIN OPENSSH PRIVATE KEY-----\n{key}"),
        format!("{key}-----END OPENSSH PRIVATE KEY-----\nb\n"),
        format!("PuTTY-User-Key-File-2: ssh-rsa\nPrivate-Lines: 5\n{key}Private-MAC: x\n"),
    ] {
        let scrubbed = scrubber.scrub(&text);
        assert!(!scrubbed.contains("QUJDREVG"), "{scrubbed}");
    }
}

#[test]
fn json_stays_json_and_yaml_stays_yaml() {
    let scrubber = Scrubber::default();
    for (text, _) in CORPUS {
        let text = text.replace('§', S);
        let scrubbed = scrubber.scrub(&text);
        if text.starts_with('{') && serde_json::from_str::<serde_json::Value>(&text).is_ok() {
            assert!(
                serde_json::from_str::<serde_json::Value>(&scrubbed).is_ok(),
                "{text} -> {scrubbed}"
            );
        }
    }
}

#[test]
fn hostile_texts_cost_no_more_than_others() {
    let scrubber = Scrubber::default();
    for unit in [
        "{\"",
        "[[",
        "{'a':",
        "password: {\n",
        "\"\\",
        "-----BEGIN A-----\n",
        "a=\"",
        "token:\n",
        "- name: x\n",
        "value: x\n",
    ] {
        let text = unit.repeat(200_000 / unit.len());
        let start = std::time::Instant::now();
        let _ = scrubber.scrub(&text);
        let time = start.elapsed();
        assert!(time.as_secs() < 20, "{unit:?} took {time:?}");
    }
}

/// Symbols of a kernel, which took half a minute: each line looked to the end of the text for a bracket.
#[test]
fn many_lines_without_brackets_cost_no_more_each() {
    let scrubber = Scrubber::default();
    let time = |lines: usize| {
        let text: String = (0..lines)
            .map(|n| format!("ffffffff{n:08x} t function_{n}\n"))
            .collect();
        let start = std::time::Instant::now();
        assert_eq!(scrubber.scrub(&text), text);
        start.elapsed()
    };
    let (few, many) = (time(10_000), time(80_000));
    assert!(
        many < few * 24,
        "{few:?}, and for eight times as many lines {many:?}"
    );
}

/// `hunter2('` was taken for a constructor of that name with a string in it, and so shown.
#[test]
fn a_value_that_begins_like_a_wrapper_is_hidden_whole() {
    let scrubber = Scrubber::default();
    for text in [
        "password: §('",
        "password: §(\"",
        "password: §('x')",
        "password: A(\"\" §",
        "password: A('x') §",
        "password: Some(\"x\")§",
        "password=§('x')",
        "password=§('x y') n=1",
        "password=A('x')§ n=1",
        "password=A('x y §') n=1",
        "password=Some(\"x y §\") n=1",
        "password=Some(\"x y § n=1",
        "Config { password: Some(\"x y §\"), b: 2 }",
    ] {
        let scrubbed = scrubber.scrub(&text.replace('§', S));
        assert!(!scrubbed.contains(S), "{text} -> {scrubbed}");
    }
    for (text, left) in [
        ("c, password=Some(\"§\")) n=1", "Some(\"********\")) n=1"),
        ("c { password: Some(\"§\"), b: 2 }", "b: 2 }"),
    ] {
        let scrubbed = scrubber.scrub(&text.replace('§', S));
        assert!(scrubbed.ends_with(left), "{text} -> {scrubbed}");
    }
}
