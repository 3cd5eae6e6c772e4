//! A network of a test's own, in which packets get lost without a trace.
//!
//! The test runs itself again in a new network namespace that has only a loopback interface; the
//! packets to be lost are dropped where that interface receives them, so their sender notices
//! nothing. The namespace ends with its last process. Needs `unshare`, `ip` and `tc`, and the right
//! to make namespaces; [`Network::run`] prints why a test is skipped.

use std::{
    env,
    process::{Command, Stdio},
};

use super::Way;

/// Set in the process that has a network of its own.
const INSIDE: &str = "MONGO_CLIENT_TEST_NETWORK";

/// Makes the loopback interface usable, and a place for filters.
const PREPARE: &str = "ip link set lo up && tc qdisc add dev lo clsact";

/// The loopback interface of the test's own namespace.
#[derive(Debug)]
pub struct Network {
    _private: (),
}

impl Network {
    /// Runs a test in a network of its own: `name` is the test's whole path in its binary.
    ///
    /// # Panics
    ///
    /// When the test fails there.
    pub fn run(name: &str, test: impl FnOnce(Self)) {
        if env::var_os(INSIDE).is_some() {
            shell(PREPARE).expect("this worked a moment ago");
            test(Self { _private: () });
            return;
        }
        let flags = match namespace() {
            Ok(flags) => flags,
            Err(why) => {
                println!("skipped: there is no network of its own for {name}: {why}");
                return;
            }
        };
        let program = env::current_exe().expect("a test has a program");
        let output = Command::new("unshare")
            .args(flags)
            .arg(program)
            .args(["--exact", name, "--nocapture"])
            .env(INSIDE, "1")
            .stdin(Stdio::null())
            .output()
            .expect("unshare was there a moment ago");
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name}: {}", output.status);
        assert!(text.contains("1 passed"), "there is no test {name}");
    }

    /// Loses all TCP packets in one direction between the server on that port and everybody who
    /// connects to it. What this server itself connects to is not harmed.
    ///
    /// # Panics
    ///
    /// When the filter cannot be set.
    pub fn lose(&self, way: Way, port: u16) {
        shell(&filter(way, port)).expect("packets can be dropped");
    }

    /// Makes the server on that port forget its connections, while nothing of that reaches their
    /// other ends: those are half open. Everything passes again afterwards. Says why when the
    /// kernel cannot do that.
    ///
    /// # Errors
    ///
    /// When connections are left: kernels can be built without the means to destroy sockets.
    ///
    /// # Panics
    ///
    /// When packets cannot be dropped.
    pub fn half_open(&self, port: u16) -> Result<(), String> {
        // What is not acknowledged yet would be sent again, and find out at once.
        let sent = format!(
            "for i in $(seq 200); do \
             ss -tniH state established dport = :{port} | grep -q unacked: || exit 0; sleep 0.01; \
             done; echo what was sent stays unacknowledged >&2; exit 1"
        );
        shell(&sent)?;
        self.lose(Way::ToClient, port);
        self.lose(Way::ToServer, port);
        let sockets = format!("-tnH state established src 127.0.0.1 sport = :{port}");
        let killed = shell(&format!(
            "ss -K {sockets} && left=$(ss {sockets}) && [ -z \"$left\" ]"
        ));
        self.heal();
        killed.map_err(|why| format!("connections are left at port {port}: {why}"))
    }

    /// Loses nothing more.
    ///
    /// # Panics
    ///
    /// When the filters cannot be removed.
    pub fn heal(&self) {
        shell("tc filter del dev lo ingress").expect("the filters can be removed");
    }
}

/// A filter in classic BPF, which every kernel has that can filter here at all: IPv4, TCP, and the
/// port of the server is the destination or the source.
fn filter(way: Way, port: u16) -> String {
    // Offsets behind the Ethernet header (14) and that of IP, whose length goes into X.
    let offset = match way {
        Way::ToClient => 14,
        Way::ToServer => 16,
    };
    let program = format!(
        "9,40 0 0 12,21 0 6 2048,48 0 0 23,21 0 4 6,177 0 0 14,72 0 0 {offset},21 0 1 {port},\
         6 0 0 2,6 0 0 4294967295"
    );
    format!("tc filter add dev lo ingress bpf direct-action bytecode '{program}'")
}

/// The flags of `unshare` that make a namespace in which packets can be dropped, or why none do.
fn namespace() -> Result<&'static [&'static str], String> {
    const FLAGS: [&[&str]; 2] = [&["--net"], &["--net", "--map-root-user"]];
    let probe = format!("{PREPARE} && {}", filter(Way::ToServer, 1));
    let mut whys = Vec::new();
    for flags in FLAGS {
        let mut command = Command::new("unshare");
        command.args(flags).args(["sh", "-c", &probe]);
        match run(command) {
            Ok(()) => return Ok(flags),
            Err(why) => whys.push(why),
        }
    }
    Err(whys.join("; "))
}

fn shell(script: &str) -> Result<(), String> {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    run(command)
}

fn run(mut command: Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(why.trim().replace('\n', ", "))
}
