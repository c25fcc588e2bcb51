//! What variables cost: `cargo bench -p atalaya-policy --bench store`.

use atalaya_policy::{
    NoScopes, Scopes, SetAction, SetValue, VariableDef, VariableScopeKind, VariableStore,
};
use atalaya_secl::model::{EventView, FieldId, IterId, OwnedValue, Type, Value};
use atalaya_secl::{VariableId, Variables};
use divan::{AllocProfiler, Bencher, black_box};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

struct Nothing;

impl EventView for Nothing {
    fn get(&self, _: FieldId) -> Value<'_> {
        Value::Int(0)
    }
    fn iter_len(&self, _: IterId) -> usize {
        0
    }
    fn get_at(&self, _: FieldId, _: usize) -> Option<Value<'_>> {
        None
    }
}

/// A process with so many ancestors.
struct Process(u64, usize);

impl Scopes for Process {
    fn process(&self) -> Option<u64> {
        Some(self.0)
    }
    fn ancestor(&self, n: usize) -> Option<u64> {
        (n < self.1).then(|| 1_000_000 + n as u64)
    }
    fn container(&self) -> &str {
        "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0"
    }
    fn cgroup(&self) -> &str {
        "/kubepods.slice/kubepods-burstable.slice/cri-containerd-0f1e2d3c4b5a6978.scope"
    }
    fn process_of_pid(&self, _: i64) -> Option<u64> {
        None
    }
}

fn def(scope: VariableScopeKind, ty: Type, list: bool) -> VariableDef {
    VariableDef {
        name: "x".to_owned(),
        scope,
        ty,
        list,
        ttl: Some(std::time::Duration::from_secs(3600)),
        size: None,
        private: false,
        inherited: scope == VariableScopeKind::Process,
        default: None,
    }
}

fn set(value: OwnedValue, append: bool) -> SetAction {
    SetAction {
        variable: VariableId(0),
        value: SetValue::Static(value),
        append,
        scope_field: None,
    }
}

#[divan::bench]
fn set_global_number(bencher: Bencher<'_, '_>) {
    let mut store = VariableStore::new(&[def(VariableScopeKind::Global, Type::Int, false)]);
    let action = set(OwnedValue::Int(1), true);
    bencher.bench_local(|| store.bind(&NoScopes, 1).set(&action, &Nothing));
}

#[divan::bench]
fn append_known_text_to_full_list_of_cgroup(bencher: Bencher<'_, '_>) {
    let mut store = VariableStore::new(&[def(VariableScopeKind::Cgroup, Type::String, true)]);
    let text = |n: usize| OwnedValue::Str(format!("/usr/lib/some/where/program-{n}"));
    for n in 0..100 {
        store
            .bind(&Process(1, 0), 1)
            .set(&set(text(n), true), &Nothing);
    }
    let actions: Vec<SetAction> = (0..100).map(|n| set(text(n), true)).collect();
    let mut n = 0;
    bencher.bench_local(|| {
        n = (n + 37) % 100;
        store.bind(&Process(1, 0), 1).set(&actions[n], &Nothing)
    });
}

/// Each time for another process, so that the one that was not used for the longest goes.
#[divan::bench]
fn set_for_ever_new_processes(bencher: Bencher<'_, '_>) {
    let mut store = VariableStore::new(&[def(VariableScopeKind::Process, Type::String, false)]);
    let action = set(OwnedValue::Str("key".to_owned()), false);
    let mut pid = 0;
    bencher.bench_local(|| {
        pid += 1;
        store.bind(&Process(pid, 0), 1).set(&action, &Nothing)
    });
}

#[divan::bench(args = [0, 10, 100])]
fn read_inherited_that_no_ancestor_has(bencher: Bencher<'_, '_>, ancestors: usize) {
    let mut store = VariableStore::new(&[def(VariableScopeKind::Process, Type::String, false)]);
    let action = set(OwnedValue::Str("key".to_owned()), false);
    for pid in 0..100 {
        store.bind(&Process(pid, 0), 1).set(&action, &Nothing);
    }
    let process = Process(5_000_000, ancestors);
    bencher.bench_local(|| {
        let bound = store.bind(&process, 1);
        black_box(bound.get(VariableId(0), &Nothing) == Value::Str("key".into()))
    });
}

#[divan::bench]
fn read_cgroup_number(bencher: Bencher<'_, '_>) {
    let mut store = VariableStore::new(&[def(VariableScopeKind::Cgroup, Type::Int, false)]);
    let process = Process(1, 0);
    store
        .bind(&process, 1)
        .set(&set(OwnedValue::Int(1), false), &Nothing);
    bencher.bench_local(|| {
        let bound = store.bind(&process, 1);
        black_box(bound.get(VariableId(0), &Nothing) == Value::Int(5))
    });
}
