#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use atalaya_secl::model::{EventView, FieldId, IterId, OwnedValue, Type, Value};
use atalaya_secl::{VariableId, Variables};
use proptest::prelude::*;

use super::sizes::{bytes_of, head};
use super::*;
use crate::action::{SetAction, SetValue};

const SECOND: u64 = 1_000_000_000;

/// An event without fields.
struct Nothing;

impl EventView for Nothing {
    fn get(&self, _: FieldId) -> Value<'_> {
        Value::Int(7)
    }
    fn iter_len(&self, _: IterId) -> usize {
        0
    }
    fn get_at(&self, _: FieldId, _: usize) -> Option<Value<'_>> {
        None
    }
}

#[derive(Default, Clone)]
struct Who {
    process: Option<u64>,
    ancestors: Vec<u64>,
    container: String,
    cgroup: String,
}

impl Scopes for Who {
    fn process(&self) -> Option<u64> {
        self.process
    }
    fn ancestor(&self, n: usize) -> Option<u64> {
        self.ancestors.get(n).copied()
    }
    fn container(&self) -> &str {
        &self.container
    }
    fn cgroup(&self) -> &str {
        &self.cgroup
    }
    fn process_of_pid(&self, pid: i64) -> Option<u64> {
        (pid == 7).then_some(700)
    }
}

fn process(process: u64, ancestors: &[u64]) -> Who {
    Who {
        process: Some(process),
        ancestors: ancestors.to_vec(),
        ..Who::default()
    }
}

fn def(name: &str, scope: VariableScopeKind, ty: Type, list: bool) -> VariableDef {
    VariableDef {
        name: name.to_owned(),
        scope,
        ty,
        list,
        ttl: None,
        size: None,
        private: false,
        inherited: false,
        default: None,
    }
}

fn set(variable: u32, value: OwnedValue, append: bool) -> SetAction {
    SetAction {
        variable: VariableId(variable),
        value: SetValue::Static(value),
        append,
        scope_field: None,
    }
}

fn text(text: &str) -> OwnedValue {
    OwnedValue::Str(text.to_owned())
}

fn texts(texts: &[&str]) -> OwnedValue {
    OwnedValue::StrList(texts.iter().map(|text| (*text).to_owned()).collect())
}

/// Sets variable `id` for `who` and says whether that was done.
fn put(store: &mut VariableStore, who: &Who, now: u64, id: u32, value: OwnedValue) -> bool {
    store.bind(who, now).set(&set(id, value, false), &Nothing)
}

fn add(store: &mut VariableStore, who: &Who, now: u64, id: u32, value: OwnedValue) -> bool {
    store.bind(who, now).set(&set(id, value, true), &Nothing)
}

fn read(store: &mut VariableStore, who: &Who, now: u64, id: u32) -> OwnedValue {
    store.bind(who, now).get(VariableId(id), &Nothing).into()
}

use VariableScopeKind::{Cgroup, Container, Global, Process};

#[test]
fn unset_is_zero_and_wrong_types_change_nothing() {
    let kinds = [
        (Type::Bool, OwnedValue::Bool(true)),
        (Type::Int, OwnedValue::Int(5)),
        (Type::String, text("x")),
        (Type::Ip, OwnedValue::Ip("10.0.0.1/32".parse().unwrap())),
    ];
    let defs: Vec<VariableDef> = kinds
        .iter()
        .flat_map(|(ty, _)| [def("a", Global, *ty, false), def("b", Global, *ty, true)])
        .collect();
    let mut store = VariableStore::new(&defs);
    let who = Who::default();
    for (index, def) in defs.iter().enumerate() {
        let id = u32::try_from(index).unwrap();
        let zero = match (def.ty, def.list) {
            (Type::Ip, _) => OwnedValue::IpList(Vec::new()),
            (ty, list) => OwnedValue::zero(ty, list),
        };
        assert_eq!(read(&mut store, &who, 0, id), zero, "{def:?}");
        for (ty, value) in &kinds {
            let fits = *ty == def.ty;
            assert_eq!(put(&mut store, &who, 0, id, value.clone()), fits);
        }
        // A list does not go into what is none.
        let list = OwnedValue::zero(def.ty, true);
        assert_eq!(put(&mut store, &who, 0, id, list), def.list);
    }
    // A variable that does not exist.
    assert!(!put(&mut store, &who, 0, 99, OwnedValue::Int(1)));
    assert_eq!(read(&mut store, &who, 0, 99), OwnedValue::Int(0));
}

#[test]
fn each_scope_has_its_own_values() {
    let defs = [
        def("g", Global, Type::Int, false),
        def("process.p", Process, Type::Int, false),
        def("container.c", Container, Type::Int, false),
        def("cgroup.c", Cgroup, Type::Int, false),
    ];
    let mut store = VariableStore::new(&defs);
    let one = Who {
        container: "c1".to_owned(),
        cgroup: "/a".to_owned(),
        ..process(1, &[])
    };
    let two = Who {
        container: "c2".to_owned(),
        cgroup: "/a".to_owned(),
        ..process(2, &[1])
    };
    for id in 0..4 {
        assert!(put(&mut store, &one, 0, id, OwnedValue::Int(9)));
    }
    let seen = |store: &mut VariableStore, who| [0, 1, 2, 3].map(|id| read(store, who, 0, id));
    let ints = |numbers: [i64; 4]| numbers.map(OwnedValue::Int);
    assert_eq!(seen(&mut store, &one), ints([9, 9, 9, 9]));
    assert_eq!(seen(&mut store, &two), ints([9, 0, 0, 9]));
    // Nobody's: neither set nor read.
    let nobody = Who::default();
    assert_eq!(seen(&mut store, &nobody), ints([9, 0, 0, 0]));
    for id in 1..4 {
        assert!(!put(&mut store, &nobody, 0, id, OwnedValue::Int(1)));
    }
    let values = store.bind(&two, 0).values();
    assert_eq!(values.global, [("g".to_owned(), OwnedValue::Int(9))]);
    assert_eq!(values.cgroup, [("c".to_owned(), OwnedValue::Int(9))]);
    assert_eq!((values.process, values.container), (vec![], vec![]));
}

#[test]
fn appending() {
    let defs = [
        def("list", Global, Type::String, true),
        def("sum", Global, Type::Int, false),
        def("text", Global, Type::String, false),
        def("ports", Global, Type::Int, true),
    ];
    let mut store = VariableStore::new(&defs);
    let who = Who::default();
    for item in ["a", "b", "a"] {
        add(&mut store, &who, 0, 0, text(item));
    }
    // Once each; the one that came again is the newest.
    assert_eq!(read(&mut store, &who, 0, 0), texts(&["b", "a"]));
    add(&mut store, &who, 0, 0, texts(&["c", "b"]));
    assert_eq!(read(&mut store, &who, 0, 0), texts(&["a", "c", "b"]));
    put(&mut store, &who, 0, 0, text("z"));
    assert_eq!(read(&mut store, &who, 0, 0), texts(&["z"]));
    for number in [2, 3, i64::MAX] {
        add(&mut store, &who, 0, 1, OwnedValue::Int(number));
    }
    assert_eq!(read(&mut store, &who, 0, 1), OwnedValue::Int(i64::MAX));
    add(&mut store, &who, 0, 2, text("ab"));
    add(&mut store, &who, 0, 2, text("cd"));
    assert_eq!(read(&mut store, &who, 0, 2), text("abcd"));
    for port in 0..150 {
        add(&mut store, &who, 0, 3, OwnedValue::Int(port));
    }
    let kept = OwnedValue::IntList((50..150).collect());
    assert_eq!(read(&mut store, &who, 0, 3), kept, "100 by default");
}

#[test]
fn time_to_live() {
    let mut lasting = def("x", Global, Type::String, true);
    lasting.ttl = Some(Duration::from_secs(10));
    let mut store = VariableStore::new(&[lasting]);
    let who = Who::default();
    add(&mut store, &who, 100 * SECOND, 0, text("a"));
    assert_eq!(read(&mut store, &who, 109 * SECOND, 0), texts(&["a"]));
    // Each setting begins it anew.
    add(&mut store, &who, 109 * SECOND, 0, text("b"));
    assert_eq!(read(&mut store, &who, 118 * SECOND, 0), texts(&["a", "b"]));
    assert_eq!(read(&mut store, &who, 119 * SECOND, 0), texts(&[]));
    assert_eq!(store.bind(&who, 119 * SECOND).values().global, []);
    // What has expired is not added to.
    add(&mut store, &who, 120 * SECOND, 0, text("c"));
    assert_eq!(read(&mut store, &who, 120 * SECOND, 0), texts(&["c"]));
    // A clock that goes back expires nothing.
    assert_eq!(read(&mut store, &who, SECOND, 0), texts(&["c"]));
    store.expire(129 * SECOND);
    assert_eq!(store.stats().values, 1);
    store.expire(130 * SECOND);
    let stats = store.stats();
    assert_eq!((stats.values, stats.bytes, stats.expired), (0, 0, 1));
}

#[test]
fn inheritance() {
    let mut inherited = def("process.key", Process, Type::String, false);
    inherited.inherited = true;
    inherited.ttl = Some(Duration::from_secs(10));
    let own = def("process.own", Process, Type::String, false);
    let mut store = VariableStore::new(&[inherited, own]);
    let (init, shell, leaf) = (process(1, &[]), process(2, &[1]), process(3, &[2, 1]));
    put(&mut store, &init, 0, 0, text("init"));
    put(&mut store, &init, 0, 1, text("init"));
    assert_eq!(read(&mut store, &leaf, 0, 0), text("init"));
    assert_eq!(read(&mut store, &leaf, 0, 1), text(""));
    put(&mut store, &shell, 5 * SECOND, 0, text("shell"));
    assert_eq!(read(&mut store, &leaf, 5 * SECOND, 0), text("shell"));
    put(&mut store, &leaf, 5 * SECOND, 0, text("leaf"));
    assert_eq!(read(&mut store, &leaf, 5 * SECOND, 0), text("leaf"));
    assert_eq!(read(&mut store, &init, 5 * SECOND, 0), text("init"));
    let values = store.bind(&process(4, &[2, 1]), 5 * SECOND).values();
    assert_eq!(values.process, [("key".to_owned(), text("shell"))]);
    // The shell is gone, its child lives on with the value.
    assert!(store.has_processes());
    store.process_ended(2);
    assert_eq!(
        read(&mut store, &process(4, &[2, 1]), 5 * SECOND, 0),
        text("shell")
    );
    store.process_ended(1);
    assert_eq!(read(&mut store, &init, 0, 1), text(""), "not inherited");
    store.retain_processes(|key| key != 2);
    assert_eq!(
        read(&mut store, &process(4, &[2, 1]), 5 * SECOND, 0),
        text("init")
    );
    // The nearest whose value has not expired.
    assert_eq!(read(&mut store, &leaf, 12 * SECOND, 0), text("leaf"));
    assert_eq!(
        read(&mut store, &process(4, &[2, 1]), 12 * SECOND, 0),
        text("")
    );
}

#[test]
fn another_process_by_its_pid() {
    let mut store = VariableStore::new(&[def("process.x", Process, Type::Int, false)]);
    let field = |id| atalaya_secl::model::FieldInfo {
        id: FieldId(id),
        name: "cgroup_write.pid".into(),
        ty: Type::Int,
        list: false,
        iterator: None,
        text: Default::default(),
        weight: 0,
        event: None,
        unavailable: None,
        restricted_to: &[],
        validator: Default::default(),
    };
    let action = SetAction {
        scope_field: Some(field(1)),
        ..set(0, OwnedValue::Int(5), false)
    };
    let who = process(1, &[]);
    assert!(store.bind(&who, 0).set(&action, &Nothing));
    assert_eq!(read(&mut store, &who, 0, 0), OwnedValue::Int(0));
    assert_eq!(
        read(&mut store, &process(700, &[]), 0, 0),
        OwnedValue::Int(5)
    );
    let action = SetAction {
        value: SetValue::Field {
            field: field(2),
            index: None,
        },
        ..set(0, OwnedValue::Int(0), false)
    };
    assert!(store.bind(&who, 0).set(&action, &Nothing));
    assert_eq!(read(&mut store, &who, 0, 0), OwnedValue::Int(7));
}

#[test]
fn private_ones_are_not_shown() {
    let mut private = def("x", Global, Type::Int, false);
    private.private = true;
    let mut store = VariableStore::new(&[private]);
    put(&mut store, &Who::default(), 0, 0, OwnedValue::Int(5));
    assert_eq!(
        store.bind(&Who::default(), 0).values(),
        VariableValues::default()
    );
    assert_eq!(store.states(0).count(), 0);
}

#[test]
fn the_least_recently_used_holder_goes() {
    let mut few = def("process.x", Process, Type::Int, false);
    few.size = Some(3);
    let usual = def("process.y", Process, Type::Int, false);
    let mut store = VariableStore::new(&[few, usual]);
    for pid in 1..=3 {
        put(&mut store, &process(pid, &[]), 0, 0, OwnedValue::Int(1));
    }
    // Reading counts as use.
    read(&mut store, &process(1, &[]), 0, 0);
    put(&mut store, &process(4, &[]), 0, 0, OwnedValue::Int(1));
    let left: Vec<u64> = (1..=4)
        .filter(|pid| read(&mut store, &process(*pid, &[]), 0, 0) == OwnedValue::Int(1))
        .collect();
    assert_eq!(left, [1, 3, 4]);
    for pid in 0..1000 {
        put(&mut store, &process(pid, &[]), 0, 1, OwnedValue::Int(1));
    }
    assert_eq!(store.stats().values, 103);
    assert_eq!(store.stats().evicted, 901);
}

#[test]
fn a_reload_keeps_what_still_exists() {
    let old_defs = [
        def("gone", Global, Type::Int, false),
        def("stays", Global, Type::Int, false),
        def("retyped", Global, Type::Int, false),
        def("list", Global, Type::Int, true),
        def("cgroup.c", Cgroup, Type::Int, false),
    ];
    let mut shorter = def("list", Global, Type::Int, true);
    shorter.size = Some(2);
    let mut lasting = def("stays", Global, Type::Int, false);
    lasting.ttl = Some(Duration::from_secs(1));
    let new_defs = [
        def("cgroup.c", Cgroup, Type::Int, false),
        shorter,
        def("retyped", Global, Type::String, false),
        lasting,
        def("new", Global, Type::Int, false),
    ];
    let mut old = VariableStore::new(&old_defs);
    let who = Who {
        cgroup: "/x".to_owned(),
        ..Who::default()
    };
    for id in 0..5 {
        put(&mut old, &who, 0, id, OwnedValue::Int(i64::from(id) + 1));
    }
    add(&mut old, &who, 0, 3, OwnedValue::IntList(vec![5, 6]));
    let mut store = VariableStore::new(&new_defs).carry_over(old);
    assert_eq!(read(&mut store, &who, 0, 0), OwnedValue::Int(5));
    assert_eq!(
        read(&mut store, &who, 0, 1),
        OwnedValue::IntList(vec![5, 6])
    );
    assert_eq!(read(&mut store, &who, 0, 2), text(""));
    assert_eq!(read(&mut store, &who, 0, 3), OwnedValue::Int(2));
    assert_eq!(read(&mut store, &who, SECOND, 3), OwnedValue::Int(0));
    assert_eq!(read(&mut store, &who, 0, 4), OwnedValue::Int(0));
    assert_eq!(store.stats().values, 3);
    assert_eq!(store.stats().bytes, counted(&store));
}

/// The bytes of all values, counted anew.
fn counted(store: &VariableStore) -> usize {
    store
        .states(0)
        .map(|state| bytes_of(state.value, state.label))
        .sum()
}

#[test]
fn an_attacker_fills_no_memory() {
    let mut large = def("cgroup.args", Cgroup, Type::String, true);
    large.size = Some(1_000_000);
    let mut holders = def("process.x", Process, Type::String, false);
    holders.size = Some(1_000_000);
    let mut store = VariableStore::new(&[
        large,
        holders,
        def("text", Global, Type::String, false),
        def("container.quiet", Container, Type::String, false),
    ]);
    let quiet = Who {
        container: "quiet".to_owned(),
        ..Who::default()
    };
    put(&mut store, &quiet, 0, 3, text("mine"));
    let long = "é".repeat(100_000);
    for round in 0..300_u64 {
        let who = Who {
            cgroup: format!("/{round}/{long}"),
            ..process(round, &[])
        };
        for part in 0..12 {
            add(&mut store, &who, 0, 0, text(&format!("{part}{long}")));
        }
        add(&mut store, &who, 0, 1, text(&long));
        add(&mut store, &who, 0, 2, text(&long));
        assert!(store.stats().bytes <= MAX_TOTAL);
    }
    for round in 0..15_000_u64 {
        put(&mut store, &process(round, &[]), 0, 1, text("x"));
    }
    assert_eq!(store.stats().bytes, counted(&store));
    assert!(store.stats().bytes <= MAX_TOTAL);
    assert!(
        store
            .slots
            .iter()
            .all(|slot| slot.all(0).count() <= MAX_HOLDERS)
    );
    let all_short = store.states(0).all(|state| match state.value {
        OwnedValue::Str(text) => text.len() <= MAX_TEXT,
        OwnedValue::StrList(list) => list.iter().all(|text| text.len() <= MAX_TEXT),
        _ => true,
    });
    assert!(all_short);
    assert!(
        store
            .states(0)
            .all(|state| bytes_of(state.value, state.label) <= MAX_VALUE)
    );
    // Who keeps little loses nothing.
    assert_eq!(read(&mut store, &quiet, 0, 3), text("mine"));
    let stats = store.stats();
    assert!(stats.cut > 0 && stats.evicted > 0);
}

#[test]
fn many_elements_are_bounded() {
    let mut endless = def("list", Global, Type::Int, true);
    endless.size = Some(usize::MAX);
    let mut store = VariableStore::new(&[endless]);
    let who = Who::default();
    let numbers = (0..MAX_ELEMENTS as i64 + 10).collect();
    put(&mut store, &who, 0, 0, OwnedValue::IntList(numbers));
    let OwnedValue::IntList(kept) = read(&mut store, &who, 0, 0) else {
        panic!("a list");
    };
    assert_eq!((kept.len(), kept[0]), (MAX_ELEMENTS, 10));
}

#[test]
fn text_is_cut_between_characters() {
    assert_eq!(head("aé", 2), "a");
    assert_eq!(head("aé", 3), "aé");
    assert_eq!(head("", 0), "");
}

/// What the store should do, done simply: no limits, no sharing, everything searched.
#[derive(Default)]
struct Naive {
    values: HashMap<(u32, String), (Vec<String>, u64)>,
    order: BTreeMap<u32, Vec<String>>,
}

impl Naive {
    fn use_it(&mut self, id: u32, holder: &str) {
        let order = self.order.entry(id).or_default();
        order.retain(|known| known != holder);
        order.push(holder.to_owned());
    }

    fn live(&self, id: u32, holder: &str, now: u64, ttl: Option<u64>) -> Option<&Vec<String>> {
        let (list, at) = self.values.get(&(id, holder.to_owned()))?;
        ttl.is_none_or(|ttl| now - at < ttl).then_some(list)
    }

    fn put(&mut self, id: u32, holder: &str, new: &str, append: bool, now: u64, ttl: Option<u64>) {
        let mut list = match self.live(id, holder, now, ttl) {
            Some(list) if append => list.clone(),
            _ => Vec::new(),
        };
        list.retain(|known| known != new);
        list.push(new.to_owned());
        if list.len() > SIZE {
            list.remove(0);
        }
        self.use_it(id, holder);
        let order = self.order.entry(id).or_default();
        if order.len() > sizes::DEFAULT_SIZE {
            let gone = order.remove(0);
            self.values.remove(&(id, gone));
        }
        self.values.insert((id, holder.to_owned()), (list, now));
    }
}

const SIZE: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Put(u32, u64, u8, bool),
    Read(u32, u64),
    Wait(u64),
    Expire,
    End(u64),
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    let process = 0..130_u64;
    prop_oneof![
        8 => (0..3_u32, process.clone(), 0..6_u8, any::<bool>())
            .prop_map(|(id, process, item, append)| Step::Put(id, process, item, append)),
        8 => (0..3_u32, process.clone()).prop_map(|(id, process)| Step::Read(id, process)),
        2 => (0..8_u64).prop_map(Step::Wait),
        1 => Just(Step::Expire),
        1 => process.prop_map(Step::End),
        1 => Just(Step::Reload),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn as_a_naive_store(steps in proptest::collection::vec(step(), 1..600)) {
        let ttl = Some(10 * SECOND);
        let mut defs = [
            def("process.a", Process, Type::String, true),
            def("process.b", Process, Type::String, true),
            def("global", Global, Type::String, true),
        ];
        for def in &mut defs {
            def.size = Some(SIZE);
        }
        defs[0].ttl = ttl.map(Duration::from_nanos);
        let ttls = [ttl, None, None];
        let mut store = VariableStore::new(&defs);
        let mut naive = Naive::default();
        let mut now = 100 * SECOND;
        let holder = |id: u32, process: u64| match id {
            2 => String::new(),
            _ => process.to_string(),
        };
        for step in steps {
            match step {
                Step::Put(id, pid, item, append) => {
                    let item = item.to_string();
                    store.bind(&process(pid, &[]), now).set(&set(id, text(&item), append), &Nothing);
                    naive.put(id, &holder(id, pid), &item, append, now, ttls[id as usize]);
                }
                Step::Read(id, pid) => {
                    let got = read(&mut store, &process(pid, &[]), now, id);
                    let holder = holder(id, pid);
                    let live = naive.live(id, &holder, now, ttls[id as usize]).cloned();
                    if live.is_some() {
                        naive.use_it(id, &holder);
                    }
                    prop_assert_eq!(got, OwnedValue::StrList(live.unwrap_or_default()));
                }
                Step::Wait(seconds) => now += seconds * SECOND,
                Step::Expire => {
                    store.expire(now);
                    naive.values.retain(|(id, _), (_, at)| {
                        ttls[*id as usize].is_none_or(|ttl| now - *at < ttl)
                    });
                    let values = &naive.values;
                    for (id, order) in &mut naive.order {
                        order.retain(|holder| values.contains_key(&(*id, holder.clone())));
                    }
                }
                Step::End(pid) => {
                    store.process_ended(pid);
                    for id in 0..2 {
                        naive.values.remove(&(id, pid.to_string()));
                        naive.order.entry(id).or_default().retain(|known| *known != pid.to_string());
                    }
                }
                Step::Reload => store = VariableStore::new(&defs).carry_over(store),
            }
            prop_assert_eq!(store.stats().values, naive.values.len());
            prop_assert_eq!(store.stats().bytes, counted(&store));
        }
    }
}
