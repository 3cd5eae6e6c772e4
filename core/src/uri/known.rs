//! The names of the options, and the older names of some of them.

/// Every option under its own name.
pub(super) const OPTIONS: &[&str] = &[
    "appName",
    "authMechanism",
    "authMechanismProperties",
    "authSource",
    "compressors",
    "connect",
    "connectTimeoutMS",
    "directConnection",
    "enableOverloadRetargeting",
    "fsync",
    "heartbeatFrequencyMS",
    "journal",
    "loadBalanced",
    "localThresholdMS",
    "maxAdaptiveRetries",
    "maxConnecting",
    "maxIdleTimeMS",
    "maxPoolSize",
    "maxStalenessSeconds",
    "minPoolSize",
    "proxyHost",
    "proxyPassword",
    "proxyPort",
    "proxyUsername",
    "readConcernLevel",
    "readPreference",
    "readPreferenceTags",
    "replicaSet",
    "retryReads",
    "retryWrites",
    "serverMonitoringMode",
    "serverSelectionTimeoutMS",
    "serverSelectionTryOnce",
    "socketKeepAlive",
    "socketTimeoutMS",
    "srvAllowedHostsSuffix",
    "srvMaxHosts",
    "srvServiceName",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_match_hostname",
    "timeoutMS",
    "tls",
    "tlsAllowInvalidCertificates",
    "tlsAllowInvalidHostnames",
    "tlsCAFile",
    "tlsCRLFile",
    "tlsCertificateKeyFile",
    "tlsCertificateKeyFilePassword",
    "tlsDisableCertificateRevocationCheck",
    "tlsDisableOCSPEndpointCheck",
    "tlsInsecure",
    "uuidRepresentation",
    "w",
    "wTimeoutMS",
    "waitQueueMultiple",
    "waitQueueTimeoutMS",
    "zlibCompressionLevel",
];

/// Renamed options: the older name, and the name that replaced it.
pub(super) const RENAMED: &[(&str, &str)] = &[
    ("j", "journal"),
    ("read_preference", "readPreference"),
    ("ssl_ca_certs", "tlsCAFile"),
    ("ssl_crlfile", "tlsCRLFile"),
    ("ssl_pem_passphrase", "tlsCertificateKeyFilePassword"),
    ("wtimeout", "wTimeoutMS"),
];

/// The option's own spelling, by its name in any case.
pub(super) fn spelling(name: &str) -> Option<&'static str> {
    // `ssl` is an alias for good: Atlas connection strings contain it.
    if name.eq_ignore_ascii_case("ssl") {
        return Some("tls");
    }
    let same = |known: &&&str| known.eq_ignore_ascii_case(name);
    OPTIONS.iter().find(same).copied()
}

/// A renamed option: the older name and its replacement.
pub(super) fn renamed(name: &str) -> Option<(&'static str, &'static str)> {
    let same = |pair: &&(&str, &str)| pair.0.eq_ignore_ascii_case(name);
    RENAMED.iter().find(same).copied()
}

/// What an option is called here, whatever it was called; unknown names in lower case.
pub(super) fn own(name: &str) -> String {
    let known = renamed(name).map(|(_, own)| own).or_else(|| spelling(name));
    known.map_or_else(|| name.to_lowercase(), str::to_owned)
}
