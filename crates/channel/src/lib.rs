//! The payment-channel protocol, sans-IO: amounts, ids, vouchers, state machines.
