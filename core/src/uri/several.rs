//! A list of hosts and connection strings in place of one connection string.
//!
//! As PyMongo's `host` parameter has it: all hosts together are the seed list; of database, user
//! name and password the last ones present count. Of an option that several connection strings
//! have, the last one counts as well.

use std::collections::BTreeSet;

use super::{
    ConnectionString, ParsedUri,
    host::{self, HOSTS_MAX},
    known,
};
use crate::{
    error::{Error, Result},
    net::{DEFAULT_PORT, ServerAddress},
    options::ClientOptions,
};

impl ConnectionString {
    /// Joins hosts (`host`, `host:port`, `[ipv6]:port`, a socket path that ends in `.sock`) and
    /// connection strings to one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) that names the
    /// entry by its number, or the part of its connection string; for an empty list; and for a
    /// `mongodb+srv` connection string beside anything else.
    pub fn join<I>(entries: I) -> Result<Self>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let bad = |index: usize, why: &str| {
            Error::invalid_argument(format!("hosts, entry {}: {why}", index + 1))
        };
        let mut joined = Self::of_hosts(Vec::new());
        for (index, entry) in entries.into_iter().enumerate() {
            let entry = entry.as_ref();
            let parsed = if entry.contains("://") {
                Self::parse(entry)?
            } else {
                let hosts: std::result::Result<_, _> = entry.split(',').map(host::parse).collect();
                Self::of_hosts(hosts.map_err(|why| bad(index, why))?)
            };
            if joined.srv_host.is_some() || (index > 0 && parsed.srv_host.is_some()) {
                return Err(bad(index, "mongodb+srv must be the only entry"));
            }
            joined = joined.followed_by(parsed);
            if joined.hosts.len() > HOSTS_MAX {
                return Err(bad(index, "there are too many hosts"));
            }
        }
        if joined.hosts.is_empty() && joined.srv_host.is_none() {
            return Err(Error::invalid_argument("hosts: the list is empty"));
        }
        Ok(joined)
    }

    fn of_hosts(hosts: Vec<ServerAddress>) -> Self {
        Self {
            hosts,
            srv_host: None,
            username: None,
            password: None,
            database: None,
            options: Vec::new(),
        }
    }

    /// Adds another connection string, whose parts win.
    fn followed_by(mut self, other: Self) -> Self {
        for host in other.hosts {
            if !self.hosts.contains(&host) {
                self.hosts.push(host);
            }
        }
        // A repeated option is one in the same connection string, and may be an error there.
        let again: BTreeSet<String> = other.options.iter().map(|(k, _)| known::own(k)).collect();
        self.options
            .retain(|(name, _)| !again.contains(&known::own(name)));
        self.options.extend(other.options);
        Self {
            hosts: self.hosts,
            srv_host: other.srv_host.or(self.srv_host),
            username: other.username.or(self.username),
            password: other.password.or(self.password),
            database: other.database.or(self.database),
            options: self.options,
        }
    }
}

impl ClientOptions {
    /// Parses a list of hosts and connection strings, see [`ConnectionString::join`], and validates
    /// the options.
    ///
    /// # Errors
    ///
    /// Those of [`ConnectionString::join`] and [`Self::parse_uri`].
    pub fn parse_hosts<I>(entries: I) -> Result<ParsedUri>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        Self::from_connection_string(&ConnectionString::join(entries)?)
    }

    /// Gives the hosts without a port this one, in place of 27017. SRV records name ports
    /// themselves.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::error::ErrorKind::InvalidArgument) for the port 0.
    pub fn set_default_port(&mut self, default: u16) -> Result<()> {
        if default == 0 {
            return Err(Error::invalid_argument(
                "option \"port\": must be a number from 1 to 65535",
            ));
        }
        if self.hosts.is_empty() && self.srv_host.is_none() && default != DEFAULT_PORT {
            self.hosts.push(ServerAddress::tcp("localhost", default));
        }
        let mut hosts: Vec<ServerAddress> = Vec::with_capacity(self.hosts.len());
        for mut host in self.hosts.drain(..) {
            if let ServerAddress::Tcp { port, .. } = &mut host {
                port.get_or_insert(default);
            }
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        self.hosts = hosts;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn joined(entries: &[&str]) -> ClientOptions {
        let parsed = ClientOptions::parse_hosts(entries).expect("valid");
        assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
        parsed.options
    }

    fn shown(options: &ClientOptions) -> Vec<String> {
        options.hosts.iter().map(ToString::to_string).collect()
    }

    fn refusal(entries: &[&str]) -> String {
        let error = ClientOptions::parse_hosts(entries).expect_err("invalid");
        assert!(matches!(&*error.kind, ErrorKind::InvalidArgument { .. }));
        error.to_string()
    }

    #[test]
    fn the_hosts_of_all_entries_are_the_seeds_once() {
        let mut options = joined(&[
            "A.test",
            "b.test:27018,c.test",
            "[::1]",
            "[::1]:27019",
            "mongodb://a.test,d.test:27020/db",
            "/tmp/mongodb-27017.sock",
        ]);
        options.set_default_port(27021).expect("valid");
        assert_eq!(
            shown(&options),
            [
                "a.test:27021",
                "b.test:27018",
                "c.test:27021",
                "[::1]:27021",
                "[::1]:27019",
                "d.test:27020",
                "/tmp/mongodb-27017.sock",
            ]
        );
    }

    #[test]
    fn a_port_that_makes_two_hosts_one_leaves_one() {
        let mut options = joined(&["a.test", "a.test:27018"]);
        assert_eq!(options.hosts.len(), 2);
        options.set_default_port(27018).expect("valid");
        assert_eq!(shown(&options), ["a.test:27018"]);
    }

    #[test]
    fn a_port_without_hosts_is_one_of_this_machine() {
        let mut options = ClientOptions::default();
        options.set_default_port(27018).expect("valid");
        assert_eq!(shown(&options), ["localhost:27018"]);
        let zero = options.set_default_port(0).expect_err("no port");
        assert!(zero.to_string().contains("\"port\""), "{zero}");
        assert_eq!(shown(&options), ["localhost:27018"]);
    }

    #[test]
    fn the_last_database_user_and_password_count() {
        let options = joined(&[
            "mongodb://u1:p1@a.test/db1",
            "mongodb://u2:p2@b.test/db2",
            "mongodb://u3@c.test",
            "d.test",
        ]);
        let credential = options.credential.expect("there are users");
        assert_eq!(credential.username.as_deref(), Some("u3"));
        assert_eq!(credential.password.as_deref(), Some("p2"));
        assert_eq!(credential.source.as_deref(), Some("db2"));
        assert_eq!(options.default_database.as_deref(), Some("db2"));
    }

    #[test]
    fn the_last_of_an_option_counts_whatever_it_is_called() {
        let options = joined(&[
            "mongodb://a.test/?maxPoolSize=5&minPoolSize=2&ssl=true&readPreferenceTags=a:b",
            "mongodb://b.test/?MAXPOOLSIZE=7&tls=false&readPreference=nearest\
             &readPreferenceTags=c:d&readPreferenceTags=",
        ]);
        assert_eq!(options.max_pool_size, Some(7));
        assert_eq!(options.min_pool_size, Some(2));
        assert_eq!(options.tls, Some(crate::options::Tls::Disabled));
        let criteria = options.selection_criteria.expect("set");
        let sets = criteria.as_read_pref().expect("a mode").tag_sets().len();
        assert_eq!(sets, 2, "the tag sets of the last one only");
    }

    #[test]
    fn refusals_name_the_entry() {
        for (entries, part) in [
            (&[][..], "hosts: the list is empty"),
            (&["a.test", ""][..], "entry 2: is empty"),
            (&["a.test", "b.test,"][..], "entry 2: is empty"),
            (&["::1"][..], "entry 1: more than one colon"),
            (&["[::1"][..], "entry 1: the closing bracket"),
            (&["a.test:0"][..], "entry 1: the port"),
            (
                &["a.test", "mongodb+srv://b.c.test"][..],
                "entry 2: mongodb+srv",
            ),
            (
                &["mongodb+srv://b.c.test", "a.test"][..],
                "entry 2: mongodb+srv",
            ),
            (&["http://a.test"][..], "mongodb://"),
            (&["a.test", "mongodb://u:p/w@b.test"][..], "percent-encoded"),
        ] {
            let error = refusal(entries);
            assert!(error.contains(part), "{entries:?}: {error}");
        }
        let many: Vec<String> = (0..=HOSTS_MAX).map(|n| format!("h{n}.test")).collect();
        let error = ClientOptions::parse_hosts(&many).expect_err("too many");
        assert!(error.to_string().contains("too many hosts"), "{error}");
    }

    #[test]
    fn a_lone_srv_entry_is_resolved_later() {
        let options = joined(&["mongodb+srv://a.b.test/db"]);
        assert_eq!(options.srv_host.as_deref(), Some("a.b.test"));
        let mut ported = options.clone();
        ported.set_default_port(27018).expect("valid");
        assert_eq!(shown(&ported), Vec::<String>::new());
    }
}
