//! What one machine is to be and to run.

use std::fmt;

use clap::ValueEnum;

/// Which hooks the suite uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    /// LSM programs, or fentry where BPF is no active LSM.
    Lsm,
    /// kprobes.
    Kprobe,
    /// Tracepoints.
    Tracepoint,
    /// What the probe chooses by itself.
    Auto,
}

impl Tier {
    fn name(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
            Self::Auto => "auto",
        }
    }
}

/// What is different from an ordinary machine. The tests of each are those of `tests/e2e/tests/fixtures` of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fixture {
    /// `bpf` is not in the kernel's list of security modules: LSM programs load but never run.
    NoBpfLsm,
    /// The kernel refuses ring buffers, as those before 5.8 do.
    NoRingbuf,
    /// The kernel shows no BTF.
    NoBtf,
    /// The kernel is locked down to confidentiality: eBPF may not read its memory.
    Lockdown,
    /// SELinux is active, without a policy, so that it allows everything.
    Selinux,
}

impl Fixture {
    fn name(self) -> &'static str {
        match self {
            Self::NoBpfLsm => "no-bpf-lsm",
            Self::NoRingbuf => "no-ringbuf",
            Self::NoBtf => "no-btf",
            Self::Lockdown => "lockdown",
            Self::Selinux => "selinux",
        }
    }

    /// What the guest does before the tests.
    fn prelude(self) -> &'static str {
        match self {
            Self::NoBpfLsm => "",
            Self::NoRingbuf => "/work/bin/refuse_ringbuf || exit 1\n",
            Self::NoBtf => "mount --bind /dev/null /sys/kernel/btf/vmlinux || exit 1\n",
            Self::Lockdown => "echo confidentiality > /sys/kernel/security/lockdown || exit 1\n",
            Self::Selinux => "mount -t selinuxfs selinuxfs /sys/fs/selinux || exit 1\n",
        }
    }

    /// Whether the agent works there, so that the whole suite makes sense.
    fn works(self) -> bool {
        matches!(self, Self::NoBpfLsm | Self::NoRingbuf | Self::Selinux)
    }
}

/// Which tests run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Suite {
    /// All.
    Whole,
    /// Those that a kernel or a tier has a part in: all but [`ENGINE`].
    Events,
    /// Those whose names contain one of these.
    Some(Vec<String>),
    /// No tests: a command.
    Command(String),
}

impl fmt::Display for Suite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => write!(formatter, "end-to-end tests"),
            Self::Events => write!(formatter, "end-to-end tests of events"),
            Self::Some(filters) => write!(formatter, "end-to-end tests: {}", filters.join(", ")),
            Self::Command(command) => write!(formatter, "{command}"),
        }
    }
}

/// Modules of the end-to-end suite about policies, rules, delivery and commands: what happens after the kernel's part, and
/// so the same in every tier. They run on this kernel and on one machine.
const ENGINE: [&str; 17] = [
    "actions::",
    "cli::",
    "config::",
    "delivery::",
    "explorer::",
    "flare::",
    "limits::",
    "live::",
    "metrics::",
    "page::",
    "policy::",
    "reference::",
    "reload::",
    "shipped::",
    "socket::",
    "start::a_",
    "variables::",
];

/// An emulated machine stands still whenever its host is busy, and tests wait for a bounded time. So a few that failed are given a second try,
/// which is told; many are no accident.
const SECOND_TRY: &str = r#"
if [ ${PIPESTATUS[0]} -ne 0 ]; then
    mapfile -t failed < <(awk '/^failures:$/ { n = 0 } /^    [a-z_0-9:]+$/ { name[n++] = $1 } END { for (i = 0; i < n; i++) print name[i] }' e2e.out)
    if [ ${#failed[@]} -ge 1 ] && [ ${#failed[@]} -le 4 ]; then
        printf 'SECOND TRY: %s\n' "${failed[@]}"
        /work/suites/e2e --test-threads=1 --exact "${failed[@]}" || status=1
    else
        status=1
    fi
fi
"#;

/// One virtual machine to run.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// The kernel's series, `6.1`.
    pub(crate) series: &'static str,
    /// Which hooks the suite uses.
    pub(crate) tier: Tier,
    /// What is different on it.
    pub(crate) fixture: Option<Fixture>,
    /// What runs on it.
    pub(crate) suite: Suite,
    /// Further arguments of the suite.
    pub(crate) arguments: Vec<String>,
    /// Whether it measures what the programs cost the verifier, too.
    pub(crate) verifier: bool,
}

impl Job {
    /// A machine with nothing special.
    pub(crate) fn new(series: &'static str, tier: Tier, suite: Suite) -> Self {
        Self {
            series,
            tier,
            fixture: None,
            suite,
            arguments: Vec::new(),
            verifier: false,
        }
    }

    /// The same, and the verifier's costs are measured after the tests.
    pub(crate) fn with_verifier(self) -> Self {
        Self {
            verifier: true,
            ..self
        }
    }

    /// The same with a fixture.
    pub(crate) fn with(self, fixture: Fixture) -> Self {
        Self {
            fixture: Some(fixture),
            ..self
        }
    }

    /// `6.1 lsm`, `6.12 fentry`, `5.10 tracepoint no-ringbuf`.
    pub(crate) fn name(&self) -> String {
        let tier = self.tier.name();
        match self.fixture {
            Some(Fixture::NoBpfLsm) if self.tier == Tier::Lsm => format!("{} fentry", self.series),
            Some(fixture) => format!("{} {tier} {}", self.series, fixture.name()),
            None => format!("{} {tier}", self.series),
        }
    }

    /// The kernel's list of security modules.
    pub(crate) fn security_modules(&self) -> &'static str {
        match self.fixture {
            Some(Fixture::NoBpfLsm) => "landlock,lockdown,yama",
            Some(Fixture::Selinux) => "landlock,lockdown,yama,selinux,bpf",
            _ => "landlock,lockdown,yama,bpf",
        }
    }

    /// What the guest runs.
    pub(crate) fn script(&self) -> String {
        let mut script = String::from(
            "export ATALAYA_BIN_DIR=/work/bin ATALAYA_E2E_SLOW=8 ATALAYA_POLICIES=/work/policies\n\
             export ATALAYA_SCHEMA=/work/reference/backend_linux.schema.json RUST_BACKTRACE=1\n\
             export ATALAYA_REFERENCE_POLICY=/work/reference/default.policy ATALAYA_MODULES=/work/modules\n",
        );
        if self.tier != Tier::Auto {
            let tier = self.tier.name();
            script.push_str(&format!(
                "export ATALAYA_E2E_TIER={tier} DD_EVENT_MONITORING_CONFIG_HOOK_TIER={tier}\n"
            ));
        }
        if let Some(fixture) = self.fixture {
            script.push_str(&format!("export ATALAYA_E2E_FIXTURE={}\n", fixture.name()));
            script.push_str(fixture.prelude());
        }
        if let Suite::Command(command) = &self.suite {
            script.push_str(command);
            script.push('\n');
            return script;
        }
        script.push_str("status=0\n");
        if let Some(fixture) = self.fixture {
            let module = fixture.name().replace('-', "_");
            script.push_str(&format!(
                "/work/suites/fixtures --test-threads=1 {module}:: || status=1\n"
            ));
        }
        if self.fixture.is_none_or(Fixture::works) {
            let mut arguments = self.arguments.clone();
            match &self.suite {
                Suite::Some(filters) => arguments.extend_from_slice(filters),
                Suite::Events => {
                    arguments.extend(ENGINE.iter().map(|module| format!("--skip={module}")));
                }
                Suite::Whole | Suite::Command(_) => {}
            }
            let arguments: String = arguments
                .iter()
                .map(|argument| format!(" '{}'", argument.replace('\'', r"'\''")))
                .collect();
            script.push_str(&format!(
                "/work/suites/e2e --test-threads=1{arguments} 2>&1 | tee e2e.out{SECOND_TRY}\
                 /work/suites/evasion --test-threads=1{arguments} || status=1\n"
            ));
        }
        if self.verifier {
            script.push_str("/work/bin/verifier || status=1\n");
        }
        script.push_str("exit $status\n");
        script
    }
}

#[cfg(test)]
mod tests {
    use super::{ENGINE, Fixture, Job, Suite, Tier};

    #[test]
    fn machines_are_named_after_kernel_tier_and_fixture() {
        let job = Job::new("6.12", Tier::Lsm, Suite::Whole);
        assert_eq!(job.name(), "6.12 lsm");
        assert_eq!(job.clone().with(Fixture::NoBpfLsm).name(), "6.12 fentry");
        assert_eq!(job.with(Fixture::NoRingbuf).name(), "6.12 lsm no-ringbuf");
    }

    #[test]
    fn a_machine_on_which_the_agent_cannot_work_runs_the_tests_of_that_only() {
        let job = Job::new("6.12", Tier::Auto, Suite::Whole);
        let plain = job.script();
        assert!(
            plain.contains("/work/suites/e2e --test-threads=1 2>&1 | tee"),
            "{plain}"
        );
        assert!(!plain.contains("--skip"), "{plain}");
        let events = Job::new("6.12", Tier::Auto, Suite::Events).script();
        for module in ENGINE {
            assert!(events.contains(&format!("'--skip={module}'")), "{events}");
        }
        assert!(
            !plain.contains("fixtures") && !plain.contains("E2E_TIER"),
            "{plain}"
        );
        let refused = job.clone().with(Fixture::NoBtf).script();
        assert!(
            refused.contains("fixtures --test-threads=1 no_btf:: ||"),
            "{refused}"
        );
        assert!(!refused.contains("suites/e2e"), "{refused}");
        let fallback = job.with(Fixture::NoRingbuf).script();
        assert!(
            fallback.contains("suites/e2e") && fallback.contains("no_ringbuf::"),
            "{fallback}"
        );
    }

    #[test]
    fn filters_are_words_of_the_shell() {
        let suite = Suite::Some(vec!["files::open".into(), "it's".into()]);
        let script = Job::new("6.1", Tier::Kprobe, suite).script();
        assert!(
            script.contains(r"e2e --test-threads=1 'files::open' 'it'\''s' 2>&1 |"),
            "{script}"
        );
    }
}
