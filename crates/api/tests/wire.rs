//! Both ends of the socket, with a fake engine and a real spool.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use atalaya_api::{
    Client, ConnectError, ControlError, RunLock, RuntimeControl, SPOOL_ID_HEADER, Server,
    ServerOptions, proto,
};
use atalaya_spool::{Limits, Spool};
use prost::Message;
use tonic::{Code, Streaming};

#[derive(Default)]
struct Fake {
    reloads: AtomicU32,
}

impl RuntimeControl for Fake {
    fn status(&self, params: &proto::GetStatusParams) -> proto::Status {
        assert!(!params.include_secl_variables);
        proto::Status {
            version: "1.2.3".into(),
            healthy: true,
            ..Default::default()
        }
    }

    fn run_self_test(&self) -> proto::SecuritySelfTestResultMessage {
        std::thread::sleep(Duration::from_millis(1000));
        proto::SecuritySelfTestResultMessage {
            ok: true,
            ..Default::default()
        }
    }

    fn reload_policies(&self) -> Result<proto::ReloadPoliciesResultMessage, ControlError> {
        if self.reloads.fetch_add(1, Ordering::Relaxed) > 0 {
            return Err(ControlError::Failed("no such directory".into()));
        }
        Ok(proto::ReloadPoliciesResultMessage {
            rules_loaded: 7,
            ..Default::default()
        })
    }

    fn ruleset_report(&self) -> Result<proto::GetRuleSetReportMessage, ControlError> {
        panic!("an engine that panics");
    }

    fn dump_process_cache(
        &self,
        params: &proto::DumpProcessCacheParams,
    ) -> Result<proto::SecurityDumpProcessCacheMessage, ControlError> {
        match params.format.as_str() {
            // More than gRPC's usual limit of 4 MiB.
            "json" => Ok(proto::SecurityDumpProcessCacheMessage {
                content: vec![b' '; 9 << 20],
                ..Default::default()
            }),
            other => Err(ControlError::Invalid(format!("unknown format '{other}'"))),
        }
    }

    fn top(&self, params: &proto::TopParams) -> Result<proto::TopMessage, ControlError> {
        Ok(proto::TopMessage {
            interval_ms: params.duration_ms.into(),
            ..Default::default()
        })
    }

    fn network_doctor(&self) -> Result<proto::NetworkDoctorMessage, ControlError> {
        Ok(proto::NetworkDoctorMessage {
            report: br#"{"trouble":true,"summary":"\u001b[2Jmissed"}"#.to_vec(),
            text: "Network doctor: TROUBLE\n  \x1b[2J'cil_from_lxc'\n".into(),
            trouble: true,
        })
    }

    fn config(&self) -> proto::SecurityConfigMessage {
        proto::SecurityConfigMessage {
            runtime_enabled: true,
            ..Default::default()
        }
    }
}

/// A probe without a kernel.
struct Probe {
    dir: tempfile::TempDir,
    server: Option<Server>,
    spool: Spool,
}

impl Probe {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path().join("spool"), Limits::default()).unwrap();
        let mut probe = Self {
            dir,
            server: None,
            spool,
        };
        probe.start();
        probe
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("runtime-security.sock")
    }

    fn start(&mut self) {
        let lock = RunLock::acquire(self.dir.path()).unwrap();
        let options = ServerOptions {
            settings: None,
            socket: self.socket(),
            agent: None,
        };
        let control = Arc::new(Fake::default());
        self.server = Some(Server::start(options, &lock, control, self.spool.clone()).unwrap());
    }

    fn restart(&mut self) {
        self.server.take();
        self.spool.close();
        self.spool = Spool::open(self.dir.path().join("spool"), Limits::default()).unwrap();
        self.start();
    }

    fn event(&self, rule: &str) -> u64 {
        let message = proto::SecurityEventMessage {
            rule_id: rule.into(),
            data: format!("{{\"rule\":\"{rule}\"}}").into_bytes(),
            ..Default::default()
        };
        self.spool.append(&message.encode_to_vec())
    }

    async fn client(&self) -> Client {
        Client::connect(&self.socket()).await.unwrap()
    }
}

fn consumer(name: &str) -> proto::GetEventStreamParams {
    proto::GetEventStreamParams {
        consumer: name.into(),
        live: false,
    }
}

fn live() -> proto::GetEventStreamParams {
    proto::GetEventStreamParams {
        consumer: String::new(),
        live: true,
    }
}

fn ack(offset: u64) -> proto::AckEventsParams {
    proto::AckEventsParams {
        consumer: "agent".into(),
        offset,
    }
}

async fn next(stream: &mut Streaming<proto::SecurityEventMessage>) -> proto::SecurityEventMessage {
    tokio::time::timeout(Duration::from_secs(5), stream.message())
        .await
        .expect("no event came")
        .unwrap()
        .expect("the stream ended")
}

#[tokio::test]
async fn commands_reach_the_engine_and_errors_come_back() {
    let probe = Probe::new();
    let mut client = probe.client().await;
    let status = client
        .commands
        .get_status(proto::GetStatusParams::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((status.version.as_str(), status.healthy), ("1.2.3", true));
    assert_eq!(status.spool.unwrap().id, probe.spool.id());
    let config = client
        .commands
        .get_config(proto::GetConfigParams {})
        .await
        .unwrap()
        .into_inner();
    assert!(config.runtime_enabled);

    let reload = || proto::ReloadPoliciesParams {};
    assert_eq!(
        client
            .commands
            .reload_policies(reload())
            .await
            .unwrap()
            .into_inner()
            .rules_loaded,
        7
    );
    let error = client.commands.reload_policies(reload()).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::Aborted, "no such directory")
    );

    let dump = |format: &str| proto::DumpProcessCacheParams {
        pid: 0,
        format: format.into(),
        with_args: true,
    };
    let dumped = client
        .commands
        .dump_process_cache(dump("json"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(dumped.content.len(), 9 << 20);
    let error = client
        .commands
        .dump_process_cache(dump("xml"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::InvalidArgument, "unknown format 'xml'")
    );
}

#[tokio::test]
async fn a_slow_or_panicking_command_holds_nobody_up() {
    let probe = Probe::new();
    let mut slow = probe.client().await;
    let test = tokio::spawn(async move {
        slow.commands
            .run_self_test(proto::RunSelfTestParams {})
            .await
    });
    let mut client = probe.client().await;
    let error = client
        .commands
        .get_rule_set_report(proto::GetRuleSetReportParams {})
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    client
        .commands
        .get_status(proto::GetStatusParams::default())
        .await
        .unwrap();
    assert!(!test.is_finished());
    assert!(test.await.unwrap().unwrap().into_inner().ok);
}

#[tokio::test]
async fn a_consumer_gets_everything_it_has_not_acknowledged() {
    let mut probe = Probe::new();
    for rule in ["one", "two", "three"] {
        probe.event(rule);
    }
    let mut client = probe.client().await;
    let response = client
        .events
        .get_event_stream(consumer("agent"))
        .await
        .unwrap();
    assert_eq!(
        response
            .metadata()
            .get(SPOOL_ID_HEADER)
            .unwrap()
            .to_str()
            .unwrap(),
        probe.spool.id()
    );
    let mut stream = response.into_inner();
    let first = next(&mut stream).await;
    assert_eq!(
        (first.rule_id.as_str(), first.offset, first.missed),
        ("one", 1, 0)
    );
    assert_eq!(first.data, br#"{"rule":"one"}"#);
    assert_eq!(next(&mut stream).await.offset, 2);
    let acked = client.events.ack_events(ack(2)).await.unwrap().into_inner();
    assert_eq!(acked.next_offset, 3);
    assert_eq!(
        client.events.ack_events(ack(99)).await.unwrap_err().code(),
        Code::OutOfRange
    );

    // The client dies and comes back.
    drop((stream, client));
    let mut client = probe.client().await;
    let mut stream = client
        .events
        .get_event_stream(consumer("agent"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(next(&mut stream).await.rule_id, "three");
    probe.event("four");
    assert_eq!(next(&mut stream).await.rule_id, "four");

    // The server dies and comes back; what was not acknowledged comes again.
    probe.restart();
    assert!(stream.message().await.is_err());
    probe.event("five");
    let mut client = Client::connect_patiently(&probe.socket(), |_, _| {}).await;
    let mut stream = client
        .events
        .get_event_stream(consumer("agent"))
        .await
        .unwrap()
        .into_inner();
    for (rule, offset) in [("three", 3), ("four", 4), ("five", 5)] {
        let event = next(&mut stream).await;
        assert_eq!(
            (event.rule_id.as_str(), event.offset, event.missed),
            (rule, offset, 0)
        );
    }
}

#[tokio::test]
async fn a_second_stream_of_a_consumer_ends_the_first() {
    let probe = Probe::new();
    let (mut one, mut two) = (probe.client().await, probe.client().await);
    let mut first = one
        .events
        .get_event_stream(consumer("agent"))
        .await
        .unwrap()
        .into_inner();
    let mut second = two
        .events
        .get_event_stream(consumer("agent"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.message().await.unwrap_err().code(), Code::Aborted);
    probe.event("x");
    assert_eq!(next(&mut second).await.rule_id, "x");
}

#[tokio::test]
async fn an_observer_gets_what_is_new_and_holds_nobody_up() {
    let probe = Probe::new();
    probe.event("old");
    let mut client = probe.client().await;
    let mut lazy = client
        .events
        .get_event_stream(live())
        .await
        .unwrap()
        .into_inner();
    // What a Datadog client sends: nothing at all.
    let empty = proto::GetEventStreamParams::default();
    let mut eager = client
        .events
        .get_event_stream(empty)
        .await
        .unwrap()
        .into_inner();
    let started = Instant::now();
    for _ in 0..20_000 {
        probe.event(&"x".repeat(500));
    }
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "appending must not wait for observers"
    );
    let status = client
        .commands
        .get_status(proto::GetStatusParams::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (status.live_observers, status.spool.unwrap().consumers.len()),
        (2, 0)
    );
    for stream in [&mut lazy, &mut eager] {
        let (mut seen, mut missed) = (0, 0);
        loop {
            let event = next(stream).await;
            assert_eq!(event.rule_id.len(), 500);
            (seen, missed) = (seen + 1, missed + event.missed);
            if event.offset == 20_001 {
                break;
            }
        }
        assert_eq!(seen + missed, 20_000);
    }
    let both = proto::GetEventStreamParams {
        consumer: "agent".into(),
        live: true,
    };
    assert_eq!(
        client
            .events
            .get_event_stream(both)
            .await
            .unwrap_err()
            .code(),
        Code::InvalidArgument
    );
    assert_eq!(
        client
            .events
            .get_event_stream(consumer("../../etc"))
            .await
            .unwrap_err()
            .code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_hold_up_the_end() {
    let mut probe = Probe::new();
    let mut client = probe.client().await;
    let _stuck = client
        .events
        .get_event_stream(consumer("agent"))
        .await
        .unwrap();
    for _ in 0..20_000 {
        probe.event(&"x".repeat(1000));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    probe.server.take();
    assert!(started.elapsed() < Duration::from_secs(4));
    assert!(!probe.socket().exists());
}

#[tokio::test]
async fn rubbish_in_the_spool_is_skipped_and_told() {
    let probe = Probe::new();
    probe.event("good");
    probe.spool.append(b"\xff\xff\xff rubbish");
    probe.event("also good");
    let mut client = probe.client().await;
    let mut stream = client
        .events
        .get_event_stream(consumer("agent"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(next(&mut stream).await.offset, 1);
    let event = next(&mut stream).await;
    assert_eq!((event.offset, event.missed), (3, 1));
}

#[tokio::test]
async fn what_is_wrong_is_said_in_one_line() {
    let mut probe = Probe::new();
    let socket = probe.socket();
    probe.server.take();
    let error = Client::connect(&socket).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotRunning(_)), "{error}");
    assert!(error.to_string().contains("system-probe run") && !error.to_string().contains('\n'));
    // A dead socket.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let error = Client::connect(&socket).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotRunning(_)), "{error}");
    // And the next probe replaces it.
    probe.start();
    probe.client().await;
    // What is no HTTP/2 hurts nobody.
    use std::io::Write;
    let mut rude = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    rude.write_all(&[0xff; 4096]).unwrap();
    let mut client = probe.client().await;
    client
        .commands
        .get_status(proto::GetStatusParams::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_request_that_is_too_long_is_refused() {
    let probe = Probe::new();
    let mut client = probe.client().await;
    let error = client
        .events
        .get_event_stream(consumer(&"x".repeat(1 << 20)))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange);
}
