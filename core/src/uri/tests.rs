//! Connection strings as users write them: what is accepted, warned about and refused.
