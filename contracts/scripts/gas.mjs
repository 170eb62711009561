#!/usr/bin/env node
// Measures the gas of every call on a real node and writes the table, GAS.md. The measuring itself is a test of the Rust
// crate: run as a test, it fails when the table is out of date or a goal is missed.
import { spawnSync } from "node:child_process";
import { dirname } from "node:path";
import { projectRoot } from "./foundry.mjs";

const run = spawnSync(
  "cargo",
  ["test", "--package", "privatix-contracts", "--test", "contracts", "gas::", "--", "--nocapture"],
  { cwd: dirname(projectRoot), stdio: "inherit", env: { ...process.env, PRIVATIX_UPDATE_GAS: "1" } },
);
process.exit(run.status ?? 1);
