//! The content of the annotation [`crate::facts::annotations::ROLLED_OUT`], which the policy writes on the Deployment of an operator that
//! resets counts, and which the reconciler reads.

use std::fmt::{self, Display, Formatter};

/// What an operator rolled out, as `STATE` or `STATE replicas=COUNT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledOut {
    /// What the operator last rolled out, or is rolling out.
    pub state: String,
    /// The count that a reset took away and that the Deployment gets back with the operator's next write.
    pub replicas_before_reset: Option<u32>,
}

const REPLICAS: &str = "replicas=";

impl RolledOut {
    /// What an operator would roll out now: the server's generation, the configuration that the server refers to, by its hashes,
    /// and the pod of the operator, since a new release of it rolls out a new proxy.
    pub fn state(
        generation: i64,
        tool_config_hash: Option<&str>,
        external_auth_config_hash: Option<&str>,
        operator_pod: Option<&str>,
    ) -> String {
        let mut state = format!("generation={generation}");
        for (name, value) in [
            ("tool-config", tool_config_hash),
            ("external-auth-config", external_auth_config_hash),
            ("operator", operator_pod),
        ] {
            if let Some(value) = value {
                state.push_str(&format!(" {name}={value}"));
            }
        }
        state
    }

    /// Reads the annotation. A count that is no number is ignored: anybody may have edited the annotation.
    pub fn parse(text: &str) -> Self {
        let replicas = text.rsplit_once(' ').and_then(|(state, last)| Some((state, last.strip_prefix(REPLICAS)?)));
        match replicas {
            Some((state, count)) => Self { state: state.to_owned(), replicas_before_reset: count.parse().ok() },
            None => Self { state: text.to_owned(), replicas_before_reset: None },
        }
    }
}

impl Display for RolledOut {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.state)?;
        match self.replicas_before_reset {
            Some(count) => write!(formatter, " {REPLICAS}{count}"),
            None => Ok(()),
        }
    }
}
