//! One server process.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use bson::{Document, doc};

use crate::wire::Wire;
use crate::{Context, Failure, Result, fixtures, process};

/// How long a server may take for any step of its start.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server, running or not, with a fixed port and folder.
#[derive(Debug)]
pub(crate) struct Mongod {
    pub(crate) port: u16,
    folder: PathBuf,
    tls: bool,
    child: Option<Child>,
}

impl Mongod {
    pub(crate) fn new(folder: PathBuf, port: u16, tls: bool) -> Self {
        Self {
            port,
            folder,
            tls,
            child: None,
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts the process with these arguments besides the common ones.
    pub(crate) fn spawn(&mut self, arguments: &[String]) -> Result {
        let data = self.folder.join("data");
        fs::create_dir_all(&data).context(|| format!("cannot create {}", data.display()))?;
        let mut command = Command::new(fixtures::mongod()?);
        command
            .args(["--port", &self.port.to_string()])
            .args(["--oplogSize", "32", "--wiredTigerCacheSizeGB", "0.25"])
            .args([
                "--wiredTigerEngineConfigString",
                "log=(prealloc=false,file_max=4MB)",
            ])
            .args(["--setParameter", "enableTestCommands=1"])
            .args(["--setParameter", "acceptApiVersion2=true"])
            .args(["--setParameter", "diagnosticDataCollectionEnabled=false"])
            .args([
                "--setParameter",
                "shutdownTimeoutMillisForSignaledShutdown=0",
            ])
            // Cheaper logins: the tests are not about the cost of key derivation.
            .args(["--setParameter", "scramIterationCount=5000"])
            .args(["--setParameter", "scramSHA256IterationCount=5000"])
            .arg("--dbpath")
            .arg(&data)
            .arg("--logpath")
            .arg(self.log())
            .arg("--logappend")
            .arg("--unixSocketPrefix")
            .arg(&self.folder);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // An interrupt at the terminal must not reach it before the owner decides.
            .process_group(0);
        let child = command
            .spawn()
            .map_err(|error| process::missing(&command, &error))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it answers `hello`, and returns the connection.
    pub(crate) fn ready(&mut self) -> Result<Wire> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                return Err(Failure::new(format!(
                    "the server on port {} ended at its start ({status}); its log ends with\n{}",
                    self.port,
                    process::tail(&fs::read_to_string(self.log()).unwrap_or_default(), 6)
                )));
            }
            let answer = self.connect().and_then(|mut wire| {
                wire.admin(doc! { "hello": 1 })?;
                Ok(wire)
            });
            match answer {
                Ok(wire) => return Ok(wire),
                Err(failure) if start.elapsed() > PATIENCE => return Err(failure),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Asks for its state.
    pub(crate) fn hello(&self) -> Result<Document> {
        self.connect()?.admin(doc! { "hello": 1 })
    }

    pub(crate) fn connect(&self) -> Result<Wire> {
        if self.tls {
            Wire::connect_tls(self.port, &fixtures::certificates())
        } else {
            Wire::connect(self.port, Duration::from_secs(10))
        }
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Forgets the process: it lives on.
    pub(crate) fn forget(&mut self) {
        self.child = None;
    }

    fn exited(&mut self) -> Option<std::process::ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Mongod {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A folder for data that is best kept in memory, unique to this process and call.
pub(crate) fn data_folder(name: &str) -> PathBuf {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() {
        memory.to_owned()
    } else {
        fixtures::workspace().join("target/clusters")
    };
    base.join(format!(
        "mongo-client-{name}-{}-{number}",
        std::process::id()
    ))
}

/// Free ports below the range that the system gives to outgoing connections.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    const FIRST: u32 = 20_000;
    const RANGE: u32 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mut held = Vec::new();
    for _ in 0..RANGE {
        // Processes begin far apart, so two that start at once seldom meet.
        let turn = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = std::process::id().wrapping_mul(7_919).wrapping_add(turn) % RANGE;
        let port = u16::try_from(FIRST + offset).unwrap_or(u16::MAX);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
        if held.len() == count {
            return Ok(held.into_iter().map(|(port, _)| port).collect());
        }
    }
    Err(Failure::new("there are no free ports"))
}
