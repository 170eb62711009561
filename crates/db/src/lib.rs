//! A small asynchronous database layer: one writer, many readers, embedded migrations.
