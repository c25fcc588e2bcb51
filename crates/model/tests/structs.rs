//! The structs of event types: every field of each reads as what the table says, also where nothing captures it yet.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use atalaya_model::*;
use atalaya_secl::model::{OwnedValue, Validator, Value};

/// The value of a field of a struct, by its name there.
fn read<T: Fields>(of: &T, name: &str, index: usize) -> Option<OwnedValue> {
    let mut paths = BTreeMap::new();
    T::describe(&mut |spec| {
        paths.insert(spec.name, spec.path);
    });
    let (context, process) = (Context::default(), Process::default());
    let cx = Cx {
        index,
        ..Cx::new(&context, &process)
    };
    let path = paths.get(name).unwrap_or_else(|| panic!("no {name}"));
    of.get(path, cx).map(OwnedValue::from)
}

/// Every field of the struct without values is of its type, or absent.
fn check<T: Fields + Default>() {
    let (context, process) = (Context::default(), Process::default());
    let empty = T::default();
    let mut fields = 0;
    T::describe(&mut |spec| {
        fields += 1;
        let cx = Cx::new(&context, &process);
        if let Some(value) = empty.get(&spec.path, cx) {
            let value = OwnedValue::from(value);
            assert_eq!(
                (value.ty(), value.is_list()),
                (spec.ty, spec.list),
                "{}",
                spec.name
            );
        } else {
            assert!(
                spec.iterator.is_some() || OPTIONAL.iter().any(|part| spec.name.contains(part)),
                "{}",
                spec.name
            );
        }
    });
    assert!(fields > 0);
    assert_eq!(empty.get(&[], Cx::new(&context, &process)), None);
    assert_eq!(empty.get(&[9999], Cx::new(&context, &process)), None);
}

/// What may be absent as a whole.
const OPTIONAL: [&str; 7] = [
    "package.",
    "metadata.",
    "interpreter.",
    "container.",
    "user_session.",
    "tracee.",
    "target.",
];

#[test]
fn structs_without_values() {
    check::<AcceptEvent>();
    check::<BindEvent>();
    check::<BpfEvent>();
    check::<CapabilitiesEvent>();
    check::<CapsetEvent>();
    check::<CgroupWriteEvent>();
    check::<ChdirEvent>();
    check::<ChmodEvent>();
    check::<ChownEvent>();
    check::<ConnectEvent>();
    check::<DnsEvent>();
    check::<ExecEvent>();
    check::<ExitEvent>();
    check::<FlowEvent>();
    check::<HeartbeatEvent>();
    check::<ImdsEvent>();
    check::<LinkEvent>();
    check::<LoadModuleEvent>();
    check::<MkdirEvent>();
    check::<MmapEvent>();
    check::<MountEvent>();
    check::<MprotectEvent>();
    check::<OnDemandEvent>();
    check::<OpenEvent>();
    check::<PacketContext>();
    check::<PacketEvent>();
    check::<PrctlEvent>();
    check::<Process>();
    check::<PtraceEvent>();
    check::<RenameEvent>();
    check::<RmdirEvent>();
    check::<SelinuxEvent>();
    check::<SetgidEvent>();
    check::<SetrlimitEvent>();
    check::<SetsockoptEvent>();
    check::<SetuidEvent>();
    check::<SignalEvent>();
    check::<SocketEvent>();
    check::<SpliceEvent>();
    check::<SysctlEvent>();
    check::<UnlinkEvent>();
    check::<UnloadModuleEvent>();
    check::<UnshareEvent>();
    check::<UserSession>();
    check::<UtimesEvent>();
    check::<XattrEvent>();
}

#[test]
fn addresses_names_and_flows() {
    let ip = |text: &str| Some(text.parse().unwrap());
    let connect = ConnectEvent {
        addr: PeerAddress {
            address: Address {
                family: 2,
                ip: ip("192.0.2.1/32"),
                is_public: true,
                port: 443,
            },
            hostnames: vec!["www.example.co.uk".to_owned(), "b.example.com".to_owned()],
        },
        ..ConnectEvent::default()
    };
    let domains = ["example.co.uk", "example.com"].map(str::to_owned).to_vec();
    for (name, value) in [
        ("addr.ip", OwnedValue::Ip("192.0.2.1/32".parse().unwrap())),
        ("addr.port", OwnedValue::Int(443)),
        ("addr.is_public", OwnedValue::Bool(true)),
        ("addr.hostname.length", OwnedValue::Int(2)),
        ("addr.hostname.root_domain", OwnedValue::StrList(domains)),
    ] {
        assert_eq!(read(&connect, name, 0), Some(value), "{name}");
    }
    let flow = |port| Flow {
        destination: Endpoint {
            port,
            ..Endpoint::default()
        },
        egress: Traffic {
            data_size: u64::from(port) * 10,
            packet_count: 1,
        },
        ..Flow::default()
    };
    let flows = FlowEvent {
        flows: vec![flow(53), flow(443)],
        ..FlowEvent::default()
    };
    let port = |index| read(&flows, "flows.destination.port", index);
    assert_eq!(port(0), Some(OwnedValue::Int(53)));
    assert_eq!(port(1), Some(OwnedValue::Int(443)));
    assert_eq!(port(2), None);
    assert_eq!(
        read(&flows, "flows.egress.data_size", 1),
        Some(OwnedValue::Int(4430))
    );
    assert_eq!(read(&flows, "flows.length", 0), Some(OwnedValue::Int(2)));
}

#[test]
fn a_target_in_an_event() {
    let init = Arc::new(Process {
        pid: 1,
        ..Process::default()
    });
    let mut shell = Process {
        pid: 9,
        user_session: Some(Arc::new(UserSession {
            kind: SessionKind::Ssh,
            ssh_session_id: 77,
            ssh_client_ip: Some("192.0.2.7/32".parse().unwrap()),
            ssh_client_port: 5022,
            ..UserSession::default()
        })),
        ..Process::default()
    };
    shell.set_parent(Some(init));
    let signal = SignalEvent {
        target: Some(Target::new(Arc::new(shell))),
        ..SignalEvent::default()
    };
    let text = |text: &str| Some(OwnedValue::Str(text.to_owned()));
    assert_eq!(read(&signal, "target.pid", 0), Some(OwnedValue::Int(9)));
    assert_eq!(
        read(&signal, "target.parent.pid", 0),
        Some(OwnedValue::Int(1))
    );
    assert_eq!(
        read(&signal, "target.ancestors.pid", 0),
        Some(OwnedValue::Int(1))
    );
    assert_eq!(read(&signal, "target.ancestors.pid", 1), None);
    assert_eq!(
        read(&signal, "target.ancestors.length", 0),
        Some(OwnedValue::Int(1))
    );
    assert_eq!(read(&signal, "target.user_session.id", 0), text("77"));
    assert_eq!(
        read(&signal, "target.user_session.identity", 0),
        text("192.0.2.7:5022")
    );
}

#[test]
fn what_a_field_can_be_compared_with() {
    use atalaya_secl::model::Schema;
    let validator = |name: &str| schema().field(name).unwrap().validator;
    assert_eq!(validator("open.file.path"), Validator::Path);
    assert_eq!(validator("mount.source.path"), Validator::Path);
    assert_eq!(
        validator("process.ancestors.interpreter.file.path"),
        Validator::Path
    );
    assert_eq!(validator("open.syscall.path"), Validator::None);
    assert_eq!(validator("open.file.name"), Validator::None);
    assert_eq!(validator("bpf.map.name"), Validator::MaxLength(15));
    assert_eq!(validator("bpf.prog.name"), Validator::MaxLength(15));
    assert_eq!(validator("packet.filter"), Validator::PacketFilter);
    let weight = |name: &str| schema().field(name).unwrap().weight;
    assert_eq!(
        [
            "process.args",
            "process.envp",
            "process.argv0",
            "open.file.hashes",
            "process.container.tags",
            "open.syscall.path",
            "event.signature",
            "open.flags",
        ]
        .map(weight),
        [500, 100, 100, 999, 9999, 900, 500, 0]
    );
}

#[test]
fn an_unknown_address_is_the_zero_one() {
    let bind = BindEvent::default();
    let zero = Value::Ip("0.0.0.0/32".parse().unwrap());
    assert_eq!(read(&bind, "addr.ip", 0), Some(OwnedValue::from(zero)));
}
