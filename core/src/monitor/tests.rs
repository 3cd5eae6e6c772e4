//! The rules of monitors, with written time.
