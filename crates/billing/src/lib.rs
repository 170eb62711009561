//! Billing rules as pure functions: terms, usage, payments and a clock in, decisions out.
