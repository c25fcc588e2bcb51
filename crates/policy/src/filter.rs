//! `filters` and `agent_version`: what decides at load time whether a rule or macro is for this host and agent.

use std::borrow::Cow;

use atalaya_secl::model::{
    Constant, EventView, FieldId, FieldInfo, IterId, Schema, TextKind, Type, Validator, Value,
};
use atalaya_secl::{Error, EvalContext, MacroSet, NoVariables, Scope, compile_condition};
use semver::{Version, VersionReq};

use crate::options::HostFacts;

const FACTS: [(&str, Type, bool); 23] = [
    ("os", Type::String, false),
    ("os.id", Type::String, false),
    ("os.platform_id", Type::String, false),
    ("os.version_id", Type::String, false),
    ("os.is_amazon_linux", Type::Bool, false),
    ("os.is_cos", Type::Bool, false),
    ("os.is_debian", Type::Bool, false),
    ("os.is_oracle", Type::Bool, false),
    ("os.is_rhel", Type::Bool, false),
    ("os.is_rhel7", Type::Bool, false),
    ("os.is_rhel8", Type::Bool, false),
    ("os.is_sles", Type::Bool, false),
    ("os.is_sles12", Type::Bool, false),
    ("os.is_sles15", Type::Bool, false),
    ("kernel.version.major", Type::Int, false),
    ("kernel.version.minor", Type::Int, false),
    ("kernel.version.patch", Type::Int, false),
    ("kernel.version.abi", Type::String, false),
    ("kernel.version.flavor", Type::String, false),
    ("kernel.core.enabled", Type::Bool, false),
    ("envs", Type::String, true),
    ("origin", Type::String, false),
    ("hostname", Type::String, false),
];

/// The names that `filters` may use.
struct FactSchema;

impl Schema for FactSchema {
    fn field(&self, name: &str) -> Option<FieldInfo> {
        let index = FACTS.iter().position(|(known, ..)| *known == name)?;
        let (name, ty, list) = FACTS[index];
        Some(FieldInfo {
            id: FieldId(u32::try_from(index).ok()?),
            name: name.into(),
            ty,
            list,
            iterator: None,
            text: TextKind::Plain,
            weight: 0,
            event: None,
            restricted_to: &[],
            validator: Validator::None,
            unavailable: None,
        })
    }

    fn iterator(&self, _: &str) -> Option<IterId> {
        None
    }

    fn constant(&self, name: &str) -> Option<Constant> {
        match name {
            "true" => Some(Constant::Bool(true)),
            "false" => Some(Constant::Bool(false)),
            _ => None,
        }
    }

    fn field_names(&self) -> Vec<Cow<'static, str>> {
        FACTS.iter().map(|(name, ..)| (*name).into()).collect()
    }

    fn constant_names(&self) -> Vec<Cow<'static, str>> {
        vec!["true".into(), "false".into()]
    }
}

impl EventView for HostFacts {
    fn get(&self, field: FieldId) -> Value<'_> {
        let id = self.os_id.as_str();
        let versioned = |wanted: &str, version: &str| {
            let major = self.os_version_id.split('.').next().unwrap_or_default();
            Value::Bool(id == wanted && major == version)
        };
        let name = usize::try_from(field.0)
            .ok()
            .and_then(|index| FACTS.get(index))
            .map_or("", |(name, ..)| name);
        match name {
            "os" => Value::Str(self.os.as_str().into()),
            "os.id" => Value::Str(id.into()),
            "os.platform_id" => Value::Str(self.os_platform_id.as_str().into()),
            "os.version_id" => Value::Str(self.os_version_id.as_str().into()),
            "os.is_amazon_linux" => Value::Bool(id == "amzn"),
            "os.is_cos" => Value::Bool(id == "cos"),
            "os.is_debian" => Value::Bool(id == "debian"),
            "os.is_oracle" => Value::Bool(id == "ol"),
            "os.is_rhel" => Value::Bool(id == "rhel"),
            "os.is_rhel7" => versioned("rhel", "7"),
            "os.is_rhel8" => versioned("rhel", "8"),
            "os.is_sles" => Value::Bool(id == "sles"),
            "os.is_sles12" => versioned("sles", "12"),
            "os.is_sles15" => versioned("sles", "15"),
            "kernel.version.major" => Value::Int(self.kernel_major),
            "kernel.version.minor" => Value::Int(self.kernel_minor),
            "kernel.version.patch" => Value::Int(self.kernel_patch),
            "kernel.version.abi" => Value::Str(self.kernel_abi.as_str().into()),
            "kernel.version.flavor" => Value::Str(self.kernel_flavor.as_str().into()),
            "kernel.core.enabled" => Value::Bool(self.core_enabled),
            "envs" => Value::StrList(self.envs.as_slice().into()),
            "origin" => Value::Str(self.origin.as_str().into()),
            _ => Value::Str(self.hostname.as_str().into()),
        }
    }

    fn iter_len(&self, _: IterId) -> usize {
        0
    }

    fn get_at(&self, _: FieldId, _: usize) -> Option<Value<'_>> {
        None
    }
}

/// Whether one filter holds on this host.
pub(crate) fn holds(filter: &str, host: &HostFacts) -> Result<bool, Error> {
    let macros = MacroSet::default();
    let program = compile_condition(filter, &Scope::new(&FactSchema, &macros))?;
    Ok(program.matches(
        host,
        &EvalContext {
            now_ns: 0,
            variables: &NoVariables,
        },
    ))
}

/// Whether the agent satisfies a version constraint: comparators joined by `,` or space, alternatives by `||`.
pub(crate) fn version_matches(constraint: &str, agent: &Version) -> Result<bool, String> {
    let agent = Version::new(agent.major, agent.minor, agent.patch);
    let mut any = false;
    for alternative in constraint.split("||") {
        let mut all = true;
        // `7.50 - 7.60`: from one to the other, both included.
        let found = match alternative.split_once(" - ") {
            Some((from, to)) => vec![(">=", from.trim()), ("<=", to.trim())],
            None => comparators(alternative)?,
        };
        for (operator, version) in found {
            let (operator, negate) = match operator {
                "" => ("=", false),
                "=>" => (">=", false),
                "=<" => ("<=", false),
                "!=" => ("=", true),
                "~>" => ("~", false),
                other => (other, false),
            };
            let version = version.strip_prefix('v').unwrap_or(version);
            if matches!(version, "*" | "x" | "X") {
                continue;
            }
            let requirement = VersionReq::parse(&format!("{operator}{version}"))
                .map_err(|error| format!("invalid agent_version `{constraint}`: {error}"))?;
            all &= requirement.matches(&agent) != negate;
        }
        any |= all;
    }
    Ok(any)
}

/// `>=7.65 <7.70` → its operators and versions.
fn comparators(text: &str) -> Result<Vec<(&str, &str)>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let after = rest.trim_start_matches(['<', '>', '=', '!', '~', '^']);
        let operator = &rest[..rest.len() - after.len()];
        let after = after.trim_start();
        let end = after
            .find([' ', ',', '<', '>', '=', '!', '~', '^'])
            .unwrap_or(after.len());
        let (version, tail) = after.split_at(end);
        if version.is_empty() {
            return Err(format!(
                "invalid agent_version `{text}`: a version is missing"
            ));
        }
        found.push((operator, version));
        rest = tail.trim_start_matches([' ', ',']);
    }
    if found.is_empty() {
        return Err("invalid agent_version: it is empty".to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn versions() {
        let agent = "7.68.2-rc.1+git".parse().unwrap();
        for (constraint, expected) in [
            (">=7.68", true),
            ("< 7.71", true),
            (">= 7.50, < 7.55", false),
            (">=7.65 <7.70", true),
            (">=7.65 <7.68", false),
            ("7.68", true),
            ("7.68.1", false),
            ("!= 7.68", false),
            ("<7.0 || >7.60", true),
            ("^7.1", true),
            ("~> 7.67", false),
            ("~7.68.1", true),
            ("7.x", true),
            ("7.67.x", false),
            ("=7.68.*", true),
            ("*", true),
            ("7.60 - 7.68", true),
            ("7.60 - 7.67", false),
            ("8 - 9 || 7.68.2", true),
            ("=>7.68, =<7.68.2", true),
            (">7.68", false),
            (">7.68.1", true),
            ("<=7.68", true),
            (">= v7.68.2", true),
            (">= 7.68.2-rc.1", true),
        ] {
            assert_eq!(
                version_matches(constraint, &agent),
                Ok(expected),
                "{constraint}"
            );
        }
        for constraint in ["", ">=", "seven", ">= 7.x.y.z", "7 - ", ">= 7 || ", ">>7"] {
            assert!(version_matches(constraint, &agent).is_err(), "{constraint}");
        }
    }

    #[test]
    fn filters() {
        let mut host = HostFacts {
            envs: vec!["A=b".to_owned()],
            ..HostFacts::default()
        };
        host.set_kernel_release("6.1.0-28-amd64");
        host.set_os_release("NAME=\"x\"\nID=rhel\nVERSION_ID=\"8.9\"\n");
        for (filter, expected) in [
            (r#"os == "linux""#, true),
            (r#"os == "windows""#, false),
            (
                "kernel.version.major >= 5 && kernel.version.minor < 2",
                true,
            ),
            ("os.is_rhel8 && !os.is_rhel7", true),
            (r#"os.id in ["debian", "rhel"]"#, true),
            (r#""A=b" in envs"#, true),
            (
                r#"kernel.version.flavor == "amd64" && kernel.version.abi == "28""#,
                true,
            ),
            ("true", true),
        ] {
            assert_eq!(holds(filter, &host).unwrap(), expected, "{filter}");
        }
        assert!(holds("process.uid == 0", &host).is_err());
    }
}
