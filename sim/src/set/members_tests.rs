//! Members of other kinds than the usual, and changes of who is a member.

use std::collections::BTreeSet;

use super::*;
use crate::{Choices, set::MemberConfig};

fn hello(world: &mut World, server: usize) -> Document {
    world.ask(server, doc! { "hello": 1, "$db": "admin" })
}

fn addresses(servers: &[usize]) -> Vec<bson::Bson> {
    servers.iter().map(|s| address(*s).into()).collect()
}

fn read(world: &mut World, server: usize) -> Document {
    let find = doc! { "find": "c", "$readPreference": { "mode": "secondaryPreferred" } };
    world.ask(server, find)
}

/// A member of each kind: usual, arbiter, hidden and one second late, passive with a tag.
fn mixed() -> World {
    let mut config = SetConfig::new("rs", []);
    let mut passive = MemberConfig::new(address(3));
    passive.priority = 0.0;
    passive.tags.insert("dc".to_owned(), "east".to_owned());
    config.members = vec![
        MemberConfig::new(address(0)),
        MemberConfig::arbiter(address(1)),
        MemberConfig::hidden(address(2), SECOND),
        passive,
    ];
    World::of(config, 7)
}

#[test]
fn hello_tells_of_each_kind_of_member_what_the_real_server_tells() {
    let mut world = mixed();
    for server in 0..4 {
        let reply = hello(&mut world, server);
        assert_eq!(reply.get_array("hosts").unwrap(), &addresses(&[0]));
        assert_eq!(reply.get_array("arbiters").unwrap(), &addresses(&[1]));
        assert_eq!(reply.get_array("passives").unwrap(), &addresses(&[3]));
        assert_eq!(reply.get_str("primary").unwrap(), address(0));
        let flags = ["secondary", "arbiterOnly", "passive", "hidden"];
        let seen: Vec<bool> = flags.map(|f| reply.get_bool(f).unwrap_or(false)).to_vec();
        let expected = [
            [false, false, false, false],
            [false, true, false, false],
            [true, false, true, true],
            [true, false, true, false],
        ];
        assert_eq!(seen, expected[server], "{server}");
        let late = reply.get_i32("secondaryDelaySecs").ok();
        assert_eq!(late, (server == 2).then_some(1));
        let tags = reply.get_document("tags").ok();
        let expected = doc! { "dc": "east" };
        assert_eq!(tags, (server == 3).then_some(&expected));
    }
    assert_eq!(read(&mut world, 1).get_i32("code").ok(), Some(13436));
}

#[test]
fn a_late_member_counts_when_it_has_the_entry() {
    let mut world = mixed();
    let write = doc! { "insert": "c", "documents": [{ "_id": 1 }], "writeConcern": { "w": 3 } };
    world.send(0, write);
    world.pass(SECOND - MS);
    assert_eq!(world.reply(0), None, "the third holder of data is late");
    world.pass(2 * MS);
    assert!(world.reply(0).is_some());
    let more = world.ask(0, insert(2, 4));
    assert!(
        more.contains_key("writeConcernError"),
        "there are three: {more}"
    );
}

#[test]
fn an_arbiter_keeps_the_primary_and_no_other_kind_is_elected() {
    let mut world = mixed();
    world.set.kill(2, world.now);
    world.pass(30 * SECOND);
    assert_eq!(world.set.primary(), Some(0), "three of four votes");
    world.set.restart(2, world.now);
    world.set.kill(0, world.now);
    world.pass(60 * SECOND);
    assert_eq!(world.set.primary(), None, "nobody else may be");
    world.set.restart(0, world.now);
    world.pass(30 * SECOND);
    assert_eq!(world.set.primary(), Some(0));
}

#[test]
fn a_member_that_is_preferred_takes_over_when_it_is_back() {
    let mut config = SetConfig::new("rs", (0..3).map(address));
    config.members[1].priority = 5.0;
    let mut world = World::of(config, 3);
    world.pass(20 * SECOND);
    assert_eq!(
        world.set.primary(),
        Some(1),
        "the first was elected at the start"
    );
    world.set.kill(1, world.now);
    world.pass(20 * SECOND);
    assert_ne!(world.set.primary(), None);
    world.set.restart(1, world.now);
    world.pass(20 * SECOND);
    assert_eq!(world.set.primary(), Some(1));
}

#[test]
fn a_spare_server_becomes_a_member_with_all_data_and_another_leaves() {
    let mut config = SetConfig::new("rs", (0..3).map(address));
    config.spares.push(address(3));
    let mut world = World::of(config, 3);
    world.ask(0, insert(1, "majority"));
    let ghost = hello(&mut world, 3);
    assert_eq!(ghost.get_bool("isreplicaset").ok(), Some(true));
    assert!(!ghost.contains_key("setName") && !ghost.contains_key("hosts"));
    assert_eq!(read(&mut world, 3).get_i32("code").ok(), Some(13436));

    let mut members = world.set.config();
    members.push(MemberConfig::new(address(3)));
    world.set.reconfigure(members, world.now);
    let syncing = hello(&mut world, 3);
    assert_eq!(syncing.get_bool("secondary").ok(), Some(false));
    assert_eq!(syncing.get_i32("setVersion").ok(), Some(2));
    world.pass(SECOND);
    assert_eq!(world.ids(3), [1]);
    world.ask(
        0,
        doc! { "insert": "c", "documents": [{ "_id": 2 }], "writeConcern": { "w": 4 } },
    );
    assert_eq!(world.ids(3), [1, 2]);

    let mut members = world.set.config();
    members.remove(2);
    world.set.reconfigure(members, world.now);
    let removed = hello(&mut world, 2);
    assert_eq!(removed.get_bool("isreplicaset").ok(), Some(true));
    let hosts = hello(&mut world, 0);
    assert_eq!(hosts.get_array("hosts").unwrap(), &addresses(&[0, 1, 3]));
    assert_eq!(hosts.get_i32("setVersion").ok(), Some(3));
    world.ask(0, insert(3, 3));
    assert_eq!(world.ids(2), [1, 2], "it gets nothing any more");
}

#[test]
fn a_primary_that_is_removed_makes_room_for_another() {
    let mut world = World::new(3);
    world.ask(0, insert(1, "majority"));
    let members = world.set.config().split_off(1);
    world.set.reconfigure(members, world.now);
    assert_eq!(world.set.primary(), None);
    world.pass(20 * SECOND);
    let primary = world.set.primary().unwrap();
    assert_ne!(primary, 0);
    assert_eq!(world.ids(primary), [1]);
}

#[test]
fn a_member_that_was_away_hears_of_its_removal_and_of_its_return() {
    let mut world = World::new(3);
    world.set.kill(2, world.now);
    let all = world.set.config();
    world.set.reconfigure(all[..2].to_vec(), world.now);
    for id in 0..10 {
        world.ask(0, insert(id, 2));
    }
    world.set.reconfigure(all, world.now);
    world.set.restart(2, world.now);
    world.reconnect(2);
    world.pass(2 * SECOND);
    assert_eq!(world.ids(2), (0..10).collect::<Vec<_>>());
    assert_eq!(hello(&mut world, 2).get_i32("setVersion").ok(), Some(3));
}

#[test]
fn a_client_reconfigures_one_voter_at_a_time() {
    let mut config = SetConfig::new("rs", (0..3).map(address));
    config.spares.push(address(3));
    let mut world = World::of(config, 3);
    let ask = |world: &mut World, to: usize, config: Document| {
        world.ask(to, doc! { "replSetReconfig": config, "$db": "admin" })
    };
    let got = world.ask(0, doc! { "replSetGetConfig": 1, "$db": "admin" });
    let old = got.get_document("config").unwrap().clone();
    let same = ask(&mut world, 0, old.clone());
    assert_eq!(same.get_i32("code").ok(), Some(103), "{same}");
    let mut new = old.clone();
    new.insert("version", 2);
    assert_eq!(
        ask(&mut world, 1, new.clone()).get_i32("code").ok(),
        Some(10107)
    );
    let one = old.get_array("members").unwrap()[..1].to_vec();
    let mut small = new.clone();
    small.insert("members", one);
    assert_eq!(ask(&mut world, 0, small).get_i32("code").ok(), Some(103));
    let mut members = old.get_array("members").unwrap().clone();
    members.push(doc! { "_id": 9, "host": address(3), "priority": 0, "hidden": true }.into());
    new.insert("members", members);
    assert_eq!(ask(&mut world, 0, new).get_f64("ok").ok(), Some(1.0));
    world.pass(SECOND);
    assert_eq!(hello(&mut world, 3).get_bool("hidden").ok(), Some(true));
}

#[test]
fn a_member_without_its_data_serves_nothing_until_it_has_fetched_all() {
    let mut world = World::new(3);
    world.ask(0, insert(1, 3));
    world.set.resync(2, 5 * SECOND, world.now);
    world.reconnect(2);
    assert_eq!(world.ids(2), Vec::<i32>::new());
    assert_eq!(hello(&mut world, 2).get_bool("secondary").ok(), Some(false));
    assert_eq!(read(&mut world, 2).get_i32("code").ok(), Some(13436));
    world.ask(0, insert(2, 2));
    world.pass(6 * SECOND);
    assert_eq!(world.ids(2), [1, 2]);
    assert_eq!(read(&mut world, 2).get_f64("ok").ok(), Some(1.0));
}

#[test]
fn a_member_in_maintenance_follows_and_serves_nothing() {
    let mut world = World::new(3);
    world.set.set_maintenance(1, true, world.now);
    world.ask(0, insert(1, 3));
    let refused = read(&mut world, 1);
    assert_eq!(refused.get_str("errmsg").ok(), Some("node is recovering"));
    world.set.set_maintenance(1, false, world.now);
    assert_eq!(read(&mut world, 1).get_f64("ok").ok(), Some(1.0));
}

#[test]
fn a_stubborn_primary_takes_writes_until_it_meets_the_others() {
    let mut world = World::new(3);
    world.ask(0, insert(1, 3));
    world.set.set_stubborn(0, true, world.now);
    world.set.partition(&[&[1, 2]], world.now);
    world.pass(120 * SECOND);
    assert_eq!(world.set.primaries().len(), 2);
    assert_eq!(world.ask(0, insert(2, 1)).get_f64("ok").ok(), Some(1.0));
    let primary = world.set.primary().unwrap();
    world.ask(primary, insert(3, "majority"));
    world.set.heal(world.now);
    world.pass(SECOND);
    assert_eq!(world.set.primaries(), [primary]);
    assert_eq!(world.ids(0), [1, 3]);
    assert!(world.set.rolled_back() > 0);
}

#[test]
fn a_forced_step_down_closes_connections_only_when_told_to() {
    for closes in [false, true] {
        let mut world = World::new(3);
        while world.set.poll_output().is_some() {}
        world.set.force_step_down(30 * SECOND, closes, world.now);
        let outputs = std::iter::from_fn(|| world.set.poll_output());
        let resets = outputs.filter(|o| matches!(o, Output::Reset(0))).count();
        assert_eq!(resets, usize::from(closes));
        world.pass(20 * SECOND);
        assert!(world.set.primary().is_some_and(|primary| primary != 0));
    }
}

#[test]
fn each_process_speaks_the_wire_versions_it_is_told() {
    let mut world = World::new(3);
    world.set.member_mut(1).set_wire_versions(0, 9);
    let version = |world: &mut World, server| {
        let reply = hello(world, server);
        reply.get_i32("maxWireVersion").unwrap()
    };
    assert_eq!([0, 1].map(|server| version(&mut world, server)), [17, 9]);
}

/// Random faults and changes; in the end everybody has every write that a majority acknowledged.
#[test]
fn acknowledged_writes_survive_every_order_of_faults_and_changes() {
    for seed in 0..60 {
        let mut config = SetConfig::new("rs", (0..4).map(address));
        config.members[3] = MemberConfig::arbiter(address(3));
        config.members[3].votes = false;
        config.spares.push(address(4));
        let mut world = World::of(config, seed);
        let mut choices = Seeded::new(seed);
        let mut acknowledged = BTreeSet::new();
        for id in 0..40 {
            let server = choices.draw("server", 3) as usize;
            let now = world.now;
            match choices.draw("fault", 9) {
                0 => world.set.kill(server, now),
                1 => world.set.partition(&[&[server]], now),
                2 => world.set.heal(now),
                3 => world.set.step_down(5 * SECOND, now),
                4 => world.set.force_step_down(5 * SECOND, true, now),
                5 => {
                    // One voter more or less, and only when all are there to install it.
                    (0..5).for_each(|i| world.set.restart(i, now));
                    world.set.heal(now);
                    world.pass(15 * SECOND);
                    let mut members = world.set.config();
                    let known = members.iter().position(|m| m.address == address(4));
                    match known {
                        Some(place) => {
                            members.remove(place);
                        }
                        None => members.push(MemberConfig::new(address(4))),
                    }
                    let now = world.now;
                    world.set.reconfigure(members, now);
                }
                6 => world.set.set_maintenance(server, id % 2 == 0, now),
                7 => world.set.set_lag(server, 50 * MS, now),
                _ => (0..5).for_each(|i| world.set.restart(i, now)),
            }
            world.pass(Duration::from_millis(choices.draw("pause", 15_000)));
            if let Some(primary) = world.set.primary() {
                world.reconnect(primary);
                let reply = world.ask(primary, insert(id, "majority"));
                if reply.get_i32("n").ok() == Some(1) && !reply.contains_key("writeConcernError") {
                    acknowledged.insert(id);
                }
            }
        }
        let now = world.now;
        for server in 0..5 {
            world.set.restart(server, now);
            world.set.set_maintenance(server, false, now);
        }
        world.set.heal(now);
        world.pass(60 * SECOND);
        let primary = world.set.primary().expect("all are back");
        let survived: BTreeSet<i32> = world.ids(primary).into_iter().collect();
        assert!(acknowledged.len() > 5, "seed {seed}: {acknowledged:?}");
        assert!(
            acknowledged.is_subset(&survived),
            "seed {seed}: {acknowledged:?} {survived:?}"
        );
        for server in 0..3 {
            assert_eq!(
                world.ids(server),
                world.ids(primary),
                "seed {seed}: {server}"
            );
        }
    }
}
