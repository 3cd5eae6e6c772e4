//! Logins and TLS against real servers: what works, what is refused, and what refusals look like.

mod certificates;
mod passwords;
mod refusals;
mod servers;
