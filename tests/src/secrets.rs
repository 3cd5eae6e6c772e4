//! Secrets and where they must not be: in logs, events, errors and `Debug` output.

mod scram;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use mongo_client::{error::Error, event::EventHandler, options::ClientOptions};

pub use self::scram::{Flaw, ScramPeer};
use crate::logs::Logs;

/// What must not be seen, in every way of writing that something may use.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    needles: Vec<(String, String)>,
}

impl Secrets {
    /// Adds a text: as it is, percent-encoded, in Base64, in hexadecimal, as a list of bytes.
    pub fn text(&mut self, what: &str, secret: &str) {
        self.needle(what, secret);
        self.needle(what, &format!("{secret:?}").replace('"', ""));
        self.needle(what, &percent_encoded(secret));
        self.needle(what, &percent_encoded(secret).to_lowercase());
        self.bytes(what, secret.as_bytes());
    }

    /// Adds bytes: in Base64, in hexadecimal, as a list.
    pub fn bytes(&mut self, what: &str, secret: &[u8]) {
        assert!(secret.len() >= 5, "{what}: too short to be searched for");
        // In the middle of something else Base64 looks different by its place.
        for skip in 0..3 {
            let whole = secret.len().saturating_sub(skip) / 3 * 3;
            let part = &secret[skip..skip + whole];
            self.needle(what, &STANDARD_NO_PAD.encode(part));
            self.needle(what, &URL_SAFE_NO_PAD.encode(part));
        }
        self.needle(what, &STANDARD.encode(secret));
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        self.needle(what, &hex.to_uppercase());
        self.needle(what, &hex);
        let list = format!("{secret:?}");
        self.needle(what, list.trim_matches(['[', ']']));
    }

    /// Adds every line of a private key's PEM text.
    pub fn pem(&mut self, what: &str, pem: &str) {
        let mut within = false;
        for line in pem.lines() {
            if line.contains("-----") {
                within = line.contains("BEGIN") && line.contains("PRIVATE KEY");
            } else if within && line.len() > 20 {
                self.needle(what, line.trim());
            }
        }
        assert!(!self.needles.is_empty(), "{what} has no private key");
    }

    /// Adds exactly this text.
    pub fn needle(&mut self, what: &str, needle: &str) {
        let needle = (what.to_owned(), needle.to_owned());
        if !self.needles.contains(&needle) {
            self.needles.push(needle);
        }
    }

    /// What of these is in a text.
    #[must_use]
    pub fn found_in(&self, text: &str) -> Option<&str> {
        let flat: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // `{:#?}` writes each item of a list on a line of its own.
        let found = |(_, needle): &&(String, String)| {
            text.contains(needle) || (needle.contains(", ") && flat.contains(needle))
        };
        self.needles
            .iter()
            .find(found)
            .map(|(what, _)| what.as_str())
    }
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Everything that was shown, and what must not be in it.
#[derive(Clone, Default)]
pub struct Watch {
    /// What must not be seen.
    pub secrets: Arc<Mutex<Secrets>>,
    shown: Arc<Mutex<Vec<(String, String)>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Adds to what must not be seen.
    pub fn hide(&self, add: impl FnOnce(&mut Secrets)) {
        add(&mut lock(&self.secrets));
    }

    /// Listens to all events of a client.
    pub fn attach(&self, options: &mut ClientOptions) {
        fn handler<T: Debug>(watch: &Watch, what: &'static str) -> EventHandler<T> {
            let watch = watch.clone();
            EventHandler::callback(move |event| watch.debug(what, &event))
        }
        options.cmap_event_handler = Some(handler(self, "connection event"));
        options.command_event_handler = Some(handler(self, "command event"));
        options.sdam_event_handler = Some(handler(self, "topology event"));
    }

    /// Keeps a text that was shown.
    pub fn text(&self, what: &str, text: String) {
        lock(&self.shown).push((what.to_owned(), text));
    }

    /// Keeps both forms of a value's `Debug`.
    pub fn debug(&self, what: &str, value: &dyn Debug) {
        self.text(what, format!("{value:?}"));
        self.text(what, format!("{value:#?}"));
    }

    /// Keeps what an error and its sources show.
    pub fn error(&self, what: &str, error: &Error) {
        self.debug(what, error);
        self.debug(what, &error.kind);
        self.debug(what, &error.labels());
        let mut next: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = next {
            self.debug(what, &error);
            self.text(what, error.to_string());
            self.text(what, format!("{error:#}"));
            next = error.source();
        }
    }

    /// Keeps what was logged.
    pub fn logs(&self, logs: &Logs) {
        for event in logs.events() {
            self.debug("log", &event);
            // `Debug` escapes what stands in a field; a log file may not.
            for value in event.fields.values() {
                self.text("log field", value.as_str().unwrap_or_default().to_owned());
            }
        }
        for span in logs.spans().values() {
            self.debug("span", span);
        }
    }

    /// Asserts that nothing secret was shown, and that something was.
    ///
    /// # Panics
    ///
    /// When there is a secret.
    pub fn check(&self, about: &str) {
        let shown = std::mem::take(&mut *lock(&self.shown));
        let secrets = lock(&self.secrets).clone();
        assert!(!shown.is_empty(), "{about}: nothing was shown");
        let shown: BTreeMap<String, String> =
            shown.into_iter().map(|(what, text)| (text, what)).collect();
        for (text, what) in &shown {
            if let Some(secret) = secrets.found_in(text) {
                panic!("{about}: the {secret} is in {what}: {text}");
            }
        }
    }
}
