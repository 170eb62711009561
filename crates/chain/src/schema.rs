//! The tables of `migrations/chain`, as Diesel sees them.

diesel::table! {
    chain_cursors (stream) {
        stream -> Text,
        chain_id -> BigInt,
        contracts -> Text,
        start_block -> BigInt,
        next_block -> BigInt,
        interests -> Text,
        part_block -> Nullable<BigInt>,
        part_index -> Nullable<BigInt>,
        part_hash -> Nullable<Binary>,
        block_time -> Nullable<BigInt>,
        back_next -> Nullable<BigInt>,
        back_until -> Nullable<BigInt>,
    }
}

diesel::table! {
    chain_blocks (stream, number) {
        stream -> Text,
        number -> BigInt,
        hash -> Binary,
    }
}

diesel::table! {
    chain_txs (id) {
        id -> BigInt,
        key -> Text,
        chain_id -> BigInt,
        sender -> Binary,
        recipient -> Binary,
        value -> Binary,
        input -> Binary,
        kind -> Text,
        subject -> Text,
        terms -> Text,
        parent -> Nullable<BigInt>,
        filler -> Bool,
        status -> Text,
        ending -> Nullable<Text>,
        watched -> Bool,
        relieved -> Bool,
        nonce -> Nullable<BigInt>,
        bound -> Nullable<BigInt>,
        gas_limit -> Nullable<BigInt>,
        obstacle -> Nullable<Text>,
        failure -> Nullable<Text>,
        raise -> Nullable<Text>,
        tx_hash -> Nullable<Binary>,
        block -> Nullable<BigInt>,
        block_hash -> Nullable<Binary>,
        success -> Nullable<Bool>,
        gas_used -> Nullable<BigInt>,
        gas_price -> Nullable<Binary>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    chain_attempts (hash) {
        hash -> Binary,
        tx -> BigInt,
        chain_id -> BigInt,
        sender -> Binary,
        nonce -> BigInt,
        raw -> Binary,
        max_fee -> Binary,
        priority_fee -> Binary,
        fate -> Text,
        head -> BigInt,
        created_at -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(chain_txs, chain_attempts);
