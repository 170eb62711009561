//! The tables, as `migrations/store` makes them.
#![allow(missing_docs, unreachable_pub, reason = "columns are documented by the migration")]

diesel::table! {
    identity (id) {
        id -> Integer,
        role -> Text,
        chain_id -> BigInt,
        contract -> Binary,
        token -> Binary,
        account -> Binary,
        deployment_chain_id -> Nullable<BigInt>,
    }
}

diesel::table! {
    chain_events (block, log_index) {
        block -> BigInt,
        log_index -> BigInt,
        tx -> Binary,
        agent -> Binary,
        channel -> Nullable<Binary>,
        offering -> Nullable<Binary>,
        event -> Text,
    }
}

diesel::table! {
    contract_events (block, log_index) {
        block -> BigInt,
        log_index -> BigInt,
        tx -> Binary,
        block_time -> BigInt,
        account -> Nullable<Binary>,
        event -> Text,
    }
}

diesel::table! {
    offerings (agent, hash) {
        agent -> Binary,
        hash -> Binary,
        status -> Text,
        message -> Nullable<Binary>,
        country -> Nullable<Text>,
        min_deposit -> Binary,
        supply -> BigInt,
        free_supply -> BigInt,
        source_type -> SmallInt,
        source -> Text,
        announced_at -> Nullable<BigInt>,
        problem -> Nullable<Text>,
        created_at -> BigInt,
        fee -> Integer,
        fold_version -> Integer,
        fold -> Nullable<Text>,
    }
}

diesel::table! {
    channels (id) {
        id -> Binary,
        client -> Binary,
        agent -> Binary,
        offering -> Binary,
        nonce -> BigInt,
        signer -> Binary,
        asked -> Binary,
        deposit -> Binary,
        paid -> Binary,
        fee -> Integer,
        opened_at -> Nullable<BigInt>,
        status -> Text,
        service -> Text,
        service_since -> BigInt,
        reason -> Nullable<Text>,
        username -> Nullable<Text>,
        password -> Nullable<Text>,
        access -> Nullable<Text>,
        held -> Bool,
        top_up_pending -> Bool,
        created_at -> BigInt,
        local_endpoint -> Nullable<Text>,
        challenge_ends_at -> Nullable<BigInt>,
        closure -> Nullable<Text>,
        fold_version -> Integer,
        fold -> Nullable<Text>,
    }
}

diesel::table! {
    fold_snapshots (subject, block, log_index) {
        subject -> Binary,
        block -> BigInt,
        log_index -> BigInt,
        state -> Text,
    }
}

diesel::table! {
    vouchers (channel) {
        channel -> Binary,
        cumulative -> Binary,
        signature -> Binary,
        count -> BigInt,
        acknowledged -> Binary,
        updated_at -> BigInt,
    }
}

diesel::table! {
    ceilings (channel) {
        channel -> Binary,
        amount -> Binary,
    }
}

diesel::table! {
    channel_states (channel) {
        channel -> Binary,
        schema -> Integer,
        revision -> BigInt,
        adopted -> Text,
        own -> Text,
        terms -> Nullable<Text>,
        used_at -> BigInt,
        running_since -> Nullable<BigInt>,
        wake_at -> Nullable<BigInt>,
        wake_chain -> Nullable<BigInt>,
        #[sql_name = "final"]
        is_final -> Bool,
    }
}

diesel::table! {
    offering_states (agent, hash) {
        agent -> Binary,
        hash -> Binary,
        schema -> Integer,
        revision -> BigInt,
        ownership -> Text,
        asked -> Bool,
        wake_at -> Nullable<BigInt>,
        wake_chain -> Nullable<BigInt>,
        seen_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    service_clock (process) {
        process -> Text,
        uptime -> BigInt,
        starts -> BigInt,
    }
}

diesel::table! {
    purposes (subject_kind, subject, seq) {
        tx -> BigInt,
        subject_kind -> Text,
        subject -> Binary,
        seq -> BigInt,
        purpose -> Text,
        from_wallet -> Bool,
        job -> Nullable<BigInt>,
        batch -> Bool,
    }
}

diesel::table! {
    collected (channel, seq) {
        channel -> Binary,
        seq -> BigInt,
        purpose -> Text,
        since -> BigInt,
    }
}

diesel::table! {
    orders (id) {
        id -> BigInt,
        key -> Nullable<Text>,
        subject_kind -> Text,
        subject -> Binary,
        what -> Text,
        placed_by -> Text,
        placed_at -> BigInt,
        amount -> Nullable<Binary>,
        agent -> Nullable<Binary>,
        day -> Nullable<BigInt>,
        held -> Nullable<Text>,
        pot -> Nullable<Text>,
        outcome -> Nullable<Text>,
        ended_at -> Nullable<BigInt>,
        tx -> Nullable<BigInt>,
    }
}

diesel::table! {
    order_totals (scope, id) {
        scope -> Text,
        id -> Binary,
        reserved -> Binary,
        spent -> Binary,
        ever -> Binary,
    }
}

diesel::table! {
    meters (channel) {
        channel -> Binary,
        used -> BigInt,
        last_usage -> Nullable<BigInt>,
    }
}

diesel::table! {
    sessions (id) {
        id -> Binary,
        channel -> Binary,
        used -> BigInt,
        peer -> Nullable<Text>,
        started_at -> BigInt,
        last_usage -> Nullable<BigInt>,
        stopped_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    recovery (id) {
        id -> Integer,
        backed_up_at -> BigInt,
        caught_up_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    agents_seen (agent) {
        agent -> Binary,
        version -> Integer,
        issued_at -> BigInt,
    }
}

diesel::table! {
    receipts (channel) {
        channel -> Binary,
        cumulative -> Binary,
        block -> BigInt,
        receipt -> Text,
    }
}

diesel::table! {
    contract_facts (id) {
        id -> Integer,
        chain_id -> BigInt,
        deployment_chain_id -> BigInt,
        contract -> Binary,
        token -> Binary,
        code_hash -> Binary,
        verdict -> Text,
        challenge_period -> BigInt,
        token_name -> Nullable<Text>,
        token_symbol -> Nullable<Text>,
        token_decimals -> Nullable<BigInt>,
        deposits -> Text,
        checked_at -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    channels,
    channel_states,
    collected,
    vouchers,
    ceilings,
    meters,
    sessions,
    offerings
);
