//! Offering and access messages: templates, canonical bytes, hashes, signatures, sealing.
