//! SCRAM and PLAIN: users with all sorts of names and passwords, how the mechanism is chosen, and
//! how much work logins are.

use std::sync::{Arc, Mutex};

use bson::{Document, doc};
use mongo_client::{
    Client, Database,
    event::cmap::CmapEvent,
    options::{AuthMechanism, ClientOptions, Credential},
};
use mongo_client_tests::{
    deploy,
    fault::{Fate, Proxy},
    live::{self, Event, Recorder},
    rt,
    secure::{assert_hides, whoami},
    watched::Watched,
};

use crate::refusals::encoded;

/// A connection to the primary of the shared set, and a database of the test's own for users.
pub(crate) struct Users {
    pub(crate) primary: String,
    root: Client,
    db: Database,
}

impl Users {
    pub(crate) async fn new() -> Option<Self> {
        let root = live::client(&deploy::uri("AUTH")?);
        let admin = root.database("admin");
        let hello = admin.run_command(doc! { "hello": 1 }).await.unwrap();
        let primary = hello.get_str("primary").unwrap().to_owned();
        let db = live::database(&root);
        Some(Self { primary, root, db })
    }

    pub(crate) fn source(&self) -> &str {
        self.db.name()
    }

    pub(crate) async fn create(&self, name: &str, password: &str, mechanisms: &[&str]) {
        let command = doc! {
            "createUser": name, "pwd": password, "roles": ["readWrite"], "mechanisms": mechanisms,
        };
        let created = self.db.run_command(command).await;
        created.unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    pub(crate) async fn run(&self, command: Document) {
        self.db.run_command(command).await.unwrap();
    }

    /// A string for one server and a user of the test's database.
    pub(crate) fn uri(&self, name: &str, password: &str) -> String {
        let (name, password) = (encoded(name), encoded(password));
        let (server, source) = (&self.primary, self.source());
        format!("mongodb://{name}:{password}@{server}/?directConnection=true&authSource={source}")
    }

    /// Options for one server and nobody.
    pub(crate) fn options(&self) -> ClientOptions {
        live::options(&format!(
            "mongodb://{}/?directConnection=true",
            self.primary
        ))
    }

    /// The same, given as a value.
    pub(crate) fn options_as(&self, name: &str, password: &str) -> ClientOptions {
        let mut options = self.options();
        let credential = Credential::builder().username(name).password(password);
        options.credential = Some(credential.source(self.source()));
        options
    }

    pub(crate) async fn forget(self) {
        self.run(doc! { "dropAllUsersFromDatabase": 1 }).await;
        live::forget(&self.db).await;
        drop(self.root);
    }
}

/// How many connections log in at once where it matters.
const CONNECTIONS: u32 = 48;
const BOTH: &[&str] = &["SCRAM-SHA-1", "SCRAM-SHA-256"];

#[test]
fn users_of_all_names_and_passwords_log_in_by_every_mechanism() {
    rt::block_on(async {
        let Some(users) = Users::new().await else {
            return;
        };
        let (long_name, long_password) = ("n".repeat(300), "p".repeat(5_000));
        let all = [
            ("reserved:/?#[]@!$&'()*+,;=%", "a:b/c+d@e%f,g$h?i#j[k]l=m&n"),
            ("looks%2Fencoded", "100%25"),
            ("ein=2Cname,=3D", "n,r=1,p=2"),
            ("name in spaces ", " "),
            ("gr\u{f6}\u{df}e", "pass\u{f6}rd\u{20ac}"),
            ("\u{540d}\u{524d}", "\u{30d1}\u{30b9}"),
            ("\"quoted\" \\ {$ne: 1}", "'\"\\`"),
            ("x", "y"),
            (long_name.as_str(), long_password.as_str()),
        ];
        for (name, password) in all {
            users.create(name, password, BOTH).await;
            let who = format!("{name}@{}", users.source());
            for mechanism in [None, Some("SCRAM-SHA-1"), Some("SCRAM-SHA-256")] {
                let mut uri = users.uri(name, password);
                let mut options = users.options_as(name, password);
                if let Some(mechanism) = mechanism {
                    uri += &format!("&authMechanism={mechanism}");
                    let credential = options.credential.as_mut().unwrap();
                    credential.mechanism = AuthMechanism::from_name(mechanism);
                }
                for options in [live::options(&uri), options] {
                    let found = whoami(&live::build(options)).await;
                    let found = found.unwrap_or_else(|e| panic!("{name} {mechanism:?}: {e}"));
                    assert_eq!(found.as_deref(), Some(who.as_str()), "{mechanism:?}");
                }
            }
        }
        users.forget().await;
    });
}

#[test]
fn passwords_are_prepared_for_sha256_but_names_and_sha1_are_not() {
    rt::block_on(async {
        let Some(users) = Users::new().await else {
            return;
        };
        // The users of the specification; a soft hyphen maps to nothing, a Roman numeral sign to
        // its letters.
        users.create("IX", "IX", &["SCRAM-SHA-256"]).await;
        users
            .create("\u{2168}", "\u{2163}", &["SCRAM-SHA-256"])
            .await;
        users.create("sha1", "I\u{ad}X", &["SCRAM-SHA-1"]).await;
        for (name, password) in [
            ("IX", "IX"),
            ("IX", "I\u{ad}X"),
            ("IX", "\u{2168}"),
            ("\u{2168}", "IV"),
            ("\u{2168}", "I\u{ad}V"),
            ("\u{2168}", "\u{2163}"),
            ("sha1", "I\u{ad}X"),
        ] {
            let uri = users.uri(name, password);
            for options in [live::options(&uri), users.options_as(name, password)] {
                let found = whoami(&live::build(options)).await;
                let found = found.unwrap_or_else(|e| panic!("{name:?} {password:?}: {e}"));
                assert_eq!(found, Some(format!("{name}@{}", users.source())));
            }
        }
        for (name, password) in [("I\u{ad}X", "IX"), ("sha1", "IX"), ("sha1", "\u{2168}")] {
            let client = live::build(users.options_as(name, password));
            let error = whoami(&client).await.expect_err(name);
            assert!(error.is_authentication(), "{name:?} {password:?}: {error}");
        }
        users.forget().await;
    });
}

#[test]
fn users_database_is_the_authsource_or_the_strings_database_or_admin() {
    rt::block_on(async {
        let Some(users) = Users::new().await else {
            return;
        };
        users.create("here", "secret", BOTH).await;
        let (server, source) = (&users.primary, users.source());
        let here = format!("here@{source}");
        for (user, rest, who) in [
            (
                "here",
                format!("{source}?directConnection=true"),
                here.as_str(),
            ),
            (
                "here",
                format!("other?authSource={source}&directConnection=true"),
                &here,
            ),
            (
                "here",
                format!("?authSource={source}&directConnection=true"),
                &here,
            ),
            ("both", "?directConnection=true".to_owned(), "both@admin"),
            (
                "both",
                format!("{source}?authSource=admin&directConnection=true"),
                "both@admin",
            ),
            (
                "both",
                "?authSource=%61dmin&directConnection=true".to_owned(),
                "both@admin",
            ),
        ] {
            let client = live::client(&format!("mongodb://{user}:secret@{server}/{rest}"));
            let found = whoami(&client)
                .await
                .unwrap_or_else(|e| panic!("{rest}: {e}"));
            assert_eq!(found.as_deref(), Some(who), "{rest}");
        }
        // A credential without a source means admin, whatever the default database is.
        let mut options = users.options();
        options.default_database = Some(source.to_owned());
        options.credential = Some(Credential::builder().username("both").password("secret"));
        let found = whoami(&live::build(options)).await.unwrap();
        assert_eq!(found.as_deref(), Some("both@admin"));
        users.forget().await;
    });
}

/// What a login consists of on the wire: the mechanism of each start, and the other commands.
async fn login(users: &Users, options: ClientOptions) -> Vec<String> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let proxy = Proxy::start(users.primary.clone(), move |request| {
        let command = &request.command;
        let mechanism = |from: &Document| from.get_str("mechanism").unwrap().to_owned();
        let entry = match request.name() {
            "hello" | "isMaster" => match command.get_document("speculativeAuthenticate") {
                Ok(first) => {
                    let asked = command.get_str("saslSupportedMechs").unwrap_or("nothing");
                    Some(format!("speculates {} asks {asked}", mechanism(first)))
                }
                Err(_) => None,
            },
            "saslStart" => Some(format!("starts {}", mechanism(command))),
            "saslContinue" => Some("continues".to_owned()),
            _ => None,
        };
        log.lock().unwrap().extend(entry);
        Fate::Pass
    })
    .await
    .unwrap();
    let mut options = options;
    options.hosts = vec![proxy.address().to_string().parse().unwrap()];
    whoami(&live::build(options)).await.unwrap();
    let seen = seen.lock().unwrap();
    seen.clone()
}

#[test]
fn best_mechanism_of_the_user_is_negotiated_in_the_first_message() {
    rt::block_on(async {
        let Some(users) = Users::new().await else {
            return;
        };
        let source = users.source().to_owned();
        let speculation = |user: &str| format!("speculates SCRAM-SHA-256 asks {source}.{user}");
        for (name, mechanisms) in [("one", &BOTH[..1]), ("two", &BOTH[1..]), ("all", BOTH)] {
            users.create(name, "secret", mechanisms).await;
            let steps = login(&users, users.options_as(name, "secret")).await;
            let mut expected = vec![speculation(name)];
            if name == "one" {
                // The speculation was in vain: the server named the other mechanism.
                expected.push("starts SCRAM-SHA-1".to_owned());
            }
            expected.push("continues".to_owned());
            assert_eq!(steps, expected, "{name}");
        }
        for mechanism in [AuthMechanism::ScramSha1, AuthMechanism::ScramSha256] {
            let mut options = users.options_as("all", "secret");
            options.credential.as_mut().unwrap().mechanism = Some(mechanism);
            let steps = login(&users, options).await;
            let first = format!("speculates {} asks nothing", mechanism.as_str());
            assert_eq!(steps, [first.as_str(), "continues"]);
        }
        users.forget().await;
    });
}

#[test]
fn many_first_logins_at_once_derive_few_keys() {
    rt::block_on(async {
        let Some(users) = Users::new().await else {
            return;
        };
        users.create("many", "secret", BOTH).await;
        for mechanism in [AuthMechanism::ScramSha1, AuthMechanism::ScramSha256] {
            let runtime = Watched::new();
            let mut options = users.options_as("many", "secret");
            options.credential.as_mut().unwrap().mechanism = Some(mechanism);
            options.min_pool_size = Some(CONNECTIONS);
            let recorder = Recorder::attach(&mut options);
            let client = Client::builder()
                .options(options)
                .runtime(Arc::new(runtime.clone()));
            let client = client.build().unwrap();
            let ready =
                |event: &&Event| matches!(event, Event::Cmap(CmapEvent::ConnectionReady(_)));
            recorder
                .wait("connections, logged in", |events| {
                    events.iter().filter(ready).count() >= CONNECTIONS as usize
                })
                .await;
            // At most `maxConnecting` connections are established at once, so no more than that
            // can miss the key that the first of them adds.
            assert!((1..=2).contains(&runtime.jobs()), "{}", runtime.jobs());
            whoami(&client).await.unwrap();
        }
        users.forget().await;
    });
}

#[test]
fn plain_is_refused_where_the_server_lacks_it() {
    rt::block_on(async {
        let Some(users) = Users::new().await else {
            return;
        };
        let uri = format!(
            "mongodb://sha256:s3cret-0ne@{}/?directConnection=true&authMechanism=PLAIN",
            users.primary
        );
        let error = whoami(&live::client(&uri)).await.unwrap_err();
        assert!(error.is_authentication(), "{error:?}");
        assert!(error.to_string().contains("PLAIN"), "{error}");
        assert!(error.to_string().contains(&users.primary), "{error}");
        assert_hides(&error, &["s3cret-0ne"]);
        users.forget().await;
    });
}

#[test]
fn destructive_plain_logs_in_where_the_server_has_it() {
    rt::block_on(async {
        let mut plan = deploy::Plan::standalone();
        plan.auth = true;
        plan.parameters =
            vec!["authenticationMechanisms=PLAIN,SCRAM-SHA-1,SCRAM-SHA-256".to_owned()];
        let Some(cluster) = deploy::own_cluster("plain", plan) else {
            return;
        };
        let server = cluster.address(0);
        let options = "authMechanism=PLAIN&authSource=admin";
        let login = |user: &str, password: &str| {
            live::client(&format!("mongodb://{user}:{password}@{server}/?{options}"))
        };
        let who = whoami(&login("sha256", "secret")).await.unwrap();
        assert_eq!(who.as_deref(), Some("sha256@admin"));

        let root = live::client(&cluster.uri());
        let create = doc! {
            "createUser": "n\u{e4}me:@,", "pwd": "p:@/ %\u{20ac}", "roles": [],
            "mechanisms": ["SCRAM-SHA-256"],
        };
        root.database("admin").run_command(create).await.unwrap();
        let (user, password) = (encoded("n\u{e4}me:@,"), encoded("p:@/ %\u{20ac}"));
        let who = whoami(&login(&user, &password)).await.unwrap();
        assert_eq!(who.as_deref(), Some("n\u{e4}me:@,@admin"));

        for (user, password) in [("sha256", "wr0ng-0ne"), ("nobody", "wr0ng-0ne")] {
            let error = whoami(&login(user, password)).await.unwrap_err();
            crate::refusals::assert_refused(&error, &server, &["wr0ng-0ne"]);
        }
        // The user's database is not the default one of the mechanism.
        let external = format!("mongodb://sha256:secret@{server}/?authMechanism=PLAIN");
        let error = whoami(&live::client(&external)).await.unwrap_err();
        assert!(error.is_authentication(), "{error:?}");
        // The failures left nothing broken behind.
        whoami(&login("sha256", "secret")).await.unwrap();
    });
}
