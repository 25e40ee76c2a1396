//! The lists of settings.

use anyhow::{Context, Result};
use mcpserver_scaling_policy::settings::{SETTINGS, Setting, Values};
use serde_json::{Value, json};

use crate::files::Files;

/// The settings that the chart's form in Rancher's UI asks for.
const ASKED_BY_CHART: [&str; 2] = ["stdioReplicas", "sessionStorage"];

/// Writes the lists of settings.
///
/// # Errors
/// If a file does not have the lines around a list.
pub(crate) fn write(files: &mut Files) -> Result<()> {
    let rows: String = SETTINGS.iter().map(row).collect();
    let table = format!("| key | values, default first | meaning |\n|---|---|---|\n{rows}");
    for document in ["README.md", "usage.md"] {
        files.replace(document, "<!-- generated: settings -->", "<!-- end -->", &format!("\n{table}\n"))?;
    }
    let questions: String = SETTINGS.iter().map(question).collect();
    files.replace_rest("questions-ui.yml", "variable: description", &questions)?;
    let form = files.text("questions-ui.yml")?.lines().map(|line| format!("    {line}\n")).collect::<String>();
    files.replace("artifacthub-pkg.yml", "kubewarden/questions-ui: |", "kubewarden/resources:", &form)?;
    let schema: Vec<String> = SETTINGS.iter().map(property).collect();
    let schema = format!(
        r#"          "$comment": "make generate writes this from src/settings.rs",
          "type": "object",
          "additionalProperties": false,
          "properties": {{
{}
          }}
"#,
        schema.join(",\n")
    );
    files.replace("deploy/chart/values.schema.json", r#""settings": {"#, "},", &schema)?;
    let mut questions = String::new();
    for key in ASKED_BY_CHART {
        let setting = SETTINGS.iter().find(|setting| setting.key == key);
        questions += &chart_question(setting.with_context(|| format!("there is no setting {key}"))?);
    }
    files.replace("deploy/chart/questions.yaml", "# generated: settings", "# end", &questions)
}

/// The values of a setting that has a finite number of them, the default first.
fn options(setting: &Setting) -> Vec<Value> {
    let all: Vec<Value> = match setting.values {
        Values::Choice(names) => names.iter().map(|name| json!(name)).collect(),
        Values::Boolean => vec![json!(false), json!(true)],
        Values::Seconds | Values::UserNames => Vec::new(),
    };
    let default = (setting.default)();
    let (mut first, others): (Vec<Value>, Vec<Value>) = all.into_iter().partition(|value| *value == default);
    first.extend(others);
    first
}

/// A value without quotes and brackets.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<String>>().join(", "),
        other => other.to_string(),
    }
}

/// A row of the table in Markdown.
fn row(setting: &Setting) -> String {
    let default = format!("`{}`", plain(&(setting.default)()));
    let values = match setting.values {
        Values::Seconds => format!("{default}, 0 or more"),
        Values::UserNames => default,
        Values::Choice(_) | Values::Boolean => {
            options(setting).iter().map(|value| format!("`{}`", plain(value))).collect::<Vec<String>>().join(", ")
        }
    };
    format!("| `{}` | {values} | {} |\n", setting.key, setting.meaning.trim())
}

/// The meaning as a sentence without Markdown, and without its full stop.
fn sentence(setting: &Setting) -> String {
    let meaning = setting.meaning.trim().replace('`', "");
    let mut letters = meaning.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The names of a choice, as a list in YAML.
fn option_list(setting: &Setting) -> String {
    options(setting).iter().map(plain).collect::<Vec<String>>().join(", ")
}

/// A question of the form for the policy.
fn question(setting: &Setting) -> String {
    let default = (setting.default)();
    let default = match &default {
        Value::Array(items) => items.iter().map(|item| format!("\n      - {}", plain(item))).collect(),
        other => format!(" {}", plain(other)),
    };
    let (options, kind) = match setting.values {
        Values::Choice(_) => (format!("    options: [{}]\n", option_list(setting)), "enum"),
        Values::Seconds => ("    min: 0\n".to_owned(), "int"),
        Values::Boolean => (String::new(), "boolean"),
        Values::UserNames => (String::new(), "array["),
    };
    let one_line = if setting.values == Values::UserNames { "    value_multiline: false\n" } else { "" };
    format!(
        "  - default:{default}\n    tooltip: {}\n    group: Settings\n    label: {}\n{options}    required: false\n    type: \
         {kind}\n{one_line}    variable: {}\n",
        json!(sentence(setting)),
        setting.label,
        setting.key
    )
}

/// A question of the form for the chart. The setting is a choice.
fn chart_question(setting: &Setting) -> String {
    format!(
        "  - variable: policy.settings.{}\n    default: {}\n    options: [{}]\n    show_if: policy.enabled=true\n    label: \
         {}\n    description: {}\n    group: Policy\n    type: enum\n",
        setting.key,
        plain(&(setting.default)()),
        option_list(setting),
        setting.label,
        json!(sentence(setting) + ".")
    )
}

/// The schema of a setting, as a member of the schema of the chart's values.
fn property(setting: &Setting) -> String {
    let schema = match setting.values {
        Values::Choice(names) => format!(r#"{{"enum": ["{}"]}}"#, names.join(r#"", ""#)),
        Values::Seconds => r#"{"type": "integer", "minimum": 0}"#.to_owned(),
        Values::Boolean => r#"{"type": "boolean"}"#.to_owned(),
        Values::UserNames => r#"{"type": "array", "items": {"type": "string", "minLength": 1}}"#.to_owned(),
    };
    format!(r#"            "{}": {schema}"#, setting.key)
}
