//! SRV and TXT lookups for mongodb+srv.
