//! Deployments of real servers: a plan says what, [`Cluster::start`] makes it.
//!
//! A cluster dies with its owner: when dropped, and also when the owning process is killed. Only
//! [`Cluster::detach`] lets it live on.
//!
//! A replica set is initiated with all its members and the first is told to step up, which is four
//! times as fast as waiting for the election timeout. Users are created before the members get
//! their key file, because the harness does not log in.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bson::{Document, doc};

use crate::mongod::{Mongod, PATIENCE, data_folder, free_ports};
use crate::watchdog::Watchdog;
use crate::wire::{Wire, is_true};
use crate::{Context, Failure, Result, certificates, fixtures, process};

/// The name of every replica set.
pub const SET_NAME: &str = "rs";

/// The password of every user.
pub const PASSWORD: &str = "secret";

/// The deployments that `cargo xtask cluster` and `cargo xtask test` know.
pub const NAMES: [&str; 6] = [
    "standalone",
    "replica-set",
    "auth",
    "tls",
    "x509",
    "compressed",
];

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Members of the replica set; 0 for a standalone server.
    pub members: usize,
    /// Users, and a key file between the members: `root` (all roles), and `sha1`, `sha256` and
    /// `both`, named after their mechanisms (all databases readable and writable). With TLS also
    /// the user of `client.pem`.
    pub auth: bool,
    /// TLS is required.
    pub tls: bool,
    /// The file of the servers' certificate and key among the certificates, with TLS.
    pub certificate: &'static str,
    /// Clients must have a certificate, with TLS.
    pub client_certificates: bool,
    /// The servers listen on `::1` too.
    pub ipv6: bool,
    /// snappy, zlib and zstd are offered (a server's default, but said explicitly).
    pub compressors: bool,
    /// How long members wait without a primary before they hold an election.
    pub election_timeout_ms: i32,
    /// Further server parameters, `name=value`.
    pub parameters: Vec<String>,
    /// Further arguments of the server program.
    pub arguments: Vec<String>,
}

impl Plan {
    /// A standalone server.
    #[must_use]
    pub fn standalone() -> Self {
        Self::replica_set(0)
    }

    /// A replica set whose members hold an election about two seconds after a crash.
    #[must_use]
    pub fn replica_set(members: usize) -> Self {
        Self {
            members,
            auth: false,
            tls: false,
            certificate: "server.pem",
            client_certificates: false,
            ipv6: false,
            compressors: false,
            election_timeout_ms: 2_000,
            parameters: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// The plan of one of [`NAMES`].
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            // Nothing crashes in the shared sets, so a busy machine must not cause elections.
            "replica-set" => Self {
                election_timeout_ms: 10_000,
                ..Self::replica_set(3)
            },
            "tls" => Self {
                tls: true,
                election_timeout_ms: 10_000,
                ..Self::replica_set(3)
            },
            "auth" => Self {
                auth: true,
                ..Self::replica_set(3)
            },
            "compressed" => Self {
                compressors: true,
                ..Self::standalone()
            },
            "standalone" => Self::standalone(),
            "x509" => Self {
                auth: true,
                tls: true,
                ..Self::standalone()
            },
            _ => return None,
        })
    }
}

/// Running servers.
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    servers: Vec<Mongod>,
    folder: PathBuf,
    secured: bool,
    // Last, so that the servers have ended when their folder is removed.
    watchdog: Watchdog,
}

impl Cluster {
    /// Starts the servers and waits until all are usable.
    ///
    /// # Errors
    ///
    /// When the server program is missing, a server ends, or a minute was not enough.
    pub fn start(name: &str, plan: Plan) -> Result<Self> {
        let folder = data_folder(name);
        let mut cluster = Self {
            servers: Vec::new(),
            watchdog: Watchdog::new(&folder)?,
            secured: false,
            folder,
            plan,
        };
        for port in free_ports(cluster.plan.members.max(1))? {
            let folder = cluster.folder.join(port.to_string());
            cluster
                .servers
                .push(Mongod::new(folder, port, cluster.plan.tls));
        }
        let mut wires = cluster.spawn_all()?;
        if cluster.plan.members > 0 {
            cluster.initiate(&mut wires)?;
        }
        if cluster.plan.auth {
            cluster.create_users(&mut wires)?;
            cluster.servers.iter_mut().for_each(Mongod::kill);
            cluster.write_key_file()?;
            cluster.secured = true;
            wires = cluster.spawn_all()?;
        }
        if cluster.plan.members > 0 {
            wait("a primary and its secondaries", || {
                let mut primaries = 0;
                for wire in &mut wires {
                    let hello = wire.admin(doc! { "hello": 1 })?;
                    if is_true(&hello, "isWritablePrimary") {
                        primaries += 1;
                    } else if !is_true(&hello, "secondary") {
                        return Ok(false);
                    }
                }
                Ok(primaries == 1)
            })?;
        }
        Ok(cluster)
    }

    /// The connection string, with all members and everything needed to log in as `root`.
    #[must_use]
    pub fn uri(&self) -> String {
        let mut options = Vec::new();
        if self.plan.members > 0 {
            options.push(format!("replicaSet={SET_NAME}"));
        }
        let certificates = fixtures::certificates();
        if self.plan.tls {
            options.push(format!(
                "tls=true&tlsCAFile={}",
                escaped(&certificates.join("ca.pem"))
            ));
        }
        let mut user = String::new();
        if self.plan.auth && self.plan.tls {
            options.push(format!(
                "tlsCertificateKeyFile={}&authMechanism=MONGODB-X509&authSource=%24external",
                escaped(&certificates.join("client.pem"))
            ));
        } else if self.plan.auth {
            user = format!("root:{PASSWORD}@");
            options.push("authSource=admin".to_owned());
        }
        let hosts: Vec<String> = (0..self.servers.len()).map(|i| self.address(i)).collect();
        let mut uri = format!("mongodb://{user}{}/", hosts.join(","));
        if !options.is_empty() {
            uri.push('?');
            uri.push_str(&options.join("&"));
        }
        uri
    }

    /// The connection string for `root`'s password, also where [`Self::uri`] has a certificate.
    #[must_use]
    pub fn password_uri(&self) -> String {
        let hosts: Vec<String> = (0..self.servers.len()).map(|i| self.address(i)).collect();
        let mut uri = format!(
            "mongodb://root:{PASSWORD}@{}/?authSource=admin",
            hosts.join(",")
        );
        if self.plan.members > 0 {
            uri.push_str(&format!("&replicaSet={SET_NAME}"));
        }
        if self.plan.tls {
            let authorities = fixtures::certificates().join("ca.pem");
            uri.push_str(&format!("&tls=true&tlsCAFile={}", escaped(&authorities)));
        }
        uri
    }

    /// How many servers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether there is no server: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// The address of a member, as in the replica set's configuration.
    ///
    /// # Panics
    ///
    /// When there is no such member.
    #[must_use]
    pub fn address(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.servers[index].port)
    }

    /// The process ids of the running servers.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.servers.iter().filter_map(Mongod::pid).collect()
    }

    /// The ports of all servers.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(|server| server.port).collect()
    }

    /// Where the servers keep their data and logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The member that calls itself primary now, if there is one.
    #[must_use]
    pub fn primary(&self) -> Option<usize> {
        self.servers.iter().position(|server| {
            server.pid().is_some()
                && server
                    .hello()
                    .is_ok_and(|hello| is_true(&hello, "isWritablePrimary"))
        })
    }

    /// A connection of the harness to a member, not logged in.
    ///
    /// # Errors
    ///
    /// When the member does not listen.
    ///
    /// # Panics
    ///
    /// When there is no such member.
    pub fn connect(&self, index: usize) -> Result<Wire> {
        self.servers[index].connect()
    }

    /// Kills a member, as a crash would.
    ///
    /// # Panics
    ///
    /// When there is no such member.
    pub fn kill(&mut self, index: usize) {
        self.servers[index].kill();
        self.watchdog.watch(&self.pids());
    }

    /// Starts a killed member again and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    ///
    /// # Panics
    ///
    /// When there is no such member.
    pub fn restart(&mut self, index: usize) -> Result {
        self.servers[index].kill();
        let arguments = self.arguments();
        self.servers[index].spawn(&arguments)?;
        self.watchdog.watch(&self.pids());
        self.servers[index].ready().map(drop)
    }

    /// Freezes a member: its sockets stay open, but nothing answers.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn freeze(&self, index: usize) -> Result {
        process::freeze(self.pid(index)?)
    }

    /// Lets a frozen member go on.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn thaw(&self, index: usize) -> Result {
        process::signal(self.pid(index)?, "CONT")
    }

    /// Lets the servers live on without their owner.
    pub fn detach(mut self) {
        self.watchdog.release();
        self.servers.iter_mut().for_each(Mongod::forget);
    }

    fn pid(&self, index: usize) -> Result<u32> {
        let pid = self.servers.get(index).and_then(Mongod::pid);
        pid.ok_or_else(|| Failure::new(format!("member {index} does not run")))
    }

    fn spawn_all(&mut self) -> Result<Vec<Wire>> {
        let arguments = self.arguments();
        for server in &mut self.servers {
            server.spawn(&arguments)?;
        }
        self.watchdog.watch(&self.pids());
        self.servers.iter_mut().map(Mongod::ready).collect()
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut push =
            |name: &str, value: &str| arguments.extend([name.to_owned(), value.to_owned()]);
        if self.plan.ipv6 {
            push("--bind_ip", "127.0.0.1,::1");
        } else {
            push("--bind_ip", "127.0.0.1");
        }
        if self.plan.members > 0 {
            push("--replSet", SET_NAME);
        }
        if self.plan.tls {
            let file = |name| fixtures::certificates().join(name).display().to_string();
            push("--tlsMode", "requireTLS");
            push("--tlsCAFile", &file("ca.pem"));
            push("--tlsCertificateKeyFile", &file(self.plan.certificate));
        }
        if self.plan.compressors {
            push("--networkMessageCompressors", "snappy,zlib,zstd");
        }
        for parameter in &self.plan.parameters {
            push("--setParameter", parameter);
        }
        if self.secured && self.plan.members > 0 {
            push("--keyFile", &self.key_file().to_string_lossy());
        }
        if self.secured && self.plan.members == 0 {
            arguments.push("--auth".to_owned());
        }
        if self.plan.ipv6 {
            arguments.push("--ipv6".to_owned());
        }
        if self.plan.tls && !self.plan.client_certificates {
            arguments.push("--tlsAllowConnectionsWithoutCertificates".to_owned());
        }
        arguments.extend_from_slice(&self.plan.arguments);
        arguments
    }

    fn initiate(&self, wires: &mut [Wire]) -> Result {
        let members: Vec<Document> = (0..self.servers.len())
            .zip(0_i32..)
            .map(|(index, id)| doc! { "_id": id, "host": self.address(index) })
            .collect();
        let settings = doc! {
            "electionTimeoutMillis": self.plan.election_timeout_ms,
            "heartbeatIntervalMillis": 250,
            "heartbeatTimeoutSecs": (self.plan.election_timeout_ms / 1_000).max(1),
        };
        let Some(first) = wires.first_mut() else {
            return Ok(());
        };
        first.admin(doc! {
            "replSetInitiate": { "_id": SET_NAME, "version": 1, "members": members, "settings": settings },
        })?;
        wait("the first member to step up", || {
            Ok(is_true(
                &first.send("admin", doc! { "replSetStepUp": 1 })?,
                "ok",
            ))
        })?;
        wait("a writable primary", || {
            Ok(is_true(
                &first.admin(doc! { "hello": 1 })?,
                "isWritablePrimary",
            ))
        })
    }

    fn create_users(&self, wires: &mut [Wire]) -> Result {
        let Some(first) = wires.first_mut() else {
            return Ok(());
        };
        let all = i32::try_from(self.servers.len()).unwrap_or(1);
        let users = [
            ("root", vec!["SCRAM-SHA-1", "SCRAM-SHA-256"], "root"),
            ("sha1", vec!["SCRAM-SHA-1"], "readWriteAnyDatabase"),
            ("sha256", vec!["SCRAM-SHA-256"], "readWriteAnyDatabase"),
            (
                "both",
                vec!["SCRAM-SHA-1", "SCRAM-SHA-256"],
                "readWriteAnyDatabase",
            ),
        ];
        for (name, mechanisms, role) in users {
            first.admin(doc! {
                "createUser": name, "pwd": PASSWORD, "roles": [role], "mechanisms": mechanisms,
                "writeConcern": { "w": all, "j": true },
            })?;
        }
        if self.plan.tls {
            let role = doc! { "role": "root", "db": "admin" };
            first.run(
                "$external",
                doc! { "createUser": certificates::CLIENT_SUBJECT, "roles": [role],
                "writeConcern": { "w": all, "j": true } },
            )?;
        }
        // The servers are about to be killed: what is not in their journals would be lost. A set
        // also cuts its operations off where the last acknowledged journal write was (`j`).
        first.admin(doc! { "fsync": 1 }).map(drop)
    }

    fn key_file(&self) -> PathBuf {
        self.folder.join("key")
    }

    fn write_key_file(&self) -> Result {
        use std::os::unix::fs::PermissionsExt;
        let path = self.key_file();
        let write = fs::write(&path, "b25seSBmb3IgdGVzdHM=")
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)));
        write.context(|| format!("cannot write {}", path.display()))
    }
}

fn wait(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result {
    let start = Instant::now();
    while !done()? {
        if start.elapsed() > PATIENCE {
            return Err(Failure::new(format!("waited in vain for {what}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A path as the value of a connection string's option.
fn escaped(path: &Path) -> String {
    let mut out = String::new();
    for byte in path.to_string_lossy().bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
