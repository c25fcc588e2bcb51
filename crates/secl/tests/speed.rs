//! How long one evaluation takes. Run with `cargo test --release -p atalaya-secl --test speed -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Instant;

use atalaya_secl::model::{EventView, FieldId, IterId, Value};
use atalaya_secl::{EvalContext, NoVariables};
use common::{TestSchema, compile};

/// An event whose fields cost nothing to read.
struct Flat {
    path: FieldId,
    uid: FieldId,
}

impl EventView for Flat {
    fn get(&self, field: FieldId) -> Value<'_> {
        if field == self.path {
            Value::Str(Cow::Borrowed("/usr/lib/x86_64-linux-gnu/libc.so.6"))
        } else if field == self.uid {
            Value::Int(1000)
        } else {
            Value::Str(Cow::Borrowed("bash"))
        }
    }
    fn iter_len(&self, _: IterId) -> usize {
        150
    }
    fn get_at(&self, _: FieldId, _: usize) -> Option<Value<'_>> {
        Some(Value::Str(Cow::Borrowed("bash")))
    }
}

#[test]
#[ignore = "a measurement, not a test"]
fn evaluations() {
    use atalaya_secl::model::Schema;
    let event = Flat {
        path: TestSchema.field("open.file.path").unwrap().id,
        uid: TestSchema.field("process.uid").unwrap().id,
    };
    let context = EvalContext {
        now_ns: 0,
        variables: &NoVariables,
    };
    for source in [
        "process.uid == 0",
        r#"open.file.path == "/etc/shadow""#,
        r#"open.file.path in ["/etc/shadow", "/etc/passwd", "/etc/group"]"#,
        r#"open.file.path =~ "/usr/*/ssh/*""#,
        r#"open.file.name == r".*(ssh|gpg|aws).*""#,
        r#"process.ancestors.comm == "sshd""#,
        r#"process.ancestors[A].comm == "sshd" && process.uid == 1000"#,
    ] {
        let program = compile(source).unwrap();
        // The best of several: the machine may be doing other things.
        let rounds = 20_000;
        let batch = || {
            let start = Instant::now();
            for _ in 0..rounds {
                black_box(program.matches(black_box(&event), &context));
            }
            start.elapsed().as_nanos() as f64 / f64::from(rounds)
        };
        let best = (0..20).map(|_| batch()).fold(f64::INFINITY, f64::min);
        println!("{best:8.1} ns  {source}");
    }
}
