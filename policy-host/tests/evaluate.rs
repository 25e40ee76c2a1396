//! Shows the output and the exit code of the `evaluate` command for valid and invalid arguments.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// The root folder of the repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

const REQUEST: &str = "test_data/requests/deployment-stdio-three-replicas.json";
const CLUSTER: &str = "test_data/cluster";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evaluate"));
    command.args(arguments).current_dir(repository()).stdin(Stdio::null());
    command
}

fn evaluate(arguments: &[&str]) -> Output {
    command(arguments).output().expect("runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("is UTF-8")
}

/// The response in the single line on standard output of a run that succeeds.
#[track_caller]
fn response(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let line = text(&output.stdout);
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    serde_json::from_str(&line).expect("is JSON")
}

/// The single line on standard error of a run that fails.
#[track_caller]
fn failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert_eq!(text(&output.stdout), "");
    let line = text(&output.stderr);
    assert!(line.starts_with("error: ") && line.matches('\n').count() == 1, "{line}");
    line
}

#[test]
fn prints_the_json_that_kwctl_prints() {
    let response = response(&evaluate(&["--request-path", REQUEST, "--cluster", CLUSTER]));
    assert_eq!(
        response,
        json!({
            "uid": "0fd630f1-f29d-4da9-953f-48f1a09f76b5",
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": "W3sib3AiOiJyZXBsYWNlIiwicGF0aCI6Ii9zcGVjL3JlcGxpY2FzIiwidmFsdWUiOjF9XQ==",
            "auditAnnotations": {
                "replicas": "requested=3 wanted=1 reason=stdio",
                "stdio-replicas": "spec.replicas=3"
            },
            "warnings": ["transport stdio supports 1 replica; spec.replicas requests 3"]
        })
    );
}

#[test]
fn succeeds_where_the_policy_rejects_the_request() {
    let arguments = ["-r", REQUEST, "--cluster", CLUSTER, "--settings-path", "test_data/settings/reject.yaml"];
    let rejected = response(&evaluate(&arguments));
    assert_eq!(rejected["allowed"], false);
    assert_eq!(rejected["status"]["code"], 422);
    assert!(rejected["status"]["message"].as_str().is_some_and(|message| message.contains("stdio")));
    let inline = ["-r", REQUEST, "--cluster", CLUSTER, "--settings-json", r#"{"stdioReplicas":"reject"}"#];
    assert_eq!(response(&evaluate(&inline))["status"]["code"], 422);
}

#[test]
fn prints_a_report_with_output_human() {
    let output = evaluate(&["-r", REQUEST, "--cluster", CLUSTER, "--output", "human"]);
    let report = text(&output.stdout);
    assert!(report.contains("UPDATE Deployment (apps/v1) default/github by kubernetes-admin"), "{report}");
    assert!(report.contains("/spec/replicas: 3 -> 1"), "{report}");
}

#[test]
fn reads_an_admission_request_from_standard_input() {
    let review = std::fs::read_to_string(repository().join(REQUEST)).expect("exists");
    let bare = serde_json::from_str::<Value>(&review).expect("is JSON")["request"].to_string();
    let mut child = command(&["--request-path", "-", "--cluster", CLUSTER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs");
    child.stdin.take().expect("is piped").write_all(bare.as_bytes()).expect("is read");
    let output = child.wait_with_output().expect("ends");
    assert_eq!(response(&output)["patchType"], "JSONPatch");
}

#[test]
fn finds_no_custom_resource_without_a_cluster() {
    let response = response(&evaluate(&["-r", REQUEST]));
    assert_eq!(response["allowed"], true);
    assert_eq!(response.get("patch"), None);
}

#[test]
fn answers_lookups_from_a_recorded_session() {
    let session = "test_data/sessions/github-is-stdio.yaml";
    let response = response(&evaluate(&["-r", REQUEST, "--replay-host-capabilities-interactions", session]));
    assert_eq!(response["patchType"], "JSONPatch");
}

#[test]
fn warns_about_recorded_exchanges_that_were_not_replayed() {
    let request = "test_data/requests/deployment-foreign.json";
    let session = "test_data/sessions/github-is-stdio.yaml";
    let output = evaluate(&["-r", request, "--replay-host-capabilities-interactions", session]);
    assert_eq!(response(&output)["allowed"], true);
    assert_eq!(text(&output.stderr), "warning: 1 of the recorded exchanges have not been replayed\n");
}

#[test]
fn reports_bad_input_in_one_line() {
    for (arguments, expected) in [
        (&["-r", "missing.json"][..], "missing.json"),
        (&["-r", "README.md"], "README.md: the request is not JSON"),
        (&["-r", "test_data/cluster/mcpservers.yaml"], "mcpservers.yaml: the request is not JSON"),
        (&["-r", "/dev/null"], "/dev/null: the request is not JSON"),
        (&["-r", REQUEST, "policy.wasm", "policy.wasm"], "--request-path"),
        (&["-r", "test_data/requests"], "test_data/requests: cannot be read"),
        (&["missing.json"], "missing.json: cannot be read"),
        (&["docs"], "docs does not contain a request"),
        (&[REQUEST, "--policy", "Makefile"], "Makefile is not a policy module"),
        (&["-r", REQUEST, "--settings-path", "missing.yaml"], "missing.yaml"),
        (&["-r", REQUEST, "--settings-json", "{"], "--settings-json"),
        (&["-r", REQUEST, "--settings-json", r#"{"stdioReplica":"cap"}"#], "stdioReplica"),
        (&["-r", REQUEST, "--cluster", "missing"], "missing"),
        (&["-r", REQUEST, "--cluster", "Makefile"], "Makefile"),
        (&["-r", REQUEST, "--replay-host-capabilities-interactions", "Makefile"], "Makefile"),
        (&["-r", REQUEST, "missing.wasm"], "make policy.wasm"),
        (&["-r", REQUEST, "Makefile"], "Makefile is not a policy module"),
    ] {
        let line = failure(&evaluate(arguments));
        assert!(line.contains(expected), "{arguments:?}: {line}");
    }
}

#[test]
fn evaluates_files_and_folders_in_order() {
    let output = evaluate(&[REQUEST, "test_data/requests", "--cluster", CLUSTER]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect();
    let mut files: Vec<_> = std::fs::read_dir(repository().join("test_data/requests")).expect("is a folder").collect();
    assert_eq!(lines.len(), 1 + files.len());
    assert_eq!(lines[0], response(&evaluate(&["-r", REQUEST, "--cluster", CLUSTER])));
    files.sort_by_key(|file| file.as_ref().expect("is read").path());
    for (file, line) in files.iter().zip(&lines[1..]) {
        let request = std::fs::read_to_string(file.as_ref().expect("is read").path()).expect("is read");
        let request: Value = serde_json::from_str(&request).expect("is JSON");
        assert_eq!(line["uid"], request["request"]["uid"], "{file:?}");
    }
}

#[test]
fn names_each_of_many_requests_for_people() {
    let foreign = "test_data/requests/deployment-foreign.json";
    let output = evaluate(&[REQUEST, foreign, "--output", "human"]);
    let names: Vec<String> =
        text(&output.stdout).lines().filter(|line| line.starts_with("test_data")).map(str::to_owned).collect();
    assert_eq!(names, [REQUEST, foreign]);
}

#[test]
fn evaluates_the_other_requests_beside_bad_ones() {
    let output = evaluate(&["README.md", REQUEST, "docs", "missing.json", "--cluster", CLUSTER]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout).lines().count(), 1, "{}", text(&output.stdout));
    let errors = text(&output.stderr);
    assert_eq!(errors.lines().filter(|line| line.starts_with("error: ")).count(), 3, "{errors}");
}

#[test]
fn takes_the_lookups_of_many_requests_from_one_session() {
    let session = "test_data/sessions/github-is-stdio.yaml";
    let output = evaluate(&[REQUEST, REQUEST, "--replay-host-capabilities-interactions", session]);
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect();
    assert_eq!(lines[0]["patchType"], "JSONPatch");
    assert_eq!(lines[1].get("patch"), None, "the session has one exchange only");
}

/// The single line on standard error if this text is the request.
#[track_caller]
fn failure_of_request(request: &str) -> String {
    let mut child = command(&["--request-path", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    child.stdin.take().expect("is piped").write_all(request.as_bytes()).expect("is read");
    failure(&child.wait_with_output().expect("ends"))
}

#[test]
fn names_the_missing_member_of_a_request() {
    let line = failure_of_request(r#"{"uid":"1","kind":{"group":"","version":"v1","kind":"Pod"}}"#);
    assert!(line.contains("`resource`"), "{line}");
}

#[test]
fn tells_a_list_from_a_request() {
    let line = failure_of_request("[]");
    assert!(line.contains("this is a list; a file has one request"), "{line}");
}

#[test]
fn tells_a_manifest_from_a_request() {
    let line = failure_of_request(r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"github"}}"#);
    assert!(line.contains("manifest of a Pod"), "{line}");
}

#[test]
fn refuses_a_cluster_without_manifests() {
    for cluster in ["src", "test_data"] {
        let line = failure(&evaluate(&[REQUEST, "--cluster", cluster]));
        assert!(line.contains(&format!("{cluster} contains no manifests")), "{line}");
    }
}

#[test]
fn fails_where_the_module_fails() {
    // The empty guest has no operation `validate_settings`.
    let empty_guest = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("empty-guest.wasm");
    let line = failure(&evaluate(&["-r", REQUEST, &empty_guest.to_string_lossy()]));
    assert!(line.contains("No handler registered"), "{line}");
}
