//! Write concerns that ask for members by number or by tag, where one member has stalled.

use std::{
    error::Error as _,
    time::{Duration, Instant},
};

use bson::{Bson, Document, doc};
use mongo_client::{
    Client, Collection,
    error::{Error, ErrorKind, WriteConcernError, WriteFailure},
    options::WriteConcern,
};
use mongo_client_tests::{
    deploy::{self, OwnCluster, Plan},
    live, rt,
};

/// The server's code for a write that was not acknowledged in time.
const WRITE_CONCERN_TIMEOUT: i32 = 64;
/// The server's code for a mode that its set does not define.
const UNKNOWN_WRITE_CONCERN: i32 = 79;

const MEMBERS: u32 = 3;
const WTIMEOUT: Duration = Duration::from_millis(200);

fn unacknowledged(error: &Error) -> &WriteConcernError {
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteConcernError(unacknowledged)) => unacknowledged,
        _ => panic!("{error:?}: {:?}", error.source()),
    }
}

/// A secondary that answers nothing until it is dropped.
struct Stalled<'a> {
    set: &'a OwnCluster,
    member: usize,
}

impl<'a> Stalled<'a> {
    fn secondary(set: &'a OwnCluster) -> Self {
        let primary = set.primary().expect("the set has a primary");
        let member = (primary + 1) % set.len();
        set.freeze(member).unwrap();
        Self { set, member }
    }
}

impl Drop for Stalled<'_> {
    fn drop(&mut self) {
        self.set.thaw(self.member).unwrap();
    }
}

async fn insert(
    people: &Collection<Document>,
    id: &str,
    concern: WriteConcern,
) -> Result<(), Error> {
    let insert = people.insert_one(doc! { "_id": id });
    insert.write_concern(concern).await.map(drop)
}

fn within(mut concern: WriteConcern, limit: Duration) -> WriteConcern {
    concern.w_timeout = Some(limit);
    concern
}

/// While a member has stalled the concern is missed by type, and the document is there; afterwards
/// it is met.
async fn assert_held_up(set: &OwnCluster, people: &Collection<Document>, concern: &WriteConcern) {
    let stalled = Stalled::secondary(set);
    let start = Instant::now();
    let late = insert(people, "late", within(concern.clone(), WTIMEOUT));
    let answer = rt::timeout(live::PATIENCE, late).await;
    let took = start.elapsed();

    let error = answer.expect("an answer in time").unwrap_err();
    let missed = unacknowledged(&error);
    assert_eq!(missed.code, WRITE_CONCERN_TIMEOUT, "{missed:?}");
    let timed_out = missed.details.as_ref().and_then(|d| d.get("wtimeout"));
    assert_eq!(timed_out, Some(&Bson::Boolean(true)), "{missed:?}");
    assert!(took >= WTIMEOUT, "{took:?}");
    let late = people.find_one(doc! { "_id": "late" }).await.unwrap();
    assert_eq!(late, Some(doc! { "_id": "late" }));

    drop(stalled);
    let all = within(concern.clone(), live::PATIENCE);
    insert(people, "in time", all).await.unwrap();
}

#[test]
fn destructive_a_write_that_a_stalled_secondary_holds_up_is_told_and_stays() {
    rt::block_on(async {
        let plan = Plan::replica_set(MEMBERS as usize);
        let Some(set) = deploy::own_cluster("options-stalled", plan) else {
            return;
        };
        let client = live::client(&set.uri());
        let people = client.database("options").collection("people");
        let everybody = WriteConcern::nodes(MEMBERS);
        insert(&people, "first", within(everybody.clone(), live::PATIENCE))
            .await
            .unwrap();

        assert_held_up(&set, &people, &everybody).await;
    });
}

/// Gives each member a site of its own, and the set two modes.
async fn define_modes(client: &Client) {
    let admin = client.database("admin");
    let reply = admin.run_command(doc! { "replSetGetConfig": 1 }).await;
    let mut config = reply.unwrap().get_document("config").unwrap().clone();
    let version = config.get_i32("version").unwrap();
    config.insert("version", version + 1);
    let members = config.get_array_mut("members").unwrap();
    for (site, member) in members.iter_mut().enumerate() {
        let Bson::Document(member) = member else {
            panic!("{member}");
        };
        member.insert("tags", doc! { "site": format!("site {site}") });
    }
    let settings = config.get_document_mut("settings").unwrap();
    let modes = doc! { "twoSites": { "site": 2 }, "everySite": { "site": MEMBERS } };
    settings.insert("getLastErrorModes", modes);
    let reconfigure = doc! { "replSetReconfig": config };
    admin.run_command(reconfigure).await.unwrap();
}

#[test]
fn destructive_modes_of_the_set_are_met_missed_or_unknown() {
    rt::block_on(async {
        let plan = Plan::replica_set(MEMBERS as usize);
        let Some(set) = deploy::own_cluster("options-modes", plan) else {
            return;
        };
        let client = live::client(&set.uri());
        define_modes(&client).await;
        let people = client.database("options").collection("people");
        let mode = |name: &str| within(WriteConcern::custom(name), live::PATIENCE);

        for id in ["twoSites", "everySite"] {
            insert(&people, id, mode(id)).await.unwrap();
        }
        let by_uri = live::client(&format!("{}&w=twoSites", set.uri()));
        let same = by_uri.database("options").collection::<Document>("people");
        same.insert_one(doc! { "_id": "by uri" }).await.unwrap();

        let error = insert(&people, "nowhere", mode("noSuchSite")).await;
        let error = error.unwrap_err();
        let unknown = unacknowledged(&error);
        assert_eq!(unknown.code, UNKNOWN_WRITE_CONCERN, "{unknown:?}");
        assert!(unknown.message.contains("noSuchSite"), "{unknown:?}");

        assert_held_up(&set, &people, &WriteConcern::custom("everySite")).await;
    });
}
