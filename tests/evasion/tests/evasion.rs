//! Runs the rows and prints the table. See the crate's manual.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use atalaya_e2e::{Probe, Setup, bin_dir, copy_executable, event_time, slow, text, wait_for};
use atalaya_evasion::{Check, PAGE, Row, Run, Seen, Tier, all, page};

/// The helper's exit code for what this kernel does not have.
const UNAVAILABLE: i32 = 77;
/// The rule that ends the wait for events.
const FENCE: &str = "evasion_fence";

/// What the command line asks for.
#[derive(Default)]
struct Asked {
    words: Vec<String>,
    list: bool,
    update: bool,
    verbose: bool,
}

impl Asked {
    fn read() -> Self {
        let mut asked = Self::default();
        for word in std::env::args().skip(1) {
            match word.as_str() {
                "--list" => asked.list = true,
                "--update" => asked.update = true,
                "--verbose" => asked.verbose = true,
                // Whatever libtest takes (`--test-threads=1`, `--exact`, `--nocapture`) is for the other suites.
                option if option.starts_with('-') => {}
                _ => asked.words.push(word),
            }
        }
        asked
    }

    fn wants(&self, row: &Row) -> bool {
        let name = format!("evasion::{}", row.id);
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }
}

/// How a row's program ended.
enum Ran {
    Done(Run),
    /// This kernel has not what it takes.
    Unavailable(String),
    Failed(String),
}

/// What the table says of a row.
enum Verdict {
    Ok(String),
    KnownLimit(String, &'static str),
    Pending(String),
    Unavailable(String),
    Failed(String),
}

fn main() -> ExitCode {
    let asked = Asked::read();
    if asked.list {
        all().for_each(|row| println!("evasion::{}: test", row.id));
        return ExitCode::SUCCESS;
    }
    if asked.update {
        return match std::fs::write(PAGE, page()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{PAGE}: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let rows: Vec<&'static Row> = all().filter(|row| asked.wants(row)).collect();
    if rows.is_empty() {
        println!("test result: ok. 0 passed; 0 failed; no row of the evasion suite is asked for");
        return ExitCode::SUCCESS;
    }
    run(&rows, asked.verbose)
}

fn run(rows: &[&'static Row], verbose: bool) -> ExitCode {
    let began = Instant::now();
    let setup = setup(rows);
    let work = setup.work();
    let mut probe = setup.start();
    let tier = Tier::of(&probe);
    let ran = run_all(rows, &mut probe, &work);
    let mut verdicts = verdicts(rows, &ran, &mut probe, &work, tier);
    let mut lost = probe.events.of_rule("lost_events").len();
    if lost > 0 {
        again(rows, &mut verdicts, &mut probe, &work, tier);
        lost = probe.events.of_rule("lost_events").len();
    }
    if verbose {
        probe
            .events
            .events
            .iter()
            .for_each(|event| println!("{event}"));
    }
    print(rows, &verdicts, tier, began.elapsed(), lost)
}

/// One probe with the rules of all rows, and a directory for each.
fn setup(rows: &[&'static Row]) -> Setup {
    // Rows that count their events make more than a rule may send.
    let mut setup = Setup::new()
        .config("  event_server:\n    burst: 1000000\n")
        .rule(
            FENCE,
            r#"open.file.path =~ "{work}/fence-*" && open.flags & O_CREAT > 0"#,
        );
    let work = setup.work();
    let mut rules = String::from("version: 1.0.0\nrules:\n");
    let mut any = false;
    for row in rows {
        let dir = work.join(row.id);
        make_dir(&dir);
        if row.not_captured().next().is_some() {
            continue;
        }
        for (name, expression) in row.rules {
            let expression = expression
                .replace("{dir}", &dir.to_string_lossy())
                .replace("{me}", &format!(r#"process.argv in ["{}"]"#, row.id))
                .replace("{old}", "open.flags & O_CREAT == 0");
            let id = row.rule_id(name);
            rules.push_str(&format!(
                "  - id: {id}\n    expression: |-\n      {expression}\n"
            ));
            any = true;
        }
    }
    if any {
        setup = setup.policy("evasion.policy", &rules);
    }
    setup
}

fn make_dir(dir: &Path) {
    std::fs::create_dir(dir).expect("a directory");
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o777)).expect("permissions");
}

/// Runs the programs: two at a time, then one by one those that need the machine for themselves. Between these, what was made is
/// waited for: their floods of events, one after the other, would be more than the rings hold.
fn run_all(rows: &[&'static Row], probe: &mut Probe, work: &Path) -> BTreeMap<&'static str, Ran> {
    let captured = |row: &&&'static Row| row.not_captured().next().is_none();
    let (alone, rest): (Vec<&Row>, Vec<&Row>) =
        rows.iter().filter(captured).partition(|row| row.alone);
    let ran = Mutex::new(BTreeMap::new());
    let queue = Mutex::new(rest.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no thread panics here").next();
                    let Some(row) = next else { break };
                    let outcome = attack(row, &work.join(row.id));
                    ran.lock()
                        .expect("no thread panics here")
                        .insert(row.id, outcome);
                }
            });
        }
    });
    let mut ran = ran.into_inner().expect("no thread panics here");
    fence(probe, work, "rest");
    for row in alone {
        ran.insert(row.id, attack(row, &work.join(row.id)));
        fence(probe, work, row.id);
    }
    ran
}

/// The helper lies beside the test, or with the programs under test.
fn helper() -> PathBuf {
    let with_programs = bin_dir().join("evasion-helper");
    if with_programs.exists() {
        return with_programs;
    }
    PathBuf::from(env!("CARGO_BIN_EXE_evasion-helper"))
}

fn attack(row: &Row, dir: &Path) -> Ran {
    let child = Command::new(helper())
        .arg(row.id)
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(dir.with_extension("out")).expect("a file"))
        .stderr(std::fs::File::create(dir.with_extension("err")).expect("a file"))
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Ran::Failed(format!("cannot run evasion-helper: {error}")),
    };
    let pid = child.id();
    // Into files and not pipes: what a program leaves behind would hold a pipe open.
    let status = wait_for(slow(Duration::from_secs(20)), || {
        child.try_wait().ok().flatten()
    });
    let read = |end: &str| std::fs::read_to_string(dir.with_extension(end)).unwrap_or_default();
    let said = read("err").trim().replace('\n', "; ");
    match status {
        None => {
            let _ = child.kill();
            let _ = child.wait();
            Ran::Failed(format!("the program hangs: {said}"))
        }
        Some(status) if status.code() == Some(UNAVAILABLE) => Ran::Unavailable(said),
        Some(status) if !status.success() => {
            Ran::Failed(format!("the program failed: {status}: {said}"))
        }
        Some(_) => {
            let facts = read("out")
                .lines()
                .filter_map(|line| line.split_once(' '))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            Ran::Done(Run { pid, facts })
        }
    }
}

/// What was done before it has been told when this is: events are in the order of time.
fn fence(probe: &mut Probe, work: &Path, name: &str) {
    // By a program of its own, so that it does not depend on which files this process opens.
    let path = work.join(format!("fence-{name}"));
    copy_executable(Path::new("/dev/null"), &path);
    let told = probe.events.find(event_time() * 4, |event| {
        text(event, "/agent/rule_id") == FENCE
            && text(event, "/file/path") == path.to_string_lossy()
    });
    assert!(told.is_some(), "the fence was not told: {}", probe.log());
}

fn verdicts(
    rows: &[&'static Row],
    ran: &BTreeMap<&'static str, Ran>,
    probe: &mut Probe,
    work: &Path,
    tier: Tier,
) -> Vec<Verdict> {
    // The ends of system calls that were told late (another processor's ring) may come after the fence.
    let end = Instant::now() + slow(Duration::from_secs(3));
    loop {
        std::thread::sleep(slow(Duration::from_millis(300)));
        probe.events.read();
        let events = &probe.events.events;
        let verdicts: Vec<Verdict> = rows
            .iter()
            .map(|row| verdict(row, ran.get(row.id), work, events, tier))
            .collect();
        let failed = |verdict: &Verdict| matches!(verdict, Verdict::Failed(_));
        if !verdicts.iter().any(failed) || Instant::now() > end {
            return verdicts;
        }
    }
}

/// Where events were lost, and that was told, what failed has a second try by itself: losses are the business of other tests.
fn again(
    rows: &[&'static Row],
    verdicts: &mut [Verdict],
    probe: &mut Probe,
    work: &Path,
    tier: Tier,
) {
    for (row, verdict) in rows.iter().zip(verdicts) {
        if !matches!(verdict, Verdict::Failed(_)) {
            continue;
        }
        println!("evasion::{}: a second try, as events were lost", row.id);
        let dir = work.join(row.id);
        std::fs::remove_dir_all(&dir).expect("the directory can be removed");
        make_dir(&dir);
        probe.events.events.clear();
        let ran = BTreeMap::from([(row.id, attack(row, &dir))]);
        fence(probe, work, &format!("again-{}", row.id));
        if let Some(second) = self::verdicts(&[*row], &ran, probe, work, tier).pop() {
            *verdict = second;
        }
    }
}

fn verdict(
    row: &'static Row,
    ran: Option<&Ran>,
    work: &Path,
    events: &[serde_json::Value],
    tier: Tier,
) -> Verdict {
    let run = match ran {
        Some(Ran::Done(run)) => run,
        Some(Ran::Unavailable(why)) => return Verdict::Unavailable(why.clone()),
        Some(Ran::Failed(why)) => return Verdict::Failed(why.clone()),
        None => {
            let events: Vec<_> = row.not_captured().collect();
            return Verdict::Pending(format!("not captured yet: {}", events.join(", ")));
        }
    };
    let check: Check = (row.check)(&Seen::new(row, &work.join(row.id), run, events));
    match (check, row.limit(tier.bit)) {
        (Ok(seen), None) => Verdict::Ok(seen),
        (Err(seen), None) => Verdict::Failed(seen),
        (Err(seen), Some(limit)) => Verdict::KnownLimit(seen, limit.why),
        (Ok(seen), Some(limit)) if limit.by_chance => Verdict::Ok(format!("{seen} (this time)")),
        (Ok(seen), Some(_)) => Verdict::Failed(format!(
            "{seen}: the limit is none any more, take the mark away"
        )),
    }
}

fn print(
    rows: &[&'static Row],
    verdicts: &[Verdict],
    tier: Tier,
    took: Duration,
    lost: usize,
) -> ExitCode {
    println!(
        "\nevasion suite, tier {}: row | expected | seen | verdict",
        tier.name
    );
    let mut failed = 0;
    let (mut limits, mut pending, mut unavailable) = (0, 0, 0);
    for (row, verdict) in rows.iter().zip(verdicts) {
        let (seen, end) = match verdict {
            Verdict::Ok(seen) => (seen, "ok".to_owned()),
            Verdict::KnownLimit(seen, why) => {
                limits += 1;
                (seen, format!("known limit: {why}"))
            }
            Verdict::Pending(why) => {
                pending += 1;
                (why, "PENDING".to_owned())
            }
            Verdict::Unavailable(why) => {
                unavailable += 1;
                (why, "not on this kernel".to_owned())
            }
            Verdict::Failed(why) => {
                failed += 1;
                (why, "FAILED".to_owned())
            }
        };
        // Names are an attacker's.
        let seen = seen.escape_debug();
        println!("  {} | {} | {seen} | {end}", row.id, row.expected);
    }
    // Lines that whoever counts libtest's can count.
    for (row, verdict) in rows.iter().zip(verdicts) {
        match verdict {
            Verdict::Failed(_) => println!("test evasion::{} ... FAILED", row.id),
            Verdict::Pending(why) | Verdict::Unavailable(why) => {
                println!("SKIPPED: evasion::{}: {why}", row.id);
            }
            Verdict::Ok(_) | Verdict::KnownLimit(..) => {}
        }
    }
    println!(
        "evasion, tier {}: {} rows in {:.0} s: {limits} known limits, {pending} pending, {unavailable} not on this kernel, \
         {lost} reports of losses, {failed} FAILED",
        tier.name,
        rows.len(),
        took.as_secs_f64()
    );
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {word}. {} passed; {failed} failed;",
        rows.len() - failed
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
