//! The command, as a user or a pod runs it.

mod fake_api_server;

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fake_api_server::{ApiServer, Fault, ListType, kubeconfig};
use serde_json::{Value, json};

/// A fake API server that runs for as long as the test, and a kubeconfig for it.
fn cluster() -> (ApiServer, PathBuf, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("starts");
    let server = ApiServer::new(ListType::Map);
    let port = runtime.block_on(server.listen());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kubeconfig-{port}.yaml"));
    std::fs::write(&path, kubeconfig(port)).expect("can be written");
    (server, path, runtime)
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcpserver-scaling-reconciler"));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

fn check(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(arguments).output().expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("is UTF-8");
    (status.code(), text(stdout), text(stderr))
}

fn mcpserver(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "MCPServer", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn refuses_flags_that_contradict_each_other() {
    let (code, _, error) = check(&["run", "--couple-zero", "--counts=none"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("error: --couple-zero sets counts, and --counts none sets none"), "{error}");
}

#[test]
fn exits_with_the_code_that_check_documents() {
    let (server, kubeconfig, _runtime) = cluster();
    let kubeconfig = kubeconfig.to_str().expect("is UTF-8");
    let (code, output, error) = check(&["check", "--kubeconfig", kubeconfig]);
    assert_eq!((code, output.as_str(), error.as_str()), (Some(0), "No problems found in 0 MCPServers.\n", ""));

    server.create("mcpservers", mcpserver("github", json!({"replicas": 3, "sessionStorage": {"provider": "redis"}})));
    let (code, output, _) = check(&["check", "--kubeconfig", kubeconfig, "--dry-run", "--namespace", "default"]);
    assert_eq!(code, Some(1));
    assert!(output.contains("spec.replicas is 3; transport stdio supports 1"), "{output}");
    let (code, output, _) = check(&["check", "--kubeconfig", kubeconfig, "--output", "json"]);
    let findings: Value = serde_json::from_str(&output).expect("is JSON");
    assert_eq!((code, &findings[0]["name"], &findings[0]["declared"]), (Some(1), &json!("github"), &json!("3/-")));
    assert!(server.take_writes().is_empty(), "check never writes");

    let (code, _, error) = check(&["check", "--kubeconfig", kubeconfig, "--namespace", "typo"]);
    assert_eq!((code, error.as_str()), (Some(2), "error: the namespace typo does not exist\n"));
    server.set_served_versions(&[]);
    let (code, _, error) = check(&["check", "--kubeconfig", kubeconfig]);
    assert_eq!(code, Some(2));
    assert!(error.contains("is ToolHive installed?") && error.lines().count() == 1, "{error}");
    let (code, _, error) = check(&["check", "--kubeconfig", "missing.yaml"]);
    assert_eq!(code, Some(2));
    assert!(error.starts_with("error: cannot read missing.yaml") && error.lines().count() == 1, "{error}");
}

/// A running reconciler and its log.
struct Running {
    process: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Running {
    fn start(kubeconfig: &str, arguments: &[&str]) -> Self {
        let mut command = command(&["run", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.args(["--kubeconfig", kubeconfig]).args(arguments).stderr(Stdio::piped());
        let mut process = command.spawn().expect("runs");
        let log = BufReader::new(process.stderr.take().expect("is piped")).lines();
        Self { process, log }
    }

    /// The next entry of the log with this message. Every line is JSON.
    fn logged(&mut self, message: &str) -> Value {
        for line in &mut self.log {
            let line = line.expect("is UTF-8");
            let entry: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if entry["message"] == message {
                return entry;
            }
        }
        panic!("it ended without the log entry {message:?}")
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("is sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("is received");
    response
}

#[test]
fn runs_serves_its_endpoints_and_stops_at_sigterm() {
    let (server, kubeconfig, _runtime) = cluster();
    server.create("mcpservers", mcpserver("github", json!({"replicas": 3})));
    let mut running = Running::start(kubeconfig.to_str().expect("is UTF-8"), &["--no-leader-election"]);
    let started = running.logged("starting");
    assert_eq!(started["version"], env!("CARGO_PKG_VERSION"));
    let address =
        running.logged("serving /healthz, /readyz and /metrics")["address"].as_str().expect("is text").to_owned();
    let set = running.logged("set the condition");
    assert_eq!(
        (&set["name"], &set["condition"], &set["status"]),
        (&json!("github"), &json!("StdioReplicaCapped"), &json!("True"))
    );

    for (path, status) in [("/healthz", "200"), ("/readyz", "200"), ("/metrics", "200"), ("/", "404")] {
        let response = get(&address, path);
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {response}");
    }
    assert!(get(&address, "/metrics").contains("\nmcpserver_scaling_status_writes_total 1\n"));

    let signalled = Instant::now();
    Command::new("kill").arg(running.process.id().to_string()).status().expect("runs");
    running.logged("stopped");
    assert!(running.process.wait().expect("ends").success());
    assert!(signalled.elapsed() < Duration::from_secs(5), "{:?}", signalled.elapsed());
}

/// The process id of the holder of the Lease, once it is another one than before.
fn next_leader(server: &ApiServer, before: Option<u32>, limit: Duration) -> u32 {
    let start = Instant::now();
    loop {
        let lease = server.get("leases", "mcpserver-scaling-reconciler").unwrap_or_default();
        // An identity ends with the process id.
        let holder = lease["spec"]["holderIdentity"].as_str().and_then(|identity| identity.rsplit_once('_'));
        let process = holder.map(|(_, process)| process.parse().expect("is a number"));
        match process {
            Some(process) if Some(process) != before => return process,
            _ if start.elapsed() > limit => panic!("no other leader after {limit:?}: {lease}"),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

#[test]
fn writes_from_one_of_two_processes_and_from_the_other_once_it_is_killed() {
    let (server, kubeconfig, _runtime) = cluster();
    let kubeconfig = kubeconfig.to_str().expect("is UTF-8");
    let mut processes = [Running::start(kubeconfig, &[]), Running::start(kubeconfig, &[])];
    let first = next_leader(&server, None, Duration::from_secs(20));
    processes.sort_by_key(|running| running.process.id() != first);
    let [leader, follower] = &mut processes;
    assert_eq!(leader.process.id(), first);
    leader.logged("leading");
    server.create("mcpservers", mcpserver("github", json!({"replicas": 3})));
    leader.logged("set the condition");

    leader.process.kill().expect("is running");
    let killed = Instant::now();
    let second = next_leader(&server, Some(first), Duration::from_secs(60));
    assert_eq!(second, follower.process.id());
    assert!(killed.elapsed() > Duration::from_secs(10), "a leader that does not answer may still write");
    follower.logged("leading");
    server.change("mcpservers", "github", |object| object["spec"]["replicas"] = 1.into());
    follower.logged("set the condition");

    // Its renewals fail, as do its reconciles.
    server.inject_faults(|call| call.path.contains("/leases").then_some(Fault::Code(503, None)));
    follower.logged("no longer leading");
    server.inject_faults(|_| None);
    follower.logged("leading");
}

/// An HTTP proxy for CONNECT requests, and the number of connections that it made.
fn proxy() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("has an address").port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("can accept");
            counter.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || {
                let mut head = BufReader::new(client.try_clone().expect("can be cloned")).lines();
                let request = head.next().expect("has a first line").expect("is UTF-8");
                let target = request.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
                let server = TcpStream::connect(target.expect("is a CONNECT request")).expect("listens");
                while !head.next().expect("has an end").expect("is UTF-8").is_empty() {}
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("is sent");
                let mut both = [(client.try_clone(), server.try_clone()), (server.try_clone(), client.try_clone())]
                    .map(|(from, to)| (from.expect("can be cloned"), to.expect("can be cloned")));
                std::thread::scope(|scope| {
                    for (from, to) in &mut both {
                        scope.spawn(|| std::io::copy(from, to));
                    }
                });
            });
        }
    });
    (port, connections)
}

#[test]
fn connects_through_the_proxy_of_the_kubeconfig() {
    let (_server, kubeconfig, _runtime) = cluster();
    let (port, connections) = proxy();
    let text = std::fs::read_to_string(&kubeconfig).expect("can be read");
    let mut config: Value = serde_json::from_str(&text).expect("is JSON");
    config["clusters"][0]["cluster"]["proxy-url"] = format!("http://127.0.0.1:{port}").into();
    std::fs::write(&kubeconfig, config.to_string()).expect("can be written");
    let (code, output, error) = check(&["check", "--kubeconfig", kubeconfig.to_str().expect("is UTF-8")]);
    assert_eq!((code, output.as_str(), error.as_str()), (Some(0), "No problems found in 0 MCPServers.\n", ""));
    assert!(connections.load(Ordering::Relaxed) > 0);
}

#[test]
fn runs_as_a_kubectl_plugin() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plugin");
    std::fs::create_dir_all(&folder).expect("can be made");
    let plugin = folder.join("kubectl-mcp_scaling");
    // The link stays from one run of the tests to the next.
    let _ = std::fs::remove_file(&plugin);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mcpserver-scaling-reconciler"), &plugin).expect("can be made");
    let Output { stdout, .. } = Command::new(&plugin).args(["check", "--help"]).output().expect("runs");
    let help = String::from_utf8(stdout).expect("is UTF-8");
    assert!(help.contains("Usage: kubectl mcp-scaling check [OPTIONS]"), "{help}");

    let (_server, kubeconfig, _runtime) = cluster();
    let status = Command::new(&plugin).args(["check", "--kubeconfig"]).arg(kubeconfig).status().expect("runs");
    assert_eq!(status.code(), Some(0));
}
