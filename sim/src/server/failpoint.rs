//! The fail points `failCommand` and `onPrimaryTransactionalWrite`, in the server's own syntax.

use std::time::Duration;

use bson::{Bson, Document};

use crate::{
    failure::{BAD_VALUE, FAIL_POINT_SET_FAILED, Failure, ILLEGAL_OPERATION, Result},
    store::value::{truthy, whole},
    wire::Fields,
};

/// What the data of the fail point may contain.
pub(crate) const DATA_FIELDS: &[&str] = &[
    "appName",
    "blockConnection",
    "blockTimeMS",
    "closeConnection",
    "errorCode",
    "errorLabels",
    "failCommands",
    "failInternalCommands",
    "namespace",
    "writeConcernError",
];

/// The fail point that strikes when a retryable write is about to be committed.
pub(crate) const TRANSACTIONAL_WRITE: &str = "onPrimaryTransactionalWrite";

const TRANSACTIONAL_WRITE_FIELDS: &[&str] = &["closeConnection", "failBeforeCommitExceptionCode"];

/// The state of a fail point.
#[derive(Clone, Debug, Default)]
pub(crate) struct FailPoint {
    mode: Mode,
    data: Document,
    /// How often it has been entered since the server began.
    count: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    AlwaysOn,
    #[default]
    Off,
    Skip(i64),
    Times(i64),
}

/// What happens to one command.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Injected {
    pub(crate) block: Option<Duration>,
    pub(crate) close: bool,
    pub(crate) error: Option<i32>,
    /// Replace the labels that the server would add.
    pub(crate) labels: Option<Vec<String>>,
    pub(crate) write_concern_error: Option<Document>,
}

impl FailPoint {
    /// Runs `configureFailPoint`; returns how often the fail point was entered so far.
    pub(crate) fn configure(&mut self, command: &dyn Fields) -> Result<i64> {
        let name = command.get_str("configureFailPoint").unwrap_or_default();
        let fields = match name {
            "failCommand" => DATA_FIELDS,
            TRANSACTIONAL_WRITE => TRANSACTIONAL_WRITE_FIELDS,
            _ => &[],
        };
        if fields.is_empty() {
            if name.chars().all(|c| c.is_ascii_alphanumeric()) && !name.is_empty() {
                return Err(Failure::not_simulated(format_args!("fail point {name}")));
            }
            return Err(Failure::new(
                FAIL_POINT_SET_FAILED,
                format!("{name} not found"),
            ));
        }
        let mode = mode(command.get("mode"))?;
        let data = command.get_document("data").cloned().unwrap_or_default();
        if let Some(unknown) = data.keys().find(|k| !fields.contains(&k.as_str())) {
            return Err(Failure::not_simulated(format_args!("{name}.{unknown}")));
        }
        self.mode = mode;
        self.data = data;
        Ok(self.count)
    }

    /// Whether nothing enters the fail point.
    pub(crate) fn is_off(&self) -> bool {
        self.mode == Mode::Off
    }

    /// What the fail point does to a command, counting it if it applies.
    pub(crate) fn enter(
        &mut self,
        names: &[&str],
        is_write: bool,
        namespace: &str,
        app_name: Option<&str>,
    ) -> Option<Injected> {
        let for_writes = self.data.contains_key("writeConcernError");
        if self.mode == Mode::Off
            || (for_writes && !is_write)
            || !self.applies(names, namespace, app_name)
        {
            return None;
        }
        self.strikes().then(|| self.injected())
    }

    /// What happens to a retryable write that is about to be committed: whether its connection is
    /// closed, and the code with which it fails.
    pub(crate) fn enter_write(&mut self) -> Option<(bool, Option<i32>)> {
        if !self.strikes() {
            return None;
        }
        let close = self.data.get("closeConnection").is_none_or(truthy);
        let code = self.data.get("failBeforeCommitExceptionCode");
        let code = code
            .and_then(whole)
            .and_then(|code| i32::try_from(code).ok());
        Some((close, code))
    }

    /// Counts a command that the fail point is for, and tells whether it is struck.
    fn strikes(&mut self) -> bool {
        match &mut self.mode {
            Mode::Off => return false,
            Mode::AlwaysOn => {}
            Mode::Skip(left) if *left > 0 => {
                *left -= 1;
                return false;
            }
            Mode::Skip(_) => {}
            Mode::Times(left) => {
                *left -= 1;
                if *left <= 0 {
                    self.mode = Mode::Off;
                }
            }
        }
        self.count += 1;
        true
    }

    fn applies(&self, names: &[&str], namespace: &str, app_name: Option<&str>) -> bool {
        let wanted = self.data.get_array("failCommands");
        let wanted = wanted.map_or(&[][..], Vec::as_slice);
        let named = wanted
            .iter()
            .any(|name| name.as_str().is_some_and(|n| names.contains(&n)));
        let app = self.data.get_str("appName").ok();
        let ns = self.data.get_str("namespace").ok();
        named && (app.is_none() || app == app_name) && ns.is_none_or(|wanted| wanted == namespace)
    }

    fn injected(&self) -> Injected {
        let data = &self.data;
        let flag = |name: &str| data.get(name).is_some_and(truthy);
        let number = |name: &str| data.get(name).and_then(whole);
        let millis = number("blockTimeMS").and_then(|n| u64::try_from(n).ok());
        let labels = data.get_array("errorLabels").ok().map(|labels| {
            let labels = labels.iter().filter_map(Bson::as_str);
            labels.map(str::to_owned).collect()
        });
        Injected {
            block: millis
                .filter(|_| flag("blockConnection"))
                .map(Duration::from_millis),
            close: flag("closeConnection"),
            error: number("errorCode").and_then(|code| i32::try_from(code).ok()),
            labels,
            write_concern_error: data.get_document("writeConcernError").ok().cloned(),
        }
    }
}

fn mode(mode: Option<&Bson>) -> Result<Mode> {
    let bad = |message: String| Err(Failure::new(BAD_VALUE, message));
    match mode {
        Some(Bson::String(name)) => match name.as_str() {
            "off" => Ok(Mode::Off),
            "alwaysOn" => Ok(Mode::AlwaysOn),
            other => bad(format!("unknown mode: {other}")),
        },
        Some(Bson::Document(mode)) => {
            let number = |name: &str| mode.get(name).and_then(whole);
            match (number("times"), number("skip")) {
                (Some(times), _) if times > 0 => Ok(Mode::Times(times)),
                (Some(_), _) => Ok(Mode::Off),
                (None, Some(skip)) if skip >= 0 => Ok(Mode::Skip(skip)),
                _ if mode.contains_key("activationProbability") => {
                    Err(Failure::not_simulated("activationProbability"))
                }
                _ => bad("'mode' must be one of 'off', 'alwaysOn', 'times', and 'skip'".to_owned()),
            }
        }
        None => Err(Failure::new(
            ILLEGAL_OPERATION,
            "When setting a failpoint, you must supply a 'mode'",
        )),
        Some(_) => bad("'mode' must be a string or JSON object".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn set(point: &mut FailPoint, mode: impl Into<Bson>, data: Document) -> Result<i64> {
        let command = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data };
        point.configure(&command)
    }

    fn entered(point: &mut FailPoint, name: &str) -> bool {
        point
            .enter(&[name], name == "insert", "db.c", Some("app"))
            .is_some()
    }

    #[test]
    fn it_counts_only_the_commands_that_it_is_for() {
        let mut point = FailPoint::default();
        let data = doc! { "failCommands": ["find"], "errorCode": 91 };
        assert_eq!(set(&mut point, doc! { "times": 2 }, data.clone()), Ok(0));
        let seen: Vec<bool> = ["insert", "find", "insert", "find", "find"]
            .map(|name| entered(&mut point, name))
            .to_vec();
        assert_eq!(seen, [false, true, false, true, false]);
        assert_eq!(set(&mut point, doc! { "skip": 1 }, data), Ok(2));
        assert!(!entered(&mut point, "find") && entered(&mut point, "find"));
        assert_eq!(set(&mut point, "off", doc! {}), Ok(3));
        assert!(!entered(&mut point, "find"));
    }

    #[test]
    fn it_can_be_for_one_application_or_namespace() {
        let mut point = FailPoint::default();
        for (data, expected) in [
            (doc! { "failCommands": ["find"], "appName": "app" }, true),
            (doc! { "failCommands": ["find"], "appName": "other" }, false),
            (doc! { "failCommands": ["find"], "namespace": "db.c" }, true),
            (
                doc! { "failCommands": ["find"], "namespace": "db.d" },
                false,
            ),
        ] {
            set(&mut point, "alwaysOn", data.clone()).unwrap();
            assert_eq!(entered(&mut point, "find"), expected, "{data}");
        }
    }

    #[test]
    fn other_fail_points_and_data_are_not_simulated() {
        let mut point = FailPoint::default();
        let other = doc! { "configureFailPoint": "hangForever", "mode": "off" };
        let failure = point.configure(&other).unwrap_err();
        assert_eq!(failure.message, "not simulated: fail point hangForever");
        let failure = set(&mut point, "alwaysOn", doc! { "errorExtraInfo": {} }).unwrap_err();
        assert_eq!(failure.message, "not simulated: failCommand.errorExtraInfo");
        let failure = set(&mut point, "nonsense", doc! {}).unwrap_err();
        assert_eq!(failure.message, "unknown mode: nonsense");
    }
}
