//! The format, version 1.29, as shapes.

use serde_json::{Map, Value};

use super::{
    Fields, Place,
    Shape::{
        self, Anything, Flag, FlagOr, List, Object, Providers, Secret, Text, Version, Whole, Word,
        Yes,
    },
    Violation,
};

/// An object without rules but its fields' own.
const PLAIN: Fields = Fields {
    known: &[],
    required: &[],
    least: 0,
    most: usize::MAX,
    conflicts: &[],
    also: None,
};

pub(super) static FILE: Fields = Fields {
    known: &[
        ("description", Text),
        ("schemaVersion", Version),
        ("runOnRequirements", List(1, &Shape::Fields(&REQUIREMENT))),
        ("createEntities", List(1, &Shape::Fields(&ENTITY))),
        ("initialData", List(1, &Shape::Fields(&COLLECTION_DATA))),
        ("tests", List(1, &Shape::Fields(&TEST))),
        ("_yamlAnchors", Object),
    ],
    required: &["description", "schemaVersion", "tests"],
    ..PLAIN
};

static REQUIREMENT: Fields = Fields {
    known: &[
        ("maxServerVersion", Version),
        ("minServerVersion", Version),
        ("topologies", List(1, &Word(TOPOLOGIES))),
        ("serverless", Word(&["require", "forbid", "allow"])),
        ("serverParameters", Object),
        ("auth", Flag),
        ("authMechanism", Text),
        ("csfle", FlagOr(&CSFLE)),
    ],
    least: 1,
    ..PLAIN
};

const TOPOLOGIES: &[&str] = &[
    "single",
    "replicaset",
    "sharded",
    "sharded-replicaset",
    "load-balanced",
];

static CSFLE: Fields = Fields {
    known: &[("minLibmongocryptVersion", Version)],
    least: 1,
    ..PLAIN
};

static ENTITY: Fields = Fields {
    known: &[
        ("client", Shape::Fields(&CLIENT)),
        ("clientEncryption", Shape::Fields(&CLIENT_ENCRYPTION)),
        ("database", Shape::Fields(&DATABASE)),
        ("collection", Shape::Fields(&COLLECTION)),
        ("session", Shape::Fields(&SESSION)),
        ("bucket", Shape::Fields(&BUCKET)),
        ("thread", Shape::Fields(&THREAD)),
    ],
    least: 1,
    most: 1,
    ..PLAIN
};

static CLIENT: Fields = Fields {
    known: &[
        ("id", Text),
        ("uriOptions", Object),
        ("useMultipleMongoses", Flag),
        ("observeEvents", List(1, &Word(EVENTS))),
        ("ignoreCommandMonitoringEvents", List(1, &Text)),
        ("storeEventsAsEntities", List(1, &Object)),
        ("observeLogMessages", Shape::Fields(&LOG_COMPONENTS)),
        ("observeTracingMessages", Shape::Fields(&TRACING)),
        ("serverApi", Shape::Fields(&SERVER_API)),
        ("observeSensitiveCommands", Flag),
        ("autoEncryptOpts", Shape::Fields(&AUTO_ENCRYPTION)),
        ("awaitMinPoolSizeMS", Whole),
    ],
    required: &["id"],
    ..PLAIN
};

const EVENTS: &[&str] = &[
    "commandStartedEvent",
    "commandSucceededEvent",
    "commandFailedEvent",
    "poolCreatedEvent",
    "poolReadyEvent",
    "poolClearedEvent",
    "poolClosedEvent",
    "connectionCreatedEvent",
    "connectionReadyEvent",
    "connectionClosedEvent",
    "connectionCheckOutStartedEvent",
    "connectionCheckOutFailedEvent",
    "connectionCheckedOutEvent",
    "connectionCheckedInEvent",
    "serverDescriptionChangedEvent",
    "serverHeartbeatStartedEvent",
    "serverHeartbeatSucceededEvent",
    "serverHeartbeatFailedEvent",
    "topologyDescriptionChangedEvent",
    "topologyOpeningEvent",
    "topologyClosedEvent",
];

const LEVELS: Shape = Word(&[
    "emergency",
    "alert",
    "critical",
    "error",
    "warning",
    "notice",
    "info",
    "debug",
    "trace",
]);

static LOG_COMPONENTS: Fields = Fields {
    known: &[
        ("command", LEVELS),
        ("topology", LEVELS),
        ("serverSelection", LEVELS),
        ("connection", LEVELS),
    ],
    least: 1,
    ..PLAIN
};

static EXPECTED_SPANS: Fields = Fields {
    known: &[
        ("client", Text),
        ("ignoreExtraSpans", Flag),
        ("spans", List(1, &Shape::Fields(&SPAN))),
    ],
    required: &["client", "spans"],
    ..PLAIN
};

static SPAN: Fields = Fields {
    known: &[
        ("name", Text),
        ("attributes", Object),
        ("nested", List(1, &Shape::Fields(&SPAN))),
    ],
    required: &["name", "attributes"],
    ..PLAIN
};

static TRACING: Fields = Fields {
    known: &[("enableCommandPayload", Flag)],
    ..PLAIN
};

static SERVER_API: Fields = Fields {
    known: &[
        ("version", Text),
        ("strict", Flag),
        ("deprecationErrors", Flag),
    ],
    required: &["version"],
    ..PLAIN
};

static AUTO_ENCRYPTION: Fields = Fields {
    known: &[
        ("keyVaultNamespace", Text),
        ("bypassAutoEncryption", Flag),
        ("kmsProviders", Providers),
        ("schemaMap", Object),
        ("extraOptions", Object),
        ("encryptedFieldsMap", Object),
        ("bypassQueryAnalysis", Flag),
        ("keyExpirationMS", Whole),
    ],
    required: &["keyVaultNamespace", "kmsProviders"],
    ..PLAIN
};

static CLIENT_ENCRYPTION: Fields = Fields {
    known: &[
        ("id", Text),
        ("clientEncryptionOpts", Shape::Fields(&ENCRYPTION_OPTIONS)),
    ],
    required: &["id", "clientEncryptionOpts"],
    ..PLAIN
};

static ENCRYPTION_OPTIONS: Fields = Fields {
    known: &[
        ("keyVaultClient", Text),
        ("keyVaultNamespace", Text),
        ("kmsProviders", Providers),
        ("keyExpirationMS", Whole),
    ],
    required: &["keyVaultClient", "keyVaultNamespace", "kmsProviders"],
    ..PLAIN
};

/// The providers of keys, with their fields.
pub(super) static PROVIDERS: [(&str, &Fields); 5] = [
    (
        "aws",
        &Fields {
            known: &[
                ("accessKeyId", Secret),
                ("secretAccessKey", Secret),
                ("sessionToken", Secret),
            ],
            ..PLAIN
        },
    ),
    (
        "azure",
        &Fields {
            known: &[
                ("tenantId", Secret),
                ("clientId", Secret),
                ("clientSecret", Secret),
                ("identityPlatformEndpoint", Secret),
                ("accessToken", Secret),
            ],
            ..PLAIN
        },
    ),
    (
        "gcp",
        &Fields {
            known: &[
                ("email", Secret),
                ("privateKey", Secret),
                ("endpoint", Secret),
                ("accessToken", Secret),
            ],
            ..PLAIN
        },
    ),
    (
        "kmip",
        &Fields {
            known: &[("endpoint", Secret)],
            ..PLAIN
        },
    ),
    (
        "local",
        &Fields {
            known: &[("key", Secret)],
            ..PLAIN
        },
    ),
];

static DATABASE: Fields = Fields {
    known: &[
        ("id", Text),
        ("client", Text),
        ("databaseName", Text),
        ("databaseOptions", Shape::Fields(&CONCERNS)),
    ],
    required: &["id", "client", "databaseName"],
    ..PLAIN
};

static COLLECTION: Fields = Fields {
    known: &[
        ("id", Text),
        ("database", Text),
        ("collectionName", Text),
        ("collectionOptions", Shape::Fields(&CONCERNS)),
    ],
    required: &["id", "database", "collectionName"],
    ..PLAIN
};

static CONCERNS: Fields = Fields {
    known: &[
        ("readConcern", Object),
        ("readPreference", Object),
        ("writeConcern", Object),
        ("timeoutMS", Whole),
    ],
    ..PLAIN
};

static SESSION: Fields = Fields {
    known: &[("id", Text), ("client", Text), ("sessionOptions", Object)],
    required: &["id", "client"],
    ..PLAIN
};

static BUCKET: Fields = Fields {
    known: &[("id", Text), ("database", Text), ("bucketOptions", Object)],
    required: &["id", "database"],
    ..PLAIN
};

static THREAD: Fields = Fields {
    known: &[("id", Text)],
    required: &["id"],
    ..PLAIN
};

static COLLECTION_DATA: Fields = Fields {
    known: &[
        ("collectionName", Text),
        ("databaseName", Text),
        ("createOptions", Object),
        ("documents", List(0, &Object)),
    ],
    required: &["collectionName", "databaseName", "documents"],
    ..PLAIN
};

static TEST: Fields = Fields {
    known: &[
        ("description", Text),
        ("runOnRequirements", List(1, &Shape::Fields(&REQUIREMENT))),
        ("skipReason", Text),
        ("operations", List(0, &Shape::Fields(&OPERATION))),
        ("expectEvents", List(1, &Shape::Fields(&EXPECTED_EVENTS))),
        ("expectLogMessages", List(1, &Shape::Fields(&EXPECTED_LOGS))),
        (
            "expectTracingMessages",
            List(1, &Shape::Fields(&EXPECTED_SPANS)),
        ),
        ("outcome", List(1, &Shape::Fields(&COLLECTION_DATA))),
    ],
    required: &["description", "operations"],
    ..PLAIN
};

static OPERATION: Fields = Fields {
    known: &[
        ("name", Text),
        ("object", Text),
        ("arguments", Object),
        ("ignoreResultAndError", Flag),
        ("expectError", Shape::Fields(&EXPECTED_ERROR)),
        ("expectResult", Anything),
        ("saveResultAsEntity", Text),
    ],
    required: &["name", "object"],
    conflicts: &[
        ("expectError", "expectResult"),
        ("expectError", "saveResultAsEntity"),
        ("ignoreResultAndError", "expectResult"),
        ("ignoreResultAndError", "expectError"),
        ("ignoreResultAndError", "saveResultAsEntity"),
    ],
    ..PLAIN
};

static EXPECTED_ERROR: Fields = Fields {
    known: &[
        ("isError", Yes),
        ("isClientError", Flag),
        ("isTimeoutError", Flag),
        ("errorContains", Text),
        ("errorCode", Whole),
        ("errorCodeName", Text),
        ("errorLabelsContain", List(1, &Text)),
        ("errorLabelsOmit", List(1, &Text)),
        ("writeErrors", Object),
        ("writeConcernErrors", List(0, &Object)),
        ("errorResponse", Object),
        ("expectResult", Anything),
    ],
    least: 1,
    ..PLAIN
};

static EXPECTED_EVENTS: Fields = Fields {
    known: &[
        ("client", Text),
        ("eventType", Word(&["command", "cmap", "sdam"])),
        ("events", List(0, &Object)),
        ("ignoreExtraEvents", Flag),
    ],
    required: &["client", "events"],
    also: Some(events_of_the_type),
    ..PLAIN
};

/// The events must be of the monitor that `eventType` names.
fn events_of_the_type(object: &Map<String, Value>, place: &Place<'_>) -> Result<(), Violation> {
    static CMAP: Shape = Shape::Fields(&CMAP_EVENT);
    static COMMAND: Shape = Shape::Fields(&COMMAND_EVENT);
    static SDAM: Shape = Shape::Fields(&SDAM_EVENT);
    let event = match object.get("eventType").and_then(Value::as_str) {
        Some("cmap") => &CMAP,
        Some("sdam") => &SDAM,
        _ => &COMMAND,
    };
    let events = object.get("events").unwrap_or(&Value::Null);
    List(0, event).check(events, &place.inside(".events"))
}

const COMMAND_FACTS: [(&str, Shape); 4] = [
    ("commandName", Text),
    ("databaseName", Text),
    ("hasServiceId", Flag),
    ("hasServerConnectionId", Flag),
];

static COMMAND_EVENT: Fields = Fields {
    known: &[
        (
            "commandStartedEvent",
            Shape::Fields(&Fields {
                known: &[
                    ("command", Object),
                    COMMAND_FACTS[0],
                    COMMAND_FACTS[1],
                    COMMAND_FACTS[2],
                    COMMAND_FACTS[3],
                ],
                ..PLAIN
            }),
        ),
        (
            "commandSucceededEvent",
            Shape::Fields(&Fields {
                known: &[
                    ("reply", Object),
                    COMMAND_FACTS[0],
                    COMMAND_FACTS[1],
                    COMMAND_FACTS[2],
                    COMMAND_FACTS[3],
                ],
                ..PLAIN
            }),
        ),
        (
            "commandFailedEvent",
            Shape::Fields(&Fields {
                known: &COMMAND_FACTS,
                ..PLAIN
            }),
        ),
    ],
    least: 1,
    most: 1,
    ..PLAIN
};

const NO_FACTS: Shape = Shape::Fields(&PLAIN);

const REASON: Shape = Shape::Fields(&Fields {
    known: &[("reason", Text)],
    ..PLAIN
});

static CMAP_EVENT: Fields = Fields {
    known: &[
        ("poolCreatedEvent", NO_FACTS),
        ("poolReadyEvent", NO_FACTS),
        (
            "poolClearedEvent",
            Shape::Fields(&Fields {
                known: &[("hasServiceId", Flag), ("interruptInUseConnections", Flag)],
                ..PLAIN
            }),
        ),
        ("poolClosedEvent", NO_FACTS),
        ("connectionCreatedEvent", NO_FACTS),
        ("connectionReadyEvent", NO_FACTS),
        ("connectionClosedEvent", REASON),
        ("connectionCheckOutStartedEvent", NO_FACTS),
        ("connectionCheckOutFailedEvent", REASON),
        ("connectionCheckedOutEvent", NO_FACTS),
        ("connectionCheckedInEvent", NO_FACTS),
    ],
    least: 1,
    most: 1,
    ..PLAIN
};

const SERVER: Shape = Shape::Fields(&Fields {
    known: &[(
        "type",
        Word(&[
            "Standalone",
            "Mongos",
            "PossiblePrimary",
            "RSPrimary",
            "RSSecondary",
            "RSOther",
            "RSArbiter",
            "RSGhost",
            "LoadBalancer",
            "Unknown",
        ]),
    )],
    ..PLAIN
});

const TOPOLOGY: Shape = Shape::Fields(&Fields {
    known: &[(
        "type",
        Word(&[
            "Single",
            "Unknown",
            "ReplicaSetNoPrimary",
            "ReplicaSetWithPrimary",
            "Sharded",
            "LoadBalanced",
        ]),
    )],
    ..PLAIN
});

const AWAITED: Shape = Shape::Fields(&Fields {
    known: &[("awaited", Flag)],
    ..PLAIN
});

static SDAM_EVENT: Fields = Fields {
    known: &[
        (
            "serverDescriptionChangedEvent",
            Shape::Fields(&Fields {
                known: &[("previousDescription", SERVER), ("newDescription", SERVER)],
                ..PLAIN
            }),
        ),
        (
            "topologyDescriptionChangedEvent",
            Shape::Fields(&Fields {
                known: &[
                    ("previousDescription", TOPOLOGY),
                    ("newDescription", TOPOLOGY),
                ],
                ..PLAIN
            }),
        ),
        ("serverHeartbeatStartedEvent", AWAITED),
        ("serverHeartbeatSucceededEvent", AWAITED),
        ("serverHeartbeatFailedEvent", AWAITED),
        ("topologyOpeningEvent", NO_FACTS),
        ("topologyClosedEvent", NO_FACTS),
    ],
    least: 1,
    most: 1,
    ..PLAIN
};

static EXPECTED_LOGS: Fields = Fields {
    known: &[
        ("client", Text),
        ("messages", List(0, &Shape::Fields(&EXPECTED_LOG))),
        ("ignoreExtraMessages", Flag),
        ("ignoreMessages", List(0, &Shape::Fields(&EXPECTED_LOG))),
    ],
    required: &["client", "messages"],
    ..PLAIN
};

static EXPECTED_LOG: Fields = Fields {
    known: &[
        ("level", LEVELS),
        (
            "component",
            Word(&["command", "topology", "serverSelection", "connection"]),
        ),
        ("data", Object),
        ("failureIsRedacted", Flag),
    ],
    required: &["level", "component", "data"],
    ..PLAIN
};
