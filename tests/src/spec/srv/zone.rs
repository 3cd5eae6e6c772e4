//! The zone that the files assume, and a name server for it with an encoder of its own.

const SRV: u16 = 33;
const TXT: u16 = 16;
const TTL_SECONDS: u32 = 86_400;
const LOCAL: &str = "localhost.test.build.10gen.cc";

/// Names below `_mongodb._tcp`, with ports and targets.
const HOSTS: &[(&str, &[u16], &[&str])] = &[
    ("test1.test.build.10gen.cc", &[27017, 27018], &[LOCAL]),
    ("test2.test.build.10gen.cc", &[27018, 27019], &[LOCAL]),
    ("test3.test.build.10gen.cc", &[27017], &[LOCAL]),
    ("test5.test.build.10gen.cc", &[27017], &[LOCAL]),
    ("test6.test.build.10gen.cc", &[27017], &[LOCAL]),
    ("test7.test.build.10gen.cc", &[27017], &[LOCAL]),
    ("test8.test.build.10gen.cc", &[27017], &[LOCAL]),
    ("test10.test.build.10gen.cc", &[27017], &[LOCAL]),
    ("test11.test.build.10gen.cc", &[27017], &[LOCAL]),
    (
        "test12.test.build.10gen.cc",
        &[27017],
        &["localhost.build.10gen.cc"],
    ),
    (
        "test13.test.build.10gen.cc",
        &[27017],
        &["test.build.10gen.cc"],
    ),
    (
        "test14.test.build.10gen.cc",
        &[27017],
        &["localhost.not-test.build.10gen.cc"],
    ),
    (
        "test15.test.build.10gen.cc",
        &[27017],
        &["localhost.test.not-build.10gen.cc"],
    ),
    (
        "test16.test.build.10gen.cc",
        &[27017],
        &["localhost.test.build.not-10gen.cc"],
    ),
    (
        "test17.test.build.10gen.cc",
        &[27017],
        &["localhost.test.build.10gen.not-cc"],
    ),
    (
        "test18.test.build.10gen.cc",
        &[27017],
        &["localhost.sub.test.build.10gen.cc"],
    ),
    (
        "test19.test.build.10gen.cc",
        &[27017],
        &["localhost.evil.build.10gen.cc", LOCAL],
    ),
    ("test20.test.build.10gen.cc", &[27017], &[LOCAL]),
    ("test21.test.build.10gen.cc", &[27017], &[LOCAL]),
    ("test23.test.build.10gen.cc", &[8000], &[LOCAL]),
    ("test24.test.build.10gen.cc", &[8000], &[LOCAL]),
    ("test.build.10gen.cc", &[27017], &["test.build.10gen.cc"]),
    ("build.10gen.cc", &[27017], &["build.10gen.cc"]),
];

/// TXT records: each line is one record, with its strings.
const TEXTS: &[(&str, &[&str])] = &[
    (
        "test5.test.build.10gen.cc",
        &["replicaSet=repl0&authSource=thisDB"],
    ),
    ("test6.test.build.10gen.cc", &["replicaSet=repl0"]),
    ("test6.test.build.10gen.cc", &["authSource=otherDB"]),
    ("test7.test.build.10gen.cc", &["ssl=false"]),
    ("test8.test.build.10gen.cc", &["authSource"]),
    ("test10.test.build.10gen.cc", &["socketTimeoutMS=500"]),
    ("test11.test.build.10gen.cc", &["replicaS", "et=rep", "l0"]),
    ("test20.test.build.10gen.cc", &["loadBalanced=true"]),
    ("test21.test.build.10gen.cc", &["loadBalanced=false"]),
    ("test24.test.build.10gen.cc", &["loadBalanced=true"]),
];

/// Answers a question with one name, as a recursive name server does.
pub(super) fn answer(question: &[u8]) -> Vec<u8> {
    let (name, end) = read_name(question);
    let kind = u16::from_be_bytes([question[end], question[end + 1]]);
    let records = match kind {
        SRV => srv_records(&name),
        TXT => txt_records(&name),
        _ => Vec::new(),
    };
    let known = !records.is_empty()
        || !srv_records(&format!("_mongodb._tcp.{name}")).is_empty()
        || !txt_records(&name).is_empty();
    let mut out = question[..2].to_vec();
    // A response with recursion; code 3 says that the name does not exist.
    out.extend([0x81, if known { 0x80 } else { 0x83 }, 0, 1]);
    out.extend((records.len() as u16).to_be_bytes());
    out.extend([0; 4]);
    out.extend(&question[12..end + 4]);
    for data in records {
        // The owner is a pointer to the name in the question.
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend(1_u16.to_be_bytes());
        out.extend(TTL_SECONDS.to_be_bytes());
        out.extend((data.len() as u16).to_be_bytes());
        out.extend(data);
    }
    out
}

/// The question's name in lower case, and where its type starts.
fn read_name(question: &[u8]) -> (String, usize) {
    let mut labels = Vec::new();
    let mut at = 12;
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..end]).to_lowercase());
        at = end;
    }
    (labels.join("."), at + 1)
}

fn srv_records(name: &str) -> Vec<Vec<u8>> {
    if name == "_customname._tcp.test22.test.build.10gen.cc" {
        return vec![srv_data(27017, LOCAL), srv_data(27018, LOCAL)];
    }
    let host = name.strip_prefix("_mongodb._tcp.").unwrap_or_default();
    let rows = HOSTS.iter().filter(|row| row.0 == host);
    rows.flat_map(|(_, ports, targets)| {
        let pairs = ports.iter().flat_map(|p| targets.iter().map(|t| (*p, *t)));
        pairs.map(|(port, target)| srv_data(port, target))
    })
    .collect()
}

fn srv_data(port: u16, target: &str) -> Vec<u8> {
    let mut out = vec![0, 0, 0, 0];
    out.extend(port.to_be_bytes());
    for label in target.split('.') {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

fn txt_records(name: &str) -> Vec<Vec<u8>> {
    let rows = TEXTS.iter().filter(|row| row.0 == name);
    rows.map(|(_, strings)| {
        let mut out = Vec::new();
        for string in *strings {
            out.push(string.len() as u8);
            out.extend(string.as_bytes());
        }
        out
    })
    .collect()
}
