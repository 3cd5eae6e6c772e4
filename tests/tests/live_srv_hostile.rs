//! Name servers that mean harm: whatever they send, a lookup ends in time, with an error that says
//! why, and within bounded memory.

use std::{
    fs,
    time::{Duration, Instant},
};

use mongo_client::{
    error::{Error, ErrorKind},
    options::{ClientOptions, ResolverConfig, ServerAddress},
};
use mongo_client_tests::{
    deploy,
    fault::{
        NameServer,
        name_server::{CNAME, Data, Query, Question, Reaction, Record, SRV, Way, Zone},
    },
    live, rt,
};

const HOST: &str = "cluster.0.0.1";
const SERVICE: &str = "_mongodb._tcp.cluster.0.0.1";
const URI: &str = "mongodb+srv://cluster.0.0.1/?tls=false";
const TIMEOUT: Duration = Duration::from_millis(400);
const MESSAGE_LEN_MAX: usize = 65_535;
/// More than any of these lookups may need.
const MEMORY_KIB_MAX: u64 = 64 * 1024;

fn options(server: &NameServer, timeout: Duration) -> ClientOptions {
    let mut options = live::options(URI);
    let mut resolver = ResolverConfig::new(vec![server.address()]);
    resolver.timeout = timeout;
    options.resolver_config = Some(resolver);
    options
}

/// The most memory that this process has ever used, if the system tells.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let number = line.and_then(|l| l.split_ascii_whitespace().next());
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// What the lookups of a new client end with; they may not take longer than their limits.
async fn outcome(rule: impl Fn(&Query) -> Reaction + Send + Sync + 'static) -> Error {
    let server = NameServer::start(Zone::new()).await.unwrap();
    server.set_rule(rule);
    outcome_at(&server).await
}

async fn outcome_at(server: &NameServer) -> Error {
    let (before, start) = (peak_kib(), Instant::now());
    let client = live::build(options(server, TIMEOUT));
    let error = client.list_database_names().await.unwrap_err();
    let (took, grown) = (start.elapsed(), peak_kib() - before);
    assert!(took < 15 * TIMEOUT, "{took:?}: {error}");
    assert!(grown < MEMORY_KIB_MAX, "{grown} KiB: {error}");
    let kind = &*error.kind;
    assert!(matches!(kind, ErrorKind::DnsResolve { .. }), "{error:?}");
    assert!(error.to_string().len() < 500, "{error}");
    error
}

/// Sends the message by stream; a datagram only says that there is more.
fn by_stream(query: &Query, message: Vec<u8>) -> Reaction {
    match query.way {
        Way::Datagram => Reaction::Truncated,
        Way::Stream => Reaction::Messages(vec![message]),
    }
}

/// As many of the records, again and again, as a message can hold.
fn full(question: &Question, records: &[(String, Record)]) -> Vec<u8> {
    let len = |count| {
        let some: Vec<_> = records.iter().cycle().take(count).cloned().collect();
        question.answer(0, &some)
    };
    let (empty, some) = (len(0).len(), len(200).len());
    let mut count = 200 * (MESSAGE_LEN_MAX - empty) / (some - empty) - 1;
    loop {
        let records = records.iter().cycle().take(count).cloned();
        let records: Vec<_> = records.collect();
        let message = question.answer(0, &records);
        if message.len() <= MESSAGE_LEN_MAX {
            return message;
        }
        count -= 1;
    }
}

#[test]
fn the_longest_answer_is_read_to_its_end() {
    live::on("REPLICA_SET", async |uri| {
        let targets = live::options(&uri)
            .hosts
            .into_iter()
            .map(|host| match host {
                ServerAddress::Tcp { host, port } => Record::srv(&host, port.unwrap()),
                other => panic!("{other}"),
            });
        let targets: Vec<_> = targets.map(|r| (SERVICE.to_owned(), r)).collect();
        let server = NameServer::start(Zone::new()).await.unwrap();
        server.set_rule(move |query| match query.question.kind {
            SRV => by_stream(query, full(&query.question, &targets)),
            _ => Reaction::Zone,
        });
        let before = peak_kib();
        let client = live::build(options(&server, live::PATIENCE));
        client.list_database_names().await.unwrap();
        let topology = client.topology_description().await.unwrap();
        assert_eq!(topology.servers.len(), 3);
        assert!(peak_kib() - before < MEMORY_KIB_MAX);
    });
}

#[test]
fn a_flood_of_answers_to_other_questions_ends_in_time() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let error = outcome(|query| {
            let mut other = query.answer.clone();
            other[0] ^= 1;
            Reaction::Flood(other)
        })
        .await;
        assert!(error.to_string().contains("in time"), "{error}");
    });
}

#[test]
fn a_stream_without_end_is_left() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let flood = |query: &Query| match query.way {
            Way::Datagram => Reaction::Truncated,
            Way::Stream => {
                let mut other = query.answer.clone();
                other[0] ^= 1;
                Reaction::Flood(other)
            }
        };
        let error = outcome(flood).await;
        assert!(error.to_string().contains("malformed"), "{error}");

        // An answer of the greatest length, of which a byte comes now and then.
        let trickle = |query: &Query| match query.way {
            Way::Datagram => Reaction::Truncated,
            Way::Stream => Reaction::Pieces(vec![0; MESSAGE_LEN_MAX], 1, Duration::from_millis(10)),
        };
        let error = outcome(trickle).await;
        assert!(error.to_string().contains("in time"), "{error}");
    });
}

#[test]
fn a_length_that_is_not_kept_is_a_fault_of_the_stream() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        for bytes in [
            vec![],
            vec![0xff],
            vec![0xff, 0xff],
            vec![0xff, 0xff, 1, 2, 3],
        ] {
            let error = outcome(move |query| match query.way {
                Way::Datagram => Reaction::Truncated,
                Way::Stream => Reaction::Bytes(bytes.clone()),
            })
            .await;
            assert!(error.to_string().contains("cannot reach"), "{error}");
        }
        // A message without a byte.
        let error = outcome(|query| match query.way {
            Way::Datagram => Reaction::Truncated,
            Way::Stream => Reaction::Bytes(vec![0, 0, 0, 0]),
        })
        .await;
        assert!(error.to_string().contains("malformed"), "{error}");
    });
}

fn alias(number: usize) -> String {
    match number {
        0 => SERVICE.to_owned(),
        _ => format!("a{number}.0.0.1"),
    }
}

/// Aliases, each of the next, from the name that is asked for.
fn chain(len: usize) -> Vec<(String, Record)> {
    let link = |n| (alias(n), Record::new(9, Data::Cname(alias(n + 1))));
    (0..len).map(link).collect()
}

#[test]
fn chains_of_aliases_are_followed_for_a_few_steps() {
    live::on("REPLICA_SET", async |uri| {
        let host = live::options(&uri).hosts.remove(0);
        let ServerAddress::Tcp { host, port } = host else {
            panic!("{host}");
        };
        let target = Record::srv(&host, port.unwrap());
        for len in [0, 1, 8, 9, 64] {
            let mut zone = Zone::new();
            for (name, record) in chain(len) {
                zone.set(&name, vec![record]);
            }
            zone.set(&alias(len), vec![target.clone()]);
            let server = NameServer::start(zone).await.unwrap();
            if len > 8 {
                let error = outcome_at(&server).await;
                assert!(error.to_string().contains("no SRV records"), "{error}");
            } else {
                let client = live::build(options(&server, live::PATIENCE));
                client.list_database_names().await.unwrap();
            }
        }
    });
}

#[test]
fn endless_chains_of_aliases_end() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        // Thousands of steps, of which the last leads nowhere.
        let error = outcome(|query| {
            let question = &query.question;
            by_stream(query, question.answer(0, &chain(2_000)))
        })
        .await;
        assert!(error.to_string().contains("no SRV records"), "{error}");

        for steps in [1, 2, 5] {
            let error = outcome(move |query| {
                let mut links = chain(steps);
                links[steps - 1].1 = Record::new(9, Data::Cname(SERVICE.to_owned()));
                by_stream(query, full(&query.question, &links))
            })
            .await;
            assert!(error.to_string().contains("no SRV records"), "{error}");
        }
    });
}

/// A message with the header and question of an answer, and these bytes as `count` records.
fn raw(query: &Query, count: u16, records: &[u8]) -> Vec<u8> {
    let mut out = query.question.answer(0, &[]);
    out[6..8].copy_from_slice(&count.to_be_bytes());
    out.extend(records);
    out
}

/// Type, class, time to live, and length.
fn head(kind: u16, len: u16) -> Vec<u8> {
    [kind, 1, 0, 9, len].map(u16::to_be_bytes).concat()
}

#[test]
fn names_that_point_in_circles_or_forward_are_malformed() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let start = {
            let server = NameServer::start(Zone::new()).await.unwrap();
            outcome_at(&server).await;
            server.queries()[0].answer.len()
        };
        let pointer = |to: usize| (0xc000 | u16::try_from(to).unwrap()).to_be_bytes();
        let cases: [Vec<u8>; 4] = [
            // To itself.
            [&pointer(start)[..], &head(CNAME, 0)].concat(),
            // To the next name, which points back.
            [&pointer(start + 2)[..], &pointer(start), &head(CNAME, 0)].concat(),
            // A label, and then again.
            [&[1, b'x'][..], &pointer(start), &head(CNAME, 0)].concat(),
            // Past the end.
            [&pointer(0x3fff)[..], &head(CNAME, 0)].concat(),
        ];
        for records in cases {
            let error =
                outcome(move |query| Reaction::Messages(vec![raw(query, 1, &records)])).await;
            assert!(error.to_string().contains("malformed"), "{error}");
        }
    });
}

#[test]
fn names_of_thousands_of_pointers_cost_little() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let error = outcome(|query| {
            // Data of one record: pointers, each to the one before, the first to the root's name.
            let start = raw(query, 0, &[]).len() + 12;
            let mut data = vec![0];
            let mut last = start;
            while last < 0x3ff0 {
                let at = start + data.len();
                data.extend((0xc000 | u16::try_from(last).unwrap()).to_be_bytes());
                last = at;
            }
            let mut records = vec![0xc0, 12];
            records.extend(head(999, u16::try_from(data.len()).unwrap()));
            records.extend(data);
            // Records of which each name is the whole way.
            let owner = (0xc000 | u16::try_from(last).unwrap()).to_be_bytes();
            let one = [&owner[..], &head(999, 0)].concat();
            let empty = raw(query, 0, &[]).len() + records.len();
            let more = (MESSAGE_LEN_MAX - empty) / one.len();
            for _ in 0..more {
                records.extend(&one);
            }
            by_stream(
                query,
                raw(query, u16::try_from(more + 1).unwrap(), &records),
            )
        })
        .await;
        assert!(error.to_string().contains("malformed"), "{error}");
    });
}

#[test]
fn the_longest_texts_lead_nowhere_in_short_words() {
    rt::block_on(async {
        if deploy::skips_live() {
            return;
        }
        let mut zone = Zone::new();
        zone.set_service(HOST, &[("127.0.0.1".to_owned(), 9)]);
        let server = NameServer::start(zone).await.unwrap();
        for text in [
            "x".repeat(60_000),
            format!("{}=1", "x".repeat(60_000)),
            "replicaSet=x&".repeat(4_500),
            "a=1&".repeat(15_000),
            "&".repeat(60_000),
        ] {
            server.change(|zone| zone.set(HOST, vec![Record::text(&text)]));
            let mut options = options(&server, live::PATIENCE);
            options.server_selection_timeout = Some(TIMEOUT);
            let client = live::build(options);
            let start = Instant::now();
            let error = client.list_database_names().await.unwrap_err();
            assert!(start.elapsed() < 15 * TIMEOUT, "{error}");
            assert!(error.to_string().len() < 500, "{error}");
        }
    });
}
