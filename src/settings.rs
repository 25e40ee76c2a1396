//! The settings of the policy. The table below is the one place that lists them: the parser is made of it, and
//! `make generate` writes the lists in documents, forms and schemas from it.

use std::fmt::{self, Display, Formatter};

use mcp_scaling_rules::{SessionStorage, accounts};
use serde_json::{Map, Value};

use crate::error::SettingsError;

/// Makes [`Settings`], its defaults, [`KEYS`], [`SETTINGS`] and the parser of single settings from a table. The comment on a
/// row is its meaning for users, in Markdown.
macro_rules! settings {
    ($($(#[doc = $meaning:literal])+ $key:literal, $label:literal => $field:ident: $type:ty = $default:expr;)+) => {
        /// How the policy behaves. Every setting is optional.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings {
            $($(#[doc = $meaning])+ pub $field: $type,)+
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($field: $default),+ }
            }
        }

        /// The names of all settings.
        const KEYS: &[&str] = &[$($key),+];

        /// All settings, for documents and tests. The policy itself does not read this table, so that it is no part of the
        /// module.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            key: $key,
            label: $label,
            meaning: concat!($($meaning),+),
            values: <$type as SettingValue>::VALUES,
            default: || Settings::default().$field.to_json(),
        }),+];

        impl Settings {
            fn set(&mut self, key: &str, value: &Value) -> Result<(), SettingsError> {
                match key {
                    $($key => self.$field = read(key, value)?,)+
                    _ => return Err(SettingsError::Unknown { key: key.to_owned(), known: KEYS.join(", ") }),
                }
                Ok(())
            }
        }
    };
}

settings! {
    /// what to do when a Deployment, StatefulSet or Scale of a `stdio` server requests more than 1 replica
    "stdioReplicas", "Replicas of stdio servers" => stdio_replicas: ExcessReplicas = ExcessReplicas::Cap;

    /// what to do when the spec of a `stdio` server itself requests more than 1. `cap` changes the spec, which GitOps tools
    /// report as drift, and keeps the request in an annotation
    "declaredReplicas", "Declared replicas of stdio servers" => declared_replicas: ExcessReplicas = ExcessReplicas::Warn;

    /// what to do about more than 1 replica without Redis, which loses sessions
    "sessionStorage", "Session storage" => session_storage: UnsharedSessions = UnsharedSessions::Warn;

    /// the storage of a server without `spec.sessionStorage`
    "defaultSessionStorage", "Default session storage" => default_session_storage: SessionStorage = SessionStorage::Memory;

    /// minimum for the pods of ToolHive's Deployments, in seconds; 0 turns it off
    "terminationGracePeriodSeconds", "Termination grace period" => termination_grace_period_seconds: i64 = 30;

    /// how long the pods of ToolHive's Deployments go on serving after they are asked to end, in seconds; 0 turns it off. With
    /// `corrections: reject` it is off unless it is set
    "preStopSeconds", "Sleep before stop" => pre_stop_seconds: i64 = 5;

    /// whether to undo the reset of a count that the `MCPServer` does not declare, when ToolHive's operator or proxy runner
    /// resets it
    "preserveScaling", "Preserve scaling" => preserve_scaling: bool = true;

    /// whether the pods of a backend keep running when only a count of the `MCPServer` changes; ToolHive v0.24.1 and newer
    /// restart them
    "keepBackendsOnScale", "Keep backends on scale" => keep_backends_on_scale: bool = true;

    /// list of the user names of ToolHive's operators
    "operatorServiceAccounts", "Service accounts of operators" =>
        operator_service_accounts: Vec<String> = vec![accounts::OPERATOR.to_owned()];

    /// list of the user names of other controllers, which get no warnings
    "controllerServiceAccounts", "Service accounts of other controllers" =>
        controller_service_accounts: Vec<String> = vec![accounts::KEDA_OPERATOR.to_owned()];

    /// what to do when the custom resource behind a workload cannot be read
    "onLookupFailure", "Failed lookups" => on_lookup_failure: LookupFailure = LookupFailure::Allow;

    /// whether to warn a person who declares a count, or turns a server to `stdio` or `sse`, of the autoscalers that scale
    /// it already; needs the right to get, list and watch HorizontalPodAutoscalers
    "readAutoscalers", "Read autoscalers" => read_autoscalers: bool = false;

    /// what to do with an object that needs a change; `reject` is for a policy with `mutating: false`, which may not change it
    "corrections", "Corrections" => corrections: Corrections = Corrections::Apply;
}

/// A setting, as documents and forms show it.
pub struct Setting {
    /// Its name.
    pub key: &'static str,
    /// Its name in a form.
    pub label: &'static str,
    /// What it does: Markdown without a capital letter at its beginning, and without a full stop at its end.
    pub meaning: &'static str,
    /// What it takes.
    pub values: Values,
    /// Returns the default.
    pub default: fn() -> Value,
}

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of these names.
    Choice(&'static [&'static str]),
    /// A number of seconds.
    Seconds,
    /// True or false.
    Boolean,
    /// A list of user names.
    UserNames,
}

impl Display for Values {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Choice(names) => write!(formatter, "one of {}", names.join(", ")),
            Self::Seconds => formatter.write_str("a whole number of seconds, 0 or more"),
            Self::Boolean => formatter.write_str("true or false"),
            Self::UserNames => formatter.write_str("a list of user names, none of them empty"),
        }
    }
}

/// A type of settings.
trait SettingValue: Sized {
    /// What it takes.
    const VALUES: Values;

    /// Reads a value; `None` if it is not one of [`Self::VALUES`].
    fn from_json(value: &Value) -> Option<Self>;

    /// Returns the value as `from_json` reads it.
    fn to_json(&self) -> Value;
}

fn read<T: SettingValue>(key: &str, value: &Value) -> Result<T, SettingsError> {
    let invalid = || SettingsError::Invalid { key: key.to_owned(), expected: T::VALUES.to_string() };
    T::from_json(value).ok_or_else(invalid)
}

impl SettingValue for i64 {
    const VALUES: Values = Values::Seconds;

    fn from_json(value: &Value) -> Option<Self> {
        value.as_i64().filter(|seconds| *seconds >= 0)
    }

    fn to_json(&self) -> Value {
        (*self).into()
    }
}

impl SettingValue for bool {
    const VALUES: Values = Values::Boolean;

    fn from_json(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn to_json(&self) -> Value {
        (*self).into()
    }
}

impl SettingValue for Vec<String> {
    const VALUES: Values = Values::UserNames;

    fn from_json(value: &Value) -> Option<Self> {
        let name = |element: &Value| element.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        value.as_array()?.iter().map(name).collect()
    }

    fn to_json(&self) -> Value {
        self.as_slice().into()
    }
}

impl SettingValue for SessionStorage {
    const VALUES: Values = Values::Choice(&[Self::Memory.name(), Self::Redis.name()]);

    fn from_json(value: &Value) -> Option<Self> {
        Self::from_name(value.as_str()?)
    }

    fn to_json(&self) -> Value {
        self.name().into()
    }
}

/// Makes an enum of which a setting takes the names.
macro_rules! choice {
    ($(#[$enum_doc:meta])+ $type:ident { $($(#[$doc:meta])+ $name:literal => $value:ident,)+ }) => {
        $(#[$enum_doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $($(#[$doc])+ $value,)+
        }

        impl SettingValue for $type {
            const VALUES: Values = Values::Choice(&[$($name),+]);

            fn from_json(value: &Value) -> Option<Self> {
                match value.as_str()? {
                    $($name => Some(Self::$value),)+
                    _ => None,
                }
            }

            fn to_json(&self) -> Value {
                match self {
                    $(Self::$value => $name.into(),)+
                }
            }
        }
    };
}

choice! {
    /// What to do about more replicas than a stdio server can run.
    ExcessReplicas {
        /// Lower the count to one.
        "cap" => Cap,
        /// Refuse the request.
        "reject" => Reject,
        /// Warn the person who makes the request.
        "warn" => Warn,
    }
}

choice! {
    /// What to do about replicas that do not share sessions.
    UnsharedSessions {
        /// Warn the person who makes the request.
        "warn" => Warn,
        /// Refuse the request.
        "reject" => Reject,
        /// Do nothing.
        "ignore" => Ignore,
    }
}

choice! {
    /// What to do when the custom resource cannot be read.
    LookupFailure {
        /// Leave the count as requested.
        "allow" => Allow,
        /// Refuse the request.
        "reject" => Reject,
    }
}

choice! {
    /// What to do about an object that needs a change.
    Corrections {
        /// Change it.
        "apply" => Apply,
        /// Change nothing, and refuse the request. For a policy that Kubewarden does not let change objects (`mutating: false`).
        "reject" => Reject,
    }
}

impl Settings {
    /// Reads settings from JSON. `null` and `{}` are the defaults.
    ///
    /// # Errors
    /// [`SettingsError`] with a key that is unknown or has a value that it does not take.
    pub fn from_json(json: &str) -> Result<Self, SettingsError> {
        let members = match serde_json::from_str(json).map_err(|error| SettingsError::NotJson(error.to_string()))? {
            Value::Object(members) => members,
            Value::Null => Map::new(),
            _ => return Err(SettingsError::NotAnObject),
        };
        let mut settings = Self::default();
        let asks_for_hook = members.contains_key("preStopSeconds");
        for (key, value) in members {
            settings.set(&key, &value)?;
        }
        if settings.corrections == Corrections::Reject {
            settings.replace_changes();
            // ToolHive makes no hook itself, so that nobody could roll out or restart a proxy, and an audit would report every server.
            if !asks_for_hook {
                settings.pre_stop_seconds = 0;
            }
        }
        Ok(settings)
    }

    /// Turns off what only makes sense as a change: a cap becomes a refusal, and no count is preserved.
    fn replace_changes(&mut self) {
        for action in [&mut self.stdio_replicas, &mut self.declared_replicas] {
            if *action == ExcessReplicas::Cap {
                *action = ExcessReplicas::Reject;
            }
        }
        self.preserve_scaling = false;
    }
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::SessionStorage;
    use serde_json::{Map, Value};

    use super::{Corrections, ExcessReplicas, LookupFailure, SETTINGS, Settings, UnsharedSessions};

    #[test]
    fn defaults_where_nothing_is_set() {
        for json in ["{}", "null"] {
            assert_eq!(Settings::from_json(json).expect("are settings"), Settings::default());
        }
    }

    #[test]
    fn reads_every_key() {
        let settings = Settings::from_json(
            r#"{"stdioReplicas": "reject", "declaredReplicas": "cap", "sessionStorage": "ignore",
                "defaultSessionStorage": "redis", "terminationGracePeriodSeconds": 0, "preStopSeconds": 15, "preserveScaling": false, "keepBackendsOnScale": false,
                "operatorServiceAccounts": ["me"], "controllerServiceAccounts": [], "onLookupFailure": "reject", "readAutoscalers": true, "corrections": "apply"}"#,
        );
        assert_eq!(
            settings.expect("are settings"),
            Settings {
                stdio_replicas: ExcessReplicas::Reject,
                declared_replicas: ExcessReplicas::Cap,
                session_storage: UnsharedSessions::Ignore,
                default_session_storage: SessionStorage::Redis,
                termination_grace_period_seconds: 0,
                pre_stop_seconds: 15,
                preserve_scaling: false,
                keep_backends_on_scale: false,
                operator_service_accounts: vec!["me".to_owned()],
                controller_service_accounts: Vec::new(),
                on_lookup_failure: LookupFailure::Reject,
                read_autoscalers: true,
                corrections: Corrections::Apply,
            }
        );
    }

    #[test]
    fn turns_changes_into_refusals_with_corrections_reject() {
        let settings = Settings::from_json(r#"{"declaredReplicas": "cap", "corrections": "reject"}"#);
        assert_eq!(
            settings.expect("are settings"),
            Settings {
                stdio_replicas: ExcessReplicas::Reject,
                declared_replicas: ExcessReplicas::Reject,
                pre_stop_seconds: 0,
                preserve_scaling: false,
                corrections: Corrections::Reject,
                ..Settings::default()
            }
        );
        let settings = Settings::from_json(r#"{"preStopSeconds": 5, "corrections": "reject"}"#);
        assert_eq!(settings.expect("are settings").pre_stop_seconds, 5, "a hook that is asked for is required");
        let settings =
            Settings::from_json(r#"{"stdioReplicas": "warn", "declaredReplicas": "warn", "corrections": "reject"}"#);
        assert_eq!(settings.expect("are settings").stdio_replicas, ExcessReplicas::Warn, "a warning changes nothing");
    }

    #[test]
    fn names_what_it_rejects() {
        for (json, key) in [
            (r#"{"stdioReplica": "cap"}"#, r#"unknown setting "stdioReplica""#),
            (r#"{"stdioReplicas": "Cap"}"#, "stdioReplicas"),
            (r#"{"stdioReplicas": 1}"#, "stdioReplicas"),
            (r#"{"stdioReplicas": null}"#, "stdioReplicas"),
            (r#"{"declaredReplicas": "ignore"}"#, "declaredReplicas"),
            (r#"{"sessionStorage": "cap"}"#, "sessionStorage"),
            (r#"{"defaultSessionStorage": "valkey"}"#, "defaultSessionStorage"),
            (r#"{"terminationGracePeriodSeconds": -1}"#, "terminationGracePeriodSeconds"),
            (r#"{"terminationGracePeriodSeconds": 1.5}"#, "terminationGracePeriodSeconds"),
            (r#"{"terminationGracePeriodSeconds": "30"}"#, "terminationGracePeriodSeconds"),
            (r#"{"preStopSeconds": -1}"#, "preStopSeconds"),
            (r#"{"preserveScaling": "yes"}"#, "preserveScaling"),
            (r#"{"keepBackendsOnScale": 1}"#, "keepBackendsOnScale"),
            (r#"{"operatorServiceAccounts": "me"}"#, "operatorServiceAccounts"),
            (r#"{"operatorServiceAccounts": [""]}"#, "operatorServiceAccounts"),
            (r#"{"controllerServiceAccounts": [7]}"#, "controllerServiceAccounts"),
            (r#"{"onLookupFailure": "warn"}"#, "onLookupFailure"),
            (r#"{"readAutoscalers": "on"}"#, "readAutoscalers"),
            (r#"{"corrections": "warn"}"#, "corrections"),
            ("[]", "settings"),
            ("7", "settings"),
            ("{", "settings"),
        ] {
            let refusal = Settings::from_json(json).expect_err(json).to_string();
            assert!(refusal.contains(key), "{json}: {refusal}");
        }
    }

    #[test]
    fn lists_every_key_that_it_takes() {
        for setting in SETTINGS {
            let key = setting.key;
            let refusal = Settings::from_json(&format!("{{\"{key}\": {{}}}}")).expect_err(key).to_string();
            assert_eq!(refusal, format!("setting \"{key}\" must be {}", setting.values));
        }
    }

    #[test]
    fn has_defaults_that_are_read_again() {
        let defaults: Map<String, Value> =
            SETTINGS.iter().map(|setting| (setting.key.to_owned(), (setting.default)())).collect();
        let json = Value::from(defaults).to_string();
        assert_eq!(Settings::from_json(&json).expect("are settings"), Settings::default(), "{json}");
    }
}
