//! The settings of the policy. README.md has the table for people.

use kubewarden_policy_sdk::settings::SettingsValidationResponse;
use mcp_scaling_rules::SessionStorage;

use crate::view::{Field, Leaf, Malformed, Slot, View, read};

/// How the policy behaves. Every key is optional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `stdioReplicas`: what happens when a workload of a stdio server is to run more than one replica.
    pub stdio_replicas: ExcessReplicas,
    /// `declaredReplicas`: what happens when a stdio server itself declares more than one.
    pub declared_replicas: ExcessReplicas,
    /// `sessionStorage`: what happens when more than one replica does not share sessions.
    pub session_storage: UnsharedSessions,
    /// `defaultSessionStorage`: what a server without `spec.sessionStorage` uses.
    pub default_session_storage: SessionStorage,
    /// `terminationGracePeriodSeconds`: the floor for ToolHive's Deployments, in seconds; 0 leaves them alone.
    pub termination_grace_period_seconds: i64,
    /// `preserveScaling`: whether an operator's reset of a count nobody declared is undone.
    pub preserve_scaling: bool,
    /// `operatorServiceAccounts`: user names that count as ToolHive's operator.
    pub operator_service_accounts: Vec<String>,
    /// `onLookupFailure`: what happens when the custom resource cannot be read.
    pub on_lookup_failure: LookupFailure,
}

/// What to do about more replicas than a stdio server can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExcessReplicas {
    /// Lower the count to one.
    Cap,
    /// Refuse the request.
    Reject,
    /// Say so.
    Warn,
}

/// What to do about replicas that do not share sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsharedSessions {
    /// Say so.
    Warn,
    /// Refuse the request.
    Reject,
    /// Nothing.
    Ignore,
}

/// What to do when the custom resource cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupFailure {
    /// Let the count be.
    Allow,
    /// Refuse the request.
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
            preserve_scaling: true,
            operator_service_accounts: vec!["system:serviceaccount:toolhive-system:toolhive-operator".to_owned()],
            on_lookup_failure: LookupFailure::Allow,
        }
    }
}

impl Settings {
    /// Reads settings from JSON. `null` and `{}` are the defaults.
    ///
    /// # Errors
    /// A sentence that names the key at fault and what it takes.
    pub fn from_json(json: &str) -> Result<Self, String> {
        let mut members = Field::<Members<'_>>::default();
        read(json, &mut members).map_err(|error| format!("the settings are not JSON: {error}"))?;
        let members = members.optional().map_err(|Malformed| "the settings are not an object")?;
        let mut settings = Self::default();
        for (key, value) in members.unwrap_or_default().0 {
            settings.set(&key, &value)?;
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &Leaf<'_>) -> Result<(), String> {
        const EXCESS: [(&str, ExcessReplicas); 3] =
            [("cap", ExcessReplicas::Cap), ("reject", ExcessReplicas::Reject), ("warn", ExcessReplicas::Warn)];
        const SESSIONS: [(&str, UnsharedSessions); 3] = [
            ("warn", UnsharedSessions::Warn),
            ("reject", UnsharedSessions::Reject),
            ("ignore", UnsharedSessions::Ignore),
        ];
        const STORAGE: [(&str, SessionStorage); 2] =
            [("memory", SessionStorage::Memory), ("redis", SessionStorage::Redis)];
        const LOOKUP: [(&str, LookupFailure); 2] = [("allow", LookupFailure::Allow), ("reject", LookupFailure::Reject)];
        match key {
            "stdioReplicas" => self.stdio_replicas = one_of(key, value, &EXCESS)?,
            "declaredReplicas" => self.declared_replicas = one_of(key, value, &EXCESS)?,
            "sessionStorage" => self.session_storage = one_of(key, value, &SESSIONS)?,
            "defaultSessionStorage" => self.default_session_storage = one_of(key, value, &STORAGE)?,
            "terminationGracePeriodSeconds" => self.termination_grace_period_seconds = seconds(key, value)?,
            "preserveScaling" => self.preserve_scaling = boolean(key, value)?,
            "operatorServiceAccounts" => self.operator_service_accounts = names(key, value)?,
            "onLookupFailure" => self.on_lookup_failure = one_of(key, value, &LOOKUP)?,
            _ => {
                return Err(format!(
                    "unknown setting \"{key}\": the settings are stdioReplicas, declaredReplicas, sessionStorage, \
                     defaultSessionStorage, terminationGracePeriodSeconds, preserveScaling, operatorServiceAccounts \
                     and onLookupFailure"
                ));
            }
        }
        Ok(())
    }
}

/// All members of an object, in the order they stand in.
#[derive(Default)]
struct Members<'a>(Vec<(String, Leaf<'a>)>);

impl<'a> View<'a> for Members<'a> {
    fn member(&mut self, name: &str) -> Option<Slot<'_, 'a>> {
        self.0.push((name.to_owned(), Leaf::default()));
        self.0.last_mut().map(|(_, value)| Slot::Text(value))
    }
}

fn one_of<T: Copy>(key: &str, value: &Leaf<'_>, choices: &[(&str, T)]) -> Result<T, String> {
    let name = value.text().value().unwrap_or_default();
    let choice = choices.iter().find(|(choice, _)| *choice == name);
    choice.map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
        wrong(key, &format!("one of {}", names.join(", ")))
    })
}

fn seconds(key: &str, value: &Leaf<'_>) -> Result<i64, String> {
    let seconds = value.integer().value().filter(|seconds| *seconds >= 0);
    seconds.ok_or_else(|| wrong(key, "a whole number of seconds, 0 or more"))
}

fn boolean(key: &str, value: &Leaf<'_>) -> Result<bool, String> {
    let flag = value.json().and_then(|json| json.parse().ok());
    flag.ok_or_else(|| wrong(key, "true or false"))
}

fn names(key: &str, value: &Leaf<'_>) -> Result<Vec<String>, String> {
    let mut list = Field::<Vec<Leaf<'_>>>::default();
    let elements = value.json().and_then(|json| {
        read(json, &mut list).ok()?;
        list.value()
    });
    let names = elements.and_then(|elements| {
        let names = elements.iter().map(|element| element.text().value().map(String::from));
        names.map(|name| name.filter(|name| !name.is_empty())).collect()
    });
    names.ok_or_else(|| wrong(key, "a list of user names, none of them empty"))
}

fn wrong(key: &str, takes: &str) -> String {
    format!("setting \"{key}\" must be {takes}")
}

/// The answer to `validate_settings`.
pub(crate) fn validate(payload: &[u8]) -> SettingsValidationResponse {
    let message = std::str::from_utf8(payload)
        .map_err(|_| "settings must be UTF-8".to_owned())
        .and_then(Settings::from_json)
        .err();
    SettingsValidationResponse { valid: message.is_none(), message }
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::SessionStorage;

    use super::{ExcessReplicas, LookupFailure, Settings, UnsharedSessions};

    #[test]
    fn nothing_set_is_the_defaults() {
        assert_eq!(Settings::from_json("{}"), Ok(Settings::default()));
        assert_eq!(Settings::from_json("null"), Ok(Settings::default()));
    }

    #[test]
    fn every_key_is_read() {
        let settings = Settings::from_json(
            r#"{"stdioReplicas": "reject", "declaredReplicas": "cap", "sessionStorage": "ignore",
                "defaultSessionStorage": "redis", "terminationGracePeriodSeconds": 0, "preserveScaling": false,
                "operatorServiceAccounts": ["me"], "onLookupFailure": "reject"}"#,
        );
        assert_eq!(
            settings,
            Ok(Settings {
                stdio_replicas: ExcessReplicas::Reject,
                declared_replicas: ExcessReplicas::Cap,
                session_storage: UnsharedSessions::Ignore,
                default_session_storage: SessionStorage::Redis,
                termination_grace_period_seconds: 0,
                preserve_scaling: false,
                operator_service_accounts: vec!["me".to_owned()],
                on_lookup_failure: LookupFailure::Reject,
            })
        );
    }

    #[test]
    fn what_is_refused_is_named() {
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
            (r#"{"preserveScaling": "yes"}"#, "preserveScaling"),
            (r#"{"operatorServiceAccounts": "me"}"#, "operatorServiceAccounts"),
            (r#"{"operatorServiceAccounts": [""]}"#, "operatorServiceAccounts"),
            (r#"{"onLookupFailure": "warn"}"#, "onLookupFailure"),
            ("[]", "settings"),
            ("7", "settings"),
            ("{", "settings"),
        ] {
            let refusal = Settings::from_json(json).expect_err(json);
            assert!(refusal.contains(key), "{json}: {refusal}");
        }
    }
}
