//! The settings of the policy. README.md has the table for users.

use kubewarden_policy_sdk::settings::SettingsValidationResponse;
use mcp_scaling_rules::{SessionStorage, accounts};
use serde_json::{Map, Value};

use crate::error::SettingsError;

/// The names of all settings.
const KEYS: [&str; 13] = [
    "stdioReplicas",
    "declaredReplicas",
    "sessionStorage",
    "defaultSessionStorage",
    "terminationGracePeriodSeconds",
    "preStopSeconds",
    "preserveScaling",
    "keepBackendsOnScale",
    "operatorServiceAccounts",
    "controllerServiceAccounts",
    "onLookupFailure",
    "readAutoscalers",
    "corrections",
];

/// How the policy behaves. Every setting is optional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `stdioReplicas`: what happens when more than one replica is requested for a workload of a stdio server.
    pub stdio_replicas: ExcessReplicas,
    /// `declaredReplicas`: what happens when a stdio server itself declares more than one.
    pub declared_replicas: ExcessReplicas,
    /// `sessionStorage`: what happens when more than one replica does not share sessions.
    pub session_storage: UnsharedSessions,
    /// `defaultSessionStorage`: what a server without `spec.sessionStorage` uses.
    pub default_session_storage: SessionStorage,
    /// `terminationGracePeriodSeconds`: the floor for ToolHive's Deployments, in seconds; 0 leaves them alone.
    pub termination_grace_period_seconds: i64,
    /// `preStopSeconds`: how long a pod of ToolHive's Deployments goes on serving before it is asked to end, in seconds; 0
    /// leaves them alone.
    pub pre_stop_seconds: i64,
    /// `preserveScaling`: whether an operator's reset of a count nobody declared is undone.
    pub preserve_scaling: bool,
    /// `keepBackendsOnScale`: whether the pods of a backend keep running when only a count of the server changes.
    pub keep_backends_on_scale: bool,
    /// `operatorServiceAccounts`: user names that count as ToolHive's operator.
    pub operator_service_accounts: Vec<String>,
    /// `controllerServiceAccounts`: user names of other controllers. Nobody reads warnings to them.
    pub controller_service_accounts: Vec<String>,
    /// `onLookupFailure`: what happens when the custom resource cannot be read.
    pub on_lookup_failure: LookupFailure,
    /// `readAutoscalers`: whether a person who changes a custom resource is told of the autoscalers that scale its workloads.
    pub read_autoscalers: bool,
    /// `corrections`: what happens to a request whose object needs a change.
    pub corrections: Corrections,
}

/// What to do about more replicas than a stdio server can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExcessReplicas {
    /// Lower the count to one.
    Cap,
    /// Refuse the request.
    Reject,
    /// Warn the person who makes the request.
    Warn,
}

/// What to do about replicas that do not share sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsharedSessions {
    /// Warn the person who makes the request.
    Warn,
    /// Refuse the request.
    Reject,
    /// Do nothing.
    Ignore,
}

/// What to do when the custom resource cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupFailure {
    /// Leave the count as requested.
    Allow,
    /// Refuse the request.
    Reject,
}

/// What to do about an object that needs a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrections {
    /// Change it.
    Apply,
    /// Change nothing, and refuse the request. For a policy that Kubewarden does not let change objects (`mutating: false`).
    Reject,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stdio_replicas: ExcessReplicas::Cap,
            declared_replicas: ExcessReplicas::Warn,
            session_storage: UnsharedSessions::Warn,
            default_session_storage: SessionStorage::Memory,
            termination_grace_period_seconds: 30,
            pre_stop_seconds: 0,
            preserve_scaling: true,
            keep_backends_on_scale: true,
            operator_service_accounts: vec![accounts::OPERATOR.to_owned()],
            controller_service_accounts: vec![accounts::KEDA_OPERATOR.to_owned()],
            on_lookup_failure: LookupFailure::Allow,
            read_autoscalers: false,
            corrections: Corrections::Apply,
        }
    }
}

impl Settings {
    /// Reads settings from JSON. `null` and `{}` are the defaults.
    ///
    /// # Errors
    /// [`SettingsError`] with the first key that is unknown or has a value that it does not take.
    pub fn from_json(json: &str) -> Result<Self, SettingsError> {
        let members = match serde_json::from_str(json).map_err(|error| SettingsError::NotJson(error.to_string()))? {
            Value::Object(members) => members,
            Value::Null => Map::new(),
            _ => return Err(SettingsError::NotAnObject),
        };
        let mut settings = Self::default();
        for (key, value) in members {
            if !KEYS.contains(&key.as_str()) {
                return Err(SettingsError::Unknown { key, known: KEYS.join(", ") });
            }
            if settings.set(&key, &value).is_none() {
                return Err(SettingsError::Invalid { expected: expected(&key), key });
            }
        }
        if settings.corrections == Corrections::Reject {
            settings.replace_changes();
        }
        Ok(settings)
    }

    /// Turns off what only makes sense as a change: a cap becomes a refusal, and nothing is preserved or kept.
    fn replace_changes(&mut self) {
        for action in [&mut self.stdio_replicas, &mut self.declared_replicas] {
            if *action == ExcessReplicas::Cap {
                *action = ExcessReplicas::Reject;
            }
        }
        self.preserve_scaling = false;
        self.keep_backends_on_scale = false;
    }

    /// Sets the value of a key; `None` where the key does not take it.
    fn set(&mut self, key: &str, value: &Value) -> Option<()> {
        match key {
            "stdioReplicas" => self.stdio_replicas = excess(value)?,
            "declaredReplicas" => self.declared_replicas = excess(value)?,
            "sessionStorage" => {
                self.session_storage = match index_of(value, &SESSIONS)? {
                    0 => UnsharedSessions::Warn,
                    1 => UnsharedSessions::Reject,
                    _ => UnsharedSessions::Ignore,
                }
            }
            "defaultSessionStorage" => {
                self.default_session_storage = SessionStorage::from_name(value.as_str()?)?;
            }
            "terminationGracePeriodSeconds" => self.termination_grace_period_seconds = seconds(value)?,
            "preStopSeconds" => self.pre_stop_seconds = seconds(value)?,
            "preserveScaling" => self.preserve_scaling = boolean(value)?,
            "keepBackendsOnScale" => self.keep_backends_on_scale = boolean(value)?,
            "operatorServiceAccounts" => self.operator_service_accounts = names(value)?,
            "controllerServiceAccounts" => self.controller_service_accounts = names(value)?,
            "onLookupFailure" => {
                self.on_lookup_failure = match index_of(value, &LOOKUP)? {
                    0 => LookupFailure::Allow,
                    _ => LookupFailure::Reject,
                }
            }
            "readAutoscalers" => self.read_autoscalers = boolean(value)?,
            "corrections" => {
                self.corrections = match index_of(value, &CORRECTIONS)? {
                    0 => Corrections::Apply,
                    _ => Corrections::Reject,
                }
            }
            _ => return None,
        }
        Some(())
    }
}

const EXCESS: [&str; 3] = ["cap", "reject", "warn"];
const SESSIONS: [&str; 3] = ["warn", "reject", "ignore"];
const STORAGE: [&str; 2] = ["memory", "redis"];
const LOOKUP: [&str; 2] = ["allow", "reject"];
const CORRECTIONS: [&str; 2] = ["apply", "reject"];

/// What a key takes, for the message about another value.
fn expected(key: &str) -> String {
    let names: &[&str] = match key {
        "stdioReplicas" | "declaredReplicas" => &EXCESS,
        "sessionStorage" => &SESSIONS,
        "defaultSessionStorage" => &STORAGE,
        "onLookupFailure" => &LOOKUP,
        "corrections" => &CORRECTIONS,
        "terminationGracePeriodSeconds" | "preStopSeconds" => return "a whole number of seconds, 0 or more".to_owned(),
        "operatorServiceAccounts" | "controllerServiceAccounts" => {
            return "a list of user names, none of them empty".to_owned();
        }
        _ => return "true or false".to_owned(),
    };
    format!("one of {}", names.join(", "))
}

fn index_of(value: &Value, names: &[&str]) -> Option<usize> {
    let name = value.as_str()?;
    names.iter().position(|other| *other == name)
}

fn excess(value: &Value) -> Option<ExcessReplicas> {
    Some(match index_of(value, &EXCESS)? {
        0 => ExcessReplicas::Cap,
        1 => ExcessReplicas::Reject,
        _ => ExcessReplicas::Warn,
    })
}

fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().filter(|seconds| *seconds >= 0)
}

fn boolean(value: &Value) -> Option<bool> {
    value.as_bool()
}

fn names(value: &Value) -> Option<Vec<String>> {
    let name = |element: &Value| element.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    value.as_array()?.iter().map(name).collect()
}

/// The answer to `validate_settings`.
pub(crate) fn validate(payload: &[u8]) -> SettingsValidationResponse {
    let settings = std::str::from_utf8(payload).map_err(|_| SettingsError::NotUtf8).and_then(Settings::from_json);
    let message = settings.err().map(|error| error.to_string());
    SettingsValidationResponse { valid: message.is_none(), message }
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::SessionStorage;

    use super::{Corrections, ExcessReplicas, KEYS, LookupFailure, Settings, UnsharedSessions};

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
                preserve_scaling: false,
                keep_backends_on_scale: false,
                corrections: Corrections::Reject,
                ..Settings::default()
            }
        );
        let settings =
            Settings::from_json(r#"{"stdioReplicas": "warn", "declaredReplicas": "warn", "corrections": "reject"}"#);
        assert_eq!(settings.expect("are settings").stdio_replicas, ExcessReplicas::Warn, "a warning changes nothing");
    }

    #[test]
    fn names_what_it_rejects() {
        for (json, key) in [
            (r#"{"stdioReplica": "cap"}"#, "stdioReplica"),
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
        for key in KEYS {
            let refusal = Settings::from_json(&format!("{{\"{key}\": {{}}}}")).expect_err(key).to_string();
            assert!(refusal.starts_with(&format!("setting \"{key}\" must be ")), "{refusal}");
        }
    }
}
