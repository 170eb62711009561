//! The buyer: discovers offerings, opens channels, fetches access, pays for use.
