//! The `$readPreference` of a command.

use bson::Document;

use crate::{
    op::Target,
    read_preference::ReadPreference,
    topology::{ServerType, TopologyType},
};

/// The `$readPreference` that a command carries to the selected server, if any.
///
/// Server Selection: "Passing read preference to mongos and load balancers" (OP_MSG) and "Topology
/// type: Single". Writes carry none.
#[must_use]
pub fn read_preference_for_wire(
    topology_type: TopologyType,
    server_type: ServerType,
    target: &Target,
) -> Option<Document> {
    let preference = match target {
        Target::Read(preference) => preference,
        Target::Server(_) => &ReadPreference::Primary,
        Target::Write => return None,
    };
    if server_type == ServerType::Standalone {
        return None;
    }
    if *preference != ReadPreference::Primary {
        let mut document = preference.to_document();
        if document.get_array("tags").is_ok_and(Vec::is_empty) {
            document.remove("tags");
        }
        return Some(document);
    }
    let direct = topology_type == TopologyType::Single && server_type != ServerType::Mongos;
    direct.then(|| ReadPreference::primary_preferred(None).to_document())
}
