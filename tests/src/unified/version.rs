//! Versions of servers and of the format: three numbers that are compared one by one.

use std::fmt;

use bson::{Bson, Document};

/// A version; missing parts are zero, further parts do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number.
    pub patch: u32,
}

impl Version {
    /// The newest version of the format that this runner knows.
    pub const FORMAT: Self = Self {
        major: 1,
        minor: 29,
        patch: 0,
    };

    /// Reads `6`, `6.0`, `6.0.5` or `6.0.5-rc1-7-gabc`.
    ///
    /// # Errors
    ///
    /// When it does not begin with a number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let release = text.split('-').next().unwrap_or_default();
        let mut numbers = [0; 3];
        for (number, part) in numbers.iter_mut().zip(release.split('.')) {
            *number = part
                .parse()
                .map_err(|_| format!("{text:?} is not a version"))?;
        }
        let [major, minor, patch] = numbers;
        Ok(Self {
            major,
            minor,
            patch,
        })
    }

    /// The version in a reply to `buildInfo`.
    ///
    /// # Errors
    ///
    /// When it has no `versionArray`.
    pub fn of_server(build_info: &Document) -> Result<Self, String> {
        let parts = build_info
            .get_array("versionArray")
            .map_err(|e| format!("buildInfo: {e}"))?;
        let number = |index: usize| match parts.get(index) {
            Some(Bson::Int32(n)) => u32::try_from(*n).unwrap_or(0),
            _ => 0,
        };
        Ok(Self {
            major: number(0),
            minor: number(1),
            patch: number(2),
        })
    }

    /// Whether a runner for [`Self::FORMAT`] can run a file of this version.
    #[must_use]
    pub fn is_runnable(self) -> bool {
        self.major == Self::FORMAT.major && self <= Self::FORMAT
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_compared_as_numbers() {
        let v = |text| Version::parse(text).unwrap();
        assert!(v("4.0.10") > v("4.0.9"));
        assert!(v("3.6") < v("4.2.0"));
        assert_eq!(v("4.9.0-alpha4-271-g7d5cf02"), v("4.9"));
        assert_eq!(v("7"), v("7.0.0"));
        assert!(Version::parse("seven").is_err());
    }

    #[test]
    fn only_the_format_of_this_major_version_is_run() {
        for (text, runnable) in [
            ("1.0", true),
            ("1.29", true),
            ("1.30", false),
            ("0.1", false),
            ("2.0", false),
        ] {
            assert_eq!(
                Version::parse(text).unwrap().is_runnable(),
                runnable,
                "{text}"
            );
        }
    }
}
