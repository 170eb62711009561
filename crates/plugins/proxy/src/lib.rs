//! A metered SOCKS5 and HTTP CONNECT proxy, sold and bought through the marketplace.
