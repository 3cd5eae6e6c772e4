//! Who the user is: the credential of a connection string and the rules of each mechanism
//! (specification: "Authentication", sections "MongoCredential").

use bson::{Bson, Document};

use super::{ConnectionString, values::Values};
use crate::{
    error::{Error, Result},
    options::{AuthMechanism, ClientOptions, Credential},
};

/// The database of users that are defined outside of MongoDB.
const EXTERNAL: &str = "$external";

/// Reads the credential; there is one only with a user name or a mechanism that needs none.
pub(super) fn read(
    text: &ConnectionString,
    values: &mut Values,
    options: &mut ClientOptions,
) -> Result<()> {
    let source = values.raw("authSource");
    if source.as_deref() == Some("") {
        return Err(Error::invalid_argument(
            "option \"authSource\" must not be empty",
        ));
    }
    let mechanism = match values.text("authMechanism") {
        None => None,
        // Never ignored: the user's password would be sent by a mechanism that was not chosen.
        Some(name) => Some(AuthMechanism::from_name(&name).ok_or_else(|| {
            Error::invalid_argument(
                "option \"authMechanism\": unknown mechanism; SCRAM-SHA-1, SCRAM-SHA-256, \
                 MONGODB-X509, PLAIN, MONGODB-AWS, MONGODB-OIDC and GSSAPI are known",
            )
        })?),
    };
    let properties = properties(values);
    if text.username.is_none() && mechanism.is_none() {
        return Ok(());
    }
    let mut credential = Credential {
        username: text.username.clone(),
        password: text.password.clone(),
        source,
        mechanism,
        mechanism_properties: properties,
    };
    if mechanism == Some(AuthMechanism::Gssapi) {
        let properties = credential.mechanism_properties.get_or_insert_default();
        if !properties.contains_key("SERVICE_NAME") {
            properties.insert("SERVICE_NAME", "mongodb");
        }
    }
    // A TXT record may still name the source of a mongodb+srv credential.
    if text.srv_host.is_none() {
        fill_source(&mut credential, text.database.as_deref());
    }
    options.credential = Some(credential);
    Ok(())
}

/// Whether the mechanism's users may be defined in any database.
pub(super) fn has_free_source(mechanism: Option<AuthMechanism>) -> bool {
    use AuthMechanism::{Plain, ScramSha1, ScramSha256};
    matches!(mechanism, None | Some(Plain | ScramSha1 | ScramSha256))
}

/// Sets the default source when none is set.
pub(super) fn fill_source(credential: &mut Credential, database: Option<&str>) {
    if credential.source.is_some() {
        return;
    }
    let source = if has_free_source(credential.mechanism) {
        match (database, credential.mechanism) {
            (Some(database), _) => database,
            (None, Some(AuthMechanism::Plain)) => EXTERNAL,
            (None, _) => "admin",
        }
    } else {
        EXTERNAL
    };
    credential.source = Some(source.to_owned());
}

/// Reads `key:value,key:value`; a value may contain colons.
fn properties(values: &mut Values) -> Option<Document> {
    let name = "authMechanismProperties";
    let text = values.text(name)?;
    let mut pairs: Vec<(String, String)> = Vec::new();
    for piece in text.split(',') {
        match (piece.split_once(':'), pairs.last_mut()) {
            (Some((key, value)), _) if !key.is_empty() => {
                pairs.push((key.to_owned(), value.to_owned()));
            }
            // A comma in a value; it cannot be told from a separator when a colon follows.
            (_, Some((_, value))) => {
                value.push(',');
                value.push_str(piece);
                values.warn(name, "a value must not contain a comma");
            }
            (_, None) => {
                values.warn(
                    name,
                    "invalid value, ignored; key:value,key:value is expected",
                );
                return None;
            }
        }
    }
    let pairs = pairs.into_iter().map(|(k, v)| (k, Bson::String(v)));
    Some(pairs.collect())
}

/// Checks a credential against the rules of its mechanism.
pub(super) fn validate(credential: &Credential) -> Result<()> {
    let Some(mechanism) = credential.mechanism else {
        return require_username(credential, "authentication");
    };
    let name = mechanism.as_str();
    if !has_free_source(Some(mechanism))
        && credential.source.as_deref().is_some_and(|s| s != EXTERNAL)
    {
        return Err(bad(name, "option \"authSource\" must be $external"));
    }
    match mechanism {
        AuthMechanism::Gssapi => {
            require_username(credential, name)?;
            validate_gssapi(credential)
        }
        AuthMechanism::MongoDbAws => validate_aws(credential),
        AuthMechanism::MongoDbCr => Err(bad(
            name,
            "option \"authMechanism\": the mechanism was removed in MongoDB 4.0",
        )),
        AuthMechanism::MongoDbOidc => validate_oidc(credential),
        AuthMechanism::MongoDbX509 if credential.password.is_some() => {
            Err(bad(name, "a password is not allowed"))
        }
        AuthMechanism::MongoDbX509 => Ok(()),
        AuthMechanism::Plain | AuthMechanism::ScramSha1 | AuthMechanism::ScramSha256 => {
            require_username(credential, name)?;
            match credential.password {
                Some(_) => Ok(()),
                None => Err(bad(name, "a password is needed")),
            }
        }
    }
}

fn bad(mechanism: &str, why: &str) -> Error {
    Error::invalid_argument(format!("credential ({mechanism}): {why}"))
}

fn require_username(credential: &Credential, mechanism: &str) -> Result<()> {
    match credential.username.as_deref() {
        None | Some("") => Err(bad(mechanism, "a user name is needed")),
        Some(_) => Ok(()),
    }
}

fn property<'a>(credential: &'a Credential, key: &str) -> Option<&'a str> {
    let properties = credential.mechanism_properties.as_ref()?;
    properties.get_str(key).ok()
}

fn allow_properties(credential: &Credential, mechanism: &str, allowed: &[&str]) -> Result<()> {
    let mut keys = credential.mechanism_properties.iter().flatten();
    match keys.any(|(key, _)| !allowed.contains(&key.as_str())) {
        false => Ok(()),
        true => Err(bad(
            mechanism,
            &format!(
                "option \"authMechanismProperties\": unknown property; {} are known",
                allowed.join(", ")
            ),
        )),
    }
}

fn validate_gssapi(credential: &Credential) -> Result<()> {
    let allowed = [
        "SERVICE_NAME",
        "CANONICALIZE_HOST_NAME",
        "SERVICE_REALM",
        "SERVICE_HOST",
    ];
    allow_properties(credential, "GSSAPI", &allowed)?;
    match property(credential, "CANONICALIZE_HOST_NAME") {
        None | Some("none" | "forward" | "forwardAndReverse" | "true" | "false") => Ok(()),
        Some(_) => Err(bad(
            "GSSAPI",
            "option \"authMechanismProperties\": CANONICALIZE_HOST_NAME must be none, forward or \
             forwardAndReverse",
        )),
    }
}

fn validate_aws(credential: &Credential) -> Result<()> {
    let name = "MONGODB-AWS";
    allow_properties(credential, name, &["AWS_SESSION_TOKEN"])?;
    match (&credential.username, &credential.password) {
        (Some(user), _) if user.is_empty() => Err(bad(name, "the user name is empty")),
        (Some(_), None) => Err(bad(name, "a user name needs a password")),
        (None, Some(_)) => Err(bad(name, "a password needs a user name")),
        _ => Ok(()),
    }
}

fn validate_oidc(credential: &Credential) -> Result<()> {
    let name = "MONGODB-OIDC";
    allow_properties(credential, name, &["ENVIRONMENT", "TOKEN_RESOURCE"])?;
    if credential.password.is_some() {
        return Err(bad(name, "a password is not allowed"));
    }
    let environment = property(credential, "ENVIRONMENT");
    match environment {
        Some("azure" | "gcp") if property(credential, "TOKEN_RESOURCE").is_none() => Err(bad(
            name,
            "option \"authMechanismProperties\": TOKEN_RESOURCE is needed",
        )),
        Some("azure") => Ok(()),
        Some("gcp" | "k8s" | "test") if credential.username.is_some() => {
            Err(bad(name, "a user name is not allowed in this ENVIRONMENT"))
        }
        Some("gcp" | "k8s" | "test") => Ok(()),
        Some(_) => Err(bad(
            name,
            "option \"authMechanismProperties\": ENVIRONMENT must be azure, gcp, k8s or test",
        )),
        None => Err(bad(
            name,
            "option \"authMechanismProperties\": ENVIRONMENT is needed",
        )),
    }
}
