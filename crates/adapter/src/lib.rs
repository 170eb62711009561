//! The service adapter API: the trait, the in-process host, and a conformance kit for plug-in authors.
