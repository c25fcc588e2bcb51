//! `runtime self-test`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use atalaya_api::{Client, Sanitized, proto};
use atalaya_config::Config;

use crate::ask::out;

/// `runtime self-test`, with a time limit.
pub(crate) async fn command(config: &Config) -> Result<ExitCode> {
    // It waits for three events, at worst one after the other.
    let time = config.self_test_timeout.get() * 3 + Duration::from_secs(10);
    match tokio::time::timeout(time, run(&config.socket)).await {
        Ok(result) => result,
        Err(_) => Ok(no_answer(time)),
    }
}

/// Lets system-probe run its self-test. The first line is the verdict, one line a test follows.
async fn run(socket: &Path) -> Result<ExitCode> {
    let result = match Client::connect(socket).await {
        Ok(mut client) => match client
            .commands
            .run_self_test(proto::RunSelfTestParams {})
            .await
        {
            Ok(response) => response.into_inner(),
            Err(status) => failed(status.message()),
        },
        Err(e) => failed(&e.to_string()),
    };
    out(&render(&result));
    Ok(if result.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The verdict on a probe that takes the command and then says nothing.
fn no_answer(time: Duration) -> ExitCode {
    let error = format!("system-probe does not answer within {} s", time.as_secs());
    out(&render(&failed(&error)));
    ExitCode::FAILURE
}

fn failed(error: &str) -> proto::SecuritySelfTestResultMessage {
    proto::SecuritySelfTestResultMessage {
        ok: false,
        error: error.to_owned(),
        tests: Vec::new(),
    }
}

fn render(result: &proto::SecuritySelfTestResultMessage) -> String {
    let verdict = if result.ok {
        "OK".to_owned()
    } else {
        let error = if result.error.is_empty() {
            "not every event was seen"
        } else {
            &result.error
        };
        format!("error: {}", Sanitized(error))
    };
    format!("Runtime self test: {verdict}\n{}", rows(&result.tests))
}

/// One line a test; also for `status`.
pub(crate) fn rows(tests: &[proto::SelfTestRow]) -> String {
    let width = tests.iter().map(|t| t.rule_id.len()).max().unwrap_or(0);
    tests
        .iter()
        .map(|test| {
            let outcome = if test.seen {
                format!("seen after {:.1} ms", test.latency_ms)
            } else if test.error.is_empty() {
                "NOT SEEN".to_owned()
            } else {
                format!("NOT SEEN: {}", Sanitized(&test.error))
            };
            format!(
                "  {:<width$}  {:<6} {outcome}\n",
                Sanitized(&test.rule_id).to_string(),
                Sanitized(&test.event_type).to_string()
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_verdict() {
        let row = |seen, error: &str| proto::SelfTestRow {
            rule_id: "rule_open".into(),
            event_type: "open".into(),
            seen,
            latency_ms: 1.25,
            error: error.into(),
        };
        let mut result = proto::SecuritySelfTestResultMessage {
            ok: true,
            error: String::new(),
            tests: vec![row(true, "")],
        };
        assert_eq!(
            render(&result),
            "Runtime self test: OK\n  rule_open  open   seen after 1.2 ms\n"
        );
        result.ok = false;
        result.error = "open was not seen".into();
        result.tests = vec![row(false, "timed out\nafter 3 s")];
        assert_eq!(
            render(&result),
            "Runtime self test: error: open was not seen\n  rule_open  open   NOT SEEN: timed out\\nafter 3 s\n"
        );
    }
}
