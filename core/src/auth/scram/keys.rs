//! Key derivation and proofs: the arithmetic of SCRAM.

use std::{
    fmt,
    fmt::Write as _,
    sync::{Arc, OnceLock, Weak},
};

use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;

use crate::{
    error::{Error, Result},
    options::AuthMechanism,
};

/// The hash function of a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
}

impl Hash {
    /// The hash of a SCRAM mechanism.
    pub(super) fn of(mechanism: AuthMechanism) -> Self {
        match mechanism {
            AuthMechanism::ScramSha1 => Self::Sha1,
            _ => Self::Sha256,
        }
    }

    fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(data).to_vec(),
            Self::Sha256 => Sha256::digest(data).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        const ANY_LEN: &str = "HMAC takes keys of any length";
        match self {
            Self::Sha1 => {
                let mut mac = Hmac::<Sha1>::new_from_slice(key).expect(ANY_LEN);
                mac.update(data);
                mac.finalize().into_bytes().to_vec()
            }
            Self::Sha256 => {
                let mut mac = Hmac::<Sha256>::new_from_slice(key).expect(ANY_LEN);
                mac.update(data);
                mac.finalize().into_bytes().to_vec()
            }
        }
    }

    fn salted_password(self, secret: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        match self {
            Self::Sha1 => pbkdf2::pbkdf2_hmac_array::<Sha1, 20>(secret, salt, iterations).to_vec(),
            Self::Sha256 => {
                pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(secret, salt, iterations).to_vec()
            }
        }
    }
}

/// The password as the key derivation takes it.
///
/// SCRAM-SHA-1: the hexadecimal MD5 digest that MONGODB-CR used, without SASLprep.
/// SCRAM-SHA-256: the password prepared with SASLprep.
pub(super) fn secret(hash: Hash, username: &str, password: &str) -> Result<Arc<[u8]>> {
    match hash {
        Hash::Sha1 => {
            let mut md5 = Md5::new();
            md5.update(username.as_bytes());
            md5.update(b":mongo:");
            md5.update(password.as_bytes());
            let mut hex = String::with_capacity(32);
            for byte in md5.finalize() {
                write!(hex, "{byte:02x}").expect("writing into a string cannot fail");
            }
            Ok(Arc::from(hex.into_bytes()))
        }
        Hash::Sha256 => {
            let prepared = stringprep::saslprep(password).map_err(|_| {
                // The cause would name a character of the password.
                Error::invalid_argument(
                    "password: contains characters that SASLprep (RFC 4013) prohibits",
                )
            })?;
            Ok(Arc::from(prepared.as_bytes()))
        }
    }
}

/// What a derived key was derived from.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::auth) struct KeyId {
    hash: Hash,
    /// A digest, so that the cache keeps no passwords.
    secret_digest: Vec<u8>,
    salt: Vec<u8>,
    iterations: u32,
}

/// The derivation of SCRAM keys from a password: thousands of hash rounds of pure CPU work.
///
/// `Send + 'static`, so it can run on another thread. The number of rounds is at most 1,000,000.
/// Jobs of one client that derive the same key at the same time wait for the first of them.
/// `Debug` shows the number of rounds only.
pub struct DeriveJob {
    id: KeyId,
    secret: Arc<[u8]>,
    result: Arc<OnceLock<DerivedKey>>,
}

impl DeriveJob {
    pub(in crate::auth) fn new(
        mechanism: AuthMechanism,
        secret: Arc<[u8]>,
        salt: Vec<u8>,
        iterations: u32,
    ) -> Self {
        let id = KeyId {
            hash: Hash::of(mechanism),
            secret_digest: Hash::Sha256.digest(&secret),
            salt,
            iterations,
        };
        Self {
            id,
            secret,
            result: Arc::default(),
        }
    }

    /// Where the result will be, while there is a job for it.
    pub(in crate::auth) fn result(&self) -> Weak<OnceLock<DerivedKey>> {
        Arc::downgrade(&self.result)
    }

    /// The same job with a result that another one may leave.
    pub(in crate::auth) fn sharing(mut self, result: Arc<OnceLock<DerivedKey>>) -> Self {
        self.result = result;
        self
    }

    pub(in crate::auth) fn id(&self) -> &KeyId {
        &self.id
    }

    #[cfg(test)]
    pub(in crate::auth) fn iterations(&self) -> u32 {
        self.id.iterations
    }

    /// Runs the derivation.
    #[must_use]
    pub fn run(self) -> DerivedKey {
        let Self { id, secret, result } = self;
        let derive = || {
            let hash = id.hash;
            let salted = hash.salted_password(&secret, &id.salt, id.iterations);
            DerivedKey {
                client_key: hash.hmac(&salted, b"Client Key"),
                server_key: hash.hmac(&salted, b"Server Key"),
                id,
            }
        };
        result.get_or_init(derive).clone()
    }
}

impl fmt::Debug for DeriveJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeriveJob({} rounds)", self.id.iterations)
    }
}

/// The result of a [`DeriveJob`]. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct DerivedKey {
    id: KeyId,
    client_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl DerivedKey {
    pub(in crate::auth) fn id(&self) -> &KeyId {
        &self.id
    }

    /// The client's proof for a conversation, and the server's signature to expect.
    pub(in crate::auth) fn sign(&self, auth_message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let hash = self.id.hash;
        let stored_key = hash.digest(&self.client_key);
        let client_signature = hash.hmac(&stored_key, auth_message);
        let proof = self
            .client_key
            .iter()
            .zip(&client_signature)
            .map(|(key, signature)| key ^ signature)
            .collect();
        (proof, hash.hmac(&self.server_key, auth_message))
    }
}

impl fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DerivedKey(..)")
    }
}
